# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that are brought into their owner's token: the part of export.py that works with tokens.

- A key that the token has already is looked at: it must be this key (it answers a challenge or signs), with the
  attributes of its usage. Then nothing is written.
- A signing key goes only to a token that keeps what such a key relies on, as when one is made there.
- What a killed run left, public halves and certificates without their private key, is taken away first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.exported import Made
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    KeyNotFound,
    KeyopsError,
    UnsafeTokenRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_sources import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_wishes import Wish
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import (
    Asked,
    OpenToken,
    OpenTokens,
    named,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference, token_halves
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import (
    importing,
    keys,
    objects,
    probe,
    probed,
    session,
    templates,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.unwrapping import NewKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages


class Cards:
    """The owners' tokens, open."""

    def __init__(self, tokens: OpenTokens, state_dir: str | None) -> None:
        self._tokens, self._state_dir = tokens, state_dir
        for token in tokens.all:
            token.found = objects.survey(token.session)

    def plan(self, wish: Wish, source: Source, known: tuple[Made, ...]) -> dict:
        """What is to be done: ``action`` and ``before`` of export's plan.

        Raises:
            KeyExists: the label, or the ID, belongs to another key; or the key is there under another label.
            KeyUnreadable: what is there is not the key.
            TokenMisbehaved: it is there with other attributes than its usage has.
        """
        with named(wish.dest):
            token = self._of(wish)
            there = [one for one in token.found if one.kind == "private_key" and one.key_id == source.key_id]
            if there:
                return self._there(wish, source, there[0], known)
            if source.facts is None:
                return self._away(source, known)
            importing.check_algorithm(source.facts.algorithm)
            self._require_free(wish, source, token)
            if source.usage in usages.SIGNING:
                self._require_safe(wish, token)
            return {"action": "created"}

    def _there(self, wish: Wish, source: Source, one: objects.TokenObject, known: tuple[Made, ...]) -> dict:
        label = reference.parse(wish.dest).uri.label
        if one.label != label:
            raise KeyExists(f"the token has this key already, as {one.label!r}; one key stands there once")
        token_halves.prove(one)
        faults = templates.faults(one.attributes, source.usage, bool(wish.item["extractable"])) if source.usage else []
        if faults:
            told = "; ".join(faults)
            raise KeyExists(
                f"the token has this key already, otherwise than its usage {source.usage} wants it: {told}; remove it "
                "there first"
            )
        facts = {"facts": known[-1].facts} if known and source.facts is None else {}
        return {"action": "kept" if source.facts else "delivered", **facts}

    def _away(self, source: Source, known: tuple[Made, ...]) -> dict:
        if source.key_id is None:  # check mode
            return {"action": "created"}
        raise KeyNotFound(
            f"{source.item['key']}: the key was brought into the token before, is not there any more, and not on this "
            "host either; recover it"
        )

    def _require_free(self, wish: Wish, source: Source, token: OpenToken) -> None:
        label, object_id = reference.parse(wish.dest).uri.label, _object_id(wish, source).hex()
        for one in token.found:
            if (
                one.kind == "private_key"
                and (one.label == label or one.object_id == object_id)
                and not keys.is_part(one)
            ):
                raise KeyExists(f"the token has another key {one.label!r} (ID {one.object_id}), which stays")

    def _require_safe(self, wish: Wish, token: OpenToken) -> None:
        keep = self._state_dir is not None
        found = probed.findings(token.session, token.library, token.facts, self._state_dir or "", keep)
        accepted = wish.item["accept_findings"]
        broken = [one for one in found if one.outcome == probe.FAILS and one.name not in accepted]
        if broken:
            told = "; ".join(f"{one.name} ({one.detail})" for one in broken)
            raise UnsafeTokenRefused(
                f"the token does not keep what a signing key relies on: {told}. Give the owner another token, or "
                "accept these findings by their names with accept_findings"
            )

    def write(self, wish: Wish, source: Source, key: PrivateKey) -> None:
        """Bring the key in, and see that it works there.

        Raises:
            TokenError: the token refuses, or made it otherwise; nothing is left of it.
        """
        token, object_id = self._of(wish), _object_id(wish, source)
        with named(wish.dest):
            keys.remove_unwritten(token.session)
            for one in token.found:
                ours = one.kind in ("public_key", "certificate") and one.object_id == object_id.hex()
                if ours or (keys.is_part(one) and one.object_id == object_id.hex()):
                    keys.destroy_object(one)
            new = NewKey(
                usage=str(source.usage),
                algorithm=key.facts.algorithm,
                public_key=key.facts.public_key,
                label=str(reference.parse(wish.dest).uri.label),
                object_id=object_id,
                extractable=bool(wish.item["extractable"]) and source.usage in usages.NONSIGNING,
            )
            loaded = key_file.to_cryptography(key)
            made = importing.write(token.session, importing.Imported(new, loaded, source.certificate))
            try:
                token_halves.prove(made)
            except KeyopsError:
                importing.remove(token.session, made)
                raise

    def _of(self, wish: Wish) -> OpenToken:
        token = self._tokens.of(wish.dest)
        if token is None:
            raise AssertionError("a missing token is an error where keys are brought in")
        return token


def _object_id(wish: Wish, source: Source) -> bytes:
    return reference.parse(wish.dest).uri.object_id or bytes.fromhex(str(source.key_id))[:20]


@contextlib.contextmanager
def opened(wishes: Sequence[Wish], lock_in: str | None) -> Iterator[Any]:
    """The tokens of these wishes; None when there are none.

    Args:
        lock_in: the state folder, when something will be written.

    Raises:
        OptionError, TokenError, WrongPin: naming the destination.
    """
    if not wishes:
        yield None
        return
    asked = []
    for wish in wishes:
        with named(wish.dest):
            uri = reference.parse(wish.dest).uri
            asked.append(Asked(wish.dest, uri, session.pin_for(wish.item["pin"], uri)))
    with OpenTokens(asked, lock_in) as tokens:
        yield Cards(tokens, lock_in)
