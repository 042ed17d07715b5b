# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provisioning: generate, keep, replace or remove the private keys of one host, in one pass.

1. Read and check every option.
2. Look at every place.
3. Decide for every key.
4. Ask the controller about keys that may go only when their archive is confirmed; until it has answered, nothing at all
   is changed.
5. Generate what is missing.
6. Write: each file whole or not at all.
7. Report from what is then on disk.

A killed run leaves a part of 6, and the next run goes on. Of two runs at once, one creates a key, the other finds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    NotArchivedRefused,
    OptionError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision_report as report
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_plan import (
    Decision,
    Found,
    Wish,
    decide,
    differences,
    needs_archive,
    read_wishes,
    survey,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import signing_proof
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run(task: HostTask) -> FlowResult:
    """The whole process.

    Without a step, the result's relay is ``{"proofs": {key_id: base64}}`` (see _keys/signing_proof.py), or
    ``{"unconfirmed": [{"key", "key_id", "sealed_key"}]}``, and then nothing was changed. With the step ``confirmed``,
    the task's relay ``{"confirmed": {key_id: sealed_key}}`` names the records that the controller has found in the
    vault; ``sealed_key`` is the digest in this host's receipt, or None. With the step ``prove`` and the relay
    ``{"prove": [key_id]}`` nothing is changed either, and the proofs of keys that are there come back.

    Raises:
        KeyopsError: as the functions below; nothing was changed unless the disk failed.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    wishes = read_wishes(task.params["keys"])  # 1
    if task.step == "prove":
        return FlowResult(False, [], relay={"proofs": _prove(wishes, state_dir, task.relay["prove"])})
    if not task.check_mode:
        for folder in {os.path.dirname(wish.path) for wish in wishes}:
            _files.sweep_leftovers(folder)
    found = _each(lambda wish: survey(wish, state_dir), wishes)  # 2
    decisions = [decide(wish, there) for wish, there in zip(wishes, found)]  # 3
    unconfirmed = _unconfirmed(decisions, task)  # 4
    if unconfirmed:
        return FlowResult(False, [report.unchanged(decision) for decision in decisions], relay=unconfirmed)
    proofs: dict[str, str] = {}
    if task.check_mode:
        outcomes = [report.predicted(decision) for decision in decisions]
    else:
        ends, proofs = _carry_out(decisions, state_dir)  # 5, 6
        outcomes = [report.done(decision, there) for decision, there in ends]  # 7
    warnings = [decision.warning for decision in decisions if decision.warning]
    return replace(report.result(outcomes, warnings), relay={"proofs": proofs} if proofs else None)


def _prove(wishes: Sequence[Wish], state_dir: str, key_ids: list[str]) -> dict[str, str]:
    """The statements of keys that are there already; only the controller knows which of them it needs."""
    proofs = {}
    for wish in wishes:
        there = survey(wish, state_dir)
        if there is not None and there.facts.key_id in key_ids:
            private_key = key_file.check_fully(key_file.load(there.file.content, wish.passphrase))
            proof = signing_proof.prove(private_key, there.facts.key_id)
            if proof is not None:
                proofs[there.facts.key_id] = canonical.encode(proof)
    return proofs


def _unconfirmed(decisions: Sequence[Decision], task: HostTask) -> dict | None:
    going = [
        decision
        for decision in decisions
        if decision.action in ("replace", "remove")
        and not decision.wish.destroy_unarchived
        and needs_archive(decision.there)
    ]
    if task.step == "confirmed":
        confirmed = task.relay.get("confirmed", {}) if isinstance(task.relay, dict) else {}
        for decision in going:
            _check_confirmed(decision, confirmed)
        return None
    if task.step is not None:
        raise OptionError("step: is internal and set by the collection only; leave it out")
    return {"unconfirmed": [_question(decision) for decision in going]} if going else None


def _question(decision: Decision) -> dict:
    receipt = decision.there.receipt
    sealed_key = receipt.sealed_key if receipt else None
    return {"key": decision.wish.key, "key_id": decision.there.facts.key_id, "sealed_key": sealed_key}


def _check_confirmed(decision: Decision, confirmed: dict) -> None:
    """The vault's record and this host's own receipt must name the same sealed key: neither alone is enough."""
    receipt, key_id = decision.there.receipt, decision.there.facts.key_id
    if receipt is None or confirmed.get(key_id) != receipt.sealed_key:
        raise NotArchivedRefused(
            f"{decision.wish.key}: the key {key_id[:16]}... may have encrypted data, and its archive is not confirmed, "
            "so it is neither removed nor replaced. Archive it with key_archive, or give destroy_unarchived: true to "
            "lose it for good"
        )


def _carry_out(
    decisions: Sequence[Decision], state_dir: str
) -> tuple[list[tuple[Decision, Found | None]], dict[str, str]]:
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
            _files.set_attributes(decision.there.file, decision.wish.mode, decision.wish.owner, decision.wish.group)
    ends = {new.decision: _written(new) for new in made if new not in lost}
    ends.update({new.decision: _other_run_s(new.decision.wish, state_dir) for new in lost})
    proofs = {
        new.key.facts.key_id: canonical.encode(new.key.signing_proof)
        for new in made
        if new not in lost and new.key.signing_proof is not None
    }
    return [ends.get(decision) or (decision, _left(decision, state_dir)) for decision in decisions], proofs


@dataclass(frozen=True)
class _New:
    """A key that was generated, and the file that it goes to."""

    decision: Decision
    key: PrivateKey
    file: _files.NewFile


def _make(decisions: Sequence[Decision]) -> list[_New]:
    keys = generate([(decision.wish.algorithm, decision.wish.usage) for decision in decisions])
    contents = _each(lambda pair: key_file.serialize(pair[0], pair[1].wish.passphrase), list(zip(keys, decisions)))
    return [
        _New(decision, key, _new_file(decision, content)) for decision, key, content in zip(decisions, keys, contents)
    ]


def _written(new: _New) -> tuple[Decision, Found | None]:
    wish = new.decision.wish
    existing = _files.read_existing(wish.path)
    if existing is None or existing.content != new.file.content:
        raise KeyExists(f"{wish.key}: another process has changed the new key already; run again")
    return new.decision, Found(existing, new.key.facts, wish.passphrase is not None, wish.usage, None)


def _other_run_s(wish: Wish, state_dir: str) -> tuple[Decision, Found | None]:
    """Another run was first. Its key is taken if it is what was wished for."""
    there = survey(wish, state_dir)
    if there is None or any(differences(wish, there)):
        raise KeyExists(f"{wish.key}: another process has put another key there meanwhile; run again")
    return Decision(wish, there, "keep"), there


def _left(decision: Decision, state_dir: str) -> Found | None:
    if decision.action == "adjust":
        return survey(decision.wish, state_dir)
    return None if decision.action == "remove" else decision.found


def _new_file(decision: Decision, content: bytes) -> _files.NewFile:
    wish, owner, group = decision.wish, decision.wish.owner, decision.wish.group
    if decision.found is not None and os.geteuid() == 0:
        # The new key belongs to whom the old one did, where the options do not say otherwise.
        owner = str(decision.there.file.uid) if owner is None else owner
        group = str(decision.there.file.gid) if group is None else group
    return _files.NewFile(wish.path, content, wish.mode, owner, group)


def _each(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Apply on every core: keys under a passphrase take time, in code that releases the interpreter's lock."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))
