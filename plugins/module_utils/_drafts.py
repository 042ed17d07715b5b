# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are complete before they have a name: content, mode and owner are on disk first, then comes the name.

A draft has no name at all where the file system allows that (``O_TMPFILE``), so ``kill -9`` leaves nothing. Elsewhere,
and for the instant in which it replaces another file, it has a hidden name and holds a lock until it is renamed; the
next writer in that folder removes hidden files whose lock nobody holds (see ``_folders.sweep``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import file_error

#: fsync waits for the disk; together they share the journal's commits. Measured: more than 4 gain nothing.
_SYNC_THREADS = 4


@dataclass(frozen=True)
class NewFile:
    """A file to write. ``owner`` and ``group`` are names or numbers; None leaves the process's own."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o600
    owner: str | None = None
    group: str | None = None


class Draft:
    """A file that is complete but for its name."""

    def __init__(self, file: NewFile, folder: int, ids: tuple[int, int]) -> None:
        self.file, self.folder, self.name = file, folder, os.path.basename(file.path)
        self.hidden: str | None = None
        self.descriptor = self._open()
        try:
            os.fchown(self.descriptor, *ids)
            os.fchmod(self.descriptor, file.mode)
            rest = memoryview(file.content)
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except OSError:
            self.close()
            raise

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC
        try:
            descriptor = os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=self.folder)
        except OSError as error:
            # What file systems without nameless files answer (NFS, some overlays), and kernels that know none.
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
        except AttributeError:
            pass
        else:
            if os.path.exists(f"/proc/self/fd/{descriptor}"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                return descriptor
            os.close(descriptor)
        return self._open_hidden(flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)

    def _open_hidden(self, flags: int) -> int:
        while True:
            self.hidden = hidden = _folders.hidden_name()
            descriptor = os.open(hidden, flags, 0o600, dir_fd=self.folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another run may have swept it away between these two lines.
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)

    def link(self) -> bool:
        """Give it its name; False when something of that name is there."""
        try:
            self._link(self.name)
        except FileExistsError:
            return False
        except OSError as error:
            raise file_error(error, self.file.path) from error
        return True

    def rename(self) -> None:
        """Give it its name in place of what is there."""
        try:
            hidden = self.hidden or _folders.hidden_name()
            if self.hidden is None:
                self._link(hidden)
                self.hidden = hidden
            os.rename(hidden, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            self.hidden = None
        except OSError as error:
            raise file_error(error, self.file.path) from error

    def _link(self, name: str) -> None:
        if self.hidden is None:
            os.link(f"/proc/self/fd/{self.descriptor}", name, dst_dir_fd=self.folder, follow_symlinks=True)
        else:
            os.link(self.hidden, name, src_dir_fd=self.folder, dst_dir_fd=self.folder, follow_symlinks=False)

    def close(self) -> None:
        if self.hidden is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.hidden, dir_fd=self.folder)
        os.close(self.descriptor)


@contextlib.contextmanager
def drafts_of(files: Sequence[NewFile]) -> Iterator[tuple[list[Draft], list[int]]]:
    """The drafts of all files, on disk, and the descriptors of their folders."""
    with contextlib.ExitStack() as stack:
        folders: dict[str, int] = {}
        drafts = []
        for file in files:
            parent = os.path.dirname(file.path)
            if parent not in folders:
                folders[parent] = stack.enter_context(_folders.opened(parent, to_write=True))
                _folders.sweep(folders[parent])
            ids = _folders.owner_ids(file.owner, file.group)
            try:
                draft = Draft(file, folders[parent], ids)
            except OSError as error:
                raise file_error(error, file.path) from error
            stack.callback(draft.close)
            drafts.append(draft)
        sync([draft.descriptor for draft in drafts])
        yield drafts, list(folders.values())


def sync(descriptors: list[int]) -> None:
    """Wait until all these files or folders are on disk.

    Raises:
        FileError: the disk is full or fails.
    """
    try:
        if len(descriptors) == 1:
            os.fsync(descriptors[0])
        elif descriptors:
            with ThreadPoolExecutor(min(_SYNC_THREADS, len(descriptors))) as pool:
                list(pool.map(os.fsync, descriptors))
    except OSError as error:
        raise file_error(error, "the written files") from error
