# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#8: the one form in which a private key is held, written and sealed (RFC 5208; RFC 5958 version 0).

Version 1 of the structure ("v2", OneAsymmetricKey) is read, its public key is compared, and it is never written:
OpenSSL 3.0 and cryptography refuse it. The public half is taken from the file wherever it stands there: making it
anew, or loading the key, costs as much as generating it on cryptography 38.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity, usage_attribute

try:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
except ImportError as error:
    note_missing_library(error)

#: [0] IMPLICIT SET OF Attribute, and [1] IMPLICIT BIT STRING.
_ATTRIBUTES, _PUBLIC_KEY = 0xA0, 0x81
_RSA_LIMIT = 16384
_DSA_LIMIT, _DSA_ORDER_LIMIT = 8192, 512


@dataclass(frozen=True)
class PrivateKeyInfo:
    """The parts of a PKCS#8.

    Attributes:
        kind: dotted OID of the algorithm.
        parameters: of the algorithm, or None.
        key: content of the privateKey OCTET STRING.
        attributes: DER Attributes.
        public_key: the bytes of version 2's public key, or None.
    """

    kind: str
    parameters: der.Element | None
    key: bytes = field(repr=False)
    attributes: tuple[der.Element, ...] = ()
    public_key: bytes | None = None

    @property
    def usage(self) -> str | None:
        """The usage in the attributes (see usage_attribute.read)."""
        return usage_attribute.read(self.attributes)


def parse(data: bytes) -> PrivateKeyInfo:
    """The parts of a DER PrivateKeyInfo or OneAsymmetricKey.

    Raises:
        FormatError: it is none.
    """
    fields = der.read_sequence(data)
    if len(fields) < 3 or fields[0].integer() > 1:
        raise FormatError("not a PKCS#8 private key")
    algorithm = fields[1].expect(der.SEQUENCE).children()
    if not 1 <= len(algorithm) <= 2:
        raise FormatError("not a PKCS#8 private key")
    attributes, public_key = _optional(fields[3:], fields[0].integer())
    return PrivateKeyInfo(
        der.dotted(algorithm[0]),
        algorithm[1] if len(algorithm) == 2 else None,
        fields[2].expect(der.OCTET_STRING).body,
        attributes,
        public_key,
    )


def _optional(fields: list[der.Element], version: int) -> tuple[tuple[der.Element, ...], bytes | None]:
    attributes: tuple[der.Element, ...] = ()
    public_key = None
    if fields and fields[0].tag == _ATTRIBUTES:
        attributes = tuple(attribute.expect(der.SEQUENCE) for attribute in fields.pop(0).children())
    if fields and fields[0].tag == _PUBLIC_KEY and version == 1:
        body = fields.pop(0).body
        if body[:1] != b"\x00":
            raise FormatError("the public key in the private key does not hold whole bytes")
        public_key = body[1:]
    if fields:
        raise FormatError("unknown fields follow in the PKCS#8 private key")
    return attributes, public_key


def compose(info: PrivateKeyInfo) -> bytes:
    """The DER PrivateKeyInfo, version 0."""
    algorithm = der.oid(info.kind) + (info.parameters.whole if info.parameters else b"")
    attributes = b"".join(attribute.whole for attribute in info.attributes)
    return der.write(
        der.SEQUENCE,
        der.write_integer(0),
        der.write(der.SEQUENCE, algorithm),
        der.write(der.OCTET_STRING, info.key),
        der.write(_ATTRIBUTES, attributes) if attributes else b"",
    )


def with_usage(info: PrivateKeyInfo, usage: str) -> PrivateKeyInfo:
    """The same key, bound to this usage alone; its other attributes stay."""
    others = [attribute for attribute in info.attributes if not usage_attribute.is_usage_attribute(attribute)]
    return replace(info, attributes=(*others, der.read(usage_attribute.encode(usage))))


def algorithm_word(info: PrivateKeyInfo, public_key: bytes) -> str:
    """The algorithm word: by the private key's own type, because the public half of RSASSA-PSS is named like RSA's."""
    return "rsassa-pss" if info.kind == identity.RSASSA_PSS else identity.algorithm_of(public_key)


def public_half(info: PrivateKeyInfo) -> bytes:
    """The canonical DER SubjectPublicKeyInfo, not proven to belong to the private half (see soundness.py).

    Raises:
        FormatError: the key is malformed or of a type that is not supported.
    """
    public_key = _public_half(info)
    if info.public_key is not None:
        stated = info.public_key
        if info.kind == identity.EC:
            stated = identity.ec_public_key(_curve(info), info.public_key)
        if stated not in (public_key, der.read_sequence(public_key)[1].bits()):
            raise FormatError("the public key in the file is not that of the private key")
    return public_key


def _public_half(info: PrivateKeyInfo) -> bytes:
    if info.kind in (identity.RSA, identity.RSASSA_PSS):
        return _rsa(info.key)
    if info.kind == identity.EC:
        return _ec(info)
    if info.kind == identity.DSA:
        return _dsa(info)
    if info.kind in identity.PLAIN:
        return _plain(info)
    if info.kind in identity.ML_DSA:
        return _by_library(info)
    raise FormatError(f"private keys of the type {info.kind} are not supported")


def _by_library(info: PrivateKeyInfo) -> bytes:
    """Of types that only newer libraries know; older ones raise what the caller turns into KeyUnreadable."""
    key = serialization.load_der_private_key(compose(replace(info, attributes=())), None)
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _rsa(key: bytes) -> bytes:
    """RFC 8017 appendix A.1.2; version 1 has more than two primes."""
    fields = der.read_sequence(key)
    if len(fields) not in (9, 10) or fields[0].integer() != len(fields) - 9:
        raise FormatError("not an RSA private key")
    numbers = [number.integer() for number in fields[1:9]]
    if numbers[0].bit_length() > _RSA_LIMIT or numbers[1] < 3 or not numbers[1] & 1:
        raise FormatError("the RSA key's size or public exponent is not supported")
    return identity.rsa_public_key(numbers[0], numbers[1])


def _ec(info: PrivateKeyInfo) -> bytes:
    """RFC 5915: version 1, private key, [0] parameters, [1] public key, both optional."""
    curve = _curve(info)
    fields = der.read_sequence(info.key)
    if len(fields) < 2 or fields[0].integer() != 1:
        raise FormatError("not an EC private key")
    secret = fields[1].expect(der.OCTET_STRING).body
    for extra in fields[2:]:
        if extra.tag == 0xA0 and extra.body != der.oid(curve):
            raise FormatError("the EC private key names two different curves")
        if extra.tag == 0xA1:
            return identity.ec_public_key(curve, der.read(extra.body).bits())
    return derived_ec(curve, secret)


def derived_ec(curve: str, secret: bytes) -> bytes:
    """The canonical SubjectPublicKeyInfo that belongs to an EC private number.

    Raises:
        FormatError: the number or the curve is not one that can be used.
    """
    try:
        key = ec.derive_private_key(int.from_bytes(secret, "big"), identity.curve_object(curve)).public_key()
    except ValueError as error:
        raise FormatError("the EC private key is out of range") from error
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return identity.ec_public_key(curve, point)


def ec_secret(info: PrivateKeyInfo) -> tuple[str, bytes]:
    """The curve and the private number of an EC key that ``public_half`` accepted."""
    return _curve(info), der.read_sequence(info.key)[1].body


def _curve(info: PrivateKeyInfo) -> str:
    if info.parameters is None or info.parameters.tag != der.OID:
        raise FormatError("the elliptic curve is not named; convert with: openssl ec -param_enc named_curve")
    return der.dotted(info.parameters)


def _dsa(info: PrivateKeyInfo) -> bytes:
    """RFC 3279 section 2.3.2: p, q, g are the parameters; the private key is one number."""
    if info.parameters is None:
        raise FormatError("not a DSA private key")
    numbers = [number.integer() for number in info.parameters.expect(der.SEQUENCE).children()]
    secret = der.read(info.key).integer()
    if len(numbers) != 3 or not 0 < secret < numbers[1] < numbers[0] or not numbers[0] & 1:
        raise FormatError("not a DSA private key")
    # FIPS 186-4 has 3072 and 256 bits. What is far larger would take seconds.
    if numbers[0].bit_length() > _DSA_LIMIT or numbers[1].bit_length() > _DSA_ORDER_LIMIT:
        raise FormatError("not a DSA private key")
    public = pow(numbers[2], secret, numbers[0])
    return identity.subject_public_key_info(der.oid(info.kind) + info.parameters.whole, der.write_integer(public))


def _plain(info: PrivateKeyInfo) -> bytes:
    """RFC 8410 section 7: the private key is an OCTET STRING of fixed length."""
    word = identity.PLAIN[info.kind]
    classes: dict[str, Any] = {
        "x25519": x25519.X25519PrivateKey,
        "x448": x448.X448PrivateKey,
        "ed25519": ed25519.Ed25519PrivateKey,
        "ed448": ed448.Ed448PrivateKey,
    }
    try:
        key = classes[word].from_private_bytes(der.read(info.key).expect(der.OCTET_STRING).body)
    except ValueError as error:
        raise FormatError(f"not an {word} private key") from error
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return identity.subject_public_key_info(der.oid(info.kind), public)
