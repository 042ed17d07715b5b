# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a share is the one that a record promises: one test for the agent that releases and the host that opens."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import ShareMismatch
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.share_text import values_digest


def check_share(share: Share, record: Record, group: RecordedGroup, agent: RecordedAgent) -> None:
    """Raise ShareMismatch, naming the agent and what differs, unless the share agrees with the record in everything.

    The share was encrypted by anybody who has the agent's certificate, and the record was written by anybody who may
    create objects: neither is trusted alone. What they must agree on is what the owner's host put into both.
    """
    expected = {
        **{"key_id": record.key_id, "key_owner": record.key_owner, "usage": record.usage, "group": group.name},
        **{"threshold": group.threshold, "agents": len(group.agents), "agent_id": agent.agent_id},
        **{"sealed_key": record.sealed_key, "kek_id": group.kek_id, "share_digests": group.share_digests},
        "wrapping": record.wrapping,
    }
    differing = sorted(name for name, value in expected.items() if getattr(share, name) != value)
    if differing:
        raise ShareMismatch(
            f"the share of agent {agent.name!r} in group {group.name!r} does not agree with record "
            f"{record.key_id[:16]}.../{record.number} on {', '.join(differing)}"
        )
    if values_digest(share.values) != agent.share_digest:
        raise ShareMismatch(
            f"the share of agent {agent.name!r} in group {group.name!r} is bad: it does not have its published digest"
        )
