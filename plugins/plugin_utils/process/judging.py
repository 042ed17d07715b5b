# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may be archived, with the vault's word added to the host's, and how refusals are told."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import ArchiveRefusal
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.eligibility import judge_against_vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal

#: Refusals that show that a key signs, or may. The others say that something is missing, or that a token cannot.
_SIGNS = frozenset(
    one.__name__
    for one in (
        _errors.SigningOnlyTypeRefused,
        _errors.OpenSshKeyRefused,
        _errors.SshUseRefused,
        _errors.SigningUsageRefused,
        _errors.SigningAttributeRefused,
        _errors.UsageConflictRefused,
        _errors.SigningCertificateRefused,
        _errors.NoKeyUsageRefused,
        _errors.ExtendedKeyUsageRefused,
        _errors.SigningRegisterRefused,
        _errors.FrozenRefused,
    )
)


def judged(task: ControllerTask, rows: list[dict]) -> list[dict]:
    """The rows, with the vault's refusals added to the host's, and an alarm where an archived key turns out to sign."""
    ids = {row["key_id"] for row in rows if row["key_id"]}
    registered = signing_register.registered(task.vault, ids)
    frozen = freezes.closed(task.vault, ids)
    refused = [{**row, "refusal": row["refusal"] or _vault_refusal(row["key_id"], registered, frozen)} for row in rows]
    archived = _archived(task, [row["key_id"] for row in refused if row["refusal"] and row["key_id"]])
    told = [_of_archived(row) if row["refusal"] and row["key_id"] in archived else row for row in refused]
    return told if task.policy is None else _by_policy(task, told)


def _by_policy(task: ControllerTask, rows: list[dict]) -> list[dict]:
    """What the policy does not want archived is refused too. That is no evidence that a key signs, so no alarm."""
    # Here, so that a play without a policy loads none of it.
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import enforce

    return enforce.refused_rows(task, rows)


def _archived(task: ControllerTask, key_ids: list[str]) -> set[str]:
    walked = records.walk(task.vault, key_ids)
    return {key_id for key_id, series in walked.items() if any(isinstance(one, Record) for one in series)}


def kept_inside(row: dict, has_archive: bool) -> dict:
    """The row of a key with a receipt that would have to come out of its token again, and does not.

    Args:
        has_archive: the vault has one of this key; else it is another vault than the one of the receipt.
    """
    if not has_archive:
        return {**row, "refusal": {"class": _errors.NotWrappable.__name__, "message": row["stays_inside"]}}
    message = (
        "the key is archived, but not as it is wanted now (recovery_groups, key_owner, certificates), and its token "
        f"does not give it out again: {row['stays_inside']}. If it was restored as not extractable, remove it from the "
        "token and recover it again with extractable: true, while agents of the old groups can, or make a new key. "
        "Until then only the agents of the old groups open its archive."
    )
    return {**row, "refusal": {"class": _errors.RestoredNotWrappable.__name__, "message": message}}


def _of_archived(row: dict) -> dict:
    if row["refusal"]["class"] in _SIGNS:
        return _with_alarm(row)
    if row["refusal"]["class"] != _errors.NotWrappable.__name__:
        return row
    known = ". The vault holds an archive of this key already, and this host has no receipt of it"
    return {**row, "refusal": {**row["refusal"], "message": row["refusal"]["message"] + known}}


def _with_alarm(row: dict) -> dict:
    """Evidence that an archived key signs has turned up. It may be forged, so it alarms and freezes nothing."""
    advice = (
        " ALARM: the vault already holds an archive of this key. Find out where the evidence comes from; if it is "
        "genuine, revoke the key's certificates and make a new key: what it has signed proves nothing any more."
    )
    refusal = {**row["refusal"], "message": row["refusal"]["message"] + advice}
    return {**row, "refusal": refusal, "alarm": True}


def _vault_refusal(key_id: str | None, registered: frozenset[str], frozen: dict) -> dict | None:
    try:
        if key_id:
            judge_against_vault(key_id, key_id in registered, frozen[key_id].reason if key_id in frozen else None)
    except ArchiveRefusal as error:
        return {"class": type(error).__name__, "message": str(error)}
    return None


def report(task: ControllerTask, refused: list[dict], note: str) -> None:
    """Write one event for all refusals of a task, and one for all alarms among them; the note is their detail."""
    if task.check_mode:
        return
    for outcome in ("refused", "alarm"):
        rows = [row for row in refused if ("alarm" in row) == (outcome == "alarm")]
        keys = [(row["key_id"] or "", f"{row['refusal']['class']}: {row['key']}") for row in rows]
        if keys:
            journal.write(task, "archive", outcome, keys, note)


def refused_result(rows: list[dict], refused: list[dict]) -> dict:
    """The failed result when a refusal is to fail the task: nothing was archived, and every refusal is told."""
    classes = sorted({row["refusal"]["class"] for row in refused})
    told = "; ".join(f"{row['key']}: {row['refusal']['message']}" for row in refused)
    return {
        **{"failed": True, "changed": False, "error_class": classes[0] if len(classes) == 1 else "ArchiveRefusal"},
        "msg": f"{len(refused)} of {len(rows)} keys may not be archived, so none was: {told}",
        "results": [row_of(row, "refused" if row["refusal"] else "not archived", None, False) for row in rows],
    }


def row_of(row: dict, state: str, revision: Record | None, changed: bool) -> dict:
    """One item of the module's results."""
    return {
        **{"key": row["key"], "key_id": row["key_id"], "usage": row["usage"], "algorithm": row["algorithm"]},
        **{"state": state, "changed": changed, "refusal": row["refusal"]},
        **{"record": revision.number if revision else None, "sealed_key": revision.sealed_key if revision else None},
    }
