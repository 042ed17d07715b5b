# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Content keys that reach their recipient by key agreement: ECDH, a key derivation function, a key wrap.

RFC 5753 (curves of NIST; with and without cofactor, which is 1 for them), RFC 8418 (X25519, X448). The wraps are those
of RFC 3394 (AES) and RFC 3217 (3DES).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import ciphers
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataUnsupported, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
except ImportError as error:
    note_missing_library(error)

#: Key agreement schemes: hash and key derivation function.
SCHEMES = {
    **{der.oid("1.3.133.16.840.63.0." + end): ("sha1", "x963") for end in ("2", "3")},
    **{
        der.oid(f"1.3.132.1.{branch}.{number}"): (name, "x963")
        for branch in (11, 14)
        for number, name in enumerate(("sha224", "sha256", "sha384", "sha512"))
    },
    **{
        der.oid(f"1.2.840.113549.1.9.16.3.{number}"): (name, "hkdf")
        for number, name in ((19, "sha256"), (20, "sha384"), (21, "sha512"))
    },
}
#: Key wraps: size of their key, and whether they are of AES.
WRAPS = {
    der.oid("2.16.840.1.101.3.4.1.5"): (16, True),
    der.oid("2.16.840.1.101.3.4.1.25"): (24, True),
    der.oid("2.16.840.1.101.3.4.1.45"): (32, True),
    der.oid("1.2.840.113549.1.9.16.3.6"): (24, False),
}


@dataclass(frozen=True)
class Agreed:
    """What a key agreement needs beside the private key.

    Attributes:
        point: the sender's ephemeral public key: an encoded point, or the bytes of an X25519 or X448 key.
        scheme: DER of the object identifier of the scheme, one of SCHEMES.
        wrap: DER of the AlgorithmIdentifier of the key wrap, as it stands in the message.
        wrap_name: DER of its object identifier, one of WRAPS.
        user_material: ukm, or None.
    """

    point: bytes = field(repr=False)
    scheme: bytes
    wrap: bytes
    wrap_name: bytes
    user_material: bytes | None = None


def unwrap(private_key: Any, agreed: Agreed, wrapped: bytes) -> bytes:
    """The content key.

    Raises:
        ValueError: the point is not on the key's curve, or the wrapped key does not unwrap.
        DataUnsupported: the key's type agrees on nothing here.
    """
    size, of_aes = WRAPS[agreed.wrap_name]
    wrapping_key = _derive(_secret(private_key, agreed.point), agreed, size)
    if not of_aes:
        return _unwrap_3des(wrapping_key, wrapped)
    try:
        return aes_key_unwrap(wrapping_key, wrapped)
    except InvalidUnwrap as error:
        raise ValueError("not wrapped with this key") from error


def _secret(private_key: Any, point: bytes) -> bytes:
    public_key = private_key.public_key()
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        # Refuses points that are not on the curve, or the answers would tell of the private key.
        there = ec.EllipticCurvePublicKey.from_encoded_point(public_key.curve, point)
        return bytes(private_key.exchange(ec.ECDH(), there))
    for module, kind in ((x25519, "X25519PublicKey"), (x448, "X448PublicKey")):
        if isinstance(public_key, getattr(module, kind)):
            return bytes(private_key.exchange(getattr(module, kind).from_public_bytes(point)))
    raise DataUnsupported("ECDH with a key of this type is not read")


def _derive(secret: bytes, agreed: Agreed, size: int) -> bytes:
    name, function = SCHEMES[agreed.scheme]
    algorithm = getattr(hashes, name.upper())()
    info = _shared_info(agreed, size)
    if function == "hkdf":
        return HKDF(algorithm, size, None, info).derive(secret)
    return X963KDF(algorithm, size, info).derive(secret)


def _shared_info(agreed: Agreed, size: int) -> bytes:
    """ECC-CMS-SharedInfo (RFC 5753 section 7.2)."""
    parts = [agreed.wrap]
    if agreed.user_material is not None:
        parts.append(der.write(0xA0, der.write(der.OCTET_STRING, agreed.user_material)))
    parts.append(der.write(0xA2, der.write(der.OCTET_STRING, (size * 8).to_bytes(4, "big"))))
    return der.write(der.SEQUENCE, *parts)


def _unwrap_3des(key: bytes, wrapped: bytes) -> bytes:
    """RFC 3217 section 3.2; programs wrap keys of every size with it."""
    if len(wrapped) % 8 or not 24 < len(wrapped) <= 64:
        raise ValueError("not a wrapped 3DES key")
    inner = ciphers.cbc("3des", key, bytes.fromhex("4adda22c79e82105"), wrapped)[::-1]
    opened = ciphers.cbc("3des", key, inner[:8], inner[8:])
    if not hmac.compare_digest(hashlib.sha1(opened[:-8]).digest()[:8], opened[-8:]):  # noqa: S324
        raise ValueError("not wrapped with this key")
    return opened[:-8]
