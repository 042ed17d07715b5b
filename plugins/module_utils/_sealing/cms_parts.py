# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What writer and reader of sealed messages share: the structures of docs/formats.md, built from their variable parts.

A message is CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084), and nothing here can express another cipher,
another tag length or an attribute. The reader (cms_open) takes a message apart, builds it again with these functions and
compares. Nothing here opens anything: ordinary hosts load this file with cms_seal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import der

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

_AUTH_ENVELOPED_DATA = bytes.fromhex("060b2a864886f70d0109100117")  # 1.2.840.113549.1.9.16.1.23
_DATA = bytes.fromhex("06092a864886f70d010701")  # 1.2.840.113549.1.7.1
_AES256_GCM = bytes.fromhex("060960864801650304012e")  # 2.16.840.1.101.3.4.1.46
_AES256_WRAP = bytes.fromhex("060960864801650304012d")  # 2.16.840.1.101.3.4.1.45
_OAEP = bytes.fromhex("06092a864886f70d010107")  # 1.2.840.113549.1.1.7
_MGF1 = bytes.fromhex("06092a864886f70d010108")  # 1.2.840.113549.1.1.8
_SHA256 = bytes.fromhex("0609608648016503040201")  # 2.16.840.1.101.3.4.2.1
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")  # 1.2.840.10045.2.1
_ECDH_SHA256_KDF = bytes.fromhex("06062b8104010b01")  # 1.3.132.1.11.1

_NULL = der.tlv(der.NULL)
_WRAP_ALGORITHM = der.sequence(_AES256_WRAP)


def _oaep_algorithm(*hash_parameters: bytes) -> bytes:
    sha256 = der.sequence(_SHA256, *hash_parameters)
    return der.sequence(_OAEP, der.sequence(der.tlv(0xA0, sha256), der.tlv(0xA1, der.sequence(_MGF1, sha256))))


#: Written: parameters of SHA-256 and of id-ecPublicKey absent, as OpenSSL does. NULL means the same (RFC 4055 section
#: 2.1, RFC 5753 section 7.1.2) and is read too.
OAEP_ALGORITHMS = (_oaep_algorithm(), _oaep_algorithm(_NULL))
ORIGINATOR_ALGORITHMS = (der.sequence(_EC_PUBLIC_KEY), der.sequence(_EC_PUBLIC_KEY, _NULL))


@dataclass(frozen=True)
class Recipient:
    """Whom a message with one recipient is for.

    Attributes:
        public_key: cryptography object: RSA of at least 2048 bits, or on one of CURVES.
        spki: its DER SubjectPublicKeyInfo; key IDs are the SHA-256 of this.
        transport_version: of a KeyTransRecipientInfo: 0 with a certificate, 2 without.
        transport_id, agreement_id: DER of the recipient identifier in a KeyTransRecipientInfo, KeyAgreeRecipientInfo.
    """

    public_key: object
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
    kinds = [tag for tag, _content, _whole in der.elements(der.fields(data, der.SEQUENCE)[0])]
    if kinds == [der.SEQUENCE, der.BIT_STRING]:
        return key_recipient(data)
    return certificate_recipient(data)


def certificate_parts(certificate: bytes) -> tuple[bytes, bytes, bytes]:
    """DER of issuer, serial number and SubjectPublicKeyInfo of a DER certificate, byte by byte as they stand there.

    Raises:
        FormatError: when it is no certificate.
    """
    parts = der.elements(der.fields(certificate, der.SEQUENCE)[0])
    found = der.elements(parts[0][1]) if parts else []
    if found and found[0][0] == 0xA0:  # version; absent in version 1
        found = found[1:]
    if [tag for tag, _content, _whole in found[:6]] != [der.INTEGER, *[der.SEQUENCE] * 5]:
        raise FormatError("not a certificate")
    serial, _signature, issuer, _validity, _subject, spki = (whole for _tag, _content, whole in found[:6])
    return issuer, serial, spki


def certificate_recipient(data: bytes) -> Recipient:
    issuer, serial, written = certificate_parts(data)
    try:
        public_key = x509.load_der_x509_certificate(data).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError("the recipient's certificate cannot be read") from error
    identifier = der.sequence(issuer, serial)
    return Recipient(public_key, _checked(public_key, written), 0, identifier, identifier)


def key_recipient(data: bytes) -> Recipient:
    try:
        public_key = serialization.load_der_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError("the recipient's public key cannot be read") from error
    spki = _checked(public_key, data)
    name = bytes.fromhex(canonical.digest(spki))
    return Recipient(public_key, spki, 2, der.tlv(0x80, name), der.tlv(0xA0, der.octets(name)))


def _checked(public_key: object, written: bytes) -> bytes:
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


def message(recipients: list[bytes], nonce: bytes, ciphertext: bytes, tag: bytes) -> bytes:
    """DER ContentInfo. The RecipientInfos are a SET OF, so DER sorts them by their encoding."""
    cipher = der.sequence(_AES256_GCM, der.sequence(der.octets(nonce), der.small(TAG_SIZE)))
    content = der.sequence(_DATA, cipher, der.tlv(0x80, ciphertext))
    envelope = der.sequence(der.small(0), der.tlv(der.SET, *sorted(recipients)), content, der.octets(tag))
    return der.sequence(_AUTH_ENVELOPED_DATA, der.tlv(0xA0, envelope))


def kek_recipient(kek_id: bytes, wrapped: bytes) -> bytes:
    """KEKRecipientInfo (RFC 5652 section 6.2.3), an alternative with the tag [2]."""
    return der.tlv(0xA2, der.small(4), der.sequence(der.octets(kek_id)), _WRAP_ALGORITHM, der.octets(wrapped))


def transport_recipient(to: Recipient, encrypted: bytes, algorithm: bytes) -> bytes:
    """KeyTransRecipientInfo (RFC 5652 section 6.2.1); ``algorithm`` is one of OAEP_ALGORITHMS."""
    return der.sequence(der.small(to.transport_version), to.transport_id, algorithm, der.octets(encrypted))


def agreement_recipient(to: Recipient, point: bytes, wrapped: bytes, algorithm: bytes) -> bytes:
    """KeyAgreeRecipientInfo (RFC 5753 section 3.1) with the tag [1]; ``algorithm`` is one of ORIGINATOR_ALGORITHMS."""
    originator = der.tlv(0xA0, der.tlv(0xA1, algorithm, _bits(point)))
    method = der.sequence(_ECDH_SHA256_KDF, _WRAP_ALGORITHM)
    keys = der.sequence(der.sequence(to.agreement_id, der.octets(wrapped)))
    return der.tlv(0xA1, der.small(3), originator, method, keys)


def _bits(data: bytes) -> bytes:
    return der.tlv(der.BIT_STRING, b"\x00", data)


def oaep() -> object:
    """RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label."""
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def wrapping_key(shared_secret: bytes) -> bytes:
    """The AES-256 wrapping key of a key agreement: X9.63 KDF over ECC-CMS-SharedInfo (RFC 5753 section 7.2)."""
    info = der.sequence(_WRAP_ALGORITHM, der.tlv(0xA2, der.octets((KEY_SIZE * 8).to_bytes(4, "big"))))
    return X963KDF(algorithm=hashes.SHA256(), length=KEY_SIZE, sharedinfo=info).derive(shared_secret)


def point_of(public_key: object) -> bytes:
    """The uncompressed point of an EC public key."""
    return public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
