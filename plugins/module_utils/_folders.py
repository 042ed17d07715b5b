# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Folders, as far as files with secrets need them: opened safely, checked, locked, made, and swept of leftovers.

A folder is opened component by component, and a symbolic link on the way is followed only when root or the running
user owns it: whoever owns a folder on the way cannot redirect what root writes. A folder that everybody may write to
without the sticky bit is refused. From then on only the descriptor is used, so the checked folder is the used one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import re
import secrets
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FileMissing

_LEFTOVER = re.compile(r"\.keyops-[0-9a-f]{16}\.tmp")
_O_PATH = getattr(os, "O_PATH", os.O_RDONLY)
_LINK_LIMIT = 40
_LOCK_SECONDS = 10

_REMEDIES = {
    errno.ENOENT: "it does not exist",
    errno.EACCES: "this user has no permission; use become, or a place that this user may use",
    errno.EPERM: "this user has no permission; use become, or a place that this user may use",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EISDIR: "it is a directory; name a file",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.ELOOP: "it is a symbolic link; name the file itself",
    errno.ENXIO: "it is not a regular file",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EMFILE: "this process has too many open files; raise its limit",
}


def file_error(error: OSError, path: str) -> FileError:
    """What ``error`` means for the user, with the remedy."""
    return FileError(f"{path}: {_REMEDIES.get(error.errno or 0) or error.strerror}")


def owner_ids(owner: str | None, group: str | None) -> tuple[int, int]:
    """The uid and gid of two names or numbers, -1 for None.

    Raises:
        FileError: when there is no such user or group on this host.
    """
    uid = -1 if owner is None else _number(owner, "owner", "user", lambda name: pwd.getpwnam(name).pw_uid)
    gid = -1 if group is None else _number(group, "group", "group", lambda name: grp.getgrnam(name).gr_gid)
    return uid, gid


def _number(name: str, option: str, kind: str, look_up: Callable[[str], int]) -> int:
    try:
        return look_up(name)
    except KeyError as error:
        if name.isascii() and name.isdigit() and int(name) < 2**32 - 1:
            return int(name)
        raise FileError(f"{option}: there is no {kind} {name!r} on this host; create it first") from error


def check_may_give(uid: int, gid: int) -> None:
    """Raise FileError unless this process may create files with this owner and group (-1: its own)."""
    if os.geteuid() == 0:
        return
    if uid not in (-1, os.geteuid()):
        raise FileError("owner: only root can give a file to another user; use become, or leave the option out")
    if gid not in (-1, os.getegid(), *os.getgroups()):
        raise FileError("group: this user is not in that group; use become, or leave the option out")


@contextlib.contextmanager
def opened(path: str, to_write: bool = False) -> Iterator[int]:
    """A descriptor of the folder, for use as ``dir_fd``; with ``to_write`` one that can be listed, locked and synced.

    Raises:
        FileMissing: it does not exist.
        FileError: it is no folder, not accessible, behind a link of another user, or (to write) open to everybody.
    """
    try:
        folder = _walk(path, os.O_RDONLY if to_write else _O_PATH)
    except FileNotFoundError as error:
        raise FileMissing(f"{path}: the folder does not exist; create it first") from error
    except OSError as error:
        raise file_error(error, path) from error
    try:
        mode = os.fstat(folder).st_mode
        if to_write and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise FileError(f"{path}: everybody may write to this folder; take that permission away (chmod o-w)")
        yield folder
    finally:
        os.close(folder)


def _walk(path: str, access: int) -> int:
    current = os.open("/", _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parts, links = deque(part for part in path.split("/") if part not in ("", ".")), 0
        while parts:
            part = parts.popleft()
            status = os.stat(part, dir_fd=current, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                target = _trusted_link(part, current, status, links, path)
                parts.extendleft(reversed([part for part in target.split("/") if part not in ("", ".")]))
                if not target.startswith("/"):
                    continue
                part, after = "/", current
            # O_NOFOLLOW: a component that became a link after the look above is an error, never followed.
            after = os.open(part, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = after
        return os.open(".", access | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)


def _trusted_link(name: str, folder: int, status: os.stat_result, count: int, path: str) -> str:
    if status.st_uid not in (0, os.geteuid()):
        raise FileError(f"{path}: {name} on the way is another user's symbolic link; name the folder itself")
    if count > _LINK_LIMIT:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return os.readlink(name, dir_fd=folder)


def check_writable(path: str) -> None:
    """Raise FileError unless files can be created in the folder."""
    with opened(path, to_write=True) as folder:
        if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
            raise FileError(f"{path}: the file system is read-only; use another folder")
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=os.access in os.supports_effective_ids):
            raise FileError(f"{path}: this user may not write to this folder; use become, or another folder")


def make_folder(path: str, mode: int) -> None:
    """Create the folder and what is missing above it, durably and with ``mode``.

    Raises:
        FileError: it cannot be created, or it exists and belongs to another user.
    """
    parent, name = os.path.split(path)
    try:
        existing = os.stat(path)
    except FileNotFoundError:
        if not os.path.isdir(parent):
            make_folder(parent, mode)
        _make_one(parent, name, mode)
        return
    except OSError as error:
        raise file_error(error, path) from error
    if not stat.S_ISDIR(existing.st_mode):
        raise FileError(f"{path}: it is not a folder")
    if existing.st_uid not in (0, os.geteuid()):
        raise FileError(f"{path}: the folder belongs to another user; use another folder")


def _make_one(parent: str, name: str, mode: int) -> None:
    with opened(parent, to_write=True) as folder:
        try:
            # Two runs at once may both find it missing; it is the same folder for both.
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=folder)
            os.fsync(folder)
        except OSError as error:
            raise file_error(error, os.path.join(parent, name)) from error


def hidden_name() -> str:
    """A new name for a temporary file that ``sweep`` recognises."""
    return f".keyops-{secrets.token_hex(8)}.tmp"


def is_leftover(name: str) -> bool:
    """Whether a file's name is that of a temporary file, of a writer that lives or is dead."""
    return _LEFTOVER.fullmatch(name) is not None


def sweep(folder: int) -> None:
    """Remove the temporary files of writers that are dead: each living one holds a lock on its own file."""
    for name in os.listdir(folder):
        if is_leftover(name):
            # A file that another user made, or that its writer removes right now, is not ours to sweep.
            with contextlib.suppress(OSError):
                _remove_unlocked(name, folder)


def _remove_unlocked(name: str, folder: int) -> None:
    file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(file)


def lock_folders(folders: list[int]) -> None:
    """Hold off other runs that replace or remove files there, until the descriptors are closed.

    A file system without locks on folders (NFS) leaves the comparison of the old content as the only guard.

    Raises:
        FileError: when another process holds a lock for too long.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    # Two paths may lead to one folder; a second lock on it would wait for the first.
    for folder in {os.fstat(folder)[1:3]: folder for folder in folders}.values():
        while not _locked(folder):
            if time.monotonic() > deadline:
                raise FileError("another process keeps the keys' folder locked; try again later")
            time.sleep(0.02)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise file_error(error, "the lock on the keys' folder") from error
    return True
