# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#12 (RFC 7292) written: several keys, each with its certificate, and the certificates above them.

cryptography writes one key per file, so the structure is made here, with its ciphers. The key bags go unencrypted
around their shrouded keys, the certificates into one encrypted part, as OpenSSL, NSS and Windows do. A key and its
certificate have the same localKeyID (the first 20 bytes of the key ID) and friendly name; certificates of authorities
have neither."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import pkcs12_mac
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.pkcs12_mac import Mac
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.profiles import TRIPLE_DES, Profile
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pbes2, pkcs12, pkcs12_kdf
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey

try:
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
except ImportError as error:
    note_missing_library(error)

_DATA, _ENCRYPTED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.6"
_SHROUDED, _CERTIFICATE = "1.2.840.113549.1.12.10.1.2", "1.2.840.113549.1.12.10.1.3"
_X509 = "1.2.840.113549.1.9.22.1"
FRIENDLY_NAME, LOCAL_KEY_ID = "1.2.840.113549.1.9.20", "1.2.840.113549.1.9.21"
BMP_STRING = 0x1E


@dataclass(frozen=True)
class Entry:
    """A key with what goes with it: its DER certificate, or None, and its name."""

    key: PrivateKey = field(repr=False)
    certificate: bytes | None
    friendly_name: str


def write(entries: Sequence[Entry], chain: Sequence[bytes], password: str, profile: Profile, mac: Mac) -> bytes:
    """The DER PFX.

    Args:
        entries: the keys.
        chain: DER of further certificates.
        password: ASCII, because tools disagree about everything else.
    """
    own = [_certificate_bag(one.certificate, _attributes(one)) for one in entries if one.certificate]
    certificates = own + [_certificate_bag(one, b"") for one in chain]
    parts = [_encrypted_data(_sequence(*certificates), password, profile)] if certificates else []
    keys = [_bag(_SHROUDED, encrypt(one.key.pkcs8, password, profile), _attributes(one)) for one in entries]
    safe = _sequence(*parts, _content_info(_DATA, _octets(_sequence(*keys))))
    return _sequence(der.write_integer(3), _content_info(_DATA, _octets(safe)), pkcs12_mac.make(safe, password, mac))


def encrypt(content: bytes, password: str, profile: Profile) -> bytes:
    """DER {AlgorithmIdentifier, OCTET STRING}: an EncryptedPrivateKeyInfo, when the content is a PrivateKeyInfo."""
    if profile.scheme != "3des":
        return pbes2.encrypt(content, password, profile.iterations)
    salt = secrets.token_bytes(8)
    derive = pkcs12_kdf.Derivation(password, salt, profile.iterations, "sha1")
    cipher = pkcs12.triple_des(derive(pkcs12_kdf.KEY, 24))
    encryptor = Cipher(cipher, modes.CBC(derive(pkcs12_kdf.START, 8))).encryptor()
    padder = padding.PKCS7(64).padder()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    parameters = _sequence(_octets(salt), der.write_integer(profile.iterations))
    return _sequence(_sequence(der.oid(TRIPLE_DES), parameters), _octets(encrypted))


def _encrypted_data(content: bytes, password: str, profile: Profile) -> bytes:
    """ContentInfo with EncryptedData (RFC 5652 section 8)."""
    algorithm, encrypted = der.read_sequence(encrypt(content, password, profile))
    inner = _sequence(der.oid(_DATA), algorithm.whole, der.write(0x80, encrypted.body))
    return _content_info(_ENCRYPTED, _sequence(der.write_integer(0), inner))


def _certificate_bag(certificate: bytes, attributes: bytes) -> bytes:
    return _bag(_CERTIFICATE, _sequence(der.oid(_X509), der.write(0xA0, _octets(certificate))), attributes)


def _bag(kind: str, value: bytes, attributes: bytes) -> bytes:
    return _sequence(der.oid(kind), der.write(0xA0, value), der.write(der.SET, attributes) if attributes else b"")


def _attributes(entry: Entry) -> bytes:
    name = der.write(BMP_STRING, entry.friendly_name.encode("utf-16-be"))
    found = [(FRIENDLY_NAME, name), (LOCAL_KEY_ID, _octets(bytes.fromhex(entry.key.facts.key_id)[:20]))]
    # A SET OF is sorted by its members' encoding.
    return b"".join(sorted(_sequence(der.oid(kind), der.write(der.SET, value)) for kind, value in found))


def _content_info(kind: str, content: bytes) -> bytes:
    return _sequence(der.oid(kind), der.write(0xA0, content))


def _octets(data: bytes) -> bytes:
    return der.write(der.OCTET_STRING, data)


def _sequence(*parts: bytes) -> bytes:
    return der.write(der.SEQUENCE, *parts)
