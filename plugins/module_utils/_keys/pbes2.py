# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private keys under a passphrase: PKCS#8 EncryptedPrivateKeyInfo with PBES2 (RFC 8018 section 6.2).

Written in one way only (docs/formats.md): PBKDF2 with HMAC-SHA-256, 600,000 iterations; AES-256-CBC. Read in the ways
that openssl and others write today. It is done here, and not by cryptography, so that the usage attribute inside
survives: cryptography drops it. CBC does not authenticate: a wrong passphrase shows in the padding or in
the structure of what comes out, and a full check proves the key (see soundness.py).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    WrongPassphrase,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

try:
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError as error:
    note_missing_library(error)

ITERATIONS = 600_000
_SALT_SIZE = 16

#: Work that a file may ask for. Beyond these it is a trap, not a key.
#: PBKDF2's iterations; scrypt's bytes of memory, and its parallelization.
LIMITS = (20_000_000, 1024 * 1024 * 1024, 64)

_PBES2 = "1.2.840.113549.1.5.13"
_PBKDF2 = "1.2.840.113549.1.5.12"
_SCRYPT = "1.3.6.1.4.1.11591.4.11"
_HASHES = {
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.8": "sha224",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
_SHA256 = "1.2.840.113549.2.9"
_AES256 = "2.16.840.1.101.3.4.1.42"
#: AES-CBC: OID to the size of the key in bytes.
_CIPHERS = {"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, _AES256: 32}


class UnknownScheme(FormatError):
    """The key is encrypted in a way that is not read here; cryptography may."""


def encrypt(pkcs8: bytes, passphrase: str, iterations: int = ITERATIONS) -> bytes:
    """The DER EncryptedPrivateKeyInfo of a DER PrivateKeyInfo."""
    salt, start = secrets.token_bytes(_SALT_SIZE), secrets.token_bytes(16)
    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode("utf-8"), salt, iterations, 32)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    encrypted = encryptor.update(padder.update(pkcs8) + padder.finalize()) + encryptor.finalize()
    derivation = der.write(
        der.SEQUENCE,
        der.write(der.OCTET_STRING, salt),
        der.write_integer(iterations),
        _algorithm(_SHA256, der.write(der.NULL)),
    )
    parameters = der.write(
        der.SEQUENCE, _algorithm(_PBKDF2, derivation), _algorithm(_AES256, der.write(der.OCTET_STRING, start))
    )
    return der.write(der.SEQUENCE, _algorithm(_PBES2, parameters), der.write(der.OCTET_STRING, encrypted))


def decrypt(data: bytes, passphrase: str | None, limits: tuple[int, int, int] = LIMITS) -> bytes:
    """What is encrypted in a DER EncryptedPrivateKeyInfo; not proven to be a key.

    Args:
        data: the whole of it.
        passphrase: that opens it.
        limits: of the work that it may ask for, as ``LIMITS``.

    Raises:
        WrongPassphrase: it is missing or does not fit.
        UnknownScheme: this way of encryption is not read here.
        FormatError: it is no EncryptedPrivateKeyInfo.
    """
    scheme, encrypted = _pair(der.read(data))
    kind, parameters = _identified(scheme)
    if kind != _PBES2:
        raise UnknownScheme("not PBES2")
    if passphrase is None:
        raise WrongPassphrase("the key is encrypted; give its passphrase in the option passphrase")
    derivation, cipher = _pair(parameters)
    cipher_kind, start = _identified(cipher)
    if cipher_kind not in _CIPHERS:
        raise UnknownScheme("not AES-CBC")
    key = _derive(derivation, _CIPHERS[cipher_kind], limits)(passphrase.encode("utf-8"))
    return _decrypt_cbc(key, start.expect(der.OCTET_STRING).body, encrypted.expect(der.OCTET_STRING).body)


def _decrypt_cbc(key: bytes, start: bytes, encrypted: bytes) -> bytes:
    if len(start) != 16:
        raise FormatError("the encrypted key's initialisation vector has a wrong size")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(start)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    try:
        padded = decryptor.update(encrypted) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise WrongPassphrase("the passphrase does not open the key, or the file is damaged") from error


def _derive(derivation: der.Element, size: int, limits: tuple[int, int, int]) -> Callable[[bytes], bytes]:
    kind, parameters = _identified(derivation)
    if kind == _PBKDF2:
        return _pbkdf2(parameters.expect(der.SEQUENCE).children(), size, limits[0])
    if kind == _SCRYPT:
        return _scrypt(parameters.expect(der.SEQUENCE).children(), size, *limits[1:])
    raise UnknownScheme("neither PBKDF2 nor scrypt")


def _pbkdf2(fields: list[der.Element], size: int, most_iterations: int) -> Callable[[bytes], bytes]:
    """RFC 8018 appendix A.2: salt, iterations, key length (optional), PRF (default HMAC-SHA-1)."""
    if len(fields) < 2:
        raise FormatError("not PBKDF2 parameters")
    salt, iterations = fields[0].expect(der.OCTET_STRING).body, fields[1].integer()
    rest = fields[2:]
    if rest and rest[0].tag == der.INTEGER and rest.pop(0).integer() != size:
        raise FormatError("the size of the derived key is not the cipher's")
    prf = der.dotted(rest[0].expect(der.SEQUENCE).children()[0]) if rest else "1.2.840.113549.2.7"
    if prf not in _HASHES:
        raise UnknownScheme("an unknown PRF")
    if not 1 <= iterations <= most_iterations:
        raise FormatError("the encrypted key asks for an unreasonable number of iterations")
    return lambda passphrase: hashlib.pbkdf2_hmac(_HASHES[prf], passphrase, salt, iterations, size)


def _scrypt(fields: list[der.Element], size: int, most_memory: int, most_parallel: int) -> Callable[[bytes], bytes]:
    """RFC 7914 section 7.1: salt, cost, block size, parallelization, key length (optional)."""
    if not 4 <= len(fields) <= 5 or (len(fields) == 5 and fields[4].integer() != size):
        raise FormatError("not scrypt parameters")
    salt = fields[0].expect(der.OCTET_STRING).body
    cost, block, parallel = (number.integer() for number in fields[1:4])
    memory = 128 * block * (cost + parallel + 2)
    if cost < 2 or cost & (cost - 1) or not block or not 1 <= parallel <= most_parallel or memory > most_memory:
        raise FormatError("the encrypted key asks for an unreasonable amount of memory or work")
    return lambda passphrase: hashlib.scrypt(
        passphrase, salt=salt, n=cost, r=block, p=parallel, dklen=size, maxmem=memory + 1024 * 1024
    )


def _algorithm(kind: str, parameters: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.oid(kind), parameters)


def _identified(element: der.Element) -> tuple[str, der.Element]:
    kind, parameters = _pair(element)
    return der.dotted(kind), parameters


def _pair(element: der.Element) -> list[der.Element]:
    fields = element.expect(der.SEQUENCE).children()
    if len(fields) != 2:
        raise FormatError("not an encrypted private key")
    return fields
