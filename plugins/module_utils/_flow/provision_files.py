# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys in files, for private_key: what is there, and how keys come and go. Each file is written whole or not at all.

Of two runs at once, one creates a key, the other finds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, KeyExists, KeyopsError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_plan import (
    Decision,
    Found,
    Wish,
    differences,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import signing_proof
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey

#: No private key file is larger: RSA-16384 in PEM has 13 kB.
_LIMIT = 256 * 1024

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Files:
    """The place of keys in files."""

    def __init__(self, state_dir: str, only_looks: bool) -> None:
        self._state_dir, self._only_looks = state_dir, only_looks

    def survey(self, wishes: Sequence[Wish]) -> list[Found | None]:
        """What is there for each wish, after what killed runs left in these folders is taken away.

        Raises:
            KeyUnreadable, WrongPassphrase: there is something else, or it does not open; the message names the path.
            FileError, StateError: a file or receipt cannot be read.
        """
        if not self._only_looks:
            for folder in {os.path.dirname(wish.path) for wish in wishes}:
                _files.sweep_leftovers(folder)
        return _each(self._found, wishes, any(wish.passphrase for wish in wishes))

    def _found(self, wish: Wish) -> Found | None:
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
        receipt = _receipts.read_receipt(self._state_dir, facts.key_id)
        usage = facts.bound_usage or (receipt.usage if receipt else None)
        return Found(existing, facts, encrypted, usage, receipt)

    def unprotected(self, wish: Wish, found: Found) -> list[str]:
        """How the file protects the key, or states its usage, otherwise than wished."""
        unprotected = []
        if found.usage is None:
            unprotected.append("nothing shows its usage")
        if found.facts.container not in ("pkcs8", "encrypted-pkcs8"):
            unprotected.append(f"its file is in the {found.facts.container} format, not PKCS#8")
        if found.encrypted != (wish.passphrase is not None):
            unprotected.append("its file is encrypted" if found.encrypted else "its file is not encrypted")
        return unprotected

    def adjusts(self, wish: Wish, found: Found) -> bool:
        """Whether the file gets another mode or owner."""
        return _files.needs_attributes(found.there, wish.mode, wish.owner, wish.group)

    def check(self, decision: Decision) -> None:
        """Raise FileError, or KeyExists, when what was decided is not possible here."""
        wish = decision.wish
        try:
            if decision.action == "remove":
                _files.check_target(wish.path)
            else:
                _files.check_target(wish.path, wish.owner, wish.group)
            if decision.action in ("remove", "replace"):
                key_file.check_only_key(decision.there.there.content)
        except FileError as error:
            raise type(error)(f"{wish.key}: {error}") from error
        except KeyopsError as error:
            raise KeyExists(f"{wish.key}: {error}; it is neither replaced nor removed") from error

    def prove(self, wish: Wish, found: Found) -> bytes | None:
        """A signing key's statement that it signs (_keys/signing_proof.py)."""
        private_key = key_file.check_fully(key_file.load(found.there.content, wish.passphrase))
        return signing_proof.prove(private_key, found.facts.key_id)

    def carry_out(self, decisions: Sequence[Decision]) -> tuple[list[tuple[Decision, Found | None]], dict[str, str]]:
        """Do what was decided; per key, what was done in the end and what is there, and the proofs of new signing keys.

        Raises:
            FileError: the disk is full or fails; every file is whole or as before.
            KeyExists: another process has made another key meanwhile.
        """
        made = _make([decision for decision in decisions if decision.action in ("create", "replace")])
        created = [new for new in made if new.decision.action == "create"]
        lost = [new for new, won in zip(created, _files.write_new([new.file for new in created])) if not won]
        replaced = [new for new in made if new.decision.action == "replace"]
        _files.replace_all([new.file for new in replaced], [new.decision.there.file for new in replaced])
        for decision in decisions:
            if decision.action == "remove":
                _files.remove(decision.wish.path, decision.there.file)
            elif decision.action == "adjust":
                wish = decision.wish
                _files.set_attributes(decision.there.there, wish.mode, wish.owner, wish.group)
        ends = {new.decision: _written(new) for new in made if new not in lost}
        ends.update({new.decision: self._other_run_s(new.decision.wish) for new in lost})
        proofs = {
            new.key.facts.key_id: canonical.encode(new.key.signing_proof)
            for new in made
            if new not in lost and new.key.signing_proof is not None
        }
        return [ends.get(decision) or (decision, self._left(decision)) for decision in decisions], proofs

    def _other_run_s(self, wish: Wish) -> tuple[Decision, Found | None]:
        """Another run was first. Its key is taken if it is what was wished for."""
        there = self._found(wish)
        if there is None or differences(wish, there) or self.unprotected(wish, there):
            raise KeyExists(f"{wish.key}: another process has put another key there meanwhile; run again")
        return Decision(wish, there, "keep"), there

    def _left(self, decision: Decision) -> Found | None:
        if decision.action == "adjust":
            return self._found(decision.wish)
        return None if decision.action == "remove" else decision.found


@dataclass(frozen=True)
class _New:
    """A key that was generated, and the file that it goes to."""

    decision: Decision
    key: PrivateKey
    file: _files.NewFile


def _make(decisions: Sequence[Decision]) -> list[_New]:
    keys = generate([(decision.wish.algorithm, decision.wish.usage) for decision in decisions])
    contents = _each(
        lambda pair: key_file.serialize(pair[0], pair[1].wish.passphrase),
        list(zip(keys, decisions)),
        any(decision.wish.passphrase for decision in decisions),
    )
    return [
        _New(decision, key, _new_file(decision, content)) for decision, key, content in zip(decisions, keys, contents)
    ]


def _written(new: _New) -> tuple[Decision, Found | None]:
    wish = new.decision.wish
    existing = _files.read_existing(wish.path)
    if existing is None or existing.content != new.file.content:
        raise KeyExists(f"{wish.key}: another process has changed the new key already; run again")
    return new.decision, Found(existing, new.key.facts, wish.passphrase is not None, wish.usage, None)


def _new_file(decision: Decision, content: bytes) -> _files.NewFile:
    wish, owner, group = decision.wish, decision.wish.owner, decision.wish.group
    if decision.found is not None and os.geteuid() == 0:
        # The new key belongs to whom the old one did, where the options do not say otherwise.
        owner = str(decision.there.there.uid) if owner is None else owner
        group = str(decision.there.there.gid) if group is None else group
    return _files.NewFile(wish.path, content, wish.mode, owner, group)


def _each(function: Callable[[_Item], _Result], items: Sequence[_Item], passphrases: bool) -> list[_Result]:
    """Apply; with passphrases on every core: they take time, in code that releases the interpreter's lock."""
    if not passphrases:
        return [function(item) for item in items]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))
