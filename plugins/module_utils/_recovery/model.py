# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frozen dataclass of a recovery request; it holds public facts only."""

from __future__ import annotations

from dataclasses import dataclass, field


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
