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
        places: per key ID, in the same order, the key reference that the key goes to; empty where the requester did
            not say. No places at all: every key goes into a file.
        token_key: DER SubjectPublicKeyInfo (RSA) of the key that was made for this request in the token that keys go
            to; empty when none does.
        token_key_hash: the OAEP hash (``sha256`` or ``sha1``) that this token can do.
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
    places: tuple[str, ...] = ()
    token_key: bytes = field(default=b"", repr=False)
    token_key_hash: str = ""

    def place_of(self, key_id: str) -> str:
        """The key reference that this key goes to, or an empty text."""
        return dict(zip(self.key_ids, self.places)).get(key_id, "")

    def into_token(self, key_id: str) -> bool:
        """Whether this key goes into a token; everything else is a file."""
        return self.place_of(key_id).startswith("pkcs11:")
