# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key is asked for, what is there, and what follows: everything is decided before anything changes.

The same for keys in files and on tokens; what differs is asked of the place (provision_files.py, provision_tokens.py).

Invariants:

- Something that is there and cannot be read as a key is an error whatever the options say; so is a wrong passphrase.
- An existing key goes only where ``regenerate`` or ``state: absent`` says so; ``needs_archive`` then tells whether
  losing it could lose somebody's data. A key of unknown usage counts as nonsigning there: it may have encrypted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyExists, KeyopsError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import check_new_passphrase, read_mode
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm as algorithms
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt

#: Options of an item that say something of keys on tokens, or of key files, only; with what they are when not given.
_OF_TOKENS: dict = {"pin": None, "archive": "possible", "unwrap": False, "request": None, "accept_findings": []}
_OF_FILES: dict = {"passphrase": None, "mode": "0600", "owner": None, "group": None}


@dataclass(frozen=True)
class Wish:
    """One checked item of the option ``keys``. ``usage`` and ``algorithm`` may be empty for a key that is to go.

    Attributes:
        path, passphrase, mode, owner, group: of a key file.
        token: of a key on a token: ``_flow.token_wishes.TokenWish``; None for a file.
    """

    key: str
    path: str
    state: str
    usage: str
    algorithm: str
    regenerate: str
    passphrase: str | None = field(repr=False)
    mode: int
    owner: str | None
    group: str | None
    destroy_unarchived: bool
    token: Any = None


@dataclass(frozen=True)
class Found:
    """A key that is there.

    Attributes:
        file: as it was read; None for a key on a token.
        facts: of the key.
        encrypted: whether its file is.
        usage: bound to it or, when a tool has dropped that, stated by this host's receipt; or None.
        receipt: this host's, or None.
        token: the ``_tokens.keys.Pair`` of a key on a token; None for a file.
    """

    file: _files.ExistingFile | None
    facts: KeyFacts
    encrypted: bool | None
    usage: str | None
    receipt: Receipt | None
    token: Any = field(default=None, repr=False, compare=False)

    @property
    def there(self) -> _files.ExistingFile:
        """The file, for what is done with files only."""
        if self.file is None:
            raise AssertionError("only keys in files come here")
        return self.file


@dataclass(frozen=True)
class Decision:
    """What is to be done: ``create``, ``keep``, ``adjust`` (mode and owner), ``replace``, ``remove`` or ``none``."""

    wish: Wish
    found: Found | None
    action: str
    warning: str | None = None

    @property
    def there(self) -> Found:
        """The key that is there, for the actions that something must be there for."""
        if self.found is None:
            raise AssertionError("only actions on a key that is there come here")
        return self.found


def read_wishes(items: Sequence[dict], tokens: Any = None) -> list[Wish]:
    """The checked items of the option ``keys``; ``tokens`` as in ``provision.run``.

    Raises:
        OptionError: an item is wrong, or two items name the same file.
    """
    wishes: list[Wish] = []
    seen: dict[object, int] = {}
    for number, item in enumerate(items):
        try:
            wish = _read_wish(item, tokens)
        except KeyopsError as error:
            raise type(error)(f"keys[{number}].{error}") from error
        place = _place(wish)
        if place in seen:
            raise OptionError(f"keys[{number}].key: {wish.key} is also the key of keys[{seen[place]}]; name it once")
        seen[place] = number
        wishes.append(wish)
    return wishes


def _place(wish: Wish) -> object:
    """What two items may not share. Tokens by two names, label and serial number, are told apart when they are open."""
    if wish.token is not None:
        named = wish.token.uri
        return (named.module_path, named.token, named.serial, named.label)
    folder, name = os.path.split(wish.path)
    return os.path.join(os.path.realpath(folder), name)


def _read_wish(item: dict, tokens: Any) -> Wish:
    named = reference.parse(item["key"])
    if item["state"] == "present":
        for name in ("usage", "algorithm"):
            if item[name] is None:
                raise OptionError(f"{name}: is missing; a key with state: present needs it")
        algorithms.check_pair(item["algorithm"], item["usage"])
    for name, default in (_OF_FILES if named.uri else _OF_TOKENS).items():
        if item.get(name, default) != default:
            kind = "a key file" if named.uri else "a key on a token"
            raise OptionError(f"{name}: says something of {kind}, and this key is none; leave it out")
    check_new_passphrase(item["passphrase"])
    same = ("key", "state", "regenerate", "passphrase", "owner", "group", "destroy_unarchived")
    return Wish(
        path=named.path,
        usage=item["usage"] or "",
        algorithm=item["algorithm"] or "",
        mode=read_mode(item["mode"]),
        token=tokens.read(item, named.uri) if named.uri else None,
        **{name: item[name] for name in same},
    )


def decide(wish: Wish, found: Found | None, place: Any) -> Decision:
    """What follows from the wish and what is there; nothing is changed yet.

    Args:
        place: where the key is: ``Files`` or ``Tokens``.

    Raises:
        KeyExists: there is another key, and ``regenerate`` does not allow to replace it.
        KeyopsError: what follows is not possible here.
    """
    decision = _decided(wish, found, place)
    if decision.action != "none":
        place.check(decision)
    return decision


def _decided(wish: Wish, found: Found | None, place: Any) -> Decision:
    if wish.state == "absent":
        return Decision(wish, found, "remove" if found else "none")
    if found is None:
        return Decision(wish, None, "create")
    different, unprotected = differences(wish, found), place.unprotected(wish, found)
    every = "; ".join((*different, *unprotected))
    if _is_replaced(wish.regenerate, different, unprotected):
        return Decision(wish, found, "replace")
    if every and wish.regenerate == "fail":
        raise KeyExists(
            f"{wish.key}: there is another key: {every}. It is not overwritten. Change the options or the path; "
            "regenerate: never keeps it as it is, partial_idempotence and full_idempotence replace it"
        )
    warning = f"{wish.key}: the key was kept although it is another one: {every}" if every else None
    return Decision(wish, found, "adjust" if place.adjusts(wish, found) else "keep", warning)


def _is_replaced(regenerate: str, different: Sequence[str], unprotected: Sequence[str]) -> bool:
    if regenerate == "partial_idempotence":
        return bool(different)
    if regenerate == "full_idempotence":
        return bool(different or unprotected)
    return regenerate == "always"


def differences(wish: Wish, found: Found) -> list[str]:
    """How the key itself differs from the wish: in algorithm or usage."""
    different = []
    if found.facts.algorithm != wish.algorithm:
        different.append(f"its algorithm is {found.facts.algorithm}, not {wish.algorithm}")
    if found.usage == usage_attribute.CONFLICT:
        different.append("it is bound to several usages")
    elif found.usage is not None and found.usage != wish.usage:
        different.append(f"its usage is {found.usage}, not {wish.usage}")
    return different


def needs_archive(found: Found) -> bool:
    """Whether the key may only go when its archive is confirmed: unless it is known to sign, it may have encrypted."""
    if found.usage in usage_attribute.USAGE_BITS:
        return found.usage in usage_attribute.NONSIGNING
    possible = algorithms.usages_of(found.facts.algorithm)
    return found.facts.container != "openssh" and any(usage in usage_attribute.NONSIGNING for usage in possible)
