# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proof that a host holds the private key it wants to record: a challenge by the controller, an HMAC as the answer.

The controller keeps a secret Z that only the key's holder can compute (docs/formats.md, last section), and the
host answers with HMAC-SHA-256(Z, C), where C names this protocol, the key and the nonce.

Why this makes the host nobody's decryption oracle, although the controller chooses what it works on:

- RSA: the OAEP label is C. A ciphertext that was made for anything else (S/MIME, CMS, a share) has another label and
  does not decrypt here, so the host never works on another message's content. What decrypts must be exactly 32 bytes.
- Elliptic curves: the host shows an HMAC under the shared secret, never the secret. Somebody else's ephemeral key put
  in here gives a pseudo-random answer under a secret that its sender does not know; it opens nothing. Points that are
  not on the curve, and X25519/X448 points of small order, are refused by the library.
- Every wrong challenge ends in the same PossessionNotProven, whatever was wrong with it.

This would break if the answer ever held Z itself or bits of it, or if C were left out of label and HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    PossessionNotProven,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x448, x25519
except ImportError as error:
    note_missing_library(error)

VERSION = "keyops-possession/1"
_SECRET_SIZE = 32
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_NONCE = re.compile(r"[0-9a-f]{32}")


def make_challenge(public_key: bytes, key_id: str) -> tuple[dict, str]:
    """A fresh challenge, and the answer that only the holder of the private key can give.

    Args:
        public_key: DER SubjectPublicKeyInfo, as the host claims it.
        key_id: what it is to be recorded as.

    Returns:
        The challenge (JSON: ``{"nonce", "ciphertext"}`` or ``{"nonce", "ephemeral_key"}``) for the host, and the
        expected answer in hex, which stays with the controller.

    Raises:
        PossessionNotProven: when the public key does not have that key ID, or cannot be encrypted to or agreed with.
    """
    if canonical.digest(public_key) != key_id:
        raise PossessionNotProven(f"key {key_id}: the public key that the host sent has another key ID")
    nonce = os.urandom(16).hex()
    try:
        challenge, secret = _challenge(_load(public_key), key_id, nonce)
    except (FormatError, ValueError) as error:
        raise PossessionNotProven(
            f"key {key_id}: nobody can encrypt to this public key or agree with it; only RSA, P-256, P-384, P-521, "
            "X25519 and X448 keys are archived"
        ) from error
    return {"nonce": nonce, **challenge}, _answer(secret, key_id, nonce)


def answer_challenge(private_key: Any, key_id: str, challenge: dict) -> str:
    """The host's answer in hex.

    Args:
        private_key: cryptography private key object (RSA, P-256, P-384, P-521, X25519, X448).
        key_id: of this key.
        challenge: as make_challenge returned it.

    Raises:
        PossessionNotProven: when the challenge is not one for this key.
    """
    if canonical.digest(_spki(private_key.public_key())) != key_id:
        raise PossessionNotProven(f"key {key_id}: the challenge is for another key than this private key")
    try:
        is_rsa = isinstance(private_key, rsa.RSAPrivateKey)
        canonical.check_fields(challenge, {"nonce": str, "ciphertext" if is_rsa else "ephemeral_key": str}, "challenge")
        if not _NONCE.fullmatch(challenge["nonce"]):
            raise FormatError("challenge: the nonce is not 32 hexadecimal digits")
        secret = (_decrypt if is_rsa else _agree_with)(private_key, key_id, challenge)
    # One outcome for every wrong challenge; "from None", so that no inner error tells what happened to it.
    except (FormatError, ValueError, TypeError, UnsupportedAlgorithm):
        raise PossessionNotProven(f"key {key_id}: the possession challenge was not made for this key") from None
    return _answer(secret, key_id, challenge["nonce"])


def check_answer(expected: str, answer: object) -> None:
    """Raise PossessionNotProven unless ``answer`` is the expected one; compared in constant time."""
    given = answer if isinstance(answer, str) and answer.isascii() else ""
    if not hmac.compare_digest(expected, given):
        raise PossessionNotProven(
            "the host's answer is wrong: it does not hold the private key that it wants to record"
        )


def _context(key_id: str, nonce: str) -> bytes:
    return f"{VERSION}\n{key_id}\n{nonce}".encode("ascii")


def _answer(secret: bytes, key_id: str, nonce: str) -> str:
    return hmac.new(secret, _context(key_id, nonce), hashlib.sha256).hexdigest()


def _oaep(key_id: str, nonce: str) -> Any:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=_context(key_id, nonce))


def _challenge(public_key: Any, key_id: str, nonce: str) -> tuple[dict, bytes]:
    """The challenge without its nonce, and the secret Z."""
    if isinstance(public_key, rsa.RSAPublicKey):
        secret = os.urandom(_SECRET_SIZE)
        return {"ciphertext": canonical.encode(public_key.encrypt(secret, _oaep(key_id, nonce)))}, secret
    ephemeral = _ephemeral_for(public_key)
    return {"ephemeral_key": canonical.encode(_spki(ephemeral.public_key()))}, _agree(ephemeral, public_key)


def _decrypt(private_key: Any, key_id: str, challenge: dict) -> bytes:
    ciphertext = canonical.decode(challenge["ciphertext"])
    secret = private_key.decrypt(ciphertext, _oaep(key_id, challenge["nonce"]))
    if len(secret) != _SECRET_SIZE:
        raise FormatError("challenge: the secret has another size")
    return secret


def _agree_with(private_key: Any, _key_id: str, challenge: dict) -> bytes:
    return _agree(private_key, _load(canonical.decode(challenge["ephemeral_key"])))


def _agree(private_key: Any, public_key: Any) -> bytes:
    """The raw shared secret. cryptography refuses a result of zero (X25519, X448 points of small order: ValueError)."""
    if _kind(private_key.public_key()) != _kind(public_key):
        raise FormatError("challenge: the ephemeral key is of another type or curve")
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return private_key.exchange(ec.ECDH(), public_key)
    return private_key.exchange(public_key)


def _kind(public_key: Any) -> str:
    """Curve of a key that can agree on a secret.

    Raises:
        FormatError: for other types and curves.
    """
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return public_key.curve.name
    if isinstance(public_key, x25519.X25519PublicKey):
        return "x25519"
    if isinstance(public_key, x448.X448PublicKey):
        return "x448"
    raise FormatError("challenge: this type of key does not agree on secrets")


def _ephemeral_for(public_key: Any) -> Any:
    kind = _kind(public_key)
    if kind == "x25519":
        return x25519.X25519PrivateKey.generate()
    return x448.X448PrivateKey.generate() if kind == "x448" else ec.generate_private_key(public_key.curve)


def _load(public_key: bytes) -> Any:
    try:
        return serialization.load_der_public_key(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError("challenge: a public key cannot be read") from error


def _spki(public_key: Any) -> bytes:
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
