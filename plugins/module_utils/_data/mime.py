# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The headers and parts of a mail (RFC 5322, RFC 2045), by their places in its bytes.

Nothing is rewritten: what is not looked for keeps every byte, whatever it is. All of it takes time in proportion to
the mail, and a mail that breaks the rules is read as far as it goes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\n]*)(?:\n[ \t][^\n]*)*)\n?", re.MULTILINE)
_PARAMETER = re.compile(rb";\s*([^\s=;\"]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]*))")
_ESCAPED = re.compile(rb"\\(.)")
#: A header that is longer is none.
_LONGEST_HEADER = 1024 * 1024


class Field(NamedTuple):
    """One field of a header: its name in lower case, its value, and its whole lines."""

    name: bytes
    value: bytes
    lines: bytes


class Entity(NamedTuple):
    """A mail or one part of it.

    Attributes:
        fields: of the header.
        header: the header's bytes, up to the blank line.
        body: where the body begins in the bytes that were read.
        kind: the media type in lower case, ``text/plain`` when nothing says it.
        parameters: of the media type, names in lower case.
    """

    fields: tuple[Field, ...]
    header: bytes
    body: int
    kind: bytes
    parameters: dict[bytes, bytes]

    def value(self, name: bytes) -> bytes:
        """The value of the first field of this name, unfolded; empty without one."""
        for one in self.fields:
            if one.name == name:
                return b" ".join(one.value.split())
        return b""


def read(data: bytes, start: int = 0, end: int | None = None) -> Entity:
    """The entity that these bytes are."""
    end = len(data) if end is None else end
    stop, body = _header_end(data, start, end)
    header = data[start:stop]
    fields = tuple([Field(match[1].lower(), match[2], match[0]) for match in _FIELD.finditer(header)])
    kind = b"text/plain"
    parameters: dict[bytes, bytes] = {}
    for one in fields:
        if one.name == b"content-type":
            kind, parameters = _media_type(one.value)
            break
    return Entity(fields, header, body, kind, parameters)


def looks_like_one(data: bytes) -> bool:
    """Whether the bytes begin with a header that says what they are, or with the blank line of an empty one."""
    return data[:1] == b"\n" or data[:2] == b"\r\n" or describes(read(data), data)


def describes(entity: Entity, data: bytes) -> bool:
    """Whether the bytes that an entity was read from begin with a header that says what they are."""
    if not entity.fields or entity.body == len(entity.header):  # no blank line
        return False
    return data.startswith(entity.fields[0].lines) and any(one.name.startswith(b"content-") for one in entity.fields)


def parameter_of(value: bytes, name: bytes) -> bytes:
    """A parameter of a structured field such as Content-Disposition; empty without it."""
    return _media_type(value)[1].get(name, b"")


def parts(data: bytes, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Where each part of a multipart body begins and ends (RFC 2046 section 5.1.1)."""
    mark, begin = b"--" + boundary, -1
    for place, after, last in _delimiters(data, start, end, mark):
        if begin >= 0:
            yield begin, max(begin, _before_line_end(data, begin, place))
        begin = -1 if last else after
        if last:
            return
    if begin >= 0:  # the closing delimiter is missing, as in a mail that was cut off
        yield begin, end


def decoded(data: bytes, encoding: bytes) -> bytes:
    """A body without its transfer encoding.

    Raises:
        ValueError: it is base64 and damaged.
    """
    encoding = encoding.lower()
    if encoding == b"base64":
        return binascii.a2b_base64(data)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(data)
    return data


def _header_end(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the header's bytes end, and where the body begins."""
    if data[start : start + 1] == b"\n":
        return start, start + 1
    if data[start : start + 2] == b"\r\n":
        return start, start + 2
    limit = min(end, start + _LONGEST_HEADER)
    bare, full = data.find(b"\n\n", start, limit), data.find(b"\n\r\n", start, limit)
    if bare < 0 and full < 0:
        return limit, limit
    if full < 0 or 0 <= bare < full:
        return bare + 1, bare + 2
    return full + 1, full + 3


def _media_type(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    kind, semicolon, rest = value.partition(b";")
    parameters: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(semicolon + rest):
        quoted = match[3] if match[2] is None else match[2]
        if match[2] and b"\\" in match[2]:
            quoted = _ESCAPED.sub(rb"\1", match[2])
        parameters.setdefault(match[1].lower(), quoted)
    return kind.strip().lower(), parameters


def _delimiters(data: bytes, start: int, end: int, mark: bytes) -> Iterator[tuple[int, int, bool]]:
    """Every line that is a delimiter: its place, the place behind it, and whether it is the closing one."""
    place = data.find(mark, start, end)
    while place >= 0:
        after = place + len(mark)
        if place == start or data[place - 1] == 10:
            last = data[after : after + 2] == b"--"
            line_end = data.find(b"\n", after, end)
            line_end = end if line_end < 0 else line_end
            if not data[after + 2 * last : line_end].strip(b" \t\r"):
                yield place, min(line_end + 1, end), last
                after = line_end
        place = data.find(mark, after, end)


def _before_line_end(data: bytes, begin: int, place: int) -> int:
    """The line end before a delimiter is the delimiter's."""
    if data[place - 1 : place] == b"\n":
        place -= 1
        if place > begin and data[place - 1 : place] == b"\r":
            place -= 1
    return place
