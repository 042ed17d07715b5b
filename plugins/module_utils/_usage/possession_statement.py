# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate requests of keys that cannot sign: signed by another key of the same owner (RFC 9883).

X25519 and X448 keys can only agree on keys. The owner states that it has such a key, with a key that it signs with and
whose certificate was issued before. The request names that certificate in the attribute ``statementOfPossession``; the
authority decides whether it trusts the statement. Subject and alternative names stand for the same owner, so the
subject of the request is the certificate's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    TokenMisbehaved,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity, pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import foreign_request, profiles

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
except ImportError as error:
    note_missing_library(error)

#: id-at-statementOfPossession (RFC 9883, section 3).
_ATTRIBUTE = "1.3.6.1.4.1.22112.2.1"
_ATTRIBUTES_TAG = 0xA0  # [0] IMPLICIT in a CertificationRequestInfo (RFC 2986)


@dataclasses.dataclass(frozen=True)
class Signer:
    """A key that signs, in a file or on a token.

    Attributes:
        public_key: cryptography's object.
        sign: the signature over a message, with the hash of this name (None for Ed25519), as it stands in a request.
    """

    public_key: Any = dataclasses.field(repr=False)
    sign: Callable[[bytes, str | None], bytes] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Statement:
    """What a request without a signature of its own key is signed with.

    Attributes:
        signer: the key that signs.
        certificate: of that key, in DER.
        algorithm: of that key, one word as in the option.
    """

    signer: Signer
    certificate: bytes
    algorithm: str

    @property
    def hash_name(self) -> str | None:
        """Name of the hash of the signature, or None for Ed25519."""
        return profiles.signature_hash(self.algorithm)

    def wanted(self, content: profiles.Content) -> profiles.Content:
        """What the request says, with the signature that it will have.

        Raises:
            OptionError: its subject is another one than the certificate's.
        """
        subject = x509.load_der_x509_certificate(self.certificate).subject
        if content.subject != subject:
            raise OptionError(
                f"subject: the statement is made by {subject.rfc4514_string()!r}, so the request is for the same "
                "subject (RFC 9883)"
            )
        return dataclasses.replace(content, signature_hash=self.hash_name)

    def write(self, content: profiles.Content, public_key: bytes) -> bytes:
        """The PEM of the request.

        Args:
            content: of ``wanted``.
            public_key: DER SubjectPublicKeyInfo of the key that cannot sign.
        """
        version, subject, dummy, attributes = foreign_request.pattern(content)
        both = sorted([*(one.whole for one in attributes.children()), self._attribute()])  # DER: SET OF is sorted
        info = der.write(der.SEQUENCE, version.whole, subject.whole, public_key, der.write(_ATTRIBUTES_TAG, *both))
        signature = der.write(der.BIT_STRING, b"\0", self.signer.sign(info, self.hash_name))
        identifier = foreign_request.identifier(self.algorithm, self.hash_name)
        written = pem.write("CERTIFICATE REQUEST", der.write(der.SEQUENCE, info, identifier, signature))
        if self.read(written) != content:
            raise TokenMisbehaved("the signature over the certificate request does not verify")
        return written

    def read(self, data: bytes) -> profiles.Content | None:
        """What a request in PEM says; None when it is not signed with this key, or does not name this certificate.

        Raises:
            FormatError: it is no request in PEM.
        """
        try:
            request = x509.load_pem_x509_csr(data)
        except ValueError as error:
            raise FormatError("there is something else than a certificate request in PEM") from error
        try:
            info, identifier, signature = der.read_sequence(request.public_bytes(serialization.Encoding.DER))
            attributes = info.children()[3].expect(_ATTRIBUTES_TAG).children()
            if identifier.whole != foreign_request.identifier(self.algorithm, self.hash_name):
                return None
            self._verify(signature.bits(), info.whole)
            named = self._attribute() in [one.whole for one in attributes]
            return profiles.content_of(request) if named and len(attributes) == 2 else None
        except (FormatError, InvalidSignature, IndexError, ValueError, UnsupportedAlgorithm):
            return None

    def _attribute(self) -> bytes:
        to_be_signed = der.read_sequence(self.certificate)[0].children()
        place = 1 if to_be_signed[0].tag == 0xA0 else 0
        serial, issuer = to_be_signed[place], to_be_signed[place + 2]  # RFC 5280 section 4.1
        signer = der.write(der.SEQUENCE, issuer.whole, serial.whole)
        statement = der.write(der.SEQUENCE, signer, self.certificate)
        return der.write(der.SEQUENCE, der.oid(_ATTRIBUTE), der.write(der.SET, statement))

    def _verify(self, signature: bytes, message: bytes) -> None:
        key = self.signer.public_key
        if self.hash_name is None:
            key.verify(signature, message)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), profiles.hash_object(self.hash_name))
        else:
            key.verify(signature, message, ec.ECDSA(profiles.hash_object(self.hash_name)))


def signer_of(private_key: Any) -> Signer:
    """A private key object of cryptography as a signer."""

    def sign(message: bytes, hash_name: str | None) -> bytes:
        if hash_name is None:
            return bytes(private_key.sign(message))
        digest = profiles.hash_object(hash_name)
        if isinstance(private_key, rsa.RSAPrivateKey):
            return bytes(private_key.sign(message, padding.PKCS1v15(), digest))
        return bytes(private_key.sign(message, ec.ECDSA(digest)))

    return Signer(private_key.public_key(), sign)


def statement(signer: Signer, certificate_pem: bytes) -> Statement:
    """The checked statement of a key and its certificate.

    Raises:
        OptionError: the certificate is another key's, or does not let it sign; or the key cannot sign here.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise OptionError("certificate: it is no certificate in PEM") from error
    if not isinstance(signer.public_key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        raise OptionError("key: this type of key makes no statements; use RSA, P-256, P-384, P-521 or Ed25519")
    public_key = _spki(signer.public_key)
    if public_key != _spki(certificate.public_key()):
        raise OptionError("certificate: it is of another key than the one that is to sign")
    try:
        usage: Any = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.digital_signature:
            raise OptionError("certificate: its key usage does not allow signatures (digitalSignature)")
    except x509.ExtensionNotFound:
        pass  # then it does not limit the key
    der_certificate = certificate.public_bytes(serialization.Encoding.DER)
    return Statement(signer, der_certificate, identity.algorithm_of(identity.canonical(public_key)))


def _spki(public_key: Any) -> bytes:
    return bytes(public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
