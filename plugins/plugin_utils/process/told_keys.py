# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host says of who opened its keys, before it goes into a log that others read.

A host names a record, a group and agent IDs; they must be those of a record that the vault has, enough of them for the
group, and the vault must have an approval of each for this request. The names in an event come from that record, each
with the agent ID beside it, since a name in a record is no more than a claim.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import numbered
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

_TOLD = {"key_id": str, "record": int, "group": str, "agents": list, "agent_ids": list}


def event_keys(vault: Vault, told: list, asked: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The pairs of an event, in the order of ``told``.

    Args:
        told: of a host, ``{"key_id", "record", "group", "agents", "agent_ids"}`` of each key that was opened.
        asked: of each key ID that was asked for, what ``relayed.about`` found.

    Raises:
        FormatError: it says something else, or of another key, or names somebody who is not in the record or has not
            approved.
    """
    for one in told:
        canonical.check_fields(one, _TOLD, "a key that was opened")
    named = [one["key_id"] for one in told]
    if len(set(named)) != len(named):
        raise FormatError("the host names a key twice")
    check_among(named, asked)
    revisions = numbered.read(vault, paths.record, named) if named else {}
    return [
        (one["key_id"], _detail(one, revisions.get(one["key_id"], ()), asked[one["key_id"]]["approvals"]))
        for one in told
    ]


def check_among(named: Iterable[Any], key_ids: Collection[str]) -> None:
    """Raise FormatError unless all that the host names was asked for."""
    if not all(isinstance(one, str) and one in key_ids for one in named):
        raise FormatError("the host names a key that was not asked for")


def _detail(told: Mapping[str, Any], revisions: Iterable[bytes], approved: Collection[str]) -> str:
    ids = told["agent_ids"]
    for one in _parsed(revisions):
        for group in one.groups:
            names = {agent.agent_id: agent.name for agent in group.agents}
            if (one.key_id, one.number, group.name) != (told["key_id"], told["record"], told["group"]):
                continue
            if not all(isinstance(agent_id, str) and agent_id in names for agent_id in ids):
                continue
            quorum = list(dict.fromkeys(ids))
            if len(quorum) < group.threshold or not all(agent_id in approved for agent_id in quorum):
                raise FormatError(f"key {told['key_id'][:16]}...: the host names agents who have not approved")
            agents = ", ".join(f"{names[agent_id]} ({agent_id[:16]})" for agent_id in quorum)
            return f"group {told['group']}: {agents}"
    raise FormatError(f"key {told['key_id'][:16]}...: the vault has no record with the agents that the host names")


def _parsed(revisions: Iterable[bytes]) -> Iterable[Record]:
    for text in revisions:
        try:
            yield record.parse(text)
        except FormatError:
            continue
