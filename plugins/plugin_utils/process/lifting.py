# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of freeze_lift, which runs on the agent's own machine like an approval."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ApprovalMismatch,
    ObjectNotFound,
    VaultForbidden,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.freeze import freeze_id as id_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record, check_id
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import lift as lift_format
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes, numbered, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.recovering import require_own_machine
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault


def lift(task: ControllerTask, transport: str) -> dict:
    """Give one agent's word that a key's freezes shall not hold any more.

    Args:
        transport: of the task's connection; only ``local`` is the agent's own machine.
    """
    key_id = check_id(task.params["key_id"], "key_id")
    freeze_id = check_id(task.params["freeze_id"], "freeze_id")
    with journal.refusals_recorded(task, "lift", [key_id]):
        require_own_machine(transport, "freeze_lift")
        contents = freezes.contents(task.vault, [key_id])[key_id]
        if not contents:
            raise ObjectNotFound(f"key {key_id} is not frozen in this vault")
        revisions = numbered.read(task.vault, paths.record, [key_id])[key_id]
        sound = [one for one in records.walk(task.vault, [key_id])[key_id] if isinstance(one, Record)]
        given = _given(task.vault, key_id, freeze_id, sound)
        head = event_log.head(task.vault)
        relay = {
            "freezes": [canonical.encode(one) for one in contents],
            "records": [canonical.encode(one) for one in revisions],
            "lifts": {agent_id: [canonical.encode(one) for one in found] for agent_id, found in given.items()},
            "head": {"number": head.number, "digest": head.digest},
        }
        reply = task.call("lift", relay)
    if not task.check_mode and reply.relay["lifts"]:
        # The event comes first, as with an approval.
        detail = f"freezes {freeze_id}: {task.params['reason']}"
        journal.write(task, "lift", "success", [(key_id, f"agent {task.params['agent']}")], detail)
        _create(task.vault, key_id, freeze_id, reply.relay["lifts"])
        given = _given(task.vault, key_id, freeze_id, sound)
    result = dict(reply.raw)
    same = id_of(key_id, freezes.contents(task.vault, [key_id])[key_id]) == freeze_id
    lifted = lift_format.lifted_for(sound, freeze_id, given) if same else frozenset()
    rows = [
        {**row, "lifted_for": sorted(lifted), "signed_by": _signed(sound, freeze_id, given)}
        for row in result["results"]
    ]
    return {**result, "results": rows}


def _given(vault: Vault, key_id: str, freeze_id: str, sound: list[Record]) -> dict[str, list[bytes]]:
    return freezes.lifts(vault, {key_id: freeze_id}, {key_id: freezes.agents_of(sound)})[key_id]


def _signed(sound: list[Record], freeze_id: str, given: dict[str, list[bytes]]) -> list[dict]:
    return [
        {
            **{"record": one.number, "group": group.name, "threshold": group.threshold},
            "agents": lift_format.voices(one, group, freeze_id, given),
        }
        for one in sound
        for group in one.groups
    ]


def _create(vault: Vault, key_id: str, freeze_id: str, signed: dict[str, str]) -> None:
    """Store the lifts under every ID of the agent that this credential is for.

    Raises:
        VaultForbidden: when it is for none of them.
    """
    refusals: list[VaultForbidden] = []
    for agent_id, text in signed.items():
        try:
            _create_one(vault, key_id, freeze_id, agent_id, canonical.decode(text))
        except VaultForbidden as error:
            refusals.append(error)
    if len(refusals) == len(signed):
        raise refusals[0]


def _create_one(vault: Vault, key_id: str, freeze_id: str, agent_id: str, envelope: bytes) -> None:
    for number in range(1, freezes.MOST_LIFTS + 1):
        if vault.create({paths.lift(key_id, freeze_id, agent_id, number): envelope}):
            return
    raise ApprovalMismatch(
        f"there are {freezes.MOST_LIFTS} objects in the place of this agent's lift already, none of them good: find "
        "out who wrote them"
    )
