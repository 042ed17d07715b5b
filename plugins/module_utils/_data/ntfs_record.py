# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of an NTFS volume's master file table: which attributes a file has, where they lie, how the file is called.

Bytes in, dataclasses out; nothing here reads a file. Every number is checked against the bytes that are there. The
layout is that of NTFS 3.0 and 3.1, as ``layout.h`` of ntfs-3g describes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

#: Kinds of attributes.
STANDARD_INFORMATION, ATTRIBUTE_LIST, FILE_NAME, DATA, LOGGED_STREAM = 0x10, 0x20, 0x30, 0x80, 0x100
#: Flag of an attribute.
ENCRYPTED = 0x4000
_IN_USE, _FOLDER = 1, 2
#: The part of a reference that is the number of a record; the rest counts how often it was used.
NUMBER = (1 << 48) - 1
_BLOCK = 512
_HEADER = 0x30
_MOST_EXTENSIONS = 4096
_DOS_NAME = 2
_END = 0xFFFFFFFF
_LARGEST = 1 << 62
#: 2^32 seconds after 1970; what is later is no time but damage, and not every file system has it.
_LATEST = 2**32 * 10**7
_DAMAGED = "a record of the volume is damaged"


@dataclass(frozen=True)
class Run:
    """Clusters in a row: ``count`` of them from ``start``, or a hole when ``start`` is None."""

    start: int | None
    count: int


@dataclass(frozen=True)
class Attribute:
    """One attribute, put together from its pieces.

    Attributes:
        kind: one of the constants above.
        name: of the stream, empty for the main one.
        flags: ``ENCRYPTED`` and others.
        size: bytes of content.
        initialized: bytes that were ever written; the rest reads as zeros.
        value: the content, when it is in the record itself.
        runs: where it is otherwise.
    """

    kind: int
    name: str
    flags: int
    size: int
    initialized: int
    value: bytes | None = field(default=None, repr=False)
    runs: tuple[Run, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Entry:
    """A file or folder: its number in the table, its attributes, and the names that it has (parent, name)."""

    number: int
    folder: bool
    attributes: tuple[Attribute, ...]
    names: tuple[tuple[int, str], ...]

    def find(self, kind: int, name: str = "") -> Attribute | None:
        """The attribute of this kind and name."""
        return next((one for one in self.attributes if (one.kind, one.name) == (kind, name)), None)

    def modified(self) -> int:
        """When its content was changed last, in nanoseconds since 1970; 0 when it does not say."""
        facts = self.find(STANDARD_INFORMATION)
        if facts is None or len(facts.value or b"") < 16:
            return 0
        (ticks,) = struct.unpack_from("<Q", facts.value or b"", 8)
        since = ticks - 116_444_736_000_000_000
        return since * 100 if 0 < since < _LATEST else 0


def fixed(record: bytes) -> bytes:
    """The record with the last two bytes of each block put back.

    Raises:
        FormatError: it is none, or was not written whole.
    """
    if record[:4] != b"FILE":
        raise FormatError(_DAMAGED)
    start, count = struct.unpack_from("<HH", record, 4)
    if count != len(record) // _BLOCK + 1 or start < 0x28 or start + 2 * count > _BLOCK - 2:
        raise FormatError(_DAMAGED)
    fixed = bytearray(record)
    for block in range(1, count):
        end = block * _BLOCK
        if record[end - 2 : end] != record[start : start + 2]:
            raise FormatError("a record of the volume was written by halves")
        fixed[end - 2 : end] = record[start + 2 * block : start + 2 * block + 2]
    return bytes(fixed)


def header(record: bytes) -> tuple[bool, bool, int]:
    """Whether it is in use, whether it is a folder, and the record that it continues (0: none)."""
    if len(record) < _HEADER or record[:4] != b"FILE":
        return False, False, 0
    (flags,), (base,) = struct.unpack_from("<H", record, 0x16), struct.unpack_from("<Q", record, 0x20)
    return bool(flags & _IN_USE), bool(flags & _FOLDER), base & NUMBER


@dataclass(frozen=True)
class Piece:
    """An attribute as far as one record tells: ``first`` is the number of the cluster with which it goes on."""

    kind: int
    name: str
    flags: int
    first: int
    size: int = 0
    initialized: int = 0
    value: bytes | None = field(default=None, repr=False)
    runs: tuple[Run, ...] = field(default=(), repr=False)


def pieces(record: bytes) -> list[Piece]:
    """The attributes in one record; an attribute may have further pieces in others.

    Raises:
        FormatError: the record is damaged.
    """
    found = []
    place, end = struct.unpack_from("<H", record, 0x14)[0], len(record)
    while place + 16 <= end:
        kind, length = struct.unpack_from("<II", record, place)
        if kind == _END:
            break
        if length < 24 or length % 8 or place + length > end:
            raise FormatError(_DAMAGED)
        found.append(_piece(kind, record[place : place + length]))
        place += length
    return found


def _piece(kind: int, raw: bytes) -> Piece:
    outside, letters, name_at, flags = struct.unpack_from("<BBHH", raw, 8)
    name = raw[name_at : name_at + 2 * letters].decode("utf-16-le", "replace")
    if not outside:
        size, start = struct.unpack_from("<IH", raw, 0x10)
        if start + size > len(raw):
            raise FormatError(_DAMAGED)
        return Piece(kind, name, flags, 0, size, size, raw[start : start + size])
    if len(raw) < 0x40:
        raise FormatError(_DAMAGED)
    (first,), (runs_at,) = struct.unpack_from("<Q", raw, 0x10), struct.unpack_from("<H", raw, 0x20)
    size, initialized = struct.unpack_from("<QQ", raw, 0x30) if first == 0 else (0, 0)
    runs = tuple(_runs(raw[runs_at:]))
    if max(size, initialized, first, sum(run.count for run in runs)) >= _LARGEST:
        raise FormatError(_DAMAGED)
    return Piece(kind, name, flags, first, size, min(size, initialized), None, runs)


def _runs(raw: bytes) -> Iterator[Run]:
    place, start = 0, 0
    while place < len(raw) and raw[place]:
        count_size, start_size = raw[place] & 15, raw[place] >> 4
        middle = place + 1 + count_size
        after = middle + start_size
        count = int.from_bytes(raw[place + 1 : middle], "little")
        start += int.from_bytes(raw[middle:after], "little", signed=True)
        if max(count_size, start_size) > 8 or after > len(raw) or not count or not 0 <= start < _LARGEST:
            raise FormatError(_DAMAGED)
        yield Run(start if start_size else None, count)
        place = after


def joined(all_pieces: Iterable[Piece]) -> tuple[Attribute, ...]:
    """The attributes that the pieces make; in no order.

    Raises:
        FormatError: the first piece of one is missing, or there are more than is possible.
    """
    together: dict[tuple[int, str, int], list[Piece]] = {}
    for place, one in enumerate(all_pieces):
        # Only what lies outside has further pieces; a file may have several names, each an attribute of its own.
        together.setdefault((one.kind, one.name, -1 if one.value is None else place), []).append(one)
    return tuple(_attribute(sorted(group, key=lambda one: one.first)) for group in together.values())


def _attribute(group: list[Piece]) -> Attribute:
    start, reached = group[0], 0
    runs: list[Run] = []
    if start.first:
        raise FormatError(_DAMAGED)
    for one in group:
        if one.first != reached:
            break  # a piece is missing or twice there; whoever reads beyond is told so by the size
        runs += one.runs
        reached += sum(run.count for run in one.runs)
    return Attribute(start.kind, start.name, start.flags, start.size, start.initialized, start.value, tuple(runs))


def listed(content: bytes, own: int) -> list[int]:
    """The further records that the content of an attribute list names, each once.

    Raises:
        FormatError: there are more than is possible.
    """
    found: dict[int, None] = {}
    place = 0
    while place + 0x1A <= len(content):
        (length,), (number,) = (
            struct.unpack_from("<H", content, place + 4),
            struct.unpack_from("<Q", content, place + 16),
        )
        if length < 0x1A:
            break
        found[number & NUMBER] = None
        place += length
    found.pop(own, None)
    if len(found) > _MOST_EXTENSIONS:
        raise FormatError(_DAMAGED)
    return list(found)


def name_of(value: bytes) -> tuple[int, str] | None:
    """(record of the folder, name) that a FILE_NAME attribute holds; None for a short name of DOS."""
    if len(value) < 0x44 or value[0x41] == _DOS_NAME:
        return None
    (parent,) = struct.unpack_from("<Q", value)
    return parent & NUMBER, value[0x42 : 0x42 + 2 * value[0x40]].decode("utf-16-le", "replace")
