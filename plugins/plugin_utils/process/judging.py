# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may be archived, with the vault's word added to the host's, and how refusals are told."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import ArchiveRefusal
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.eligibility import judge_against_vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal


def judged(task: ControllerTask, rows: list[dict]) -> list[dict]:
    """The rows, with the vault's refusals added to those of the host."""
    ids = {row["key_id"] for row in rows if row["key_id"] and not row["refusal"]}
    registered = signing_register.registered(task.vault, ids)
    frozen = freezes.frozen(task.vault, ids)
    return [{**row, "refusal": row["refusal"] or _vault_refusal(row["key_id"], registered, frozen)} for row in rows]


def _vault_refusal(key_id: str | None, registered: frozenset[str], frozen: dict) -> dict | None:
    try:
        if key_id:
            judge_against_vault(key_id, key_id in registered, frozen[key_id].reason if key_id in frozen else None)
    except ArchiveRefusal as error:
        return {"class": type(error).__name__, "message": str(error)}
    return None


def report(task: ControllerTask, refused: list[dict]) -> None:
    """Write one event for all refusals of a task."""
    if not task.check_mode:
        keys = [(row["key_id"] or "", f"{row['refusal']['class']}: {row['key']}") for row in refused]
        journal.write(task, "archive", "refused", keys)


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
