# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The headers and parts of a mail (RFC 5322, RFC 2045), by their places in its bytes.

Nothing is rewritten: what is not looked for keeps every byte, whatever it is. All of it takes time in proportion to
the mail, and a mail that breaks the rules is read as far as it goes.
"""

from __future__ import annotations

import base64
import binascii
import re
import string
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import mime_parameters

_FIELD = re.compile(rb"^(([!-9;-~]+)[ \t]*:((?:[^\n]*)(?:\n[ \t][^\n]*)*)\n?)", re.MULTILINE)
_NOT_BASE64 = bytes(set(range(256)) - set(string.ascii_letters.encode() + string.digits.encode() + b"+/"))
#: In the first bytes of a text there is none of these.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08")) + b"\x7f"
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
        parameters: of the media type, names in lower case (``mime_parameters``).
    """

    fields: tuple[Field, ...]
    header: bytes
    body: int
    kind: bytes
    parameters: Mapping[bytes, bytes]

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
    fields = tuple([Field(name.lower(), value, lines) for lines, name, value in _FIELD.findall(header)])
    kind = b"text/plain"
    parameters: Mapping[bytes, bytes] = {}
    for one in fields:
        if one.name == b"content-type":
            kind, parameters = mime_parameters.read(one.value)
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


def file_names(entity: Entity) -> Iterator[bytes]:
    """The names that a part gives itself, in lower case."""
    for name in mime_parameters.every(entity.parameters, b"name"):
        yield mime_parameters.without_encoded_words(name).strip().lower()
    for field in entity.fields:
        if field.name == b"content-disposition":
            for name in mime_parameters.every(mime_parameters.read(field.value)[1], b"filename"):
                yield mime_parameters.without_encoded_words(name).strip().lower()


def is_text(data: bytes) -> bool:
    """Whether the first bytes of a content are those of a text, in UTF-8 or nearly all in ASCII."""
    if data.translate(None, _CONTROLS) != data:
        return False
    try:
        data[: max(len(data) - 3, 0)].decode("utf-8")  # the last letter may be cut in two
    except UnicodeDecodeError as error:
        if error.start < len(data) - 6:
            return sum(byte < 128 for byte in data) >= 0.75 * len(data)
    return True


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


def boundary_of(data: bytes, end: int, entity: Entity) -> bytes:
    """The boundary of a multipart entity; of two ways to read it the one that its body has."""
    found = mime_parameters.every(entity.parameters, b"boundary")
    if len(found) < 2:
        return found[0] if found else b""
    for boundary in filter(None, found):
        if next(_delimiters(data, entity.body, end, b"--" + boundary), None):
            return boundary
    return b""


def encoding_of(entity: Entity) -> bytes:
    """The transfer encoding of a body, in lower case."""
    encoding = entity.value(b"content-transfer-encoding")
    if b"(" in encoding:
        encoding = mime_parameters.without_comments(encoding).strip()
    return encoding.lower()


def encoded(data: bytes, encoding: bytes, line_end: bytes) -> bytes:
    """A body in base64 or quoted-printable."""
    if encoding == b"base64":
        return base64.encodebytes(data).replace(b"\n", line_end)
    return binascii.b2a_qp(data, istext=False).replace(b"=\n", b"=" + line_end)


def decoded(data: bytes, encoding: bytes) -> bytes:
    """A body without its transfer encoding (``encoding_of``).

    Raises:
        ValueError: it is base64 and damaged.
    """
    if encoding == b"base64":
        return binascii.a2b_base64(data)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(data)
    return data


def decoded_somehow(data: bytes, encoding: bytes) -> bytes:
    """As ``decoded``; of base64 that is cut off or altered what there is."""
    if encoding == b"base64":
        digits = data.translate(None, _NOT_BASE64)
        digits = digits[:-1] if len(digits) % 4 == 1 else digits
        return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
    return decoded(data, encoding)


def _header_end(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the header's bytes end, and where the body begins."""
    if data[start : start + 1] == b"\n":
        return start, start + 1
    if data[start : start + 2] == b"\r\n":
        return start, start + 2
    limit = min(end, start + _LONGEST_HEADER)
    first = data.find(b"\n", start, limit)
    # Nothing is looked for behind the blank line, which has the line end of the first line nearly always.
    if first > 0 and data[first - 1] == 13:
        full = data.find(b"\n\r\n", first, limit)
        bare = data.find(b"\n\n", first, limit if full < 0 else full + 1)
    else:
        bare = data.find(b"\n\n", start, limit)
        full = data.find(b"\n\r\n", start, limit if bare < 0 else bare + 2)
    if bare < 0 and full < 0:
        return limit, limit
    if full < 0 or 0 <= bare < full:
        return bare + 1, bare + 2
    return full + 1, full + 3


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
