# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frozen dataclasses of evidence; they hold public facts only."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts


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
