# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The EFS files of an NTFS volume: which there are, which of them are wanted, and what they are called on this side.

Names come from a volume that anybody may have made. A part of a path that would lead out of the folder, or that this
host's file systems do not take, is replaced by ``record-<number>``, and so is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs_metadata
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import Holder
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.ntfs import Volume
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.ntfs_record import (
    DATA,
    ENCRYPTED,
    LOGGED_STREAM,
    Attribute,
    Entry,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataError,
    DataUnsupported,
    FormatError,
    NotEncrypted,
)

_NAME = "$EFS"
#: What the attribute's name begins with on the disk; its last letter may be where a block ends (``Volume.containing``).
_TRACE = _NAME[:3].encode("utf-16-le")
_LONGEST_PART = 255
_LONGEST_PATH = 3072
_MOST_TOLD, _LONGEST_TOLD = 5, 200
#: Bytes of holes in all files, beyond which a volume must be made up: and for each byte of the image.
_MOST_HOLES, _HOLES_EACH = 1 << 34, 16
#: How often all files together may have the image's bytes: a few damaged ones that claim all of it hide no other.
_MAPPED_EACH = 4
_DRIVE = re.compile(r"[A-Za-z]:")
_OURS = ".keyops-"


@dataclass(frozen=True)
class EncryptedFile:
    """An encrypted file.

    Attributes:
        number: of its record in the volume's table.
        path: the first of its names, from the root of the volume on.
        others: its other names (hard links).
        data: its content.
        modified: nanoseconds since 1970.
        holders: who can open it.
        streams: names of its further streams.
    """

    number: int
    path: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    data: Attribute
    modified: int
    holders: tuple[Holder, ...] = field(repr=False)
    streams: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As reports name it."""
        return "/".join(self.path)


@dataclass(frozen=True)
class Unreadable:
    """A record that is an encrypted file's and cannot be read as one."""

    number: int
    path: tuple[str, ...]
    error: DataError

    @property
    def name(self) -> str:
        """As reports name it."""
        return "/".join(self.path) or f"record-{self.number}"


def find(volume: Volume) -> Iterator[EncryptedFile | Unreadable]:
    """The encrypted files of the volume, in the order of its table."""
    for number in volume.containing(_TRACE):
        found = read(volume, number)
        if found is not None:
            yield found


def read(volume: Volume, number: int) -> EncryptedFile | Unreadable | None:
    """What the record is: an encrypted file, one that cannot be read, or something else."""
    paths: list[tuple[str, ...]] = []
    try:
        entry = volume.entry(number)
        paths = sorted(volume.paths(entry))
        metadata = entry.find(LOGGED_STREAM, _NAME)
        # A folder has the attribute so that new files in it are encrypted.
        return None if metadata is None or entry.folder else _file(volume, entry, paths, metadata)
    except DataError as error:
        return Unreadable(number, paths[0] if paths else (), error)
    except FormatError as error:
        return Unreadable(number, paths[0] if paths else (), DataDamaged(str(error)))


def _file(volume: Volume, entry: Entry, paths: list[tuple[str, ...]], metadata: Attribute) -> EncryptedFile:
    data = entry.find(DATA)
    if data is None:
        raise DataDamaged("its content is missing in the volume's table")
    if data.size and not data.flags & ENCRYPTED:
        raise NotEncrypted("its content is not encrypted, although it has a key: copy it as it is")
    if data.value:
        raise DataUnsupported("its content lies in the volume's table, where no encrypted content is known to be")
    if data.size > max(volume.size, volume.there):
        raise DataDamaged("by its size it is larger than the volume")
    holders = efs_metadata.holders(volume.read(metadata, efs_metadata.LONGEST))
    path, *others = paths or [("?", f"record-{entry.number}")]
    if len("/".join(path).encode("utf-8", "replace")) > _LONGEST_PATH:
        raise DataUnsupported("its path is longer than this host's file systems take")
    streams = tuple(one.name for one in entry.attributes if one.kind == DATA and one.name)
    return EncryptedFile(entry.number, path, tuple(others), data, entry.modified(), tuple(holders), streams)


class Room:
    """What the files of a volume may take together, whatever its table says: what is in the image, and few holes."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._mapped, self._holes = _MAPPED_EACH * volume.there, _MOST_HOLES + _HOLES_EACH * volume.there

    def problem(self, file: EncryptedFile) -> str:
        """Why the next file may not be written; empty when it may."""
        try:
            self._volume.mapped(file.data)
            extents = list(self._volume.extents(file.data))
        except FormatError as error:
            return str(error)
        holes = sum(length for place, length in extents if place is None)
        mapped = sum(length for place, length in extents if place is not None)
        if mapped > self._mapped:
            return "by the volume's table, it lies where other files lie"
        if holes > self._holes:
            return "it has more holes than any file; the volume may be made up"
        self._mapped, self._holes = self._mapped - mapped, self._holes - holes
        return ""


class Wanted:
    """The files and folders that were asked for; none: everything. Upper and lower case are the same, as on Windows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._missing = {name: _parts(name) for name in names}
        self._all = list(self._missing.values())

    def has(self, file: EncryptedFile | Unreadable) -> bool:
        """Whether it is wanted."""
        if not self._all:
            return True
        paths = [file.path, *(file.others if isinstance(file, EncryptedFile) else ())]
        folded = [tuple(part.casefold() for part in path) for path in paths]
        hits = {wanted for wanted in self._all for path in folded if path[: len(wanted)] == wanted}
        self._missing = {name: parts for name, parts in self._missing.items() if parts not in hits}
        return bool(hits)

    def missing(self) -> list[str]:
        """The names for which nothing was there."""
        return list(self._missing)


def _parts(name: str) -> tuple[str, ...]:
    """A path as people write it, with slashes or backslashes, with a drive or without."""
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    return tuple(part.casefold() for part in (parts[1:] if parts and _DRIVE.fullmatch(parts[0]) else parts))


def relative_path(file: EncryptedFile) -> str:
    """Where it goes below the destination."""
    return "/".join(part if _is_safe(part) else f"record-{file.number}" for part in file.path)


def _is_safe(part: str) -> bool:
    if part in ("", ".", "..") or "/" in part or "\0" in part or part.startswith(_OURS):
        return False
    return len(part.encode("utf-8", "surrogatepass")) <= _LONGEST_PART


def told(names: Sequence[str]) -> str:
    """Some of the names, as people read them; a volume may be made up, and have very many long ones."""
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(name[:_LONGEST_TOLD] for name in names[:_MOST_TOLD]) + more
