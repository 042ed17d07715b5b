# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The little DER that sealed messages need (X.690): one-byte tags, definite lengths.

The reader is no judge of canonical form. Whoever reads builds the same bytes again from the parts it found and compares
(see cms_open): so only the one encoding that the writer here makes is ever accepted.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x05, 0x06, 0x30, 0x31


def tlv(tag: int, *parts: bytes) -> bytes:
    """One element: tag, minimal length, the parts joined."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, *parts)


def octets(data: bytes) -> bytes:
    return tlv(OCTET_STRING, data)


def small(number: int) -> bytes:
    """INTEGER from 0 to 127: all that the structures here have."""
    return tlv(INTEGER, bytes((number,)))


def elements(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Tag, content and whole encoding of every element of ``data``.

    Raises:
        FormatError: when ``data`` is not a row of whole elements.
    """
    found = []
    while data:
        start, size = _header(data)
        if len(data) < start + size:
            raise FormatError("DER: an element is cut off")
        found.append((data[0], data[start : start + size], data[: start + size]))
        data = data[start + size :]
    return found


def fields(data: bytes, *tags: int) -> list[bytes]:
    """The contents of the elements of ``data``, which must have exactly these tags in this order.

    Raises:
        FormatError: when they differ.
    """
    found = elements(data)
    if [tag for tag, _content, _whole in found] != list(tags):
        raise FormatError("DER: other elements than expected")
    return [content for _tag, content, _whole in found]


def _header(data: bytes) -> tuple[int, int]:
    """Where the content of the first element starts, and its size in bytes."""
    if len(data) < 2 or data[0] & 0x1F == 0x1F:
        raise FormatError("DER: no element")
    if data[1] < 0x80:
        return 2, data[1]
    count = data[1] & 0x7F
    # 4 length bytes are more than anything here needs; 0 is the indefinite form.
    if not 1 <= count <= 4 or len(data) < 2 + count:
        raise FormatError("DER: a length is not definite")
    return 2 + count, int.from_bytes(data[2 : 2 + count], "big")
