# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An NTFS volume, as far as finding files in it needs: master file table, attributes, names. It is only ever read.

The volume may be anybody's and damaged: every walk has an end, no reading goes beyond the image, and a record that does
not fit is an error of that record alone. What it says of its size is not believed: the work is in proportion to the
image, no byte of which is in a file twice. What is not needed is not read: no directory index, no journal, no
compressed data.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import stat
import struct
from collections.abc import Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import ntfs_record
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.ntfs_record import (
    ATTRIBUTE_LIST,
    DATA,
    FILE_NAME,
    Attribute,
    Entry,
    Run,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

_ROOT = 5
_BOOT = 512
#: A piece of the table that is searched at once; a multiple of every size of a record.
_CHUNK = 1 << 20
_LONGEST_LIST = 1 << 20
_DEEPEST = 256
#: How many further records are read in all, and for each record of the table: a bound for a volume that is made up.
_MOST_FURTHER, _FURTHER_EACH = 100_000, 32
#: How often the image's size may be read as lists of attributes: a file is looked at more than once.
_LISTS = 8


class Volume:
    """A volume in an open file: an image of a partition, or the partition itself."""

    def __init__(self, descriptor: int) -> None:
        """
        Raises:
            FormatError: it is no NTFS volume.
        """
        self._file = descriptor
        self.there = _size_of(descriptor)
        boot = self.at(0, _BOOT)
        _check_boot(boot)
        sector, per_cluster = struct.unpack_from("<HB", boot, 0x0B)
        sectors, table = struct.unpack_from("<QQ", boot, 0x28)
        self.cluster = sector * (per_cluster if per_cluster <= 0x80 else 1 << min(256 - per_cluster, 16))
        (per_record,) = struct.unpack_from("<b", boot, 0x40)
        self._record_size = per_record * self.cluster if per_record > 0 else 1 << min(-per_record, 16)
        if sector not in (512, 1024, 2048, 4096) or not 512 <= self.cluster <= 1 << 21:
            raise FormatError("the boot sector of the volume is damaged: it gives no possible cluster size")
        if self._record_size not in (1024, 2048, 4096):
            raise FormatError("the boot sector of the volume is damaged: it gives no possible record size")
        #: As the volume says; a truncated image is smaller.
        self.size = sectors * sector
        self._folders: dict[int, tuple[int, str] | None] = {}
        # Its first record says where the table is, perhaps by way of further records in the part that it tells itself.
        one = self._record_size
        self._left = _MOST_FURTHER
        self._lists_left = _LISTS * self.there
        self._use_table(Attribute(DATA, "", 0, one, one, runs=(Run(table, one // self.cluster + 1),)))
        self._use_table(self._own_data(ntfs_record.joined(ntfs_record.pieces(self._record(0)))))
        self._use_table(self._own_data(self.entry(0).attributes))
        self._left += _FURTHER_EACH * (self.mapped(self._table) // one)

    def _use_table(self, table: Attribute) -> None:
        """Keep where the pieces of the table are: (place in it, place in the image or None, length)."""
        self._table = table
        self._pieces: list[tuple[int, int | None, int]] = []
        place = 0
        with contextlib.suppress(FormatError):  # what is missing is not there when it is read
            for offset, length in self.extents(table):
                self._pieces.append((place, offset, length))
                place += length
        self._places = [piece[0] for piece in self._pieces]

    def _own_data(self, attributes: tuple[Attribute, ...]) -> Attribute:
        data = next((one for one in attributes if one.kind == DATA and not one.name), None)
        if data is None or data.value is not None or data.size > max(self.there, self.size):
            raise FormatError("the master file table is damaged: its first record does not say where it is")
        if any(run.start is None for run in data.runs):
            raise FormatError("the master file table is damaged: by its first record it has holes")
        self.mapped(data)
        return data

    def mapped(self, attribute: Attribute) -> int:
        """How many bytes of the image the attribute's pieces are; of what was cut off, none.

        Raises:
            FormatError: more than there are: parts of the image are in it several times.
        """
        found = 0
        for run in attribute.runs:
            if run.start is not None:
                found += max(0, min(run.count * self.cluster, self.there - run.start * self.cluster))
            if found > self.there:
                raise FormatError("it is damaged: by the volume's table, parts of the image are in it several times")
        return found

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self, attribute: Attribute, limit: int) -> bytes:
        """The content of an attribute of at most ``limit`` bytes.

        Raises:
            FormatError: it is larger, or not all of it is there.
        """
        if attribute.size > limit:
            raise FormatError(f"an attribute of {attribute.size} bytes is larger than any of its kind")
        if attribute.value is not None:
            return attribute.value
        return b"".join(self.stream(attribute))

    def stream(self, attribute: Attribute) -> Iterator[bytes]:
        """The raw content in pieces, zeros for holes; what was never written is as it lies there.

        Raises:
            FormatError: a piece is not in the image.
        """
        for offset, length in self.extents(attribute):
            for start in range(0, length, _CHUNK):
                size = min(_CHUNK, length - start)
                yield bytes(size) if offset is None else self.at(offset + start, size)

    def extents(self, attribute: Attribute) -> Iterator[tuple[int | None, int]]:
        """(place in the image, or None for a hole; length) of all pieces up to the attribute's size.

        Raises:
            FormatError: the pieces end before the attribute does.
        """
        left = attribute.size
        for run in attribute.runs:
            length = min(left, run.count * self.cluster)
            if length > 0:
                yield None if run.start is None else run.start * self.cluster, length
                left -= length
        if left > 0:
            raise FormatError("it is damaged: the volume does not say where all of it is")

    def at(self, place: int, size: int) -> bytes:
        """Bytes of the image.

        Raises:
            FormatError: it ends before, or cannot be read.
        """
        try:
            content = os.pread(self._file, size, place)
        except (OSError, OverflowError, ValueError) as error:
            raise FormatError(f"the volume cannot be read at byte {place}") from error
        if len(content) != size:
            raise FormatError(f"the image ends at byte {self.there}, before what is asked for")
        return content

    # --- records ---------------------------------------------------------------------------------------------------

    def _record(self, number: int) -> bytes:
        content = self._table_part(number * self._record_size, self._record_size)
        if len(content) != self._record_size:
            raise FormatError(f"record {number} of the volume is not in the image")
        return ntfs_record.fixed(content)

    def _table_part(self, place: int, size: int) -> bytes:
        """A part of the table, as far as it is there."""
        content = b""
        with contextlib.suppress(FormatError):
            for begin, offset, length in itertools.islice(self._pieces, self._piece_at(place), None):
                skipped = place + len(content) - begin
                wanted = min(length - skipped, size - len(content))
                if wanted <= 0:
                    break
                content += bytes(wanted) if offset is None else self.at(offset + skipped, wanted)
        return content

    def _piece_at(self, place: int) -> int:
        return max(0, bisect.bisect_right(self._places, place) - 1)

    def entry(self, number: int) -> Entry:
        """A file or folder with all its attributes, those in further records too.

        Raises:
            FormatError: there is none of this number, or it is damaged.
        """
        base = self._record(number)
        in_use, folder, owner = ntfs_record.header(base)
        if not in_use or owner:
            raise FormatError(f"record {number} of the volume is no file")
        pieces = ntfs_record.pieces(base)
        for extension in self._further(pieces, number):
            self._left -= 1
            if self._left < 0:
                raise FormatError("the records of the volume refer to each other more often than is possible")
            record = self._record(extension)
            if ntfs_record.header(record)[2] == number:
                pieces += ntfs_record.pieces(record)
        names = tuple(ntfs_record.name_of(one.value or b"") for one in pieces if one.kind == FILE_NAME)
        return Entry(number, folder, ntfs_record.joined(pieces), tuple(name for name in names if name))

    def _further(self, pieces: list[ntfs_record.Piece], number: int) -> list[int]:
        """The records beside the first one of an entry with many attributes."""
        pieces = [one for one in pieces if one.kind == ATTRIBUTE_LIST]
        if not pieces:
            return []
        attribute = ntfs_record.joined(pieces)[0]
        self._lists_left -= attribute.size
        if self._lists_left < 0:
            raise FormatError("the lists of attributes of the volume are larger than the volume")
        return ntfs_record.listed(self.read(attribute, _LONGEST_LIST), number)

    def containing(self, text: bytes) -> Iterator[int]:
        """Numbers of the entries that have these bytes in one of their records, each once, ascending by place found.

        The last two bytes of each block are exchanged on the disk, so ``text`` must not reach across them. What cannot
        be read is passed over: the rest of the table is still searched.
        """
        seen: set[int] = set()
        size = self._record_size
        for place in self._chunks():
            chunk = self._table_part(place, min(_CHUNK, self._table.size - place))
            for found in _records_with(chunk, text, size):
                record = chunk[found * size : (found + 1) * size]
                in_use, dummy, base = ntfs_record.header(record)
                number = base or place // size + found
                if in_use and number not in seen:
                    seen.add(number)
                    yield number

    def _chunks(self) -> Iterator[int]:
        """Places in the table of the chunks of which something is in the image, ascending."""
        behind = 0
        for place, offset, length in self._pieces:
            there = 0 if offset is None else min(length, self.there - offset)
            if there > 0:
                start = max(behind, place // _CHUNK * _CHUNK)
                yield from range(start, place + there, _CHUNK)
                behind = max(behind, -(-(place + there) // _CHUNK) * _CHUNK)

    # --- names -----------------------------------------------------------------------------------------------------

    def paths(self, entry: Entry) -> list[tuple[str, ...]]:
        """The paths of the entry, each as its parts from the root on; a lost one begins with ``?``."""
        return [(*self._folder_path(parent), name) for parent, name in entry.names]

    def _folder_path(self, number: int) -> tuple[str, ...]:
        parts: list[str] = []
        while number != _ROOT:
            step = self._folder(number)
            if step is None or len(parts) >= _DEEPEST:
                return ("?", *reversed(parts))
            number, name = step
            parts.append(name)
        return tuple(reversed(parts))

    def _folder(self, number: int) -> tuple[int, str] | None:
        if number not in self._folders:
            try:
                entry = self.entry(number)
                self._folders[number] = entry.names[0] if entry.folder and entry.names else None
            except FormatError:
                self._folders[number] = None  # a lost folder: its files are still recovered
        return self._folders[number]


def _size_of(descriptor: int) -> int:
    """Of a file or a block device, in bytes."""
    status = os.fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise FormatError("it is neither a file nor a block device")
    return os.lseek(descriptor, 0, os.SEEK_END)


def is_ntfs(begin: bytes) -> bool:
    """Whether a file or device that begins so claims to be an NTFS volume."""
    return begin[3:11] == b"NTFS    "


def _check_boot(boot: bytes) -> None:
    """Raise FormatError, with what it seems to be instead, unless this begins an NTFS volume."""
    if is_ntfs(boot):
        return
    if boot[3:11] == b"-FVE-FS-":
        raise FormatError(
            "it is a BitLocker volume: unlock it first (dislocker, cryptsetup bitlkOpen), and name the result"
        )
    if boot[510:] == b"\x55\xaa":
        raise FormatError("it is no NTFS volume; of a whole disk, name the partition (losetup --partscan makes them)")
    raise FormatError("it is no NTFS volume")


def _records_with(chunk: bytes, text: bytes, size: int) -> Iterator[int]:
    """Which records of the chunk have the text, as numbers in the chunk; whole records only."""
    place = chunk.find(text)
    while 0 <= place < len(chunk) // size * size:
        yield place // size
        place = chunk.find(text, (place // size + 1) * size)
