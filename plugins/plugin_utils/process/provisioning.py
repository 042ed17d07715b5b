# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of private_key: the signing register, and the vault's word before a nonsigning key goes.

1. The host does its work in one pass. Nonsigning keys that would be removed or replaced are left as they are and
reported. 2. For those, the vault must have the record whose digest the host's receipt names; then the host is called
once more. 3. Signing keys enter the signing register, on every run: a kill may have come between. Then the vault is
looked at for an
   archive of the same key (both sides write first and look second); one that is there is frozen, with an alarm.
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
    reply = task.call(None)  # 1
    unconfirmed = (reply.relay or {}).get("unconfirmed", [])
    if unconfirmed:
        reply = _confirm(task, unconfirmed)  # 2
    if task.vault is not None and not task.check_mode:
        _register(task, reply.results)  # 3
    return dict(reply.raw)


def _confirm(task: ControllerTask, unconfirmed: list[dict]) -> HostReply:
    key_ids = [item["key_id"] for item in unconfirmed]
    if task.vault is None:
        raise NotArchivedRefused(
            f"{', '.join(item['key'] for item in unconfirmed)}: a nonsigning key is removed or replaced only when its "
            "archive is confirmed; give vault:, or destroy_unarchived: true to lose it for good"
        )
    with journal.refusals_recorded(task, "remove", key_ids):
        walked = records.walk(task.vault, key_ids)
        confirmed = {}
        for item in unconfirmed:
            digests = {found.sealed_key for found in records.intact(task.vault, walked[item["key_id"]])}
            if item["sealed_key"] is None or item["sealed_key"] not in digests:
                why = (
                    "this host has no receipt of it" if item["sealed_key"] is None else "the vault has no such archive"
                )
                raise NotArchivedRefused(
                    f"{item['key']}: the nonsigning key {item['key_id'][:16]}... is not archived ({why}), so it is "
                    "neither removed nor replaced; archive it with key_archive, or give destroy_unarchived: true to "
                    "lose it for good"
                )
            confirmed[item["key_id"]] = item["sealed_key"]
        return task.call("confirmed", {"confirmed": confirmed})


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
