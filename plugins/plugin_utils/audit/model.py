# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frozen dataclasses that the audit's stages hand on. They hold public facts only."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.catalogue import Kind


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: of the catalogue.
        host: inventory name, or empty for what is in the vault.
        place: path, token URI, or path in the vault.
        key_id: empty where it is not about one key.
        detail: what exactly.
        subject: tells apart findings of one kind at one place (a rule, a certificate); part of the fingerprint.
        severity, remedy: others than the kind's, or empty.
    """

    kind: Kind
    host: str = ""
    place: str = ""
    key_id: str = ""
    detail: str = ""
    subject: str = ""
    severity: str = ""
    remedy: str = ""

    @property
    def fingerprint(self) -> str:
        """The same in every audit for as long as it is the same finding."""
        parts = (self.kind.id, self.host, self.place, self.key_id, self.subject)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:20]


@dataclass(frozen=True)
class CertificateSeen:
    """A certificate or certificate request that lies on a host.

    Attributes:
        kind: ``certificate`` or ``certificate request``.
        key_usage: RFC 5280 names, or None without the extension.
        extended_key_usage: names or OIDs, or None without the extension.
        not_before, not_after: as the formats write times, or None.
        ca: whether it is an authority's.
        others: further paths where it lies.
        der: its bytes, empty where the host did not send them.
    """

    host: str
    source: str
    kind: str
    key_id: str
    key_usage: tuple[str, ...] | None = None
    extended_key_usage: tuple[str, ...] | None = None
    subject: str = ""
    not_before: str | None = None
    not_after: str | None = None
    ca: bool = False
    others: tuple[str, ...] = ()
    der: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class ReceiptSeen:
    """A host's receipt; digest and number are those of the log's head that the archive's writer saw."""

    host: str
    key_id: str
    sealed_key: str
    usage: str = ""
    log_number: int = 0
    log_digest: str = ""


@dataclass(frozen=True)
class KeySeen:
    """One private key at one place of one host.

    Attributes:
        key_id, algorithm, public_key: None where the key could not be read; the public key is PEM.
        usage: the usage inside the key, ``conflict``, or None.
        encrypted, mode, owner, group: None where that is not known; a token's keys have no mode.
        certificates: those on this host for this key; elsewhere: on the other hosts, but for copies of those here.
        ssh_uses: where its public key stands for SSH.
        declared: its item of ``keyops_keys``, or an empty dictionary.
        path: the reference as the host knows it, without the number of the key in its file.
    """

    host: str
    place: str
    key_id: str | None = None
    algorithm: str | None = None
    public_key: str | None = field(default=None, repr=False)
    usage: str | None = None
    container: str | None = None
    encrypted: bool | None = None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    modified: str | None = None
    certificates: tuple[CertificateSeen, ...] = ()
    elsewhere: tuple[CertificateSeen, ...] = ()
    ssh_uses: tuple[str, ...] = ()
    receipt: ReceiptSeen | None = None
    refusal: str | None = None
    error: str | None = None
    declared: dict = field(default_factory=dict, repr=False)
    path: str = ""

    @property
    def on_token(self) -> bool:
        """Whether it lives in a token."""
        return self.place.startswith("pkcs11:")


@dataclass(frozen=True)
class HostSeen:
    """What one host told.

    Attributes:
        authorized: key ID and place of each entry for SSH.
        public_keys: key ID to PEM, of what is not a private key here.
        cut_short: whether a bound ended the search before everything was looked at.
        problem: why nothing is known of it, or None.
    """

    name: str
    keys: tuple[KeySeen, ...] = ()
    certificates: tuple[CertificateSeen, ...] = ()
    receipts: tuple[ReceiptSeen, ...] = ()
    not_looked_at: tuple[str, ...] = ()
    authorized: tuple[tuple[str, str], ...] = ()
    public_keys: dict[str, str] = field(default_factory=dict, repr=False)
    cut_short: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class VaultSeen:
    """What the vault holds, as far as the audit needs it.

    Attributes:
        records: every sound revision of every key.
        incomplete: paths of records whose sealed key or shares are not there.
        registered: key IDs in the signing register; proven: those whose entry the key itself made.
        frozen: key ID to reason.
        findings: what is wrong with the vault's objects and with its log.
        told: (key ID, detail) of alarms that the log has already.
        head: number and digest of the log's last event.
    """

    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    incomplete: frozenset[tuple[str, int]] = frozenset()
    registered: frozenset[str] = frozenset()
    proven: frozenset[str] = frozenset()
    created: dict[str, str] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    told: frozenset[tuple[str, str]] = frozenset()
    head: tuple[int, str] = (0, "0" * 64)


@dataclass(frozen=True)
class Moment:
    """When the audit is, and how long before an end it warns."""

    now: datetime.datetime
    warn: datetime.timedelta
