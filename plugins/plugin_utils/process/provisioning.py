# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of private_key: the signing register, and the vault's word before a nonsigning key goes.

1. The host does its work in one pass. Nonsigning keys that would be removed or replaced are left as they are and
reported. 2. For those, the vault must have the record whose digest the host's receipt names; then the host is called
once more. 3. Signing keys enter the signing register, on every run: a kill may have come between. Then the vault is
looked at for an
   archive of the same key (both sides write first and look second); one that is there is frozen, with an alarm.
4. One event for what was made, replaced, removed.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import NotArchivedRefused
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.alarm import raise_alarm
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.signing_register import SIGNING_USAGES


def provision(task: ControllerTask) -> dict:
    """The whole process; returns the task's result."""
    if task.vault is None:
        return dict(_on_host(task).raw)
    with journal.refusals_recorded(task, "provision", []):
        reply = _on_host(task)
    if not task.check_mode:
        _register(task, reply.results)  # 3
        _record(task, reply.results)  # 4
    return dict(reply.raw)


def _on_host(task: ControllerTask) -> HostReply:
    reply = task.call(None)  # 1
    unconfirmed = (reply.relay or {}).get("unconfirmed", [])
    return _confirm(task, unconfirmed) if unconfirmed else reply  # 2


def _record(task: ControllerTask, rows: list[dict]) -> None:
    changed = [(row["key_id"] or "", f"{row['action']}: {row['key']}") for row in rows if row["changed"]]
    if changed:
        journal.write(task, "provision", "success", changed)


def _confirm(task: ControllerTask, unconfirmed: list[dict]) -> HostReply:
    key_ids = [item["key_id"] for item in unconfirmed]
    if task.vault is None:
        raise NotArchivedRefused(
            f"{', '.join(item['key'] for item in unconfirmed)}: a nonsigning key is removed or replaced only when its "
            "archive is confirmed; give vault:, or destroy_unarchived: true to lose it for good"
        )
    walked = records.walk(task.vault, key_ids)
    intact = records.intact(task.vault, (one for series in walked.values() for one in series))
    archives = {(one.key_id, one.sealed_key) for one in intact}
    for item in unconfirmed:
        _require_archived(item, (item["key_id"], item["sealed_key"]) in archives)
    return task.call("confirmed", {"confirmed": {item["key_id"]: item["sealed_key"] for item in unconfirmed}})


def _require_archived(item: dict, archived: bool) -> None:
    if not archived:
        why = "this host has no receipt of it" if item["sealed_key"] is None else "the vault has no such archive"
        raise NotArchivedRefused(
            f"{item['key']}: the nonsigning key {item['key_id'][:16]}... is not archived ({why}), so it is neither "
            "removed nor replaced; archive it with key_archive, or give destroy_unarchived: true to lose it for good"
        )


def _register(task: ControllerTask, rows: list[dict]) -> None:
    signing = {
        row["key_id"]: row
        for row in rows
        if row["key_id"] and row["usage"] in SIGNING_USAGES and row["state"] == "present"
    }
    if not signing:
        return
    now = times.text(times.now())
    entries = [
        signing_register.SigningKey(row["key_id"], row["usage"], row["algorithm"], task.host, row["key"], now)
        for row in signing.values()
    ]
    created = signing_register.register(task.vault, entries)
    if created:
        keys = [(key_id, signing[key_id]["usage"]) for key_id in sorted(created)]
        journal.write(task, "register", "success", keys)
    walked = records.walk(task.vault, list(signing))
    # An object that is no record is a squatter's, and shows nothing.
    conflicts = sorted(key_id for key_id in signing if any(isinstance(one, Record) for one in walked[key_id]))
    if conflicts:
        raise_alarm(task, conflicts)
