# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The PKCS#12 file (RFC 7292) that ``ntfsdecrypt`` takes, made in memory for one key and one of its certificates.

ntfsdecrypt 2022.10.3 cuts the last character off each extended key usage that it reads, so it refuses every genuine EFS
certificate ("Key does not have an EFS purpose OID", issue 87 of ntfs-3g). It decides by the first certificate whether
it looks for a user or a data recovery agent, and takes thumbprint and key from the last ones. So a helper certificate
stands first, with the usage once longer by a character, for that version, and once as it should be, for one that is
mended; then come the key's own certificate and the key. The helper's key is thrown away.

It is read by a child process that gets the password through a pipe, once for each file. The password has 128 bits, so
that one round of key derivation is enough.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import USER
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pbes2

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    note_missing_library(error)

_USER_USAGE, _AGENT_USAGE = "1.3.6.1.4.1.311.10.3.4", "1.3.6.1.4.1.311.10.3.4.1"
_DATA = "1.2.840.113549.1.7.1"
_BAGS = "1.2.840.113549.1.12.10.1."
_X509 = "1.2.840.113549.1.9.22.1"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_BEGIN, _END = datetime.datetime(2000, 1, 1), datetime.datetime(2099, 1, 1)


def build(private_key: Any, certificate: bytes, role: str, password: str) -> bytes:
    """DER of the file.

    Args:
        private_key: cryptography's object of an RSA key.
        certificate: DER of the certificate whose thumbprint stands at the encrypted files.
        role: ``USER`` or ``AGENT`` of ``efs_metadata``: as what the certificate stands there.
        password: ASCII.
    """
    bags = (_certificate_bag(_helper(role)), _certificate_bag(certificate), _key_bag(private_key, password))
    # Only the first bag of each part is looked at, so each has a part of its own.
    parts = der.write(der.SEQUENCE, *(_content(der.write(der.SEQUENCE, bag)) for bag in bags))
    salt = os.urandom(16)
    mac = hmac.new(_mac_key(password, salt), parts, "sha256").digest()
    algorithm = der.write(der.SEQUENCE, der.oid(_SHA256), der.write(der.NULL))
    info = der.write(der.SEQUENCE, algorithm, der.write(der.OCTET_STRING, mac))
    mac_data = der.write(der.SEQUENCE, info, der.write(der.OCTET_STRING, salt), der.write_integer(1))
    return der.write(der.SEQUENCE, der.write_integer(3), _content(parts), mac_data)


def _helper(role: str) -> bytes:
    """DER of a certificate that says nothing but what it is looked at for."""
    usages = [_USER_USAGE + "0", _USER_USAGE] if role == USER else [_AGENT_USAGE + "0", _AGENT_USAGE]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "extended key usage for ntfsdecrypt")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, _BEGIN, _END)
    wanted = x509.ExtendedKeyUsage([x509.ObjectIdentifier(one) for one in usages])
    signed = builder.add_extension(wanted, critical=False).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def _content(data: bytes) -> bytes:
    """ContentInfo with plain data."""
    return der.write(der.SEQUENCE, der.oid(_DATA), der.write(0xA0, der.write(der.OCTET_STRING, data)))


def _certificate_bag(certificate: bytes) -> bytes:
    value = der.write(0xA0, der.write(der.OCTET_STRING, certificate))
    return _bag("3", der.write(der.SEQUENCE, der.oid(_X509), value))


def _key_bag(private_key: Any, password: str) -> bytes:
    form = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return _bag("2", pbes2.encrypt(private_key.private_bytes(*form), password, iterations=1))


def _bag(kind: str, value: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.oid(_BAGS + kind), der.write(0xA0, value))


def _mac_key(password: str, salt: bytes) -> bytes:
    """RFC 7292 appendix B.2 with SHA-256 and one round, for a key as long as one digest."""
    text = password.encode("utf-16-be") + b"\0\0"
    filled = b"".join((part * 64)[: -(-len(part) // 64) * 64] for part in (salt, text))
    return hashlib.sha256(b"\x03" * 64 + filled).digest()
