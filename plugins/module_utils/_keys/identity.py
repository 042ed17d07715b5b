# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of keys: the canonical SubjectPublicKeyInfo, its SHA-256 (the key ID), and the word for its algorithm.

One key has one key ID, wherever it lies and however it was encoded: RSA is always ``rsaEncryption`` with NULL (an
RSASSA-PSS certificate and an RSA key with the same numbers are the same key), an EC point is always uncompressed.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

try:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    note_missing_library(error)

RSA = "1.2.840.113549.1.1.1"
RSASSA_PSS = "1.2.840.113549.1.1.10"
EC = "1.2.840.10045.2.1"
DSA = "1.2.840.10040.4.1"

#: OID to algorithm word, for types without parameters (RFC 8410).
PLAIN = {"1.3.101.110": "x25519", "1.3.101.111": "x448", "1.3.101.112": "ed25519", "1.3.101.113": "ed448"}

#: OID to algorithm word (RFC 9881); read where the library can, only so that they can be refused by their type.
ML_DSA = {
    "2.16.840.1.101.3.4.3.17": "ml-dsa-44",
    "2.16.840.1.101.3.4.3.18": "ml-dsa-65",
    "2.16.840.1.101.3.4.3.19": "ml-dsa-87",
}

#: OID to (algorithm word, name of the curve's class in cryptography). Other curves are ``ec-<dotted OID>``.
CURVES = {
    "1.2.840.10045.3.1.7": ("ec-p256", "SECP256R1"),
    "1.3.132.0.34": ("ec-p384", "SECP384R1"),
    "1.3.132.0.35": ("ec-p521", "SECP521R1"),
    "1.2.840.10045.3.1.1": ("ec-p192", "SECP192R1"),
    "1.3.132.0.33": ("ec-p224", "SECP224R1"),
    "1.3.132.0.10": ("ec-secp256k1", "SECP256K1"),
    "1.3.36.3.3.2.8.1.1.7": ("ec-brainpoolp256r1", "BrainpoolP256R1"),
    "1.3.36.3.3.2.8.1.1.11": ("ec-brainpoolp384r1", "BrainpoolP384R1"),
    "1.3.36.3.3.2.8.1.1.13": ("ec-brainpoolp512r1", "BrainpoolP512R1"),
}


def key_id(public_key: bytes) -> str:
    """The key ID of a DER SubjectPublicKeyInfo in any encoding.

    Raises:
        FormatError: it is no SubjectPublicKeyInfo, or one of a type that has a canonical form and does not fit it.
    """
    return hashlib.sha256(canonical(public_key)).hexdigest()


def key_id_of_certificate(certificate: bytes) -> str:
    """The key ID of a DER certificate's public key.

    Raises:
        FormatError: it is no certificate.
    """
    return key_id(public_key_of_certificate(certificate))


def public_key_of_certificate(certificate: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo as it stands in a DER certificate (RFC 5280 section 4.1).

    Raises:
        FormatError: it is no certificate.
    """
    parts = der.read_sequence(certificate)
    to_be_signed = parts[0].expect(der.SEQUENCE).children() if parts else []
    # The version is [0] and optional; then follow serial number, signature, issuer, validity, subject, public key.
    place = 6 if to_be_signed and to_be_signed[0].tag == 0xA0 else 5
    if len(to_be_signed) <= place:
        raise FormatError("not a certificate")
    return to_be_signed[place].whole


def key_id_of_public_key(public_key: Any) -> str:
    """The key ID of a cryptography public key object."""
    return key_id(public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def key_id_of_private_key(private_key: Any) -> str:
    """The key ID of a cryptography private key object."""
    return key_id_of_public_key(private_key.public_key())


def canonical(public_key: bytes) -> bytes:
    """The canonical DER SubjectPublicKeyInfo of a public key (docs/formats.md, "Names").

    Raises:
        FormatError: as ``key_id``.
    """
    kind, parameters, key = _parts(public_key)
    if kind in (RSA, RSASSA_PSS):
        modulus, exponent = (number.integer() for number in _two(der.read_sequence(key)))
        return rsa_public_key(modulus, exponent)
    if kind == EC and parameters is not None and parameters.tag == der.OID:
        return ec_public_key(der.dotted(parameters), key)
    return public_key


def algorithm_of(public_key: bytes) -> str:
    """The word for the algorithm of a DER SubjectPublicKeyInfo (see ``KeyFacts.algorithm``).

    Raises:
        FormatError: as ``key_id``.
    """
    kind, parameters, key = _parts(public_key)
    if kind == RSASSA_PSS:
        return "rsassa-pss"
    if kind == RSA:
        return f"rsa-{_two(der.read_sequence(key))[0].integer().bit_length()}"
    if kind == EC:
        return curve_word(parameters)
    return {**PLAIN, **ML_DSA, DSA: "dsa"}.get(kind, kind)


def curve_word(parameters: der.Element | None) -> str:
    """The algorithm word of a key with these EC parameters."""
    if parameters is None or parameters.tag != der.OID:
        return "ec-explicit"
    curve = der.dotted(parameters)
    return CURVES.get(curve, (f"ec-{curve}",))[0]


def rsa_public_key(modulus: int, exponent: int) -> bytes:
    """The canonical SubjectPublicKeyInfo of an RSA key (RFC 3279 section 2.3.1)."""
    key = der.write(der.SEQUENCE, der.write_integer(modulus), der.write_integer(exponent))
    return subject_public_key_info(der.oid(RSA) + der.write(der.NULL), key)


def ec_public_key(curve: str, point: bytes) -> bytes:
    """The canonical SubjectPublicKeyInfo of a point, in any of its encodings, on a named curve (RFC 5480).

    Raises:
        FormatError: the point is none, or compressed on a curve that is not known here.
    """
    if point[:1] in (b"\x02", b"\x03"):
        point = _uncompressed(curve, point)
    elif point[:1] in (b"\x06", b"\x07"):
        point = b"\x04" + point[1:]
    if point[:1] != b"\x04" or len(point) % 2 == 0:
        raise FormatError("not a point on an elliptic curve")
    return subject_public_key_info(der.oid(EC) + der.oid(curve), point)


def subject_public_key_info(algorithm: bytes, key: bytes) -> bytes:
    """A DER SubjectPublicKeyInfo of the content of its AlgorithmIdentifier and the bytes of its key."""
    return der.write(der.SEQUENCE, der.write(der.SEQUENCE, algorithm), der.write_bits(key))


def curve_object(curve: str) -> Any:
    """The cryptography curve of a dotted OID.

    Raises:
        FormatError: it is not known here.
    """
    if curve not in CURVES:
        raise FormatError(f"the elliptic curve {curve} is not supported")
    return getattr(ec, CURVES[curve][1])()


def _uncompressed(curve: str, point: bytes) -> bytes:
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve_object(curve), point)
    except ValueError as error:
        raise FormatError("not a point on the elliptic curve") from error
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _parts(public_key: bytes) -> tuple[str, der.Element | None, bytes]:
    algorithm, key = _two(der.read_sequence(public_key))
    fields = algorithm.expect(der.SEQUENCE).children()
    if not 1 <= len(fields) <= 2:
        raise FormatError("not a public key")
    return der.dotted(fields[0]), fields[1] if len(fields) == 2 else None, key.bits()


def _two(elements: list[der.Element]) -> list[der.Element]:
    if len(elements) != 2:
        raise FormatError("not a public key")
    return elements
