# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A little DER, and keys and certificates for vectors."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SEQUENCE, SET, OCTETS, BITS, INTEGER, NULL = 0x30, 0x31, 0x04, 0x03, 0x02, 0x05


def write(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def sequence(*parts: bytes) -> bytes:
    return write(SEQUENCE, *parts)


def octets(data: bytes) -> bytes:
    return write(OCTETS, data)


def number(value: int) -> bytes:
    return write(INTEGER, bytes((value,)))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = b""
    for value in (first * 40 + second, *rest):
        groups = [value & 0x7F]
        while value > 0x7F:
            value >>= 7
            groups.insert(0, value & 0x7F | 0x80)
        body += bytes(groups)
    return write(0x06, body)


def new_key(kind: str) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def pkcs8(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def spki(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Any) -> str:
    return digest(spki(key))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def certificate(key: Any, name: str = "keyops test vector") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2026, 1, 1))
        .not_valid_after(datetime.datetime(2126, 1, 1))
    )
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def der(found: x509.Certificate) -> bytes:
    return found.public_bytes(serialization.Encoding.DER)
