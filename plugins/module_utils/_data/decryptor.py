# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What opens content keys: one interface, whoever holds the private key.

Sources (S/MIME, CMS, EFS, ...) take encrypted content keys out of files and never see where a private key lives: in
memory, having come from a file or out of a recovery, or on a token.

- ``Decryptor.serves`` says whether a recipient is this key's: by issuer and serial number, key identifier or
  thumbprint of the key's certificates. A key whose certificates are not known may be tried.
- ``Decryptor.open`` never says that an RSA encrypted key was malformed: it gives a random content key instead
  (RFC 3218 section 2.3.2), so that a wrong key and a wrong padding end in the same place and whoever reads reports
  is given no oracle. A library that does so itself (implicit rejection of OpenSSL 3.2) and one that does not come to
  the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import agreement
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataUnsupported,
    FormatError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
except ImportError as error:
    note_missing_library(error)

RSA_PKCS1, RSA_OAEP, ECDH = "RSA PKCS#1 v1.5", "RSA-OAEP", "ECDH"
_SUBJECT_KEY_IDENTIFIER = der.oid("2.5.29.14")


@dataclass(frozen=True)
class RecipientId:
    """How a message names the key that opens it; what it does not say is empty.

    Attributes:
        issuer, serial: DER of the certificate's issuer, and its serial number as the bytes of its INTEGER.
        key_identifier: subject key identifier.
        thumbprint: SHA-1 of the certificate (EFS).
    """

    issuer: bytes = b""
    serial: bytes = b""
    key_identifier: bytes = b""
    thumbprint: bytes = b""


@dataclass(frozen=True)
class EncryptedKey:
    """A content key as it is encrypted to one recipient.

    Attributes:
        recipient: whom to.
        scheme: RSA_PKCS1, RSA_OAEP or ECDH.
        encrypted: the encrypted (RSA) or wrapped (ECDH) key.
        hash_name, mask_hash_name, label: of RSA-OAEP; names as in ``hashlib``.
        agreed: of ECDH, what else goes into it.
    """

    recipient: RecipientId
    scheme: str
    encrypted: bytes = field(repr=False)
    hash_name: str = "sha1"
    mask_hash_name: str = "sha1"
    label: bytes = b""
    agreed: agreement.Agreed | None = None


class Decryptor:
    """One private key, and whom messages to it may name.

    Attributes:
        name: how reports call the key: its reference, or the key ID of a recovered one.
        key_id: lower-case hex SHA-256 of its SubjectPublicKeyInfo.
        certificates: its certificates in DER.
        private_key: an object like cryptography's, with ``decrypt`` (RSA) or ``exchange``.
        on_token: whether a token does the work. Such a key is used by the process that has logged in, and by no other.
    """

    def __init__(self, name: str, private_key: Any, certificates: Iterable[bytes] = ()) -> None:
        """
        Args:
            name: how reports call the key.
            private_key: cryptography's object, or one of ``_tokens.card``.
            certificates: DER; the messages may name any of them.

        Raises:
            OptionError: a certificate cannot be read, or is another key's.
        """
        self.name, self.private_key, self.certificates = name, private_key, tuple(certificates)
        self.on_token = bool(getattr(private_key, "on_token", False))
        spki = _public_bytes(private_key.public_key())
        self.key_id = hashlib.sha256(spki).hexdigest()
        self._is_rsa = isinstance(private_key.public_key(), rsa.RSAPublicKey)
        self._identifiers = {_sha1(der.read_sequence(spki)[1].bits())}  # RFC 5280 section 4.2.1.2 (1)
        self._names: set[tuple[bytes, bytes]] = set()
        self._thumbprints = {_sha1(one) for one in self.certificates}
        for one in self.certificates:
            self._add(one, spki)

    def __repr__(self) -> str:
        return f"Decryptor({self.name!r}, {self.key_id[:16]}...)"

    def _add(self, certificate: bytes, spki: bytes) -> None:
        try:
            issuer, serial, written, identifier = _parts(certificate)
            same = written == spki or _public_bytes(serialization.load_der_public_key(written)) == spki
        except (FormatError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise OptionError(f"certificates: one of those for {self.name} is no certificate that is read") from error
        if not same:
            raise OptionError(f"certificates: one of those for {self.name} belongs to another key")
        self._names.add((issuer, serial))
        self._identifiers |= {identifier} if identifier else set()

    def serves(self, encrypted: EncryptedKey) -> bool | None:
        """Whether this key is the recipient; None when nothing tells, and it may be tried."""
        if self._is_rsa != (encrypted.scheme != ECDH):
            return False
        named = encrypted.recipient
        if (named.issuer, named.serial) in self._names or named.thumbprint in self._thumbprints:
            return True
        if named.key_identifier in self._identifiers:
            return True
        return False if self.certificates else None

    def open(self, encrypted: EncryptedKey, size: int) -> bytes:
        """The content key, or a random one where the encrypted key is not what it should be.

        Args:
            encrypted: as it stands in the message.
            size: bytes that the content key must have; 0 when the cipher leaves that open.

        Raises:
            DataUnsupported: the scheme needs what the library or the token does not have.
            TokenError: the token fails.
        """
        return self.tried(encrypted, size)[0]

    def tried(self, encrypted: EncryptedKey, size: int) -> tuple[bytes, bool]:
        """As ``open``, and whether the key is what was encrypted, as far as the library tells, and no random one.

        For choosing between several keys that seem to open the same message, and for nothing else: whoever reported it
        would be the oracle that the random key prevents.
        """
        try:
            key = self._agreed(encrypted) if encrypted.scheme == ECDH else self._transported(encrypted)
        except UnsupportedAlgorithm as error:
            raise DataUnsupported(f"{encrypted.scheme} is done with parameters that this host does not have") from error
        fits = len(key) == size if size else bool(key)
        random = os.urandom(size or 16)
        return (key if fits else random), fits

    def _transported(self, encrypted: EncryptedKey) -> bytes:
        scheme: Any = padding.PKCS1v15()
        if encrypted.scheme == RSA_OAEP:
            mask = padding.MGF1(_hash(encrypted.mask_hash_name))
            scheme = padding.OAEP(mask, _hash(encrypted.hash_name), encrypted.label or None)
        try:
            return bytes(self.private_key.decrypt(encrypted.encrypted, scheme))
        except ValueError:
            return b""

    def _agreed(self, encrypted: EncryptedKey) -> bytes:
        if encrypted.agreed is None:
            raise AssertionError("an ECDH recipient without its parameters")
        try:
            return agreement.unwrap(self.private_key, encrypted.agreed, encrypted.encrypted)
        except ValueError:
            return b""


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()  # noqa: S324 - a name, as messages write it


def _hash(name: str) -> Any:
    return getattr(hashes, name.upper())()


def _public_bytes(public_key: Any) -> bytes:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return bytes(public_key.public_bytes(*form))


def _parts(certificate: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """DER of the issuer, bytes of the serial number, DER of the public key, and the key identifier (or nothing)."""
    parts = der.read_sequence(certificate)
    found = parts[0].children() if parts else []
    if found and found[0].tag == 0xA0:  # version; absent in version 1
        found = found[1:]
    if [child.tag for child in found[:6]] != [der.INTEGER, *[der.SEQUENCE] * 5]:
        raise FormatError("not a certificate")
    identifier = b""
    for extension in (one for part in found[6:] if part.tag == 0xA3 for one in part.children()[0].children()):
        fields = extension.children()
        if fields[0].whole == _SUBJECT_KEY_IDENTIFIER:
            identifier = der.read(fields[-1].body).expect(der.OCTET_STRING).body
    return found[2].whole, found[0].body, found[5].whole, identifier
