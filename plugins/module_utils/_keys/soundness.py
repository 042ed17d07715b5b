# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof that both halves of a private key belong together. Facts of a key file are its own claim until then.

1. The library has loaded the key, and finds the same public key in it.
2. RSA: all numbers fit together, and what is encrypted to the public half is decrypted by the private one.
   EC: the public point is computed anew from the private number, as a file may carry the point of another key, which
   the library believes. Other types: their public half is always computed and has no place of its own.
"""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, pkcs8

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
except ImportError as error:
    note_missing_library(error)


def check(loaded: Any, info: pkcs8.PrivateKeyInfo, public_key: bytes) -> None:
    """Raise FormatError unless the halves belong together.

    Args:
        loaded: the cryptography private key object made of ``info``.
        info: the private key.
        public_key: its canonical DER SubjectPublicKeyInfo, as the file claims it.

    Raises:
        FormatError, ValueError: they do not.
    """
    found = loaded.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if identity.canonical(found) != public_key:
        raise FormatError("the key's public half belongs to another key")
    if isinstance(loaded, rsa.RSAPrivateKey):
        _check_rsa(loaded)
    elif isinstance(loaded, ec.EllipticCurvePrivateKey) and pkcs8.derived_ec(*pkcs8.ec_secret(info)) != public_key:
        raise FormatError("the key's public half belongs to another key")


def _check_rsa(key: Any) -> None:
    numbers = key.private_numbers()
    n, e, d, p, q = numbers.public_numbers.n, numbers.public_numbers.e, numbers.d, numbers.p, numbers.q
    fits = p * q == n and d * e % (p - 1) == d * e % (q - 1) == 1 and numbers.iqmp * q % p == 1
    if not fits or (numbers.dmp1, numbers.dmq1) != (d % (p - 1), d % (q - 1)):
        raise FormatError("the numbers of the RSA key do not belong together")
    # Encryption and not a signature: an encryption key never signs, not even a probe. Keys below 700 bits have no room
    # for it and are refused.
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    probe = os.urandom(16)
    if key.decrypt(key.public_key().encrypt(probe, scheme), scheme) != probe:
        raise FormatError("the RSA key does not decrypt what is encrypted to it")
