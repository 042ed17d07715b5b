# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of archiving (docs/formats.md; the host's half is module_utils/_flow/archive.py).

1. The host says what it has: facts, evidence and what it would refuse. A key of one of the agents is an error.
2. Eligibility against the vault: signing register and freezes; then the policy. What is archived already: the record's
   digest is in this host's receipt, and groups, owner and certificates are the same. A restored key that its token
   keeps inside is refused unless it is archived so. And whether the log still has the
   heads that the host's receipts name: a vault that has lost the end of its log, or another vault, is told.
3. The host seals the rest and answers the possession challenges.
4. Digests and possession are verified; sealed keys and shares are created; then the records. The record is written
   last: no record, not archived, so a killed run leaves only orphans that nothing names.
5. The signing register is looked at again. Whoever registers a signing key also writes first and looks second, so one
   of the two sees the other; a conflict freezes the key and raises an alarm.
6. One event for the batch, and the host keeps the receipts with the log's head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DigestMismatch,
    RecordMismatch,
    RecoveryGroupError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import possession
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.groups import parse_groups
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import (
    RecoveryGroup,
    SealedGroup,
    SealedKey,
    SealedShare,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_format import Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import alarm, journal, judging

#: Keys in one call of the module: about 7 kB come back for each, and results of 1 MB cost 0.2 s.
CHUNK = 64

#: Heads in receipts that are compared with the log.
_HEADS = 1000


@dataclass(frozen=True)
class Candidate:
    """One key as the host reported it in step 1.

    Attributes:
        index: its place in ``keys``.
        row: the host's result row.
        certificates: DER of the certificates and requests that are evidence for it.
        revisions: the archives that the vault has of it, whole ones only.
    """

    index: int
    row: dict = field(repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    revisions: tuple[Record, ...] = field(default=(), repr=False)

    @property
    def key_id(self) -> str:
        return str(self.row["key_id"])


def archive(task: ControllerTask) -> dict:
    """The whole process; returns the task's result."""
    params = task.params
    groups = parse_groups(params["recovery_groups"], params["minimum_threshold"], times.now())
    with journal.refusals_recorded(task, "archive", []):
        _check_policy(task, params["keys"], groups)
        reply = task.call("facts")  # 1
        _check_not_an_agents(reply.results, groups)
        advice = _check_policy(task, reply.results, groups)
    warnings = [*(reply.raw.get("warnings") or []), *_lost_heads(task, reply.relay.get("heads", [])), *advice]
    rows = judging.judged(task, reply.results)  # 2
    candidates = _candidates(task, rows, reply.relay)
    wanted = [item for item in candidates if _archived_revision(item, groups, params["key_owner"]) is None]
    inside = {item.index: bool(item.revisions) for item in wanted if item.row["stays_inside"]}
    wanted = [item for item in wanted if item.index not in inside]
    rows = [judging.kept_inside(row, inside[at]) if at in inside else row for at, row in enumerate(rows)]
    refused = [row for row in rows if row["refusal"]]
    if refused:
        judging.report(task, refused, _note(warnings))
        if params["on_refusal"] == "fail":
            return {**judging.refused_result(rows, refused), "warnings": warnings}
    if not task.check_mode:
        for start in range(0, len(wanted), CHUNK):
            _archive_chunk(task, groups, wanted[start : start + CHUNK], _note(warnings))
    return {**_result(task, rows, candidates, wanted, groups), "warnings": warnings}


def _check_policy(task: ControllerTask, items: list[dict], groups: tuple[RecoveryGroup, ...]) -> list[str]:
    """Warnings of the policy about the recovery groups; raises PolicyRefused. ``items`` say usages, where known."""
    if task.policy is None:
        return []
    # Here, so that a play without a policy loads none of it.
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import enforce

    return enforce.check_groups(task, [item["usage"] for item in items if not item.get("refusal")], groups)


def _lost_heads(task: ControllerTask, heads: list[list]) -> list[str]:
    """A warning when the log does not have the events that this host's receipts name."""
    # The host's word: it must not make the controller ask for anything, or for very much.
    known = [
        Head(number, digest) for number, digest in heads[:_HEADS] if isinstance(number, int) and 0 < number < 10**12
    ]
    lost = event_log.lost(task.vault, known)
    if not lost:
        return []
    more = f" and {len(lost) - 1} more" if lost[1:] else ""
    return [
        f"the receipts of this host name events that this vault's log does not have (event {lost[0].number}{more}): "
        "the vault has lost or rewritten a part of its log, or it is another vault than the one that archived. Check "
        "it with lifecycle_log_info and copies kept elsewhere."
    ]


def _check_not_an_agents(rows: list[dict], groups: tuple[RecoveryGroup, ...]) -> None:
    """Raise RecoveryGroupError for an agent's own key: the agent, or a lost key, would be needed to open it again."""
    for group, agent in [(every, member) for every in groups for member in every.agents]:
        kinds = {agent.agent_id: "encryption", agent.signer_id: "signing"}
        if agent.wrapping_certificate:
            kinds[key_id_of_certificate(agent.wrapping_certificate)] = "wrapping"
        for row in rows:
            if row["key_id"] in kinds:
                raise RecoveryGroupError(
                    f"keys: {row['key']} is the {kinds[row['key_id']]} key of the agent {agent.name!r} in the recovery "
                    f"group {group.name!r}, and an agent's own key is never archived to the group it serves. Take it "
                    "out of keys, or archive it to a group without this agent."
                )


def _note(warnings: list) -> str:
    """What the event says about evidence that was not looked at; the host's words, so only so many of them."""
    if not warnings:
        return ""
    first = getattr(warnings[0], "event", None)  # ansible-core 2.19 makes objects of a module's warnings
    return f"{len(warnings)} warnings, first: {str(first.msg if first else warnings[0])[:200]}"


def _candidates(task: ControllerTask, rows: list[dict], relay: Any) -> list[Candidate]:
    """What could be archived, with what the vault has already."""
    accepted = [(index, row) for index, row in enumerate(rows) if row["key_id"] and not row["refusal"]]
    walked = records.walk(task.vault, [row["key_id"] for dummy, row in accepted])
    intact = records.intact(task.vault, (one for series in walked.values() for one in series))
    revisions: dict[str, list[Record]] = {}
    for one in intact:
        revisions.setdefault(one.key_id, []).append(one)
    return [
        Candidate(
            index,
            row,
            tuple(sorted(canonical.decode(text) for text in relay["certificates"][row["key_id"]])),
            tuple(revisions.get(row["key_id"], ())),
        )
        for index, row in accepted
    ]


def _archived_revision(item: Candidate, groups: tuple[RecoveryGroup, ...], key_owner: str) -> Record | None:
    """The revision that is this host's archive of the key as it is wanted now, or None."""
    for revision in reversed(item.revisions):
        if (
            revision.sealed_key == item.row["receipt"]
            and revision.key_owner == key_owner
            and revision.usage == item.row["usage"]
            and set(revision.certificates) >= set(item.certificates)
            and _essence(revision.groups, revision.wrapping) == _essence(groups, revision.wrapping)
        ):
            return revision
    return None


def _essence(groups: tuple, wrapping: str) -> list[tuple]:
    """What makes two lists of groups the same, whether they come from a record or from the options.

    Only for a key from a token (``wrapping``) do the wrapping certificates matter.
    """
    return [(group.name, group.threshold, [_identity(agent, wrapping) for agent in group.agents]) for group in groups]


def _identity(agent: Any, wrapping: str) -> tuple:
    more = (agent.wrapping_certificate,) if wrapping else ()
    return (agent.name, agent.encryption_certificate, agent.signing_certificate, *more)


def _archive_chunk(task: ControllerTask, groups: tuple[RecoveryGroup, ...], chunk: list[Candidate], note: str) -> None:
    expected = {}
    challenges = {}
    for item in chunk:
        public_key = canonical.decode(item.row["public_key"])
        challenges[item.key_id], expected[item.key_id] = possession.make_challenge(public_key, item.key_id)
    with journal.refusals_recorded(task, "archive", [item.key_id for item in chunk]):
        items = [task.params["keys"][item.index] for item in chunk]
        reply = task.call("seal", {"challenges": challenges}, keys=items)  # 3
        sealed = {}
        for key_id, relayed in reply.relay["sealed"].items():
            possession.check_answer(expected[key_id], relayed["possession"])
            sealed[key_id] = _sealed_key(relayed, task.params["key_owner"], groups)  # 4
        if set(sealed) != set(expected):
            raise RecordMismatch("the host did not seal what it was asked to: run again")
    written = _store(task, chunk, sealed)
    _look_again(task, chunk)  # 5
    archived = [(item.key_id, f"record {written[item.key_id].number}") for item in chunk]
    head = journal.write(task, "archive", "success", archived, note)
    task.call("receipt", {"receipts": [_receipt(written[item.key_id], head) for item in chunk]})  # 6


def _sealed_key(relayed: dict, key_owner: str, groups: tuple[RecoveryGroup, ...]) -> SealedKey:
    """What the host sealed, for exactly the groups and agents that were asked for."""
    message = canonical.decode(relayed["message"])
    if canonical.digest(message) != relayed["digest"] or len(relayed["groups"]) != len(groups):
        raise DigestMismatch("a sealed key does not have its digest or its groups: nothing was stored")
    sealed_groups = []
    for group, given in zip(groups, relayed["groups"]):
        if len(given["shares"]) != len(group.agents):
            raise DigestMismatch("a sealed key does not have a share for every agent: nothing was stored")
        shares = tuple(
            SealedShare(agent, share["share_digest"], canonical.decode(share["message"]))
            for agent, share in zip(group.agents, given["shares"])
        )
        sealed_groups.append(SealedGroup(group.name, group.threshold, given["kek_id"], shares))
    return SealedKey(
        key_id=relayed["key_id"],
        key_owner=key_owner,
        usage=relayed["usage"],
        digest=relayed["digest"],
        groups=tuple(sealed_groups),
        message=message,
        wrapping=relayed["wrapping"],
    )


def _store(task: ControllerTask, chunk: list[Candidate], sealed: dict[str, SealedKey]) -> dict[str, Record]:
    objects: dict[str, bytes] = {}
    for key in sealed.values():
        objects.update(records.objects_of(key))
    task.vault.create(objects)
    built = [
        records.record_of(
            sealed[item.key_id],
            _facts(item.row),
            host=task.host,
            place=task.params["keys"][item.index]["place"] or item.row["key"],
            certificates=item.certificates,
        )
        for item in chunk
    ]
    return records.add_many(task.vault, built)


def _facts(row: dict) -> KeyFacts:
    return KeyFacts(
        row["key_id"], row["algorithm"], canonical.decode(row["public_key"]), row["usage"], row["container"]
    )


def _look_again(task: ControllerTask, chunk: list[Candidate]) -> None:
    conflicts = signing_register.registered(task.vault, [item.key_id for item in chunk])
    if conflicts:
        alarm.raise_alarm(task, sorted(conflicts))


def _receipt(record: Record, head: Head) -> dict:
    return {
        **{"key_id": record.key_id, "usage": record.usage, "sealed_key": record.sealed_key},
        **{"log_number": head.number, "log_digest": head.digest},
    }


def _result(
    task: ControllerTask,
    rows: list[dict],
    candidates: list[Candidate],
    wanted: list[Candidate],
    groups: tuple[RecoveryGroup, ...],
) -> dict:
    changed = {item.index for item in wanted}
    known = {item.index: item for item in candidates}
    results = []
    for index, row in enumerate(rows):
        coming = task.check_mode and not row["key_id"] and not row["refusal"]
        if row["refusal"]:
            results.append(judging.row_of(row, "refused", None, False))
        elif index in changed or coming:
            # Nothing says yet what a coming key without a usage will be for, so nothing is promised.
            state = "archived" if row["usage"] else "unknown"
            results.append(judging.row_of(row, state, None, True))
        else:
            found = _archived_revision(known[index], groups, task.params["key_owner"])
            results.append(judging.row_of(row, "archived", found, False))
    result = {"changed": any(row["changed"] for row in results), "results": results}
    if task.check_mode is False and wanted:
        _add_written(task, results)
    return {**result, "diff": [_diff(row) for row in results if row["changed"]]}


def _add_written(task: ControllerTask, results: list[dict]) -> None:
    walked = records.walk(task.vault, [row["key_id"] for row in results if row["changed"]])
    for row in results:
        if row["changed"]:
            newest = [item for item in walked[row["key_id"]] if isinstance(item, Record)][-1]
            row.update(record=newest.number, sealed_key=newest.sealed_key)


def _diff(row: dict) -> dict:
    title = f"{row['key']} (archive)"
    archived = True if row["state"] == "archived" else row["state"]
    after = {"archived": archived, "key_id": row["key_id"], "usage": row["usage"]}
    return {"before_header": title, "after_header": title, "before": {"archived": False}, "after": after}
