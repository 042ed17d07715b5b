# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DER (X.690), as far as private keys and certificates need it: read strictly, write exactly.

One-byte tags and definite, minimal lengths only; trailing bytes are refused; so one value has one encoding. It exists
because asn1crypto reads BER lazily, so that two encodings of one message both pass, and takes longer to import than
twenty keys take to read (docs/adr/0003-own-strict-der.md).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x02, 0x03, 0x04, 0x05, 0x06
SEQUENCE, SET = 0x30, 0x31

#: Files of other people come here too. These keep the work for a file in proportion to its size.
_MOST_CHILDREN = 20_000
_LONGEST_OID = 64


@dataclass(frozen=True)
class Element:
    """One element: its tag byte, the bytes of its content, and ``whole``: its complete encoding."""

    tag: int
    body: bytes
    whole: bytes

    def children(self) -> list[Element]:
        """The elements in the content.

        Raises:
            FormatError: the content is not a row of DER elements.
        """
        found, place = [], 0
        while place < len(self.body):
            found.append(_at(self.body, place))
            place += len(found[-1].whole)
            if len(found) > _MOST_CHILDREN:
                raise FormatError("DER: more elements in one than any key or certificate has")
        return found

    def expect(self, tag: int) -> Element:
        """This element, when it has the tag.

        Raises:
            FormatError: it has another.
        """
        if self.tag != tag:
            raise FormatError("DER: an element has another type than expected")
        return self

    def integer(self) -> int:
        """The value of a non-negative INTEGER.

        Raises:
            FormatError: it is none.
        """
        body = self.expect(INTEGER).body
        if not body or body[0] & 0x80 or (len(body) > 1 and body[0] == 0 and not body[1] & 0x80):
            raise FormatError("DER: not a non-negative integer in its shortest form")
        return int.from_bytes(body, "big")

    def bits(self) -> bytes:
        """The bytes of a BIT STRING without unused bits.

        Raises:
            FormatError: it is none.
        """
        body = self.expect(BIT_STRING).body
        if body[:1] != b"\x00":
            raise FormatError("DER: a bit string does not hold whole bytes")
        return body[1:]


def read(data: bytes) -> Element:
    """The one element that ``data`` is.

    Raises:
        FormatError: it is not exactly one DER element.
    """
    element = _at(data, 0)
    if len(element.whole) != len(data):
        raise FormatError("DER: bytes follow the end")
    return element


def read_first(data: bytes) -> Element:
    """The element with which ``data`` begins; what follows it is the caller's to look at.

    Raises:
        FormatError: it begins with none.
    """
    return _at(data, 0)


def read_sequence(data: bytes) -> list[Element]:
    """The children of the one SEQUENCE that ``data`` is.

    Raises:
        FormatError: it is not exactly one.
    """
    return read(data).expect(SEQUENCE).children()


def write(tag: int, *parts: bytes) -> bytes:
    """The encoding of one element."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def write_integer(value: int) -> bytes:
    """The encoding of a non-negative INTEGER."""
    return write(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def write_bits(data: bytes) -> bytes:
    """The encoding of a BIT STRING of whole bytes."""
    return write(BIT_STRING, b"\x00", data)


@functools.lru_cache(maxsize=128)
def oid(dotted: str) -> bytes:
    """The encoding of an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    body = bytearray()
    for number in (first * 40 + second, *rest):
        groups = [number & 0x7F]
        while number > 0x7F:
            number >>= 7
            groups.append(number & 0x7F | 0x80)
        body += bytes(reversed(groups))
    return write(OID, bytes(body))


def dotted(element: Element) -> str:
    """The dotted form of an OBJECT IDENTIFIER.

    Raises:
        FormatError: it is none.
    """
    body = element.expect(OID).body
    if not 0 < len(body) <= _LONGEST_OID or body[-1] & 0x80:
        raise FormatError("DER: not an object identifier")
    numbers, number = [], 0
    for byte in body:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:]))


def _at(data: bytes, place: int) -> Element:
    """The element that begins at a place."""
    if len(data) < place + 2 or data[place] & 0x1F == 0x1F:
        raise FormatError("DER: truncated, or not DER")
    size, start = data[place + 1], place + 2
    if size & 0x80:
        count = size & 0x7F
        length = data[start : start + count]
        start += count
        if not 1 <= count <= 4 or len(length) != count or length[0] == 0:
            raise FormatError("DER: a length is not in its shortest form")
        size = int.from_bytes(length, "big")
        if size < 0x80:
            raise FormatError("DER: a length is not in its shortest form")
    if start + size > len(data):
        raise FormatError("DER: truncated")
    return Element(data[place], data[start : start + size], data[place : start + size])
