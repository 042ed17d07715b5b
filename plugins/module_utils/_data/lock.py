# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time works on the same outputs: a lock for each, below the state folder.

A run whose controller was killed may go on for hours on its host. Its processes hold the lock until the last of them
has ended, so nothing works beside it. The file of a lock goes with it; one that a killed run left is taken over.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, StateError

#: Seconds to wait for another run. It may take hours, and whoever waits is told rather than kept.
PATIENCE = 60.0


@contextlib.contextmanager
def held(state_dir: str, names: Iterable[str]) -> Iterator[None]:
    """No other run that uses one of these names with this state folder works meanwhile.

    Args:
        state_dir: where the locks are.
        names: what is worked on, any text.

    Raises:
        StateError: another run holds one for too long.
        FileError: the state folder cannot be used.
    """
    folder = os.path.join(state_dir, "locks")
    for one in (state_dir, folder):
        _files.make_private_folder(one)
    with _folders.opened(folder, to_write=True) as descriptor, contextlib.ExitStack() as locks:
        for name in sorted(set(names)):  # one order for all, so that two never wait for each other
            locks.enter_context(_held(f"data-{hashlib.sha256(name.encode()).hexdigest()[:32]}", descriptor, folder))
        yield


@contextlib.contextmanager
def _held(name: str, folder: int, shown: str) -> Iterator[None]:
    file = _taken(name, folder, f"{shown}/{name}")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)  # while it is held: whoever waits for it looks again
        os.close(file)


def _taken(name: str, folder: int, path: str) -> int:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError as error:
            raise _folders.file_error(error, path) from error
        try:
            if _is_mine(file, name, folder, path):
                with contextlib.suppress(OSError):  # the disk may be full; it is only told to whoever waits
                    os.ftruncate(file, 0)
                    os.pwrite(file, b"%d\n" % os.getpid(), 0)
                return file
            holder = os.pread(file, 20, 0).decode("ascii", "replace").strip()
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if time.monotonic() > end:
            process = holder if holder.isdigit() else "unknown"
            raise StateError(
                f"another run works on the same data (process {process} of this host, "
                f"which holds {path}; its controller may be gone). Wait for its end, or end it, and run again"
            )
        time.sleep(0.05)


def _is_mine(file: int, name: str, folder: int, path: str) -> bool:
    """Whether the lock was free, and is still the one that others find."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path} is no file: remove it, and find out who made it")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(found, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        raise _folders.file_error(error, path) from error
