# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at keys on tokens; change nothing.

Each token is logged in to once, whatever is asked of it, and its objects are read in one pass. A wrong PIN ends the
task, since another try counts on the token; everything else that stands in the way is told per key. Certificates on a
token are evidence for every key of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyopsError,
    KeyUnreadable,
    OptionError,
    TokenAmbiguous,
    TokenError,
    WrongPin,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import token_certificates
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.hsm_info import read_token
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference, token_facts, token_halves
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import objects, session, uri
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import evidence, reading
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts

_TOKEN_PARTS = ("token", "manufacturer", "model", "serial")


@dataclass(frozen=True)
class KeyOnToken:
    """One key on a token: what is there.

    Attributes:
        item: the options; for a found key only ``key``.
        found: by the search of a token, not named.
        token: the token; None when there is none.
        one: the key's object; None when there is none.
        facts, named: None and empty when they cannot be read.
        error: why something cannot be read, or None.
    """

    item: dict = field(repr=False)
    found: bool = False
    token: TokenFacts | None = None
    one: TokenObject | None = field(default=None, repr=False)
    facts: KeyFacts | None = None
    named: tuple[CertificateFacts, ...] = ()
    error: KeyopsError | None = None

    @property
    def exists(self) -> bool:
        """Whether the token has it."""
        return self.one is not None

    def row(self) -> dict | None:
        """What the module returns of its place, or None without a token."""
        token, one = self.token, self.one
        if token is None:
            return None
        return {
            **{"label": token.label, "serial": token.serial, "manufacturer": token.manufacturer, "model": token.model},
            "object": reading.shown(one.label) if one else None,
            "id": one.object_id if one else None,
            "key_type": one.key_type if one else None,
            "attributes": dict(one.attributes) if one else {},
        }


@dataclass(frozen=True)
class _Surveyed:
    library: str
    facts: TokenFacts
    logged_in: bool
    objects: list[TokenObject] = field(repr=False)
    certificates: tuple[CertificateFacts, ...] = ()
    not_looked_at: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What is on the tokens.

    Attributes:
        named: per item of ``keys``, in its order.
        found: the other private keys on the tokens that were searched.
        certificates: on all these tokens.
        not_looked_at: one sentence for everything that stood in the way.
    """

    named: tuple[KeyOnToken, ...]
    found: tuple[KeyOnToken, ...]
    certificates: tuple[CertificateFacts, ...]
    not_looked_at: tuple[str, ...]


def look(items: Sequence[dict], tokens: Sequence[dict]) -> Looked:
    """Look at keys and whole tokens.

    Args:
        items: of the option ``keys``, on tokens.
        tokens: the option ``tokens``: ``uri`` and ``pin`` of each token (or library) that is searched.

    Raises:
        OptionError, WrongPin: with the item's name in front.
    """
    known: dict[tuple[str, str], _Surveyed] = {}
    problems: list[str] = []
    # Searched first: these have the PIN that the items may leave out.
    searched = [one for number, item in enumerate(tokens) for one in _searched(number, item, known, problems)]
    named = tuple(_named(item, known) for item in items)
    seen = {_name(one.token, one.one) for one in named if one.token and one.one}
    found = tuple(
        _found(one, key) for one in searched for key in _private(one.objects) if _name(one.facts, key) not in seen
    )
    told = tuple(certificate for one in known.values() for certificate in one.certificates)
    problems += [problem for one in known.values() for problem in one.not_looked_at]
    pool = token_facts.Pool(key for one in known.values() for key in one.objects)
    return Looked(_pooled(named, pool), _pooled(found, pool), told, tuple(problems))


def _pooled(keys: tuple[KeyOnToken, ...], pool: token_facts.Pool) -> tuple[KeyOnToken, ...]:
    return tuple(replace(one, facts=pool.facts(one.facts)) if one.facts else one for one in keys)


def _searched(number: int, item: dict, known: dict, problems: list[str]) -> list[_Surveyed]:
    try:
        named, pin = read_token(item)
        try:
            return _survey(named, pin, known)
        except WrongPin:
            raise
        except TokenError as error:
            problems.append(str(error))
            return []
    except KeyopsError as error:
        raise type(error)(f"tokens[{number}]: {error}") from error


def _survey(named: TokenUri, pin: str | None, known: dict) -> list[_Surveyed]:
    """The tokens that the URI names, each surveyed once per task, and once more when only now there is a PIN."""
    path = str(named.module_path)
    library = libraries.load(path)
    parts = {part: getattr(named, part) for part in _TOKEN_PARTS}
    pairs = [libraries.find(library, parts)] if any(parts.values()) else libraries.tokens(library)
    there = [(facts, token) for facts, token in pairs if facts.initialized]
    for facts, token in there:
        before = known.get((path, facts.serial))
        if before is None or (pin is not None and not before.logged_in):
            known[path, facts.serial] = _read(path, facts, token, pin)
    return [known[path, facts.serial] for facts, dummy in there]


def _read(path: str, facts: TokenFacts, token: Any, pin: str | None) -> _Surveyed:
    with session.opened(token, pin) as opened:
        found = [token_halves.looked_at(one) for one in objects.survey(opened)]
        return _Surveyed(path, facts, pin is not None, found, *token_certificates.read(found, facts))


def _named(item: dict, known: dict) -> KeyOnToken:
    if item.get("passphrase") is not None:
        raise OptionError("passphrase: a key on a token has a PIN, not a passphrase: give pin")
    named = reference.parse(item["key"]).uri
    pin = _pin(item, named)
    try:
        surveyed = _survey(named, pin, known)
    except WrongPin:
        raise
    except TokenError as error:
        return KeyOnToken(item, error=error)
    return _looked_at(item, named, surveyed[0])


def _pin(item: dict, named: TokenUri) -> str | None:
    if item.get("pin") is not None and named.pin_file is not None:
        raise OptionError("pin: is given although the URI has a pin-source; give one of them")
    return session.pin_from_file(named.pin_file) if named.pin_file else item.get("pin")


def _looked_at(item: dict, named: TokenUri, there: _Surveyed) -> KeyOnToken:
    wanted_id = None if named.object_id is None else named.object_id.hex()
    mine = [one for one in _private(there.objects) if one.label == named.label]
    fitting = [one for one in mine if wanted_id in (None, one.object_id)]
    if not fitting and not there.logged_in:
        return KeyOnToken(
            item, token=there.facts, error=KeyUnreadable("without a login the token shows no private key: give pin")
        )
    if not fitting:
        return KeyOnToken(item, token=there.facts)
    if len(fitting) > 1:
        return KeyOnToken(
            item,
            token=there.facts,
            error=TokenAmbiguous(f"{len(fitting)} private keys on the token have this label; name one by id="),
        )
    return _with_facts(KeyOnToken(item, token=there.facts, one=fitting[0]))


def _with_facts(key: KeyOnToken) -> KeyOnToken:
    facts: KeyFacts | None = None
    named: tuple[CertificateFacts, ...] = ()
    problem: KeyopsError | None = None
    try:
        if key.one is not None:
            facts = token_facts.facts_of(key.one)
            named = evidence.read_named(key.item.get("certificates", ()))
    except KeyopsError as error:
        problem = error
    return KeyOnToken(key.item, key.found, key.token, key.one, facts, named, problem)


def _found(there: _Surveyed, key: TokenObject) -> KeyOnToken:
    text = uri.text_of(there.library, there.facts.serial, there.facts.label, key.label, key.object_id)
    return _with_facts(KeyOnToken({"key": text}, True, there.facts, key))


def _name(token: TokenFacts, key: TokenObject) -> tuple[str, str, str]:
    return token.serial, key.label, key.object_id


def _private(found: list[TokenObject]) -> list[TokenObject]:
    return [one for one in found if one.kind == "private_key"]
