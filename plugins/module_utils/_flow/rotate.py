# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rotate keys in files: the host's half. The names of the files are in rotation_files.py.

- Step ``look``: what there is of each key: the key, its successor, its predecessors, their certificates. Nothing is
  changed; key_rotation_info does no more.
- Step ``switch``: a successor takes its key's place. It must be whole; where the key has a certificate, the
  successor's must be there, valid, and of its key; a nonsigning successor must have the archive that the controller
  has confirmed and this host's receipt names. In this order:

  1. The successor gets mode, owner and group. It is noted that the old key is replaced, and remembered that the
     rotation has begun.
  2. Key, certificate and request get their second name, under which the old ones stay.
  3. The successor gets the key's name, then its certificate and its request theirs.

- Step ``announced``: the services know: an old key that signs is removed, with its request; then what was remembered
  goes. The new key must be in its place, and whole. Only what this host noted as replaced (rotation_notes.py) is
  removed, and what it is declared to be destroys no key: the key itself must say that it signs, and nothing
  (rotation_evidence.py) may show that it could have encrypted. The certificate of an old key stays in any case.

After a kill in 3 the key is the successor already: the next run sees that by what is remembered, and goes on. As long
as it is remembered, ``switch`` says "changed", so that the services are told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    KeyExists,
    NotArchivedRefused,
    OptionError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import (
    rotation_certificates,
    rotation_evidence,
    rotation_notes,
    rotation_olds,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotation_files as names
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import (
    KEY_FILE_LIMIT,
    WIDEST_MODE,
    load_sound,
    read_facts,
    read_mode,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm as algorithms
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


@dataclass(frozen=True)
class _Key:
    """One item of ``keys`` and what is there.

    Attributes:
        now, next: facts of the key and of its successor, or None.
        begun: what is remembered.
        problem: why the successor's certificate cannot be used, or None.
    """

    item: dict = field(repr=False)
    path: str
    now: KeyFacts | None
    next: KeyFacts | None
    begun: names.Begun | None
    problem: str | None

    @property
    def switched(self) -> bool:
        """Whether the successor has its key's name already, and something is left to do."""
        return self.begun is not None and self.now is not None and self.begun.key_id == self.now.key_id

    @property
    def state(self) -> str:
        if self.switched:
            return "switched"
        if self.next is not None:
            return "waiting" if self.problem else "ready"
        return "current" if self.now else "missing"


def run(task: HostTask) -> FlowResult:
    """See the module's docstring.

    Relay of ``switch``: ``{"confirmed": {key ID: digest of the sealed key}}``. Of ``announced``:
    ``{"recorded": [key IDs that the vault has archive records of]}``.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    found = [_look(item, state_dir) for item in task.params["keys"]]
    if len({one.path for one in found}) != len(found):
        raise OptionError("keys: two items name the same file; name it once")
    warnings: list[str] = []
    if task.step == "look":
        return FlowResult(False, [_row(one, state_dir, warnings) for one in found], warnings=warnings)
    if task.step == "switch":
        for one in found:
            _check_may_switch(one, state_dir, task.relay["confirmed"])
        return FlowResult(True, [_switch(one, state_dir) for one in found])
    if task.step == "announced":
        for one in found:
            _check_may_end(one)
        rows = [_announced(one, state_dir, task.relay["recorded"], warnings) for one in found]
        return FlowResult(any(row["changed"] for row in rows), rows, warnings=warnings)
    raise OptionError("step: this module is called by its action plugin only")


def _look(item: dict, state_dir: str) -> _Key:
    path, passphrase = reference.parse_path(item["key"]).path, item["passphrase"]
    coming = read_facts(names.next_of(path), passphrase)
    problem = rotation_certificates.problem(item, coming) if coming else None
    return _Key(item, path, read_facts(path, passphrase), coming, names.read_begun(state_dir, path), problem)


def _row(one: _Key, state_dir: str, warnings: list[str]) -> dict:
    current = rotation_certificates.certificate(one.item["certificate"])[0] if one.item["certificate"] else None
    if current and (one.now is None or current["key_id"] != one.now.key_id):
        current = None
    receipt = _receipts.read_receipt(state_dir, one.next.key_id) if one.next else None
    return {
        "archived": rotation_olds.sealed_key(one.now, state_dir),
        **{"key": one.item["key"], "next": names.next_of(one.path), "state": one.state, "problem": one.problem},
        "key_id": one.now.key_id if one.now else None,
        "algorithm": one.now.algorithm if one.now else None,
        "usage": _usage(one.now, one.item) if one.now else one.item["usage"],
        "modified": names.modified(one.path) if one.now else None,
        **{name: current[name] if current else None for name in ("not_before", "not_after")},
        "begun": one.begun is not None,
        "old_key_id": one.begun.old_key_id if one.begun and one.switched else None,
        "next_key_id": one.next.key_id if one.next else None,
        "next_archived": receipt.sealed_key if receipt else None,
        "needs_archive": bool(one.next and one.item["archive"] and _encrypts(one.next, one.item)),
        "old": list(rotation_olds.rows(one.path, one.item, state_dir, warnings)),
    }


def _usage(facts: KeyFacts, item: dict) -> str | None:
    """What the key carries; the option says it only of a key that carries nothing."""
    return facts.bound_usage or item["usage"]


def _encrypts(facts: KeyFacts, item: dict) -> bool:
    """Whether losing the key could lose somebody's data: unless it is known to sign, it may have encrypted."""
    usage = _usage(facts, item)
    if usage in usage_attribute.USAGE_BITS:
        return usage in usage_attribute.NONSIGNING
    return any(one in usage_attribute.NONSIGNING for one in algorithms.usages_of(facts.algorithm))


def _check_may_switch(one: _Key, state_dir: str, confirmed: dict) -> None:
    if one.switched or one.next is None or one.problem:
        return
    if one.now is None:
        raise KeyExists(f"{one.path}: there is no key to replace, but a successor; make one with private_key")
    if one.now.key_id == one.next.key_id:
        raise KeyExists(f"{names.next_of(one.path)}: is the key itself and no successor; remove it and run again")
    load_sound(names.next_of(one.path), one.item["passphrase"])
    _files.needs_attributes(*_attributes(one))
    if _encrypts(one.next, one.item) and one.item["archive"]:
        receipt = _receipts.read_receipt(state_dir, one.next.key_id)
        if receipt is None or confirmed.get(one.next.key_id) != receipt.sealed_key:
            raise NotArchivedRefused(
                f"{names.next_of(one.path)}: the new key {one.next.key_id[:16]}... does not take its place before its "
                "archive is confirmed; archive it with key_archive, or say archive: false"
            )


def _switch(one: _Key, state_dir: str) -> dict:
    begun, successor_of_successor = one.begun, one.switched and one.next is not None
    if not one.switched:
        if one.now is None or one.next is None or one.problem:
            return _switched_row(one, one.state, False)
        begun = names.Begun(one.path, one.next.key_id, one.now.key_id)
        _protect(one)
        rotation_notes.add(state_dir, one.path, one.now.key_id)  # 1
        names.write_begun(state_dir, begun)
        for path in _there(one.path, one.item):  # 2
            names.keep(path, names.old_of(path, one.now.key_id))
        names.move(names.next_of(one.path), one.path)  # 3
    for path in (one.item["certificate"], one.item["request"]):
        if path and os.path.lexists(names.next_of(path)) and not successor_of_successor:
            names.move(names.next_of(path), path)
    return _switched_row(one, "switched", True, begun)


def _attributes(one: _Key) -> tuple[_files.ExistingFile, int, str | None, str | None]:
    """The successor's file, and the mode, owner and group that it gets: the item's, or else those of the old file.

    Raises:
        OptionError: the item's mode is none of a key file.
        FileError: a file cannot be read, or is gone.
    """
    old, coming = (_files.read_existing(path, KEY_FILE_LIMIT) for path in (one.path, names.next_of(one.path)))
    if old is None or coming is None:
        raise FileError(f"{one.path}: another process has taken the key or its successor away; run again")
    mode, owner, group = (one.item[name] for name in ("mode", "owner", "group"))
    if os.geteuid() == 0:  # nobody else can give a file away
        owner = str(old.uid) if owner is None else owner
    if group is None and (os.geteuid() == 0 or old.gid in (os.getegid(), *os.getgroups())):
        group = str(old.gid)
    return coming, read_mode(mode) if mode else old.mode & WIDEST_MODE | 0o400, owner, group


def _protect(one: _Key) -> None:
    """Before the successor has its name, so that at no moment a service cannot read its key."""
    attributes = _attributes(one)
    if _files.needs_attributes(*attributes):
        _files.set_attributes(*attributes)


def _there(path: str, item: dict) -> list[str]:
    """The key, and its certificate and request where there are any."""
    beside = [one for one in (item["certificate"], item["request"]) if one and os.path.lexists(one)]
    return [path, *beside]


def _switched_row(one: _Key, state: str, changed: bool, begun: names.Begun | None = None) -> dict:
    return {
        **{"key": one.item["key"], "state": state, "changed": changed, "problem": one.problem},
        "certificate": one.item["certificate"],
        "key_id": begun.key_id if begun else one.now.key_id if one.now else None,
        "old_key_id": begun.old_key_id if begun else None,
        "old": names.old_of(one.path, begun.old_key_id) if begun else None,
    }


def _check_may_end(one: _Key) -> None:
    """Raise KeyUnreadable when the key that an old one would go for is not whole: nothing is destroyed then."""
    if one.switched:
        load_sound(one.path, one.item["passphrase"])


def _announced(one: _Key, state_dir: str, recorded: list[str], warnings: list[str]) -> dict:
    if one.begun is None or not one.switched:
        return _switched_row(one, one.state, False)
    old = names.old_of(one.path, one.begun.old_key_id)
    facts = read_facts(old, one.item["passphrase"])
    reason = _why_it_stays(one, facts, old, state_dir, recorded)
    if reason is None:
        # Its certificate stays: it is public, and verifies what the key has signed.
        for path in filter(None, (one.item["request"], one.path)):
            _files.remove(names.old_of(path, one.begun.old_key_id))
    elif facts is not None and not _encrypts(facts, one.item):
        warnings.append(f"{old}: the old key stays, although it was to sign: {reason}")
    names.forget(state_dir, one.path)
    return {**_switched_row(one, "current", True, one.begun), "old": old if os.path.lexists(old) else None}


def _why_it_stays(one: _Key, facts: KeyFacts | None, old: str, state_dir: str, recorded: list[str]) -> str | None:
    """None when the old key may go. This is the one place where a rotation destroys a key."""
    if facts is None or one.begun is None or one.now is None or facts.key_id != one.begun.old_key_id:
        return "another key, or none, has its name"
    if facts.key_id == one.now.key_id:
        return "it is the key that is in use"
    if facts.key_id not in rotation_notes.read(state_dir, one.path):
        return "this host has not noted that it was replaced"
    if facts.key_id in recorded:
        return "the vault has an archive record of it, so it may have encrypted"
    return rotation_evidence.may_have_encrypted(facts, old, one.item, state_dir)
