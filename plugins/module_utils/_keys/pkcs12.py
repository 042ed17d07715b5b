# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#12 (RFC 7292): what keys and certificates are in it. It is only read here, for their public facts.

Parts that are not encrypted are read without a passphrase. The integrity check is not made, because whoever owns the
file chooses its cost; a wrong passphrase shows in the padding and the structure of what comes out. For the same reason
the work that a file asks for is bounded far below what a key's owner may ask for (pbes2.py), and nothing is handed to a
library that would do whatever work it is asked for.

Read are PBES2 with AES (what OpenSSL 3, Java and Windows write today) and PKCS#12's own triple DES (what they wrote
before). Parts under RC2 or RC4 stay closed; that was usual for the certificates of old files, never for the keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    WrongPassphrase,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import ber, der, pbes2, pkcs12_kdf

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError as error:
    note_missing_library(error)

_DATA, _ENCRYPTED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.6"
_BAGS = "1.2.840.113549.1.12.10.1."
_KEY, _SHROUDED, _CERTIFICATE, _NESTED = (_BAGS + number for number in "1236")
_X509 = "1.2.840.113549.1.9.22.1"
#: pbeWithSHAAnd3-KeyTripleDES-CBC and pbeWithSHAAnd2-KeyTripleDES-CBC: size of the key.
_TRIPLE_DES = {"1.2.840.113549.1.12.1.3": 24, "1.2.840.113549.1.12.1.4": 16}

#: Java's default was 100,000, OpenSSL's is 2,048, Windows's 2,000. A million costs half a second.
_MOST_ITERATIONS = 1_000_000
_LIMITS = (_MOST_ITERATIONS, 64 * 1024 * 1024, 4)
_DEEPEST = 4
_MOST_BAGS = 1000


@dataclass(frozen=True)
class Contents:
    """What is in a PKCS#12 file.

    Attributes:
        keys: DER PrivateKeyInfo of each key that was opened, or was never encrypted.
        certificates: DER of each certificate.
        closed: how many parts stayed closed: encrypted keys, and encrypted rows of anything.
        key_attributes, certificate_attributes: of each of them, in the same order, DER of the values by dotted OID.
        algorithms: DER AlgorithmIdentifier of everything that is encrypted, closed parts too.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    certificates: tuple[bytes, ...] = ()
    closed: int = 0
    key_attributes: tuple[dict[str, bytes], ...] = ()
    certificate_attributes: tuple[dict[str, bytes], ...] = ()
    algorithms: tuple[bytes, ...] = ()


def read(data: bytes, passphrase: str | None = None, go_on: Callable[[], bool] = lambda: True) -> Contents:
    """What the file holds, as far as it can be opened.

    Args:
        data: the file; BER is read too.
        passphrase: of the encrypted parts.
        go_on: whether there is time left; asked before each part that is opened.

    Raises:
        FormatError: it is no PKCS#12.
    """
    fields = der.read_sequence(ber.to_der(data))
    if not 2 <= len(fields) <= 3 or fields[0].integer() != 3:
        raise FormatError("not PKCS#12")
    reader = _Reader(passphrase, go_on)
    kind, content = _content(fields[1])
    if kind != _DATA:
        raise FormatError("the PKCS#12 file is protected by a certificate, which is not read")
    for part in der.read_sequence(ber.to_der(_octets(content))):
        reader.read_part(part)
    attributes = tuple(reader.key_attributes), tuple(reader.certificate_attributes)
    return Contents(
        tuple(reader.keys), tuple(reader.certificates), reader.closed, *attributes, tuple(reader.algorithms)
    )


def decrypt(data: bytes, passphrase: str) -> bytes:
    """What is encrypted in a DER EncryptedPrivateKeyInfo, by PBES2 or PKCS#12's triple DES, with bounded work.

    Raises:
        WrongPassphrase: the passphrase does not fit.
        FormatError: it is none, is encrypted otherwise, or asks for too much work.
    """
    fields = der.read_sequence(data)
    if len(fields) != 2:
        raise FormatError("not an encrypted private key")
    scheme = fields[0].expect(der.SEQUENCE).children()
    kind = der.dotted(scheme[0]) if scheme else ""
    if kind in _TRIPLE_DES and len(scheme) == 2:
        encrypted = fields[1].expect(der.OCTET_STRING).body
        return _triple_des(_TRIPLE_DES[kind], scheme[1], encrypted, passphrase)
    return pbes2.decrypt(data, passphrase, _LIMITS)


class _Reader:
    def __init__(self, passphrase: str | None, go_on: Callable[[], bool]) -> None:
        self._passphrase, self._go_on = passphrase, go_on
        self._left = _MOST_BAGS
        self.keys: list[bytes] = []
        self.certificates: list[bytes] = []
        self.key_attributes: list[dict[str, bytes]] = []
        self.certificate_attributes: list[dict[str, bytes]] = []
        self.algorithms: list[bytes] = []
        self.closed = 0

    def read_part(self, part: der.Element) -> None:
        """One ContentInfo of the AuthenticatedSafe."""
        kind, content = _content(part)
        if kind == _DATA:
            self._read_bags(_octets(content), 0)
        elif kind == _ENCRYPTED:
            opened = self._opened(_encrypted_content(content))
            if opened is not None:
                self._read_bags(opened, 0)
        else:
            self.closed += 1

    def _read_bags(self, data: bytes, depth: int) -> None:
        for bag in der.read_sequence(ber.to_der(data)):
            self._left -= 1
            if depth > _DEEPEST or self._left < 0:
                raise FormatError("the PKCS#12 file holds more than any such file")
            kind, value = _content(bag)
            attributes = _attributes(bag)
            if kind in (_KEY, _SHROUDED):
                opened = value.whole if kind == _KEY else self._opened(value.whole)
                if opened is not None:
                    self.keys.append(opened)
                    self.key_attributes.append(attributes)
            elif kind == _CERTIFICATE:
                for one in _certificate(value):
                    self.certificates.append(one)
                    self.certificate_attributes.append(attributes)
            elif kind == _NESTED:
                self._read_bags(value.whole, depth + 1)

    def _opened(self, encrypted: bytes) -> bytes | None:
        """The content of an EncryptedPrivateKeyInfo; None, and counted, when it stays closed."""
        self.algorithms += [one.whole for one in der.read_sequence(encrypted)[:1]]
        if self._passphrase is not None and self._go_on():
            # Whatever is wrong with it, it stays closed and is counted.
            with contextlib.suppress(FormatError, WrongPassphrase, ValueError, TypeError, LookupError):
                return der.read_first(decrypt(encrypted, self._passphrase)).expect(der.SEQUENCE).whole
        self.closed += 1
        return None


def _content(element: der.Element) -> tuple[str, der.Element]:
    """ContentInfo and SafeBag both begin with an identifier and [0] with the value."""
    fields = element.expect(der.SEQUENCE).children()
    if len(fields) < 2 or fields[1].tag != 0xA0:
        raise FormatError("the PKCS#12 file is damaged")
    return der.dotted(fields[0]), der.read(fields[1].body)


def _attributes(bag: der.Element) -> dict[str, bytes]:
    """The attributes of a SafeBag; of several values the first, and of what is malformed nothing."""
    found = {}
    for attribute in bag.children()[2].children() if len(bag.children()) > 2 else []:
        with contextlib.suppress(FormatError, IndexError):
            kind, values = attribute.expect(der.SEQUENCE).children()[:2]
            found[der.dotted(kind)] = values.expect(der.SET).children()[0].whole
    return found


def _octets(element: der.Element) -> bytes:
    return element.expect(der.OCTET_STRING).body


def _encrypted_content(element: der.Element) -> bytes:
    """EncryptedData's {algorithm, [0] content}, in the form of an EncryptedPrivateKeyInfo."""
    fields = element.expect(der.SEQUENCE).children()
    inner = fields[1].expect(der.SEQUENCE).children() if len(fields) > 1 else []
    if len(inner) != 3 or inner[2].tag & 0x9F != 0x80:
        raise FormatError("the PKCS#12 file is damaged")
    # In BER it may come in pieces: [0] with OCTET STRINGs in it.
    pieces = [_octets(piece) for piece in inner[2].children()] if inner[2].tag & 0x20 else [inner[2].body]
    return der.write(der.SEQUENCE, inner[1].whole, der.write(der.OCTET_STRING, *pieces))


def _certificate(value: der.Element) -> Iterator[bytes]:
    kind, content = _content(value)
    if kind == _X509:
        yield _octets(content)


def _triple_des(size: int, parameters: der.Element, encrypted: bytes, passphrase: str) -> bytes:
    salt, rounds = parameters.expect(der.SEQUENCE).children()[:2]
    iterations = rounds.integer()
    if not 1 <= iterations <= _MOST_ITERATIONS or len(encrypted) % 8:
        raise FormatError("the encrypted part is damaged, or asks for an unreasonable number of iterations")
    derive = pkcs12_kdf.Derivation(passphrase, _octets(salt), iterations, "sha1")
    key, start = derive(pkcs12_kdf.KEY, size), derive(pkcs12_kdf.START, 8)
    decryptor = Cipher(triple_des(key), modes.CBC(start)).decryptor()
    padded = decryptor.update(encrypted) + decryptor.finalize()
    count = padded[-1] if padded else 0
    if not 1 <= count <= 8 or padded[-count:] != bytes([count]) * count:
        raise WrongPassphrase("the passphrase does not open it, or the file is damaged")
    return padded[:-count]


def triple_des(key: bytes) -> Any:
    """The cipher; cryptography 43 moved it."""
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    except ImportError:
        return algorithms.TripleDES(key)
    return TripleDES(key if len(key) == 24 else key + key[:8])
