# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frozen dataclasses of sealing: agents, groups, shares and sealed keys.

Only a ``Share`` has a secret, which its repr does not show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RecoveryAgent:
    """A trusted administrator.

    Attributes:
        name: as the group's definition calls it.
        agent_id: key ID of the encryption certificate's public key.
        signer_id: key ID of the signing certificate's public key.
        encryption_certificate: DER; opens the agent's shares.
        signing_certificate: DER; signs the agent's approvals.
        wrapping_certificate: DER (RSA), to which tokens wrap their session keys; empty where the agent has none.
    """

    name: str
    agent_id: str
    signer_id: str
    encryption_certificate: bytes = field(repr=False)
    signing_certificate: bytes = field(repr=False)
    wrapping_certificate: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class RecoveryGroup:
    """Agents and a threshold m of n."""

    name: str
    threshold: int
    agents: tuple[RecoveryAgent, ...]


@dataclass(frozen=True)
class Share:
    """One agent's share of one KEK, as the share text says it (docs/formats.md). ``values`` is secret.

    Attributes:
        key_id, key_owner, usage: of the sealed key.
        group, threshold, agents: name, m and n of the group.
        agent_id: whose share it is.
        sealed_key: SHA-256 hex of the sealed key's DER.
        kek_id: hex of the 16-byte KEK identifier of the group's recipient in the sealed key.
        share_digests: SHA-256 hex of every agent's share values, in the order of the group's agents.
        values: ``("<x>-<32 hex>", "<x>-<32 hex>")`` (high and low half of the KEK) for m >= 2, or ``("<64 hex>",)``.
        wrapped: of a key from a token, its session key for this agent (``wrapped_key.WrappedKey``); else None.
    """

    key_id: str
    key_owner: str
    usage: str
    group: str
    threshold: int
    agents: int
    agent_id: str
    sealed_key: str
    kek_id: str
    share_digests: tuple[str, ...]
    values: tuple[str, ...] = field(repr=False)
    wrapped: Any = None

    @property
    def wrapping(self) -> str:
        """How the key was wrapped in its token (wrapped_key.py); empty for a key from a file."""
        return self.wrapped.wrapping if self.wrapped else ""


@dataclass(frozen=True)
class SealedShare:
    """A share as its own CMS message to one agent.

    Attributes:
        agent: whose it is.
        share_digest: SHA-256 hex of the share's values (public: names a bad share).
        message: DER ContentInfo; its name in the vault is its SHA-256.
    """

    agent: RecoveryAgent
    share_digest: str
    message: bytes = field(repr=False)


@dataclass(frozen=True)
class SealedGroup:
    """What one recovery group needs to open one sealed key."""

    name: str
    threshold: int
    kek_id: str
    shares: tuple[SealedShare, ...]


@dataclass(frozen=True)
class SealedKey:
    """A private key that only a quorum of one of its groups can open.

    Attributes:
        message: DER ContentInfo (AuthEnvelopedData, AES-256-GCM).
        digest: SHA-256 hex of ``message``: its name everywhere.
        groups: per recovery group, in the order of the recipients.
        wrapping: how the key was wrapped in its token (wrapped_key.py); empty for a key from a file.
    """

    key_id: str
    key_owner: str
    usage: str
    digest: str
    groups: tuple[SealedGroup, ...]
    message: bytes = field(repr=False)
    wrapping: str = ""
