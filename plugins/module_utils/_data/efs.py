# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS files of an NTFS image or volume, decrypted into a folder.

1. The volume is opened for reading, once; nothing writes to it and nothing mounts it. Its table says which files are
   encrypted and to whose certificates (``efs_files``).
2. A file's key is opened first (``efs_keys``), so the reason is clear where none of the keys does it.
3. Files are decrypted on every core, each whole or not at all (``efs_write``).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils import _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    efs_files,
    efs_keys,
    efs_made,
    efs_write,
    ntfs,
    ntfsdecrypt,
    output,
    pool,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_files import EncryptedFile, Unreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import DECRYPTED, FAILED, Item, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    FileError,
    FormatError,
    KeyopsError,
    NotEncrypted,
)

#: Files that are handed to a process at once.
_BATCH = 4
_OF_ANOTHER = "what is there was made from another state of the image"


@dataclass(frozen=True)
class Outcome:
    """What came of one file; ``changed`` when it was not there before.

    ``path`` is where it is now, if anywhere; ``place`` where it would be.
    """

    item: Item
    changed: bool = False
    path: str = ""
    place: str = ""


def recover(
    source: Source,
    keys: Sequence[Decryptor],
    check_mode: bool = False,
    notes: str | None = None,
    state: dict | None = None,
) -> Iterator[Outcome]:
    """Decrypt the EFS files of a volume.

    Args:
        source: ``src`` is the image or block device, ``dest`` the folder, ``files`` what is wanted (all when empty).
        keys: what may open them.
        check_mode: nothing gets a name; keys are opened.
        notes: the file that says what was made of which state of the image (``efs_made``); None: it is not known.
        state: the image's, now (``state_of``).

    Raises:
        FormatError: it is no NTFS volume.
        FileError: it cannot be read.
        HostError: ntfsdecrypt is missing, and a key needs it.
    """
    if any(not key.on_token for key in keys):
        ntfsdecrypt.require()
    wanted = efs_files.Wanted(source.files)
    looked_at: set[str] = set()
    with contextlib.ExitStack() as opened:
        made = opened.enter_context(contextlib.closing(efs_made.Made(notes, state, check_mode)))
        recovery = opened.enter_context(contextlib.closing(_Recovery(source, keys, made, check_mode)))
        for outcomes in pool.ordered(recovery.files, recovery.batches(wanted), pool.processes_for(keys)):
            looked_at.update(one.place for one in outcomes)
            yield from outcomes
    for path in made.of_another():
        if path not in looked_at:
            detail = "it is not among what was decrypted now; move it away, or name another folder"
            name = os.path.relpath(path, source.dest)
            yield Outcome(Item(name, FAILED, FileError.__name__, f"{_OF_ANOTHER}; {detail}"))
    for name in wanted.missing():
        detail = "the volume has no EFS file of this name, and no folder of this name with any"
        yield Outcome(Item(name, FAILED, NotEncrypted.__name__, detail))


def is_volume(path: str) -> bool:
    """Whether the file or device begins like an NTFS volume; False as well when it cannot be read."""
    try:
        descriptor = _open_volume(path)
    except (KeyopsError, ValueError):
        return False
    try:
        return stat.S_IFMT(os.fstat(descriptor).st_mode) in (stat.S_IFREG, stat.S_IFBLK) and ntfs.is_ntfs(
            os.pread(descriptor, 16, 0)
        )
    except OSError:
        return False
    finally:
        os.close(descriptor)


def state_of(path: str) -> dict:
    """The state of an image, by which a change is noticed; of a device, which has none: empty.

    Raises:
        FileError: it cannot be opened.
    """
    descriptor = _open_volume(path)
    try:
        return output.state_of(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else {}
    finally:
        os.close(descriptor)


class _Recovery:
    def __init__(self, source: Source, keys: Sequence[Decryptor], made: efs_made.Made, check_mode: bool) -> None:
        self._dest, self._keys, self._made = source.dest, keys, made
        self._cleanup = contextlib.ExitStack()
        descriptor = _open_volume(source.src)
        self._cleanup.callback(os.close, descriptor)
        try:
            self.volume = ntfs.Volume(descriptor)
        except BaseException:
            self.close()
            raise
        self._writer = efs_write.Writer(self.volume, descriptor, made, check_mode)
        self._cleanup.callback(self._writer.close)

    def close(self) -> None:
        self._cleanup.close()

    def batches(self, wanted: efs_files.Wanted) -> Iterator[list[tuple[int, str, str]]]:
        """What is to be done, some files at a time: number, place below the destination, why not (or empty)."""
        batch: list[tuple[int, str, str]] = []
        room = efs_files.Room(self.volume)
        taken: set[str] = set()
        for file in filter(wanted.has, efs_files.find(self.volume)):
            place = efs_files.relative_path(file) if isinstance(file, EncryptedFile) else ""
            # A volume may be made up, or have names that differ only in what was replaced.
            place += f".record-{file.number}" if place and place in taken else ""
            taken.add(place)
            batch.append((file.number, place, room.problem(file) if isinstance(file, EncryptedFile) else ""))
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def files(self, batch: list[tuple[int, str, str]]) -> list[Outcome]:
        """Decrypt some files; in a process that was forked after everything was opened."""
        return [self._file(efs_files.read(self.volume, number), *facts) for number, *facts in batch]

    def _file(self, file: EncryptedFile | Unreadable | None, place: str, problem: str) -> Outcome:
        """One file; what stands in the way becomes its reason."""
        if file is None:
            raise FileError("the volume changed while it was read; stop what writes to it and run again")
        path = os.path.join(self._dest, place)
        try:
            if isinstance(file, Unreadable):
                raise file.error
            if problem:
                raise DataDamaged(problem)
            opened = efs_keys.opened(file, self._keys) if file.data.size else None
            changed = self._writer.write(file, path, opened)
        except KeyopsError as error:
            reason = DataDamaged if isinstance(error, FormatError) else type(error)
            detail = f"{error}; {_OF_ANOTHER}" if self._made.is_of_another(path) else str(error)
            return Outcome(Item(file.name, FAILED, reason.__name__, detail), place=path)
        key_ids = (opened.by.key_id,) if opened else ()
        return Outcome(Item(file.name, DECRYPTED, detail=_beside(file), key_ids=key_ids), changed, path, path)


def _open_volume(path: str) -> int:
    # A folder on the way that another user owns could lead elsewhere: the same rules as for keys. A device is a link
    # more often than not (/dev/disk/by-id), and whoever can make one there is root.
    path = os.path.realpath(path)
    try:
        with _folders.opened(os.path.dirname(path)) as folder:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
            return os.open(os.path.basename(path), flags, dir_fd=folder)
    except OSError as error:
        raise _folders.file_error(error, path) from error


def _beside(file: EncryptedFile) -> str:
    """What is said beside its content: other names, and streams that ntfsdecrypt does not decrypt."""
    names = ["/".join(path) for path in file.others]
    told = [f"it is also called {efs_files.told(names)}"] if names else []
    return "; ".join(
        [*told, *([f"not decrypted are its further streams {efs_files.told(file.streams)}"] if file.streams else [])]
    )
