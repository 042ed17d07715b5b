# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What writer and reader of sealed messages share: the structures of docs/formats.md, built from their variable parts.

A message is CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084), and nothing here can express another cipher,
another tag length or an attribute. The reader (cms_open) takes a message apart, builds it again with these functions
and compares. Nothing here opens anything: ordinary hosts load this file with cms_seal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
except ImportError as error:
    note_missing_library(error)

KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
KEK_ID_SIZE = 16
MINIMUM_RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")


def _sequence(*parts: bytes) -> bytes:
    return der.write(der.SEQUENCE, *parts)


def _octets(data: bytes) -> bytes:
    return der.write(der.OCTET_STRING, data)


def fields(element: der.Element, *tags: int) -> list[der.Element]:
    """The children of an element, which must have exactly these tags in this order.

    Raises:
        FormatError: when they differ.
    """
    found = element.children()
    if [child.tag for child in found] != list(tags):
        raise FormatError("DER: other elements than expected")
    return found


_AUTH_ENVELOPED_DATA = der.oid("1.2.840.113549.1.9.16.1.23")
#: Content types: bytes as they are, and the private key of a token as the token wrapped it (docs/formats.md).
DATA = der.oid("1.2.840.113549.1.7.1")
TOKEN_KEY = der.oid("2.25.329186103678508685445288299680873544523")
_AES256_GCM = der.oid("2.16.840.1.101.3.4.1.46")
_AES256_WRAP = der.oid("2.16.840.1.101.3.4.1.45")
_OAEP = der.oid("1.2.840.113549.1.1.7")
_MGF1 = der.oid("1.2.840.113549.1.1.8")
_SHA256 = der.oid("2.16.840.1.101.3.4.2.1")
_EC_PUBLIC_KEY = der.oid("1.2.840.10045.2.1")
_ECDH_SHA256_KDF = der.oid("1.3.132.1.11.1")

_NULL = der.write(der.NULL)
_WRAP_ALGORITHM = _sequence(_AES256_WRAP)


def _oaep_algorithm(*hash_parameters: bytes) -> bytes:
    sha256 = _sequence(_SHA256, *hash_parameters)
    return _sequence(_OAEP, _sequence(der.write(0xA0, sha256), der.write(0xA1, _sequence(_MGF1, sha256))))


#: Written: parameters of SHA-256 and of id-ecPublicKey absent, as OpenSSL does. NULL means the same (RFC 4055 section
#: 2.1, RFC 5753 section 7.1.2) and is read too.
OAEP_ALGORITHMS = (_oaep_algorithm(), _oaep_algorithm(_NULL))
ORIGINATOR_ALGORITHMS = (_sequence(_EC_PUBLIC_KEY), _sequence(_EC_PUBLIC_KEY, _NULL))


@dataclass(frozen=True)
class Recipient:
    """Whom a message with one recipient is for.

    Attributes:
        public_key: cryptography object: RSA of at least 2048 bits, or on one of CURVES.
        spki: its DER SubjectPublicKeyInfo; key IDs are the SHA-256 of this.
        transport_version: of a KeyTransRecipientInfo: 0 with a certificate, 2 without.
        transport_id, agreement_id: DER of the recipient identifier in a KeyTransRecipientInfo, KeyAgreeRecipientInfo.
    """

    public_key: Any
    spki: bytes = field(repr=False)
    transport_version: int
    transport_id: bytes = field(repr=False)
    agreement_id: bytes = field(repr=False)

    @property
    def is_rsa(self) -> bool:
        return isinstance(self.public_key, rsa.RSAPublicKey)


def recipient(data: bytes) -> Recipient:
    """The recipient that a DER certificate or a DER SubjectPublicKeyInfo names.

    Raises:
        FormatError: when it is neither, or its key cannot be sealed to.
    """
    if [child.tag for child in der.read_sequence(data)] == [der.SEQUENCE, der.BIT_STRING]:
        return key_recipient(data)
    return certificate_recipient(data)


def certificate_parts(certificate: bytes) -> tuple[bytes, bytes, bytes]:
    """DER of issuer, serial number and SubjectPublicKeyInfo of a DER certificate, byte by byte as they stand there.

    Raises:
        FormatError: when it is no certificate.
    """
    parts = der.read_sequence(certificate)
    found = parts[0].children() if parts else []
    if found and found[0].tag == 0xA0:  # version; absent in version 1
        found = found[1:]
    if [child.tag for child in found[:6]] != [der.INTEGER, *[der.SEQUENCE] * 5]:
        raise FormatError("not a certificate")
    serial, _signature, issuer, _validity, _subject, spki = (child.whole for child in found[:6])
    return issuer, serial, spki


@lru_cache(maxsize=256)  # the same few agents for every key of a batch; public facts only
def certificate_recipient(data: bytes) -> Recipient:
    """The recipient that a DER certificate names; see recipient()."""
    issuer, serial, written = certificate_parts(data)
    try:
        public_key = x509.load_der_x509_certificate(data).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError("the recipient's certificate cannot be read") from error
    identifier = _sequence(issuer, serial)
    return Recipient(public_key, _checked(public_key, written), 0, identifier, identifier)


def key_recipient(data: bytes) -> Recipient:
    """The recipient that a DER SubjectPublicKeyInfo names; see recipient()."""
    try:
        public_key = serialization.load_der_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError("the recipient's public key cannot be read") from error
    spki = _checked(public_key, data)
    name = bytes.fromhex(canonical.digest(spki))
    return Recipient(public_key, spki, 2, der.write(0x80, name), der.write(0xA0, _octets(name)))


def _checked(public_key: Any, written: bytes) -> bytes:
    """The normal SubjectPublicKeyInfo of a key that can be sealed to; ``written`` is how it stood in the input."""
    if isinstance(public_key, rsa.RSAPublicKey):
        fits = public_key.key_size >= MINIMUM_RSA_BITS
    else:
        fits = isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in CURVES
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # A difference means RSASSA-PSS (a signing key that cryptography may show as plain RSA), explicit curve parameters
    # or a compressed point: all refused, so one key has one key ID.
    if not fits or spki != written:
        raise FormatError(
            "a recipient's key must be RSA (rsaEncryption) of at least 2048 bits, or on P-256, P-384 or P-521"
        )
    return spki


def message(recipients: list[bytes], nonce: bytes, ciphertext: bytes, tag: bytes, content_type: bytes = DATA) -> bytes:
    """DER ContentInfo. The RecipientInfos are a SET OF, so DER sorts them by their encoding."""
    cipher = _sequence(_AES256_GCM, _sequence(_octets(nonce), der.write_integer(TAG_SIZE)))
    content = _sequence(content_type, cipher, der.write(0x80, ciphertext))
    envelope = _sequence(der.write_integer(0), der.write(der.SET, *sorted(recipients)), content, _octets(tag))
    return _sequence(_AUTH_ENVELOPED_DATA, der.write(0xA0, envelope))


def kek_recipient(kek_id: bytes, wrapped: bytes) -> bytes:
    """KEKRecipientInfo (RFC 5652 section 6.2.3), an alternative with the tag [2]."""
    return der.write(0xA2, der.write_integer(4), _sequence(_octets(kek_id)), _WRAP_ALGORITHM, _octets(wrapped))


def transport_recipient(to: Recipient, encrypted: bytes, algorithm: bytes) -> bytes:
    """KeyTransRecipientInfo (RFC 5652 section 6.2.1); ``algorithm`` is one of OAEP_ALGORITHMS."""
    return _sequence(der.write_integer(to.transport_version), to.transport_id, algorithm, _octets(encrypted))


def agreement_recipient(to: Recipient, point: bytes, wrapped: bytes, algorithm: bytes) -> bytes:
    """KeyAgreeRecipientInfo (RFC 5753 section 3.1) with the tag [1]; ``algorithm`` is one of ORIGINATOR_ALGORITHMS."""
    originator = der.write(0xA0, der.write(0xA1, algorithm, der.write_bits(point)))
    method = _sequence(_ECDH_SHA256_KDF, _WRAP_ALGORITHM)
    keys = _sequence(_sequence(to.agreement_id, _octets(wrapped)))
    return der.write(0xA1, der.write_integer(3), originator, method, keys)


def oaep() -> Any:
    """RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label."""
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def wrapping_key(shared_secret: bytes) -> bytes:
    """The AES-256 wrapping key of a key agreement: X9.63 KDF over ECC-CMS-SharedInfo (RFC 5753 section 7.2)."""
    info = _sequence(_WRAP_ALGORITHM, der.write(0xA2, _octets((KEY_SIZE * 8).to_bytes(4, "big"))))
    return X963KDF(algorithm=hashes.SHA256(), length=KEY_SIZE, sharedinfo=info).derive(shared_secret)


def point_of(public_key: Any) -> bytes:
    """The uncompressed point of an EC public key."""
    return public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
