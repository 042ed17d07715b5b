# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""agent_ids: the agents of recovery groups, each with the ID under which the vault knows it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def agent_ids(groups: list[dict]) -> list[dict]:
    """``[{name, agent_id}]``, each agent once, in the order of the groups.

    Expired certificates count too: what was sealed to them is still opened with their keys.

    Raises:
        AnsibleFilterError: when an agent has no readable encryption certificate.
    """
    found: dict[str, dict] = {}
    for group in groups:
        for agent in group.get("agents", []) if isinstance(group, Mapping) else [None]:
            if not isinstance(agent, Mapping) or "name" not in agent:
                raise AnsibleFilterError("agent_ids: every group has agents, and every agent has a name")
            agent_id = _agent_id(agent)
            found.setdefault(agent_id, {"name": agent["name"], "agent_id": agent_id})
    return list(found.values())


def _agent_id(agent: Mapping) -> str:
    blocks = _BLOCK.findall(str(agent.get("encryption_certificate", "")))
    try:
        if len(blocks) != 1:
            raise FormatError("not one certificate")
        return key_id_of_certificate(base64.b64decode("".join(blocks[0].split()), validate=True))
    except (FormatError, ValueError) as error:
        raise AnsibleFilterError(
            f"agent_ids: encryption_certificate of the agent {agent['name']!r} must hold one PEM certificate"
        ) from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict:
        """Name to function."""
        return {"agent_ids": agent_ids}
