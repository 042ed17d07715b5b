# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put a quorum's shares together and open a sealed key with them. The order of the checks, numbered at each step:

1. Every share is for exactly this sealed key, group, KEK and threshold, as the record's group says them too.
2. Every share's values have the digest that the record publishes for its agent; a share that has not is named.
3. m shares of different agents are there.
4. The sealed key opens: AES-GCM says that it is what was sealed.

Whether it is the *right* key is the caller's to say, who knows the key ID that was asked for (WrongKeyRecovered).
"""

from __future__ import annotations

import hmac

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import QuorumNotReached, ShareMismatch
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import RecordedAgent, RecordedGroup
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Share
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, share_text, shares_combine


def combine_and_open(sealed_message: bytes, shares: list[Share], group: RecordedGroup) -> bytes:
    """The DER PrivateKeyInfo in a sealed key.

    Args:
        sealed_message: DER of the sealed key.
        shares: of one group; the same agent's share twice counts once; more than m are checked too.
        group: what the record says of that group.

    Raises:
        ShareMismatch: a share is not the one that was made for this key, group and agent; names the agent.
        QuorumNotReached: fewer than m different agents.
        OpenError: the sealed key does not open with what the shares give.
    """
    sealed_key = canonical.digest(sealed_message)
    for share in shares:
        check_share(share, group, sealed_key)
    # 3. One agent counts once, however many approvals it wrote.
    by_agent = {share.agent_id: share.values for share in shares}
    if len(by_agent) < group.threshold:
        raise QuorumNotReached(
            f"the group {group.name!r} needs shares of {group.threshold} different agents, there are {len(by_agent)}"
        )
    kek = shares_combine.combine(group.threshold, list(by_agent.values()))
    # 4.
    return cms_open.open_with_kek(sealed_message, group.kek_id, kek)


def check_share(share: Share, group: RecordedGroup, sealed_key: str) -> None:
    """Raise ShareMismatch unless the share is the one that the record's group names for its agent.

    For the quorum before it opens, and for an agent before it releases its share.

    Args:
        share: a parsed share text.
        group: of the record of the key.
        sealed_key: SHA-256 hex of the sealed key's DER.
    """
    agent, place = _agent_of(share, group)
    # 1. Everything that the share says of the group is public, and must be what the record says.
    told = (share.sealed_key, share.group, share.threshold, share.agents, share.kek_id, share.share_digests)
    recorded = (sealed_key, group.name, group.threshold, len(group.agents), group.kek_id, group.share_digests)
    if told != recorded:
        raise ShareMismatch(
            f"the share of agent {agent.name!r} ({agent.agent_id}) was made for another sealed key or group than the "
            "record names; that agent must approve again with the share of this record"
        )
    # 2. The place too: a copy of a neighbour's share would count as a second agent.
    genuine = hmac.compare_digest(share_text.digest_of(share.values), agent.share_digest)
    if not genuine or share_text.place_of(share) not in (None, place):
        raise ShareMismatch(
            f"the share of agent {agent.name!r} ({agent.agent_id}) is not the one that was made for this agent: its "
            "digest differs from the record's; ask another agent, and find out who altered it"
        )


def _agent_of(share: Share, group: RecordedGroup) -> tuple[RecordedAgent, int]:
    for place, agent in enumerate(group.agents, start=1):
        if agent.agent_id == share.agent_id:
            return agent, place
    raise ShareMismatch(
        f"the record's group {group.name!r} has no agent {share.agent_id}; this share is another group's"
    )
