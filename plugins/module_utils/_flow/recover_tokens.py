# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that go back into tokens: the places of recover.py that are on tokens, and the one-time keys in them.

- A key from a token is unwrapped in the token, with the one-time key that the token made for the request. A key that
  was archived from a file is wrapped here, to the same one-time key, and goes the same way in.
- It is first unwrapped as an object of the session, and must answer a fresh challenge to the public key that was asked
  for: only then it is the right key. The token's own object is made after all keys of the task have shown that.
- It comes back sensitive and, unless asked otherwise, not extractable, under the label that it is given or had.
- What a token was killed over while it wrote the key is not the key: it is never worked with, and goes when the key is
  written again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    FormatError,
    KeyExists,
    KeyReferenceError,
    OpenError,
    OptionError,
    PossessionNotProven,
    TokenError,
    WrongKeyRecovered,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import Asked, OpenToken, OpenTokens
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import (
    identity,
    possession,
    reference,
    token_halves,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.quorum import Wrapped
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key_open
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card, keys, objects, session, unwrapping
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import uri as uris
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.unwrapping import Envelope, NewKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri

try:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
except ImportError as error:
    note_missing_library(error)


@dataclass(frozen=True)
class _Place:
    """One item: where its key goes."""

    item: dict = field(repr=False)
    uri: TokenUri
    token: OpenToken


@dataclass(frozen=True)
class _Ready:
    """A key that has shown in the session that it is the right one."""

    envelope: Envelope = field(repr=False)
    session_key: Any = field(repr=False)
    new: NewKey


class TokenPlaces:
    """The items of ``keys`` that are on tokens, until the tokens are closed."""

    def __init__(self, items: list[dict], tokens: OpenTokens) -> None:
        self._tokens = tokens
        self._places = {}
        for token in tokens.all:
            token.found = objects.survey(token.session)  # in full: a key is looked for by its key ID
        for item in items:
            there = tokens.of(_name(item))
            if there is None:
                raise AssertionError("a missing token is an error where keys are recovered")
            self._places[item["key_id"]] = _Place(item, uris.parse(item["key"]), there)
        self._ready: dict[str, _Ready] = {}
        self.warnings: list[str] = []

    def is_there(self, key_id: str) -> bool:
        """Whether the token has the key, under the label that is asked for.

        Raises:
            KeyExists: it has another key of this label, or this key under another label.
            HalvesDiffer: what looks like this key has only its public half.
            KeyUnreadable: somebody else's object with this public half is not whole.
        """
        place = self._places[key_id]
        private = [one for one in place.token.found if one.kind == "private_key" and not _is_part(one, place, key_id)]
        mine = [one for one in private if one.key_id == key_id]
        if mine and place.uri.label not in (None, mine[0].label):
            raise KeyExists(
                f"{place.item['key']}: the token has this key already, as {mine[0].label!r}; one key stands there once"
            )
        for one in mine:
            token_halves.prove(one)
        if not mine and place.uri.label is not None:
            self._require_free(place, key_id, place.uri.label)
        return bool(mine)

    def prove(self, key_id: str, request: RecoveryRequest, wrapped: Wrapped, record: Record) -> None:
        """Unwrap a key from a token, for a trial, and see that it is the right one.

        Raises:
            OpenError: no agent's session key unwraps it.
            WrongKeyRecovered: it is another key.
        """
        place, new = self._places[key_id], self._for_a_trial(key_id, record)
        envelope, problems = Envelope(wrapped.wrapping, wrapped.blob), []
        one_time = unwrapping.one_time_key(place.token.found, request.token_key)
        for agent, released in wrapped.session_keys:
            try:
                session_key = unwrapping.unwrap_session_key(one_time.handle, released, request.token_key_hash)
                _try(envelope, session_key, new, key_id)
            except OpenError as error:
                problems.append(f"agent {agent!r}: {error}")
            else:
                self._ready[key_id] = _Ready(envelope, session_key, self._labelled(key_id, new, record))
                return
        raise OpenError(f"the key does not unwrap in the token {place.token.facts.label!r}: {'; '.join(problems)}")

    def take_in(self, key_id: str, request: RecoveryRequest, key: PrivateKey, record: Record) -> None:
        """The same for a key that was archived from a file: its plaintext is in this process, as the file's was.

        Raises:
            OpenError: the token unwraps it in no way that is known here.
        """
        place, new = self._places[key_id], self._for_a_trial(key_id, record)
        one_time = unwrapping.one_time_key(place.token.found, request.token_key)
        content = key_file.to_cryptography(key).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        problems = []
        for wrapping in wrapped_key_open.WRITABLE:
            secret = os.urandom(32)
            released = wrapped_key_open.encrypt_to_token(secret, request.token_key, request.token_key_hash)
            session_key = unwrapping.unwrap_session_key(one_time.handle, released, request.token_key_hash)
            envelope = Envelope(wrapping, wrapped_key_open.wrap(secret, wrapping, content))
            try:
                _try(envelope, session_key, new, key_id)
            except OpenError as error:
                problems.append(str(error))
            else:
                self._ready[key_id] = _Ready(envelope, session_key, self._labelled(key_id, new, record))
                return
        raise OpenError(f"the key cannot be put into the token {place.token.facts.label!r}: {'; '.join(problems)}")

    def write(self, key_id: str) -> None:
        """Make the token's own object of a key that has shown that it is the right one.

        Raises:
            TokenError: the token refuses, or made it otherwise; nothing is left of it.
        """
        place, ready = self._places[key_id], self._ready[key_id]
        for one in place.token.found:  # what a killed run left; the private half first, as always
            if _is_part(one, place, key_id):
                keys.destroy_object(one)
                self.warnings.append(
                    f"{place.item['key']}: the token had only a part of the key {one.label!r}, since an earlier run "
                    "was ended while it was written; that was removed, and the key recovered anew"
                )
        for one in place.token.found:
            if one.kind == "public_key" and one.key_id == key_id and one.object_id == ready.new.object_id.hex():
                keys.destroy_object(one)
        unwrapping.restore(
            *(place.token.session, ready.session_key, ready.envelope, ready.new),
            check=lambda made: _require_answer(made, ready.new.public_key, key_id),
        )

    def remove_one_time_keys(self, token_key: bytes | None) -> None:
        """Remove the request's one-time key, and those of requests whose time is over."""
        for token in self._tokens.all:
            unwrapping.remove_one_time_keys(token.found, times.now(), token_key)

    def _labelled(self, key_id: str, new: NewKey, record: Record) -> NewKey:
        """With its label. Only here, when the revision has shown that it is true: a forged one names what it likes."""
        place = self._places[key_id]
        label = place.uri.label or _old_label(record)
        if label is None:
            raise OptionError(
                f"key: {place.item['key']}: name the key by object=; it had no label, since it was a file"
            )
        self._require_free(place, key_id, label)
        return replace(new, label=label)

    def _for_a_trial(self, key_id: str, record: Record) -> NewKey:
        place = self._places[key_id]
        algorithm = identity.algorithm_of(record.public_key)
        if not algorithm.startswith(("rsa-", "ec-p")):
            raise AlgorithmError(
                f"key {key_id[:16]}... is of the type {algorithm}, which tokens do not unwrap: put it into a file"
            )
        object_id = _object_id(place, key_id)
        extractable = bool(place.item["extractable"])
        return NewKey(record.usage, algorithm, record.public_key, key_id[:16], object_id, extractable)

    def _require_free(self, place: _Place, key_id: str, label: str) -> None:
        private = [one for one in place.token.found if one.kind == "private_key"]
        taken = {one.label for one in private if not _is_part(one, place, key_id)}
        coming = {ready.new.label for key_id, ready in self._ready.items() if self._places[key_id].token is place.token}
        if label in taken | coming:
            raise KeyExists(
                f"{place.item['key']}: the token has, or gets, another key {label!r}, which stays: give another object="
            )


@contextmanager
def opened(items: list[dict], lock_in: str | None) -> Iterator[TokenPlaces]:
    """The items of ``keys`` that are on tokens, with their tokens open.

    Args:
        lock_in: the state folder, when keys will be written.

    Raises:
        OptionError, KeyReferenceError, TokenError, WrongPin: naming the item.
    """
    with OpenTokens([asked(item) for item in items], lock_in) as tokens:
        yield TokenPlaces(items, tokens)


def asked(item: dict) -> Asked:
    """An item on a token; without a label it is looked for by its key ID."""
    named = uris.parse(item["key"])
    if named.label is not None or named.module_path is None or (named.token, named.serial) == (None, None):
        named = reference.parse(item["key"]).uri
    pin = session.pin_for(item["pin"], named)
    return Asked(_name(item), replace(named, label=named.label or _name(item)), pin)


def _object_id(place: _Place, key_id: str) -> bytes:
    return place.uri.object_id or bytes.fromhex(key_id)[:20]


def _is_part(one: TokenObject, place: _Place, key_id: str) -> bool:
    """Whether it is what an ended run left of this key's private half: without numbers, and with the ID that it gets.

    Somebody else's unfinished object stays, and so does everything that could be a key.
    """
    return keys.is_part(one) and one.object_id == _object_id(place, key_id).hex()


def _name(item: dict) -> str:
    return f"{item['key']} ({item['key_id'][:16]}...)"


def _old_label(record: Record) -> str | None:
    """The label under which the key was archived. Only the record says it, so it is no more than a name."""
    try:
        return reference.parse(record.place).uri.label if reference.is_token(record.place) else None
    except KeyReferenceError:
        return None


def _try(envelope: Envelope, session_key: Any, new: NewKey, key_id: str) -> None:
    trial = unwrapping.unwrap_for_a_trial(session_key, envelope, new)
    try:
        _require_answer(trial, new.public_key, key_id)
    finally:
        trial.handle.destroy()


def _require_answer(one: TokenObject, public_key: bytes, key_id: str) -> None:
    """Raise WrongKeyRecovered unless the key decrypts, or agrees on, what was made for its public key just now."""
    try:
        challenge, expected = possession.make_challenge(public_key, key_id)
        possession.check_answer(expected, possession.answer_challenge(card.usable(one), key_id, challenge))
    except (PossessionNotProven, TokenError, FormatError) as error:
        raise WrongKeyRecovered(
            f"what was unwrapped in the token is not the key {key_id[:16]}...: it does not answer a challenge to its "
            "public key"
        ) from error
