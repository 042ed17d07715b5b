# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the vault has about keys and a request, fetched in bulk for a machine that verifies all of it itself."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, numbered
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: Approvals of one agent for one key and request that are looked at: each mends the one before.
MOST_APPROVALS = 16
_LIFTING = "If the evidence is wrong, a quorum of its agents lifts the freeze (freeze_lift)"


def about(task: ControllerTask, request_id: str, key_ids: list[str], for_agent: str | None) -> dict:
    """Everything that the vault has about these keys and this request.

    Args:
        for_agent: name of the agent whose shares are fetched; None: sealed keys are fetched instead.
    """
    revisions = numbered.read(task.vault, paths.record, key_ids)
    frozen = freezes.frozen(task.vault, key_ids)
    for key_id, one in frozen.items():
        # Of a key whose freezes are lifted for some revisions, the others stay shut.
        kept = [text for number, text in enumerate(revisions[key_id], start=1) if number in one.lifted_for]
        revisions[key_id] = kept or revisions[key_id]
    parsed = {key_id: _parsed(texts) for key_id, texts in revisions.items()}
    agents = {
        key_id: {agent.agent_id for item in found for group in item.groups for agent in group.agents}
        for key_id, found in parsed.items()
    }
    given = _approvals(task.vault, request_id, agents)
    shares = _shares_of_each(task.vault, parsed, for_agent) if for_agent else {}
    about = {}
    for key_id in key_ids:
        found = parsed.get(key_id, [])
        about[key_id] = {
            "records": [canonical.encode(text) for text in revisions.get(key_id, [])],
            "approvals": given.get(key_id, {}),
            "frozen": holding(frozen.get(key_id)),
            "shares": shares.get(key_id, {}),
            "sealed": {} if for_agent else _fetch(task.vault, [paths.sealed_key(item.sealed_key) for item in found]),
        }
    return about


def holding(one: freezes.Frozen | None) -> str | None:
    """Why a key may not be given back, or None when nothing forbids it."""
    return None if one is None or one.lifted_for else f"{one.reason}. {_LIFTING}"


def _parsed(texts: Iterable[bytes]) -> list[Record]:
    """The revisions that can be read; the machine that gets all of them reports the others."""
    found = []
    for text in texts:
        try:
            found.append(record.parse(text))
        except FormatError:
            continue
    return found


def _shares_of_each(vault: Vault, parsed: dict[str, list[Record]], agent_name: str) -> dict[str, dict[str, str]]:
    """The agent's shares by key ID. A key whose shares were for another certificate of the agent has none.

    Raises:
        VaultForbidden: when there are shares of some keys, and none of any may be read.
    """
    fetched: dict[str, dict[str, str]] = {}
    refusals: list[VaultForbidden] = []
    for key_id, found in parsed.items():
        try:
            fetched[key_id] = _fetch_shares(vault, found, agent_name)
        except VaultForbidden as error:
            refusals.append(error)
    if refusals and not any(fetched.values()):
        raise refusals[0]
    return fetched


def _fetch_shares(vault: Vault, found: list[Record], agent_name: str) -> dict[str, str]:
    """The shares of all agents of this name whose shares this credential may read.

    The same name may stand for another agent in another group, or for the certificate that this one had before; a vault
    server gives each agent ID its own shares only.

    Raises:
        VaultForbidden: when there are shares, and none of them may be read.
    """
    by_agent: dict[str, list[str]] = {}
    for agent in [one for item in found for group in item.groups for one in group.agents if one.name == agent_name]:
        by_agent.setdefault(agent.agent_id, []).append(paths.share(agent.agent_id, agent.share))
    fetched: dict[str, str] = {}
    refusals: list[VaultForbidden] = []
    for names in by_agent.values():
        try:
            fetched.update(_fetch(vault, names))
        except VaultForbidden as error:
            refusals.append(error)
    if refusals and len(refusals) == len(by_agent):
        raise refusals[0]
    return fetched


def _fetch(vault: Vault, names: list[str]) -> dict[str, str]:
    return {path.rsplit("/", 1)[1]: canonical.encode(content) for path, content in vault.read(names).items()}


def _approvals(vault: Vault, request_id: str, agents: dict[str, set[str]]) -> dict[str, dict[str, list[str]]]:
    """Per key ID and agent ID the approvals, oldest first, in one bulk read."""
    wanted = {
        paths.approval(request_id, key_id, agent_id, number): (key_id, agent_id)
        for key_id, ids in agents.items()
        for agent_id in ids
        for number in range(1, MOST_APPROVALS + 1)
    }
    content = vault.read(wanted)
    found: dict[str, dict[str, list[str]]] = {}
    for path, (key_id, agent_id) in wanted.items():
        if path in content:
            found.setdefault(key_id, {}).setdefault(agent_id, []).append(canonical.encode(content[path]))
    return found
