# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""BER (X.690) of other people's PKCS#12 and PKCS#7 files, rewritten as DER.

Windows, Java and NSS write these with indefinite lengths and strings in pieces. They are rewritten before anything
looks into them, so that the one strict reader (der.py) reads them all. Elements in a SET are not sorted: nothing here
signs.
Depth, and through the size of the file the work, are bounded.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

_DEEPEST = 32
_MOST_ELEMENTS = 50_000
_CONSTRUCTED = 0x20
_END = b"\0\0"


def to_der(data: bytes) -> bytes:
    """The one element with which ``data`` begins, as DER; what follows it is left out.

    Raises:
        FormatError: it is cut off, too deep, or no BER.
    """
    return _Reader(data).element(0, 0)[0]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MOST_ELEMENTS

    def element(self, place: int, depth: int) -> tuple[bytes, int]:
        """The DER of the element at a place, and the place behind it."""
        tag, size, start = self._header(place)
        self._left -= 1
        if depth > _DEEPEST or not self._left:
            raise FormatError("BER: more elements, or deeper ones, than any key or certificate has")
        end = None if size is None else start + size
        if end is not None and end > len(self._data):
            raise FormatError("BER: truncated")
        if not tag & _CONSTRUCTED:
            if end is None:
                raise FormatError("BER: a primitive element has no length")
            return der.write(tag, self._data[start:end]), end
        parts, behind = self._parts(start, end, depth)
        if tag == der.OCTET_STRING | _CONSTRUCTED:
            return der.write(
                der.OCTET_STRING, *(der.read(part).expect(der.OCTET_STRING).body for part in parts)
            ), behind
        return der.write(tag, *parts), behind

    def _parts(self, place: int, end: int | None, depth: int) -> tuple[list[bytes], int]:
        parts: list[bytes] = []
        while place != end:
            if end is None and self._data[place : place + 2] == _END:
                return parts, place + 2
            part, place = self.element(place, depth + 1)
            parts.append(part)
            if end is not None and place > end:
                raise FormatError("BER: an element is longer than what it lies in")
        return parts, place

    def _header(self, place: int) -> tuple[int, int | None, int]:
        """Tag, length (None: up to an end mark) and the place of the content."""
        data = self._data
        if len(data) < place + 2 or data[place] & 0x1F == 0x1F:
            raise FormatError("BER: truncated, or a tag that no key or certificate has")
        tag, size, start = data[place], data[place + 1], place + 2
        if size == 0x80:
            return tag, None, start
        if size & 0x80:
            count = size & 0x7F
            if count > 8 or len(data) < start + count:
                raise FormatError("BER: truncated")
            size = int.from_bytes(data[start : start + count], "big")
            start += count
        return tag, size, start
