# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The integrity check of PKCS#12: the classic MAC (RFC 7292 section 5.1) and PBMAC1 (RFC 9879), made and compared.

The work that a file asks for is bounded before any of it is done.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, WrongPassphrase
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pkcs12_kdf

HMAC, PBMAC1 = "hmac", "pbmac1"
#: Java's old default was 100,000, ours is 600,000.
MOST_ITERATIONS = 1_000_000

_SALT_SIZE = 16
_PBMAC1 = "1.2.840.113549.1.5.14"
_PBKDF2 = "1.2.840.113549.1.5.12"
#: Hash functions, and HMAC with them.
_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_HMACS = {
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
_NULL = der.write(der.NULL)


@dataclass(frozen=True)
class Mac:
    """What protects a file: ``hmac`` or ``pbmac1``, its hash function and iterations."""

    kind: str
    hash: str
    iterations: int


def make(content: bytes, password: str, mac: Mac) -> bytes:
    """The DER MacData of an AuthenticatedSafe."""
    salt = secrets.token_bytes(_SALT_SIZE)
    if mac.kind == PBMAC1:
        return _pbmac1(content, password, mac, salt)
    key = pkcs12_kdf.Derivation(password, salt, mac.iterations, mac.hash)(pkcs12_kdf.MAC, _size(mac.hash))
    algorithm = _sequence(der.oid(_oid(_HASHES, mac.hash)), _NULL)
    return _mac_data(algorithm, hmac.digest(key, content, mac.hash), salt, mac.iterations)


def _pbmac1(content: bytes, password: str, mac: Mac, salt: bytes) -> bytes:
    function = _sequence(der.oid(_oid(_HMACS, mac.hash)), _NULL)
    size = _size(mac.hash)
    key = hashlib.pbkdf2_hmac(mac.hash, password.encode("utf-8"), salt, mac.iterations, size)
    derivation = _sequence(
        *(der.write(der.OCTET_STRING, salt), der.write_integer(mac.iterations), der.write_integer(size), function)
    )
    algorithm = _sequence(der.oid(_PBMAC1), _sequence(_sequence(der.oid(_PBKDF2), derivation), function))
    # RFC 9879 section 4: these two mean nothing here.
    return _mac_data(algorithm, hmac.digest(key, content, mac.hash), b"NOT USED", 1)


def check(mac_data: der.Element, content: bytes, password: str) -> Mac:
    """What a file's MacData is, which fits the content.

    Raises:
        WrongPassphrase: it does not fit: the password is another one, or the file was altered.
        FormatError: it is malformed, of a kind that is not known, or asks for unreasonable work.
    """
    fields = mac_data.expect(der.SEQUENCE).children()
    information = fields[0].expect(der.SEQUENCE).children() if len(fields) in (2, 3) else []
    if len(information) != 2:
        raise FormatError("the PKCS#12 file's MAC is malformed")
    algorithm = information[0].expect(der.SEQUENCE).children()
    kind = der.dotted(algorithm[0]) if algorithm else ""
    if kind == _PBMAC1:
        mac, key = _read_pbmac1(algorithm, password)
    else:
        mac, key = _read_classic(kind, fields, password)
    if not hmac.compare_digest(hmac.digest(key, content, mac.hash), _octets(information[1])):
        raise WrongPassphrase("the password is another one, or the file was altered")
    return mac


def _read_classic(kind: str, fields: list[der.Element], password: str) -> tuple[Mac, bytes]:
    if kind not in _HASHES:
        raise FormatError("the PKCS#12 file's MAC is of a kind that is not known here")
    mac = Mac(HMAC, _HASHES[kind], fields[2].integer() if len(fields) == 3 else 1)
    _check_work(mac.iterations)
    derive = pkcs12_kdf.Derivation(password, _octets(fields[1]), mac.iterations, mac.hash)
    return mac, derive(pkcs12_kdf.MAC, _size(mac.hash))


def _read_pbmac1(algorithm: list[der.Element], password: str) -> tuple[Mac, bytes]:
    parts = [part.expect(der.SEQUENCE).children() for part in algorithm[1].expect(der.SEQUENCE).children()]
    if len(parts) != 2 or len(parts[0]) != 2 or not parts[1] or der.dotted(parts[0][0]) != _PBKDF2:
        raise FormatError("the PKCS#12 file's MAC derives its key in a way that is not known here")
    parameters = parts[0][1].expect(der.SEQUENCE).children()
    function, prf = der.dotted(parts[1][0]), der.dotted(parameters[-1].expect(der.SEQUENCE).children()[0])
    if len(parameters) != 4 or function not in _HMACS or prf not in _HMACS:
        raise FormatError("the PKCS#12 file's MAC derives its key in a way that is not known here")
    salt, (iterations, size) = _octets(parameters[0]), (parameters[1].integer(), parameters[2].integer())
    _check_work(iterations)
    if not 20 <= size <= 64:  # RFC 9879 section 9: shorter ones are weak
        raise FormatError("the PKCS#12 file's MAC has a key of an unreasonable size")
    key = hashlib.pbkdf2_hmac(_HMACS[prf], password.encode("utf-8"), salt, iterations, size)
    return Mac(PBMAC1, _HMACS[function], iterations), key


def _check_work(iterations: int) -> None:
    if not 1 <= iterations <= MOST_ITERATIONS:
        raise FormatError("the PKCS#12 file's MAC asks for an unreasonable number of iterations")


def _mac_data(algorithm: bytes, value: bytes, salt: bytes, iterations: int) -> bytes:
    information = _sequence(algorithm, der.write(der.OCTET_STRING, value))
    # DER leaves a default out, and 1 is it.
    rounds = der.write_integer(iterations) if iterations != 1 else b""
    return _sequence(information, der.write(der.OCTET_STRING, salt), rounds)


def _oid(names: dict[str, str], wanted: str) -> str:
    return next(oid for oid, name in names.items() if name == wanted)


def _size(name: str) -> int:
    return hashlib.new(name, usedforsecurity=False).digest_size


def _octets(element: der.Element) -> bytes:
    return element.expect(der.OCTET_STRING).body


def _sequence(*parts: bytes) -> bytes:
    return der.write(der.SEQUENCE, *parts)
