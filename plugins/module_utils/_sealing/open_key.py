# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put a quorum's shares together and open a sealed key with them. The order of the checks, numbered at each step:

1. The sealed key has the digest that names it, and every share says that it is for this one.
2. The shares agree with each other on key, group, threshold, KEK and the digests of all shares.
3. Every share's values have the digest at their place of that list; a share that has not is named.
4. m shares of different agents, at different places, are there.
5. The sealed key opens: AES-GCM says that it is what was sealed.

That the shares are those which the *record* promises is said before (_recovery/share_check.py), and whether it is the
right key after, by the caller who knows the key ID that was asked for (WrongKeyRecovered).
"""

from __future__ import annotations

import hmac

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DigestMismatch,
    QuorumNotReached,
    ShareMismatch,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import (
    cms_open,
    cms_parts,
    share_text,
    shares_combine,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share

_COMMON = (
    *("key_id", "key_owner", "usage", "group", "threshold", "agents", "sealed_key", "kek_id", "share_digests"),
    "wrapping",
)


def combine_and_open(message: bytes, sealed_key: str, shares: list[Share]) -> bytes:
    """What is in a sealed key: a DER PrivateKeyInfo, or, where the shares say ``wrapping``, what a token wrapped.

    Args:
        message: DER of the sealed key.
        sealed_key: the digest that names it (SHA-256 hex), as the record says it.
        shares: parsed, of one group; the same agent's share twice counts once; more than m are all checked.

    Raises:
        DigestMismatch: the message is not the sealed key of that name.
        ShareMismatch: a share was made for something else or was altered; names the agent.
        QuorumNotReached: fewer than m different agents.
        OpenError: the sealed key does not open with what the shares give.
    """
    # 1.
    if canonical.digest(message) != sealed_key:
        raise DigestMismatch(f"the sealed key does not have the digest {sealed_key} that names it")
    for share in shares:
        _check(share, shares[0], sealed_key)
    # 4. One agent counts once, however many approvals it wrote; and one place, whoever shows its values.
    by_agent = {share.agent_id: share.values for share in shares}
    needed = shares[0].threshold if shares else 1
    if len(by_agent) < needed:
        raise QuorumNotReached(f"shares of {needed} different agents are needed, there are {len(by_agent)}")
    kek = shares_combine.combine(needed, list(by_agent.values()))
    # 5.
    content_type = cms_parts.TOKEN_KEY if shares[0].wrapped else cms_parts.DATA
    return cms_open.open_with_kek(message, shares[0].kek_id, kek, content_type)


def _check(share: Share, first: Share, sealed_key: str) -> None:
    if share.sealed_key != sealed_key:
        raise ShareMismatch(f"the share of agent {share.agent_id} was made for another sealed key: {share.sealed_key}")
    # 2.
    differing = [name for name in _COMMON if getattr(share, name) != getattr(first, name)]
    if differing:
        raise ShareMismatch(
            f"the shares of agents {share.agent_id} and {first.agent_id} do not agree on {', '.join(differing)}"
        )
    # 3. For m = 1 there are no places: all values are the KEK, and all digests are equal.
    place = 0 if share.threshold == 1 else int(share.values[0].split("-")[0]) - 1
    if not hmac.compare_digest(share_text.values_digest(share.values), share.share_digests[place]):
        raise ShareMismatch(f"the share of agent {share.agent_id} is bad: it does not have its published digest")
