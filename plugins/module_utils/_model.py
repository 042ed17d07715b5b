# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frozen dataclasses that the stages hand on to each other.

None of them holds private key material, except ``PrivateKey``, whose repr shows none of it. Everything here may
be logged, returned or stored, but for that one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KeyReference:
    """Where one private key lives: an absolute file path, or an object on a token (see _keys/reference.py).

    Attributes:
        text: the reference as the user wrote it; a URI holds no PIN.
        path: absolute path of the file; empty for a key on a token.
        uri: the ``_tokens.uri.TokenUri`` of a key on a token, with library, token and label; None for a file.
    """

    text: str
    path: str
    uri: Any = None


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
