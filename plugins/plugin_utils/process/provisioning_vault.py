# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key has to do with the vault.

1. A nonsigning key is removed or replaced only when the vault has the record whose digest the host's receipt names,
   whole and not frozen.
2. Signing keys enter the signing register, on every run: a kill may have come between. The key itself proves that it
   signs, so that no host can register another's. Then the vault is looked at for an archive of the same key (both
   sides write first and look second); one that is there raises an alarm.
3. One event for what was made, replaced, removed.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FrozenRefused, NotArchivedRefused
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal, provisioning
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.alarm import raise_alarm
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.signing_register import SIGNING_USAGES


def provision(task: ControllerTask) -> dict:
    """The whole process of private_key with a vault; returns the task's result."""
    with journal.refusals_recorded(task, "provision", []):
        reply = provisioning.on_host(task, _confirm)  # 1
    if not task.check_mode:
        _register(task, reply)  # 2
        _record(task, reply.results)  # 3
    return dict(reply.raw)


def _record(task: ControllerTask, rows: list[dict]) -> None:
    changed = [(row["key_id"] or "", f"{row['action']}: {row['key']}") for row in rows if row["changed"]]
    if changed:
        journal.write(task, "provision", "success", changed)


def _confirm(task: ControllerTask, unconfirmed: list[dict]) -> HostReply:
    key_ids = [item["key_id"] for item in unconfirmed]
    frozen = freezes.frozen(task.vault, key_ids)
    for key_id, freeze in frozen.items():
        if not freeze.lifted_for:
            raise FrozenRefused(
                f"key {key_id[:16]}... is frozen ({freeze.reason}), so its archive gives it back to nobody, and this "
                "copy is neither removed nor replaced; give destroy_unarchived: true to lose it for good"
            )
    walked = {
        key_id: freezes.usable(series, frozen.get(key_id))
        for key_id, series in records.walk(task.vault, key_ids).items()
    }
    intact = records.intact(task.vault, (one for series in walked.values() for one in series), contents=True)
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


def _register(task: ControllerTask, reply: HostReply) -> None:
    signing = _signing(task.params["keys"], reply.results)
    if not signing:
        return
    there = signing_register.registered(task.vault, signing)
    proofs = _proofs(task, reply, [key_id for key_id in signing if key_id not in there])
    now = times.text(times.now())
    entries = [
        signing_register.SigningKey(
            key_id=key_id,
            usage=usage,
            algorithm=row["algorithm"],
            host=task.host,
            place=row["key"],
            created=now,
            public_key=_der(row["public_key"]),
            proof=proofs[key_id],
        )
        for key_id, (row, usage) in signing.items()
        if key_id in proofs
    ]
    created = signing_register.register(task.vault, entries)
    if created:
        journal.write(task, "register", "success", [(key_id, signing[key_id][1]) for key_id in sorted(created)])
    walked = records.walk(task.vault, list(signing))
    # An object that is no record is a squatter's, and shows nothing.
    conflicts = sorted(key_id for key_id in signing if any(isinstance(one, Record) for one in walked[key_id]))
    if conflicts:
        raise_alarm(task, conflicts)


def _signing(items: list[dict], rows: list[dict]) -> dict[str, tuple[dict, str]]:
    """By key ID, the row and usage of each key that signs, by what it carries or by what the user says of it."""
    usages = [row["usage"] or item["usage"] for item, row in zip(items, rows)]
    return {
        row["key_id"]: (row, usage)
        for row, usage in zip(rows, usages)
        if row["key_id"] and row["state"] == "present" and usage in SIGNING_USAGES
    }


def _proofs(task: ControllerTask, reply: HostReply, key_ids: list[str]) -> dict[str, bytes]:
    """What proves each key: new keys brought it with them, the others are asked once, before they are registered."""
    given = dict((reply.relay or {}).get("proofs", {}))
    missing = [key_id for key_id in key_ids if key_id not in given]
    if missing:
        given.update(task.call("prove", {"prove": missing}).relay["proofs"])
    return {key_id: canonical.decode(given[key_id]) for key_id in key_ids if key_id in given}


def _der(pem: str) -> bytes:
    return canonical.decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
