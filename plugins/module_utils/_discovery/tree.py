# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walks folders and hands on the files that may hold keys or certificates, with their content.

Other people own these folders, and may change them while they are walked. Therefore:

- No symbolic link is followed, in any component: a folder is opened by its path and must be the very folder (device and
  inode) that its parent listed; a file is opened relative to the folder's descriptor.
- Only what is a regular file by the listing is opened (opening a device can act on it), without waiting (a FIFO that
  took its place gives nothing), and it must be one by its descriptor to be handed on. The kernel's own file systems are
  not entered, other ones only when asked for.
- A file with several names is read once. One that changes while it is read is read again, once.
- At most MAX_SIZE bytes of a file are read, and only when its first bytes say that it may hold something. Nothing is
  sorted or collected per folder, so that a folder with millions of files costs no memory; folders that wait are
  bounded.
- Whatever was left out is told, in a bounded number of sentences.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.bounds import (
    Bounds,
    Exclusions,
    Problems,
    mounts,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import reading

#: Bytes that are read of every file, and by which it is decided. Most that hold a key have no more.
HEAD_SIZE = 4096
_BETWEEN_LOOKS = 64
_MOST_WAITING = 200_000
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class File:
    """A file that may hold something: its folder and path, its status, and its first MAX_SIZE bytes."""

    folder: str
    path: str
    status: os.stat_result
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class FolderEnd:
    """The end of a folder from which files came.

    ``plain``: every entry of it that could be a file was read to its end, and none is a link.
    """

    folder: str
    plain: bool


class Walk:
    """One walk; its counters tell what it has done.

    Attributes:
        files, folders: how many were opened.
        complete: no bound has cut it short.
        problems: what was not looked at.
    """

    def __init__(self, bounds: Bounds, is_candidate: Callable[[bytes], bool], always: str) -> None:
        """Prepare it.

        Args:
            bounds: see there.
            is_candidate: ``is_candidate(head)``: whether a file is read on and handed on, by its first HEAD_SIZE bytes;
                fewer are the whole file.
            always: so are files whose names begin so.

        Raises:
            OptionError: an exclusion is no path and no name.
        """
        self._bounds, self._is_candidate, self._always = bounds, is_candidate, always
        self._exclude = Exclusions(bounds.exclude) if bounds.exclude else None
        self._kernels_own, self._mounted = mounts()
        self._seen_folders: dict[int, set[int]] = {}
        self._seen_files: set[tuple[int, int]] = set()
        self._links = self._elsewhere = self._cut = 0
        self.files = self.folders = self._next_look = 0
        self.complete = True
        self.problems = Problems()

    def run(self, paths: Iterable[str]) -> Iterator[File | FolderEnd]:
        """Walk the folders; a missing one has nothing in it."""
        waiting: list[tuple[str, tuple[int, int]]] = []
        for path in dict.fromkeys(os.path.realpath(path) for path in paths):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                waiting.append((path, (status.st_dev, status.st_ino)))
        waiting.reverse()
        while waiting and self._may_go_on():
            yield from self._folder(*waiting.pop(), waiting)
        if waiting:
            self._stop(f"{reading.shown(waiting[-1][0])} and {len(waiting) - 1} more folders: not looked at")
        self._tell_counts()

    def _may_go_on(self) -> bool:
        self._next_look = min(self.files + _BETWEEN_LOOKS, self._bounds.max_files)
        return self.files < self._bounds.max_files and time.monotonic() < self._bounds.deadline

    def _stop(self, text: str) -> None:
        why = "search.max_files" if self.files >= self._bounds.max_files else "search.max_seconds"
        self.complete = False
        self.problems.add(f"{text}, because of {why}; narrow the search or raise it")

    def _tell_counts(self) -> None:
        for count, text in (
            (self._links, "symbolic links were not followed"),
            (self._elsewhere, "folders on other file systems were not entered"),
            (self._cut, "files over 1 MiB were looked at up to there"),
        ):
            if count:
                self.problems.add(f"{count} {text}")

    # --- one folder ---------------------------------------------------------------------------------------------------

    def _folder(self, path: str, identity: tuple[int, int], waiting: list) -> Iterator[File | FolderEnd]:
        seen = self._seen_folders.setdefault(identity[0], set())
        if identity[1] in seen:
            return
        seen.add(identity[1])
        if identity[0] in self._kernels_own:
            self.problems.add(f"{reading.shown(path)}: not looked at, it is the kernel's")
            return
        try:
            descriptor = os.open(path, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.problems.add(f"{reading.shown(path)}: not looked at, {error.strerror}")
            return
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != identity:
                self.problems.add(f"{reading.shown(path)}: not looked at, it was replaced meanwhile")
                return
            self.folders += 1
            yield from self._entries(path, descriptor, status.st_dev, waiting)
        except OSError as error:
            self.problems.add(f"{reading.shown(path)}: not looked at to its end, {error.strerror}")
        finally:
            os.close(descriptor)

    def _entries(self, path: str, folder: int, device: int, waiting: list) -> Iterator[File | FolderEnd]:
        plain, had_files = True, False
        is_candidate, always, excluded = self._is_candidate, self._always, self._exclude
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if excluded is not None and excluded(path, name):
                    plain = False
                elif entry.is_file(follow_symlinks=False):
                    # Here most of the time goes: nothing is made for a file that holds nothing.
                    if self.files >= self._next_look and not self._may_go_on():
                        self._stop(f"{reading.shown(path)}: not looked at to its end")
                        return
                    self.files += 1
                    try:
                        descriptor = os.open(name, _FILE, dir_fd=folder)
                    except OSError as error:
                        plain = self._not_opened(path, name, error) and plain
                        continue
                    try:
                        head = os.read(descriptor, HEAD_SIZE)
                        is_wanted = is_candidate(head) or name.startswith(always)
                        file = self._file(descriptor, path, name, head) if is_wanted else None
                    except OSError as error:
                        plain = self._not_opened(path, name, error) and plain
                        continue
                    finally:
                        os.close(descriptor)
                    if file is not None:
                        had_files = True
                        plain = plain and file.status.st_size <= reading.MAX_SIZE
                        yield file
                elif entry.is_symlink():
                    self._links += 1
                    plain = False
                elif self._bounds.recursive and entry.is_dir(follow_symlinks=False):
                    self._add(path, entry, device, waiting)
        if had_files:
            yield FolderEnd(path, plain)

    def _add(self, folder: str, entry: os.DirEntry, device: int, waiting: list) -> None:
        path = os.path.join(folder, entry.name)
        if self._bounds.one_file_system and self._mounted.get(path, device) != device:
            # Not even a look: where a file server does not answer, that would wait for ever.
            self._elsewhere += self._mounted[path] not in self._kernels_own
            return
        try:
            # By the folder's descriptor: the same entry that was listed, whatever its path leads to by now.
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return
        if status.st_dev != device and self._bounds.one_file_system:
            self._elsewhere += status.st_dev not in self._kernels_own
        elif len(waiting) >= _MOST_WAITING:
            self.complete = False
            self.problems.add(
                f"{reading.shown(folder)}: not looked at to its end, {_MOST_WAITING} folders wait; search part by part"
            )
        else:
            waiting.append((path, (status.st_dev, status.st_ino)))

    # --- one file -----------------------------------------------------------------------------------------------------

    def _file(self, descriptor: int, folder: str, name: str, head: bytes) -> File | None:
        """The rest of a file that may hold something; None when it was read under another name."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (status.st_nlink > 1 and self._was_seen(status)):
            return None
        if len(head) == HEAD_SIZE:
            head, status = self._rest(descriptor, head, status)
        return File(folder, os.path.join(folder, name), status, head)

    def _was_seen(self, status: os.stat_result) -> bool:
        key = (status.st_dev, status.st_ino)
        if key in self._seen_files:
            return True
        self._seen_files.add(key)
        return False

    def _not_opened(self, folder: str, name: str, error: OSError) -> bool:
        """Tells it; True when that is because the file is gone."""
        if isinstance(error, FileNotFoundError):
            return True
        self.problems.add(f"{reading.shown(os.path.join(folder, name))}: not looked at, {error.strerror}")
        return False

    def _rest(self, descriptor: int, head: bytes, status: os.stat_result) -> tuple[bytes, os.stat_result]:
        content = _read_on(descriptor, head, status.st_size)
        now = os.fstat(descriptor)
        if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            os.lseek(descriptor, 0, os.SEEK_SET)
            content, status = _read_on(descriptor, b"", now.st_size), now
        self._cut += status.st_size > reading.MAX_SIZE
        return content, status


def read_followed(path: str, problems: list[str]) -> File | None:
    """A file that SSH's server reads, whose links it follows, too; None when it is missing or cannot be read (told)."""
    data = reading.read_one(path, reading.MAX_SIZE, problems)
    if data is None:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return File(os.path.dirname(path), path, status, data)


def _read_on(descriptor: int, head: bytes, announced: int) -> bytes:
    """Up to MAX_SIZE bytes in all, whatever size was announced."""
    chunks, size = [head], len(head)
    while size < reading.MAX_SIZE:
        chunk = os.read(descriptor, min(reading.MAX_SIZE - size, max(announced - size + 1, HEAD_SIZE)))
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)
