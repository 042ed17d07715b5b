# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of a SQLite vault: made for its owner alone, and refused when anybody else could have touched it.

The vault holds no secret, but whoever can write the file can withhold and forge, and whoever can write the folder can
plant a ``-wal`` or ``-journal`` beside the file, which SQLite would play back into it.
"""

from __future__ import annotations

import errno
import os
import stat

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    NotAVault,
    OptionError,
    VaultForbidden,
    VaultFull,
    VaultUnsafe,
)


def check(path: str) -> bool:
    """Whether there is a vault file; a file or folder that others can reach is refused.

    It only looks at the file and never opens it: closing any descriptor of it would drop the locks that SQLite holds on
    it in this process (POSIX advisory locks). Looking by name is safe because nobody else can write the folder.

    Raises:
        VaultUnsafe: for a symlink, a foreign owner, or an open mode; the message tells the remedy.
        NotAVault: when it is no regular file.
        VaultForbidden: when the folder cannot be searched.
    """
    try:
        folder = os.stat(os.path.dirname(path))
        _check_folder(os.path.dirname(path), folder)
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise VaultForbidden(f"vault.path: {path} cannot be reached: {error.strerror}") from error
    _check_file(path, found)
    return True


def make(path: str) -> None:
    """Make an empty vault file, mode 0600, and its folder, mode 0700, durably; a file that exists is left alone.

    Raises:
        VaultForbidden, VaultFull, OptionError: when the file or folder cannot be made.
    """
    folder = os.path.dirname(path)
    try:
        _make_folders(folder)
        _check_folder(folder, os.stat(folder))
        # Others never have it, and its owner has it under any umask; a link planted here is not followed.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        # Nobody in this process can hold a lock on a file that did not exist, so closing it drops none.
        os.close(descriptor)
        _sync_folder(folder)
    except FileExistsError:
        return  # another process was first
    except NotADirectoryError as error:
        raise OptionError(f"vault.path: {folder} is not a folder; name a file in a folder") from error
    except OSError as error:
        kind = VaultFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else VaultForbidden
        raise kind(f"vault.path: {path} cannot be made: {error.strerror}; check {folder} and its free space") from error


def _make_folders(folder: str) -> None:
    if not os.path.isdir(folder):
        if os.path.dirname(folder) != folder:
            _make_folders(os.path.dirname(folder))
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise NotADirectoryError(folder) from None
            return
        _sync_folder(os.path.dirname(folder))


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_folder(folder: str, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise OptionError(f"vault.path: {folder} is not a folder; name a file in a folder")
    if found.st_mode & 0o022:
        raise VaultUnsafe(
            f"vault.path: others can write the folder {folder}, so they could plant files beside the vault; "
            f"run 'chmod go-w {folder}', or give the vault a folder of its own (a missing one is made)"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise VaultUnsafe(f"vault.path: the folder {folder} belongs to another user; use a folder of your own")


def _check_file(path: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise VaultUnsafe(f"vault.path: {path} is a symbolic link; name the vault file itself")
    if not stat.S_ISREG(found.st_mode):
        raise NotAVault(f"vault.path: {path} is not a regular file; name a file")
    if found.st_uid != os.geteuid():
        raise VaultUnsafe(f"vault.path: {path} belongs to another user; run as its owner, who alone may use this vault")
    if found.st_mode & 0o177:
        raise VaultUnsafe(
            f"vault.path: others can reach {path} (mode {stat.S_IMODE(found.st_mode):04o}); "
            f"find out who did, check the event log, then run 'chmod 600 {path}'"
        )
