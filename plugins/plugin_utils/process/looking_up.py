# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking up archives: the public facts of keys in the vault, and what is wrong with their records. No ciphertext."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError, VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedGroup,
    check_id,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import certificates
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.recovering import verified_request
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: Keys that are looked up at once.
_KEYS = 500

#: Name of a key and the names of its objects below ``records/``.
_Listed = tuple[str, list[str]]


def look_up(task: ControllerTask) -> dict:
    """The result of key_archive_info.

    Raises:
        OptionError: when a key ID or the limit cannot be.
    """
    owner, limit, after = task.params["key_owner"], task.params["limit"], task.params["after"]
    if limit is not None and limit < 1:
        raise OptionError("limit: must be 1 or more")
    request = _request(task)
    wanted = list(request.key_ids) if request else _wanted(task)
    for option, given in (("keys", wanted or ()), ("after", [after] if after else ())):
        for key_id in given:
            check_id(key_id, option)
    listed = records.listed(task.vault, after) if wanted is None else _named(task.vault, wanted)
    rows = (row for row in _rows(task.vault, listed) if owner is None or owner in _owners(row))
    results = [{**row, "requested_place": _place(request, row["key_id"])} for row in islice(rows, limit)]
    return {"changed": False, "results": results, "complete": limit is None or next(rows, None) is None}


def _owners(row: dict) -> set[str]:
    """Of all revisions: a later one by another host must not hide a host's own archive."""
    return {revision["key_owner"] for revision in row["revisions"]}


def _wanted(task: ControllerTask) -> list[str] | None:
    """The key IDs that are asked for, or None for all."""
    return None if task.params["keys"] is None else [item["key_id"] for item in task.params["keys"]]


def _request(task: ControllerTask) -> RecoveryRequest | None:
    """The recovery request whose keys are asked for, verified, or None."""
    request_id = task.params["request_id"]
    if request_id is None:
        return None
    if task.params["keys"] is not None:
        raise OptionError("request_id: give either keys or request_id, not both")
    return verified_request(task.vault, check_id(request_id, "request_id"))


def _place(request: RecoveryRequest | None, key_id: str) -> str | None:
    return request.place_of(key_id) or None if request else None


def _named(vault: Vault, key_ids: Iterable[str]) -> Iterator[_Listed]:
    for key_id in dict.fromkeys(key_ids):
        yield key_id, list(vault.list(paths.record(key_id, 0)[:-1]))


def _rows(vault: Vault, listed: Iterator[_Listed]) -> Iterator[dict]:
    while chunk := dict(islice(listed, _KEYS)):
        walked = records.walk(vault, chunk)
        frozen = freezes.frozen(vault, chunk)
        signing = _registered(vault, chunk)
        for key_id, names in chunk.items():
            known = None if signing is None else key_id in signing
            yield _row(key_id, walked[key_id], names, frozen.get(key_id), known)


def _registered(vault: Vault, key_ids: Iterable[str]) -> frozenset[str] | None:
    """Those of the keys that are in the signing register; None for a credential that may not look there."""
    try:
        return signing_register.registered(vault, key_ids)
    except VaultForbidden:
        return None


def _row(
    key_id: str,
    walked: tuple[records.RevisionOrProblem, ...],
    names: list[str],
    freeze: freezes.Frozen | None,
    signing: bool | None,
) -> dict:
    sound = [item for item in walked if isinstance(item, Record)]
    problems = [item for item in walked if not isinstance(item, Record)] + records.problems_of_names(names, len(walked))
    nothing = {"number": None, "key_owner": None, "usage": None, "algorithm": None, "host": None, "place": None}
    nothing.update(created=None, sealed_key=None, wrapping=None)
    latest = _facts(sound[-1]) if sound else {**nothing, "groups": []}
    return {
        **{"key_id": key_id, "archived": bool(sound), **latest},
        "revisions": [_facts(item) for item in sound],
        "certificates": [certificates.as_pem([one]).decode() for one in certificates.of_key(sound, key_id)],
        **{"frozen": freeze is not None and not freeze.lifted_for, "freeze_reason": freeze.reason if freeze else None},
        "freeze_id": freeze.freeze_id if freeze else None,
        "lifted_for": sorted(freeze.lifted_for) if freeze else [],
        "registered_as_signing": signing,
        "problems": [{"path": item.path, "text": item.text} for item in problems],
    }


def _facts(item: Record) -> dict:
    names = ("number", "key_owner", "usage", "algorithm", "host", "place", "created", "sealed_key")
    told = {name: getattr(item, name) for name in names}
    return {**told, "wrapping": item.wrapping or None, "groups": [_group(group) for group in item.groups]}


def _group(group: RecordedGroup) -> dict:
    agents = [{"name": agent.name, "agent_id": agent.agent_id} for agent in group.agents]
    return {"name": group.name, "threshold": group.threshold, "agents": agents}
