# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one place that reads and writes files durably.

Invariants:

- A file appears whole or not at all, with its final mode and owner: content, mode and owner are complete and on disk
  before the name exists. After ``kill -9`` nothing is left over but, where the file system has no nameless files or
  a file was being replaced, a hidden file that the next write to that folder removes.
- ``write_new`` never overwrites: of two writers, one creates and the other learns that the file existed.
- ``replace`` and ``remove`` touch a file only while it still has the content that the caller saw.
- Nothing here follows a symbolic link in the last component, blocks on a FIFO, or reads more than the given limit.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import NewFile, drafts_of, sync
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FileMissing
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import file_error

#: Private keys and our own formats are far smaller.
DEFAULT_LIMIT = 1024 * 1024
#: Files written at once, each with an open descriptor (the usual limit of a process is 1024).
_BATCH = 256
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True)
class ExistingFile:
    """A regular file as it was read: content, permission bits, uid, gid and number of links."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    uid: int
    gid: int
    links: int

    @property
    def owner(self) -> str:
        """The owner's name, or its number when it has none."""
        return _name(pwd.getpwuid, self.uid, "pw_name")

    @property
    def group(self) -> str:
        """The group's name, or its number when it has none."""
        return _name(grp.getgrgid, self.gid, "gr_name")


def read_file(path: str, limit: int = DEFAULT_LIMIT, follow_links: bool = False) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises:
        FileMissing: there is no such file or folder.
        FileError: it is a directory, a FIFO, a link (unless ``follow_links``), too large or unreadable.
    """
    existing = read_existing(path, limit, follow_links)
    if existing is None:
        raise FileMissing(f"{path}: it does not exist")
    return existing.content


def read_existing(path: str, limit: int = DEFAULT_LIMIT, follow_links: bool = False) -> ExistingFile | None:
    """As ``read_file``, with the file's mode and owner; None when there is no such file or no such folder.

    Raises:
        FileError: as ``read_file``, but for a missing file.
    """
    # Public files: their links may be anybody's (certbot's live/ folder), and reading them redirects nothing.
    parent, name = os.path.split(os.path.realpath(path) if follow_links else path)
    try:
        with _folders.opened(parent) as folder:
            return _read_at(folder, name, path, limit)
    except FileMissing:
        return None


def write_new(files: Sequence[NewFile]) -> list[bool]:
    """Create the files; per file, whether it was created (False: a file of that name was there, and is untouched).

    Raises:
        FileError: a folder, owner or group does not fit, or the disk is full; files of that batch were not created.
    """
    created: list[bool] = []
    for start in range(0, len(files), _BATCH):
        batch = files[start : start + _BATCH]
        with drafts_of(batch) as (drafts, folders):
            created += [draft.link() for draft in drafts]
            sync(folders)
    return created


def replace(file: NewFile) -> None:
    """Write the file under its name, whole and at once, whatever was there.

    Raises:
        FileError: as ``write_new``.
    """
    replace_all([file])


def replace_all(files: Sequence[NewFile], seen: Sequence[ExistingFile | None] = ()) -> None:
    """As ``replace``, for many files.

    Args:
        files: what to write.
        seen: per file, what the caller saw there: anything else in its place by now is an error. Empty: not checked.

    Raises:
        FileError: as ``write_new``, and when a file is not as it was seen; the files before it are replaced.
    """
    for start in range(0, len(files), _BATCH):
        with drafts_of(files[start : start + _BATCH]) as (drafts, folders):
            _folders.lock_folders(folders)
            for draft, before in zip(drafts, seen[start : start + _BATCH] or [None] * len(drafts)):
                if seen:
                    _check_unchanged(draft.folder, draft.name, draft.file.path, before)
                draft.rename()
            sync(folders)


def remove(path: str, seen: ExistingFile | None = None) -> None:
    """Remove the file, durably; it is no error when it is not there.

    Args:
        path: of the file.
        seen: what the caller saw there: anything else in its place by now is an error. None: not checked.

    Raises:
        FileError: it cannot be removed, or is not as it was seen.
    """
    parent, name = os.path.split(path)
    with _folders.opened(parent, to_write=True) as folder:
        _folders.lock_folders([folder])
        if seen is not None:
            _check_unchanged(folder, name, path, seen)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        except OSError as error:
            raise file_error(error, path) from error


def make_private_folder(path: str) -> None:
    """Create the folder and what is missing above it, durably and with mode 0700.

    Raises:
        FileError: it cannot be created, or it exists and belongs to another user.
    """
    _folders.make_folder(path, 0o700)


def sweep_leftovers(folder: str) -> None:
    """Remove what killed runs left in the folder; a folder that cannot be written to has nothing of ours."""
    with contextlib.suppress(FileError, OSError), _folders.opened(folder, to_write=True) as descriptor:
        _folders.sweep(descriptor)


def check_target(path: str, owner: str | None = None, group: str | None = None) -> None:
    """Raise FileError unless a file with this owner and group can be created here: before anything is changed."""
    _folders.check_may_give(*_folders.owner_ids(owner, group))
    _folders.check_writable(os.path.dirname(path))


def needs_attributes(existing: ExistingFile, mode: int, owner: str | None, group: str | None) -> bool:
    """Whether ``set_attributes`` would change the file.

    Raises:
        FileError: it would, and this process may not.
    """
    uid, gid = _folders.owner_ids(owner, group)
    if existing.mode == mode and uid in (-1, existing.uid) and gid in (-1, existing.gid):
        return False
    # A second name may lie where another user put it: /etc/shadow must not change hands through a hard link.
    if existing.links != 1:
        raise FileError(f"{existing.path}: mode or owner differ, and the file has several hard links; remove them")
    if os.geteuid() not in (0, existing.uid):
        raise FileError(f"{existing.path}: mode or owner differ, and the file belongs to another user; use become")
    _folders.check_may_give(uid if uid != existing.uid else -1, gid if gid != existing.gid else -1)
    return True


def set_attributes(existing: ExistingFile, mode: int, owner: str | None, group: str | None) -> None:
    """Give the file that was read this mode, owner and group.

    Raises:
        FileError: as ``needs_attributes``, and when another file has taken its place.
    """
    uid, gid = _folders.owner_ids(owner, group)
    parent, name = os.path.split(existing.path)
    with _folders.opened(parent) as folder:
        _check_unchanged(folder, name, existing.path, existing)
        try:
            with _closing(os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder)) as file:
                now = os.fstat(file)
                if (now.st_nlink, now.st_uid) != (1, existing.uid):
                    raise FileError(f"{existing.path}: another process changed it meanwhile; run again")
                # Narrow first: at no moment does the new owner or group have the old, wider mode.
                os.fchmod(file, mode & existing.mode)
                os.fchown(file, uid, gid)
                os.fchmod(file, mode)
                os.fsync(file)
        except OSError as error:
            raise file_error(error, existing.path) from error


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_at(folder: int, name: str, path: str, limit: int) -> ExistingFile | None:
    try:
        file = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, path) from error
    with _closing(file):
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            raise FileError(f"{path}: it is a directory; name a file")
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"{path}: it is not a regular file")
        try:
            content = _read_all(file, limit)
        except OSError as error:
            raise file_error(error, path) from error
    if len(content) > limit:
        raise FileError(f"{path}: it is larger than {limit} bytes, which no such file is")
    mode = stat.S_IMODE(status.st_mode)
    return ExistingFile(path, content, mode, status.st_uid, status.st_gid, status.st_nlink)


def _read_all(file: int, limit: int) -> bytes:
    chunks, rest = [], limit + 1
    while rest:
        chunk = os.read(file, rest)
        if not chunk:
            break
        chunks.append(chunk)
        rest -= len(chunk)
    return b"".join(chunks)


def _check_unchanged(folder: int, name: str, path: str, seen: ExistingFile | None) -> None:
    now = _read_at(folder, name, path, DEFAULT_LIMIT)
    before = None if seen is None else hashlib.sha256(seen.content).digest()
    if (None if now is None else hashlib.sha256(now.content).digest()) != before:
        raise FileError(f"{path}: another process changed it meanwhile; run again")


def _name(look_up: Callable[[int], object], number: int, attribute: str) -> str:
    try:
        return getattr(look_up(number), attribute)
    except KeyError:
        return str(number)
