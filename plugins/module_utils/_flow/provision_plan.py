# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key is asked for, what is there, and what follows: everything is decided before anything changes.

Invariants:

- Something that is there and cannot be read as a key is an error whatever the options say; so is a wrong passphrase.
- An existing key goes only where ``regenerate`` or ``state: absent`` says so; ``needs_archive`` then tells whether
  losing it could lose somebody's data. A key of unknown usage counts as nonsigning there: it may have encrypted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    KeyExists,
    KeyopsError,
    OptionError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import check_new_passphrase, read_mode
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm as algorithms
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt

#: No private key file is larger: RSA-16384 in PEM has 13 kB.
_LIMIT = 256 * 1024


@dataclass(frozen=True)
class Wish:
    """One checked item of the option ``keys``. ``usage`` and ``algorithm`` may be empty for a key that is to go."""

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


@dataclass(frozen=True)
class Found:
    """A key that is there.

    Attributes:
        file: as it was read.
        facts: of the key.
        encrypted: whether its file is.
        usage: bound to it or, when a tool has dropped that, stated by this host's receipt; or None.
        receipt: this host's, or None.
    """

    file: _files.ExistingFile
    facts: KeyFacts
    encrypted: bool
    usage: str | None
    receipt: Receipt | None


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


def read_wishes(items: Sequence[dict]) -> list[Wish]:
    """The checked items of the option ``keys``.

    Raises:
        OptionError: an item is wrong, or two items name the same file.
    """
    wishes: list[Wish] = []
    seen: dict[str, int] = {}
    for number, item in enumerate(items):
        try:
            wish = _read_wish(item)
        except KeyopsError as error:
            raise type(error)(f"keys[{number}].{error}") from error
        folder, name = os.path.split(wish.path)
        place = os.path.join(os.path.realpath(folder), name)
        if place in seen:
            raise OptionError(f"keys[{number}].key: {wish.key} is also the key of keys[{seen[place]}]; name it once")
        seen[place] = number
        wishes.append(wish)
    return wishes


def _read_wish(item: dict) -> Wish:
    path = reference.parse_path(item["key"]).path
    if item["state"] == "present":
        for name in ("usage", "algorithm"):
            if item[name] is None:
                raise OptionError(f"{name}: is missing; a key with state: present needs it")
        algorithms.check_pair(item["algorithm"], item["usage"])
    check_new_passphrase(item["passphrase"])
    same = ("key", "state", "regenerate", "passphrase", "owner", "group", "destroy_unarchived")
    return Wish(
        path=path,
        usage=item["usage"] or "",
        algorithm=item["algorithm"] or "",
        mode=read_mode(item["mode"]),
        **{name: item[name] for name in same},
    )


def survey(wish: Wish, state_dir: str) -> Found | None:
    """The key that is there, or None.

    Raises:
        KeyUnreadable, WrongPassphrase: there is something else, or it does not open; the message names the path.
        FileError, StateError: its file or receipt cannot be read.
    """
    existing = _files.read_existing(wish.path, _LIMIT)
    if existing is None:
        return None
    try:
        facts = key_file.facts_of(existing.content, wish.passphrase)
        if facts.container == "openssh":
            # Its public half is in clear: only loading it shows whether the passphrase fits.
            key_file.load(existing.content, wish.passphrase)
        encrypted = key_file.is_encrypted(existing.content)
    except KeyopsError as error:
        raise type(error)(f"{wish.key}: {error}") from error
    receipt = _receipts.read_receipt(state_dir, facts.key_id)
    usage = facts.bound_usage or (receipt.usage if receipt else None)
    return Found(existing, facts, encrypted, usage, receipt)


def decide(wish: Wish, found: Found | None) -> Decision:
    """What follows from the wish and what is there; nothing is changed yet.

    Raises:
        KeyExists: there is another key, and ``regenerate`` does not allow to replace it.
        FileError: what follows is not possible here.
    """
    if wish.state == "absent":
        return _checked(Decision(wish, found, "remove" if found else "none"))
    if found is None:
        return _checked(Decision(wish, None, "create"))
    different, unprotected = differences(wish, found)
    every = "; ".join((*different, *unprotected))
    if _is_replaced(wish.regenerate, different, unprotected):
        return _checked(Decision(wish, found, "replace"))
    if every and wish.regenerate == "fail":
        raise KeyExists(
            f"{wish.key}: there is another key: {every}. It is not overwritten. Change the options or the path; "
            "regenerate: never keeps it as it is, partial_idempotence and full_idempotence replace it"
        )
    adjusted = _files.needs_attributes(found.file, wish.mode, wish.owner, wish.group)
    warning = f"{wish.key}: the key was kept although it is another one: {every}" if every else None
    return Decision(wish, found, "adjust" if adjusted else "keep", warning)


def _is_replaced(regenerate: str, different: Sequence[str], unprotected: Sequence[str]) -> bool:
    if regenerate == "partial_idempotence":
        return bool(different)
    if regenerate == "full_idempotence":
        return bool(different or unprotected)
    return regenerate == "always"


def _checked(decision: Decision) -> Decision:
    if decision.action == "none":
        return decision
    wish = decision.wish
    try:
        if decision.action == "remove":
            _files.check_target(wish.path)
        else:
            _files.check_target(wish.path, wish.owner, wish.group)
        if decision.action in ("remove", "replace"):
            key_file.check_only_key(decision.there.file.content)
    except FileError as error:
        raise type(error)(f"{wish.key}: {error}") from error
    except KeyopsError as error:
        raise KeyExists(f"{wish.key}: {error}; it is neither replaced nor removed") from error
    return decision


def differences(wish: Wish, found: Found) -> tuple[list[str], list[str]]:
    """How the key differs from the wish: in algorithm or usage, and in how its file protects it or states its usage."""
    different, unprotected = [], []
    if found.facts.algorithm != wish.algorithm:
        different.append(f"its algorithm is {found.facts.algorithm}, not {wish.algorithm}")
    if found.usage == usage_attribute.CONFLICT:
        different.append("it is bound to several usages")
    elif found.usage is None:
        unprotected.append("nothing shows its usage")
    elif found.usage != wish.usage:
        different.append(f"its usage is {found.usage}, not {wish.usage}")
    if found.facts.container not in ("pkcs8", "encrypted-pkcs8"):
        unprotected.append(f"its file is in the {found.facts.container} format, not PKCS#8")
    if found.encrypted != (wish.passphrase is not None):
        unprotected.append("its file is encrypted" if found.encrypted else "its file is not encrypted")
    return different, unprotected


def needs_archive(found: Found) -> bool:
    """Whether the key may only go when its archive is confirmed: unless it is known to sign, it may have encrypted."""
    if found.usage in usage_attribute.USAGE_BITS:
        return found.usage in usage_attribute.NONSIGNING
    possible = algorithms.usages_of(found.facts.algorithm)
    return found.facts.container != "openssh" and any(usage in usage_attribute.NONSIGNING for usage in possible)
