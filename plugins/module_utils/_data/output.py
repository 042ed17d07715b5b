# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Outputs that are written as they come, and appear whole: the streamed kind of ``_files``.

- The file has a hidden name, mode 0600 and a lock while it is written; after ``kill -9`` the next writer in that folder
  removes it (``_folders.sweep``).
- It gets its name when all of it is on disk. What has this name already is replaced only when the caller says so.
- Nothing follows a symbolic link in the last component, nor another user's on the way.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FileMissing
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import file_error

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of a regular file, for reading.

    Raises:
        FileMissing, FileError: there is none, or it is something else.
    """
    parent, name = os.path.split(path)
    with _folders.opened(parent) as folder:
        try:
            file = os.open(name, _READ, dir_fd=folder)
        except FileNotFoundError as error:
            raise FileMissing(f"{path}: it does not exist") from error
        except OSError as error:
            raise file_error(error, path) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FileError(f"{path}: it is not a regular file")
        yield file
    finally:
        os.close(file)


def state_of(descriptor: int) -> dict:
    """Size, time and inode of an open file: what tells one content from another without reading it."""
    return _state(os.fstat(descriptor))


def state_at(path: str) -> dict | None:
    """As ``state_of``, of a regular file at a place, or None.

    Raises:
        FileError: there is something else.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise file_error(error, path) from error
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path}: it is not a regular file; move it away, or name another place")
    return _state(found)


def _state(found: os.stat_result) -> dict:
    return {"size": found.st_size, "mtime": str(found.st_mtime_ns), "inode": str(found.st_ino)}


def require_same(path: str, content: bytes) -> None:
    """Raise FileError unless the file at the place holds exactly this."""
    state = state_at(path)
    if state is None or state["size"] != len(content) or _files.read_file(path, len(content)) != content:
        raise FileError(f"{path}: it exists and holds something else; name another place, or move it away")


class Nowhere:
    """An output that is not kept (check mode): it has a size and a digest."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def write(self, content: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.size += len(content)
        self._digest.update(content)

    def copy(self, source: int, offset: int, size: int) -> None:
        """Take the next bytes from a place of an open file.

        Raises:
            FileError: it is shorter.
        """
        while size:
            content = os.pread(source, min(size, _CHUNK), offset)
            if not content:
                raise FileError("the source became shorter while it was read; stop what writes to it and run again")
            self.write(content)
            offset += len(content)
            size -= len(content)

    def finish(self) -> dict:
        """Nothing is kept."""
        return {}

    def name(self, replacing: bool) -> None:
        """Nothing gets a name."""

    def is_at(self, path: str) -> bool:
        """Whether a file at this place has exactly what was written."""
        return has(path, [self])

    def _is_next(self, file: int) -> bool:
        """Whether an open file goes on with exactly what was written."""
        digest, left = hashlib.sha256(), self.size
        while left and (chunk := os.read(file, min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        return digest.digest() == self._digest.digest()


def has(path: str, parts: Sequence[Nowhere]) -> bool:
    """Whether a file has exactly what was written to these, one after the other.

    Raises:
        FileMissing, FileError: it cannot be read.
    """
    try:
        with opened(path) as file:
            whole = os.fstat(file).st_size == sum(one.size for one in parts)
            return whole and all(one._is_next(file) for one in parts)
    except OSError as error:
        raise file_error(error, path) from error


class Output(Nowhere):
    """A file that is being written."""

    def __init__(self, path: str, folder: int, name: str, descriptor: int) -> None:
        super().__init__()
        self.path, self._folder, self._hidden, self._descriptor = path, folder, name, descriptor
        self._waiting: list[bytes | memoryview] = []
        self._waiting_size = 0

    def write(self, content: bytes | memoryview) -> None:
        """Write the next bytes.

        Raises:
            FileError: the disk is full, or fails.
        """
        super().write(content)
        self._waiting.append(content)
        self._waiting_size += len(content)
        if self._waiting_size >= _CHUNK:
            self._flush()

    def finish(self) -> dict:
        """Put all of it on disk; the file's state, which a name does not change."""
        self._flush()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise file_error(error, self.path) from error
        return state_of(self._descriptor)

    def name(self, replacing: bool) -> None:
        """Give it its name.

        Raises:
            FileError: there is something (unless ``replacing``).
        """
        target = os.path.basename(self.path)
        try:
            if replacing:
                os.rename(self._hidden, target, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            else:
                os.link(self._hidden, target, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
                os.unlink(self._hidden, dir_fd=self._folder)
            os.fsync(self._folder)
        except FileExistsError as error:
            raise FileError(f"{self.path}: another process wrote it meanwhile; run again") from error
        except OSError as error:
            raise file_error(error, self.path) from error

    def _flush(self) -> None:
        content = b"".join(self._waiting)
        self._waiting, self._waiting_size = [], 0
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise file_error(error, self.path) from error


@contextlib.contextmanager
def written(path: str) -> Iterator[Output]:
    """A file to write, below its hidden name until ``Output.name``; missing folders are made with mode 0700."""
    parent = os.path.dirname(path)
    _files.make_private_folder(parent)
    with _folders.opened(parent, to_write=True) as folder:
        _folders.sweep(folder)
        hidden, descriptor = _hidden(folder, path)
        try:
            yield Output(path, folder, hidden, descriptor)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden, dir_fd=folder)
            os.close(descriptor)


@contextlib.contextmanager
def written_or_not(path: str, check_mode: bool) -> Iterator[Nowhere]:
    """As ``written``, and nothing at all in check mode."""
    if check_mode:
        yield Nowhere()
        return
    with written(path) as found:
        yield found


def _hidden(folder: int, path: str) -> tuple[str, int]:
    while True:
        name = _folders.hidden_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise file_error(error, path) from error
        # Another run may have swept it away between these two lines.
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)
