# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of recovery: carries requests, shares and approvals between the vault and the machines.

It verifies nothing that a machine must be able to rely on: the agent's machine and the owner's host verify what they
are given themselves, because this controller and its vault may lie.
"""

from __future__ import annotations

import posixpath

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    FrozenRefused,
    NotOnOwnMachine,
    ObjectNotFound,
    OptionError,
    RecordMismatch,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_id
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import history, journal, told_keys
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.relayed import MOST_APPROVALS, about, holding
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault


def ask(task: ControllerTask) -> dict:
    """Make a recovery request on the owner's host and put it into the vault.

    Without ``keys`` it is for all keys that the vault has of the owner (history.py).
    """
    items = task.params["keys"]
    if items is None:
        items, left_out = _history(task)
    else:
        left_out = []
    key_ids = [check_id(item["key_id"], "key_id") for item in items]
    if not key_ids:
        raise OptionError("keys: there is nothing to ask for; the vault has no archive of what was named")
    with journal.refusals_recorded(task, "request", key_ids):
        _require_archived(task, key_ids)
        reply = task.call("request", {"host": task.host}, keys=items)
    result = dict(reply.raw)
    result["warnings"] = [*(result.get("warnings") or []), *left_out]
    if task.check_mode or not reply.relay:
        return result
    envelope = canonical.decode(reply.relay["envelope"])
    # Looked at on every run: a kill may have come between the host's half and this one.
    path = paths.request(result["request_id"])
    if not task.vault.exists([path]):
        # The event comes first: a kill in between leaves one event too many, never a request without its event.
        detail = f"request {result['request_id']}: {task.params['reason']}"
        journal.write(task, "request", "success", [(key_id, "") for key_id in key_ids], detail)
        task.vault.create({path: envelope})
        result["changed"] = True
    return result


def _history(task: ControllerTask) -> tuple[list[dict], list[str]]:
    """Items for all keys of the owner, and one sentence for each that is frozen and therefore left out.

    Raises:
        ObjectNotFound: the vault has none.
        FrozenRefused: all are frozen.
    """
    owner = task.params["key_owner"]
    with journal.refusals_recorded(task, "request", []):
        key_ids = history.keys_of(task.vault, owner)
        if not key_ids:
            raise ObjectNotFound(f"the vault has no key of {owner!r}: look the owner up with key_archive_info")
        found = freezes.frozen(task.vault, key_ids).items()
        frozen = {key_id: holding(one) for key_id, one in found if holding(one)}
        left_out = [f"key {one} is frozen and was not asked for: {frozen[one]}" for one in sorted(frozen)]
        if len(frozen) == len(key_ids):
            raise FrozenRefused("; ".join(left_out))
    return [{"key_id": one, "key": None, "pin": None} for one in key_ids if one not in frozen], left_out


def _require_archived(task: ControllerTask, key_ids: list[str]) -> None:
    walked = records.walk(task.vault, key_ids)
    for key_id, one in freezes.frozen(task.vault, key_ids).items():
        if holding(one):
            raise FrozenRefused(f"key {key_id} is frozen: {holding(one)}")
    for key_id in key_ids:
        owners = history.owners(walked.get(key_id, ()))
        if not owners:
            raise ObjectNotFound(f"the vault has no record of key {key_id}: look it up with key_archive_info")
        if task.params["key_owner"] not in owners:
            raise RecordMismatch(
                f"key {key_id} is archived for {', '.join(sorted(owners))!r}, not for {task.params['key_owner']!r}"
            )


def approve(task: ControllerTask, transport: str) -> dict:
    """Give one agent's approval, on this machine.

    Args:
        transport: of the task's connection; only ``local`` is the agent's own machine.
    """
    request_id = check_id(task.params["request_id"], "request_id")
    with journal.refusals_recorded(task, "approve", []):
        require_own_machine(transport, "recovery_approval")
        envelope = _read_request(task.vault, request_id)
        key_ids = _requested(envelope)
    with journal.refusals_recorded(task, "approve", key_ids):
        head = event_log.head(task.vault)
        relay = {
            "envelope": canonical.encode(envelope),
            "head": {"number": head.number, "digest": head.digest},
            "keys": about(task, request_id, key_ids, for_agent=task.params["agent"]),
        }
        reply = task.call("approve", relay)
    if not task.check_mode and reply.relay["approvals"]:
        # The event comes first, as in ask().
        keys = [(key_id, f"agent {task.params['agent']}") for key_id in reply.relay["approvals"]]
        journal.write(task, "approve", "success", keys, f"request {request_id}")
        for key_id, given in reply.relay["approvals"].items():
            _create_approval(task.vault, request_id, key_id, given)
    return dict(reply.raw)


def require_own_machine(transport: str, module: str) -> None:
    """Raise NotOnOwnMachine unless this is where the agent's keys are."""
    if transport != "local":
        raise NotOnOwnMachine(
            f"{module} runs on the agent's own machine only, with connection: local; it must not pass through "
            f"another one (this task's connection is {transport!r})"
        )


def recover(task: ControllerTask) -> dict:
    """Give recovered keys back to the owner's host."""
    request_id = check_id(task.params["request_id"], "request_id")
    items = _items(task, request_id)
    key_ids = [check_id(item["key_id"], "key_id") for item in items]
    with journal.refusals_recorded(task, "recover", key_ids):
        head = event_log.head(task.vault)
        keys = about(task, request_id, key_ids, for_agent=None)
        relay = {"head": {"number": head.number, "digest": head.digest}, "keys": keys}
        reply = task.call("recover", relay, keys=items)
        unclosed = reply.relay["unclosed"]
        back = [] if task.check_mode else _back(task.vault, reply.results, unclosed, keys)
    if back:
        journal.write(task, "recover", "success", back, f"request {request_id}")
        # The one-time key goes last: a kill before this leaves the request open, and the next run comes here again.
        task.call("close", keys=items)
    return dict(reply.raw)


def _items(task: ControllerTask, request_id: str) -> list[dict]:
    """The items of ``keys``, and one for each further key of the request when there is a folder for them.

    The request is verified against its ID, so a vault cannot shorten it; the host compares with its own copy, too.
    """
    items, into = list(task.params["keys"] or []), task.params["into"]
    if task.params["keys"] is None and into is None:
        raise OptionError("keys: is missing; name the keys and their places, or give into with a folder for all")
    if into is None:
        return items
    with journal.refusals_recorded(task, "recover", []):
        requested = verified_request(task.vault, request_id).key_ids
    folder, named = posixpath.normpath(into["folder"]), {item["key_id"] for item in items}
    common = {**{name: into[name] for name in ("passphrase", "mode", "owner", "group")}, "pin": None}
    return items + [
        {
            **{"key_id": key_id, "key": f"{folder}/{key_id}.key", "certificates_path": f"{folder}/{key_id}.pem"},
            **{**common, "extractable": False},
        }
        for key_id in requested
        if key_id not in named
    ]


def _back(vault: Vault, rows: list[dict], unclosed: list, asked: dict[str, dict]) -> list[tuple[str, str]]:
    """What the event says of each key that is back and not yet noted as such, checked.

    Args:
        asked: as ``about`` found it.

    Raises:
        FormatError: the host says what cannot be.
    """
    told_keys.check_among(unclosed, asked)
    new = [row for row in rows if row.get("key_id") in unclosed and row.get("group")]
    members = ("key_id", "record", "group", "agents", "agent_ids")
    told = [{name: row[name] for name in members if name in row} for row in new]
    details = dict(told_keys.event_keys(vault, told, asked))
    return [(key_id, details.get(key_id, "back since an earlier run")) for key_id in dict.fromkeys(unclosed)]


def _read_request(vault: Vault, request_id: str) -> bytes:
    found = vault.read([paths.request(request_id)])
    if not found:
        raise ObjectNotFound(
            f"the vault has no request {request_id}: compare the ID with the one that the owner's host shows"
        )
    return found[paths.request(request_id)]


def verified_request(vault: Vault, request_id: str) -> RecoveryRequest:
    """The request of this ID, which commits to all that it says.

    Raises:
        ObjectNotFound: when there is no such request.
        RecoveryError, FormatError: it has another ID, or its requester did not sign it.
    """
    return requests.verify(_read_request(vault, request_id), request_id)


def _requested(envelope: bytes) -> list[str]:
    """The key IDs in a request, unverified: only to know what to fetch; the agent's machine verifies the request."""
    return list(requests.parse(requests.payload_of(envelope)).key_ids)


def _create_approval(vault: Vault, request_id: str, key_id: str, given: dict) -> None:
    envelope = canonical.decode(given["envelope"])
    for number in range(1, MOST_APPROVALS + 1):
        if vault.create({paths.approval(request_id, key_id, given["agent_id"], number): envelope}):
            return
    raise FormatError(
        f"there are {MOST_APPROVALS} approvals of this agent for key {key_id[:16]}... already, none of them good: "
        "make a new request"
    )
