# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed statements: DSSE envelopes (Dead Simple Signing Envelope, protocol version 1.0.2) with one signature.

The signature algorithm follows from the key: RSA: RSASSA-PSS, SHA-256, 32-byte salt; P-256, P-384, P-521: ECDSA with
SHA-256, SHA-384, SHA-512 (DER); Ed25519, Ed448: themselves. ``keyid`` is the key ID of the signing key and only a hint:
the verifier always brings the certificate it trusts.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    SignatureInvalid,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
except ImportError as error:
    note_missing_library(error)


def sign(payload: bytes, payload_type: str, private_key: Any) -> bytes:
    """The canonical envelope of ``payload``, signed by a cryptography private key object.

    Raises:
        OptionError: when the key's type cannot sign.
    """
    message = _pre_authentication_encoding(payload_type, payload)
    signature = _sign(private_key, message)
    spki = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return canonical.dumps(
        {
            "payload": canonical.encode(payload),
            "payloadType": payload_type,
            "signatures": [{"keyid": canonical.digest(spki), "sig": canonical.encode(signature)}],
        }
    )


def payload_of(envelope: bytes, payload_type: str) -> bytes:
    """The payload of an envelope of this type, NOT verified: only to learn which certificate to verify with.

    Raises:
        FormatError: when it is no envelope of this type with one signature.
    """
    return _parse(envelope, payload_type)[0]


def verify(envelope: bytes, payload_type: str, certificate: bytes) -> bytes:
    """The payload of an envelope whose signature verifies with the DER certificate's public key.

    Raises:
        FormatError: when it is no envelope of this type with one signature.
        SignatureInvalid: when the signature is not by that key over that payload and type.
    """
    # Not at the top: hosts that only generate keys would load all of X.509 for nothing.
    from cryptography import x509

    try:
        public_key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise SignatureInvalid("the certificate to verify with cannot be read") from error
    return verify_with_key(envelope, payload_type, public_key)


def verify_with_key(envelope: bytes, payload_type: str, public_key: Any) -> bytes:
    """The same, with a cryptography public key object."""
    payload, signature = _parse(envelope, payload_type)
    try:
        _verify(public_key, signature, _pre_authentication_encoding(payload_type, payload))
    except (InvalidSignature, OptionError) as error:
        raise SignatureInvalid(f"the signature over the {payload_type} statement does not verify") from error
    return payload


def _parse(envelope: bytes, payload_type: str) -> tuple[bytes, bytes]:
    value = canonical.loads(envelope)
    canonical.check_fields(value, {"payload": str, "payloadType": str, "signatures": list}, "envelope")
    if value["payloadType"] != payload_type:
        raise FormatError(f"a {payload_type} statement was expected")
    if len(value["signatures"]) != 1:
        raise FormatError("an envelope has exactly one signature")
    canonical.check_fields(value["signatures"][0], {"keyid": str, "sig": str}, "signature")
    return canonical.decode(value["payload"]), canonical.decode(value["signatures"][0]["sig"])


def _pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _ecdsa_hash(curve: Any) -> Any:
    sizes: dict[str, Any] = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384, "secp521r1": hashes.SHA512}
    if curve.name not in sizes:
        raise OptionError(f"keys on the curve {curve.name} cannot sign statements; use P-256, P-384 or P-521")
    return sizes[curve.name]()


def _sign(key: Any, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(_ecdsa_hash(key.curve)))
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return key.sign(message)
    raise OptionError("this type of key cannot sign statements; use RSA, P-256, P-384, P-521, Ed25519 or Ed448")


def _verify(key: Any, signature: bytes, message: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(_ecdsa_hash(key.curve)))
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        key.verify(signature, message)
    else:
        raise SignatureInvalid("the certificate's key cannot sign statements")
