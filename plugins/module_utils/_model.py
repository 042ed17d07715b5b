# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frozen dataclasses that the stages hand on to each other.

None of them holds private key material, except ``PrivateKey``, whose repr shows none of it. Everything here may
be logged, returned or stored, but for that one.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeyReference:
    """Where one private key lives: an absolute file path (RFC 7512 URIs: see _keys/reference.py).

    Attributes:
        text: the reference as the user wrote it.
        path: absolute path of the file.
    """

    text: str
    path: str


@dataclass(frozen=True)
class PrivateKey:
    """A private key in memory, in the one form in which it is written and sealed.

    Attributes:
        pkcs8: DER PrivateKeyInfo, version 0 ("v1", RFC 5208), with the usage attribute when the usage is bound.
        facts: its public facts.
        signing_proof: a new signing key's own statement that it was made to sign (_keys/signing_proof.py), or None.
    """

    pkcs8: bytes = field(repr=False)
    facts: KeyFacts
    signing_proof: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class KeyFacts:
    """The public facts of one private key.

    Attributes:
        key_id: lower-case hex SHA-256 of the DER SubjectPublicKeyInfo.
        algorithm: one word as in the option: ``rsa-3072``, ``ec-p256``, ``ed25519``, ``x25519``; other types by their
            plain name (``dsa``, ``rsassa-pss``, ``ec-secp256k1``).
        public_key: DER SubjectPublicKeyInfo.
        bound_usage: the usage that the key carries inside itself, or None; ``conflict`` for an attribute that does not
            bind it to exactly one usage (see _keys/usage_attribute.py): then no usage fits.
        container: ``pkcs8``, ``encrypted-pkcs8``, ``traditional`` (PKCS#1, SEC1, DSA) or ``openssh``.
    """

    key_id: str
    algorithm: str
    public_key: bytes
    bound_usage: str | None
    container: str


@dataclass(frozen=True)
class CertificateFacts:
    """What one certificate or certificate request says of its public key.

    Attributes:
        source: path it was read from, or what else names it.
        kind: ``certificate`` or ``certificate request``.
        key_id: key ID of its public key.
        key_usage: names of the set bits (RFC 5280 names, e.g. ``keyEncipherment``), or None without the extension.
        extended_key_usage: dotted OIDs, or None without the extension.
        der: its DER bytes.
    """

    source: str
    kind: str
    key_id: str
    key_usage: tuple[str, ...] | None
    extended_key_usage: tuple[str, ...] | None
    der: bytes = field(repr=False)


@dataclass(frozen=True)
class Evidence:
    """Everything known on the host that shows what one key has been used for.

    Attributes:
        facts: the key's public facts.
        declared_usage: what the user says, or None.
        receipt_usage: what this host's receipt says, or None.
        named: certificates and requests that the user named for this key.
        found: certificates and requests for this key that were found near it.
        ssh_uses: places where the key stands for SSH (``authorized_keys``, host keys, ``.pub`` files, SSH's folders).
        not_readable: one sentence for everything in the key's own folder that may be a certificate or request, and
            could not be looked at.
        accept_declared_usage: the user vouches for the declared usage of a key that was not made here.
    """

    facts: KeyFacts
    declared_usage: str | None = None
    receipt_usage: str | None = None
    named: tuple[CertificateFacts, ...] = ()
    found: tuple[CertificateFacts, ...] = ()
    ssh_uses: tuple[str, ...] = ()
    not_readable: tuple[str, ...] = ()
    accept_declared_usage: bool = False


@dataclass(frozen=True)
class RecoveryAgent:
    """A trusted administrator.

    Attributes:
        name: as the group's definition calls it.
        agent_id: key ID of the encryption certificate's public key.
        signer_id: key ID of the signing certificate's public key.
        encryption_certificate: DER; opens the agent's shares.
        signing_certificate: DER; signs the agent's approvals.
    """

    name: str
    agent_id: str
    signer_id: str
    encryption_certificate: bytes = field(repr=False)
    signing_certificate: bytes = field(repr=False)


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
    """

    key_id: str
    key_owner: str
    usage: str
    digest: str
    groups: tuple[SealedGroup, ...]
    message: bytes = field(repr=False)


@dataclass(frozen=True)
class Receipt:
    """What the host keeps after archiving.

    Attributes:
        key_id, usage: of the archived key.
        sealed_key: SHA-256 hex of the sealed key's DER.
        log_number, log_digest: the event log's head that the writer saw.
    """

    key_id: str
    usage: str
    sealed_key: str
    log_number: int
    log_digest: str


@dataclass(frozen=True)
class RecoveryRequest:
    """A request to recover keys. Its ID is the SHA-256 of its canonical form (docs/formats.md).

    Attributes:
        nonce: 32 hex digits.
        key_ids: what is asked for, sorted, unique.
        key_owner, host, reason: whose, where to, why.
        created, expires: UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
        one_time_key: DER SubjectPublicKeyInfo of the key that was made for this request on the owner's host.
        requester_certificate: DER.
    """

    nonce: str
    key_ids: tuple[str, ...]
    key_owner: str
    host: str
    reason: str
    created: str
    expires: str
    one_time_key: bytes = field(repr=False)
    requester_certificate: bytes = field(repr=False)
