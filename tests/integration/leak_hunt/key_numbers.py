# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private numbers of a key, as secrets to hunt for."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from leak_hunt.needles import Secret

_DER = serialization.Encoding.DER
_RAW = serialization.Encoding.Raw
_PLAIN = serialization.NoEncryption()


@functools.cache  # a passphrase is slow on purpose, and all keys are looked at after each step
def load(data: bytes, passphrase: str | None) -> Any:
    """The private key in a PEM file's content, or in DER."""
    password = passphrase.encode() if passphrase is not None and b"ENCRYPTED" in data else None
    read = serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
    return read(data, password)


def key_id(key: Any) -> str:
    """SHA-256 of the DER public key."""
    return hashlib.sha256(
        key.public_key().public_bytes(_DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def secrets_of(name: str, key: Any) -> list[Secret]:
    """Its private numbers: all six of RSA, the scalar of EC, the seed of the others."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        parts = {"d": numbers.d, "p": numbers.p, "q": numbers.q}
        parts.update(dP=numbers.dmp1, dQ=numbers.dmq1, qInv=numbers.iqmp)
        return [Secret(f"{name}: RSA {part}", _big_endian(value)) for part, value in parts.items()]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return [Secret(f"{name}: EC scalar", _big_endian(key.private_numbers().private_value))]
    return [Secret(f"{name}: seed", key.private_bytes(_RAW, serialization.PrivateFormat.Raw, _PLAIN))]


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
