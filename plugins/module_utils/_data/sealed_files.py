# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a sealed folder's lists and their digests.

What is listed as read is what was read: a source that has changed since is refused. No link is followed, but one to a
volume. Memory does not grow with the size of a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import maildir, output
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import file_error

_CHUNK = 1024 * 1024
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class Input:
    """A source that was read, a file or a folder of mails.

    Attributes:
        path: absolute.
        read: its state when it was read (``output.state_of``, for a folder ``maildir.fingerprint``); empty: not known.
        is_volume: an NTFS volume; only its path may be a link, as a device's is.
    """

    path: str
    read: dict = field(default_factory=dict)
    is_volume: bool = False


def sums_of_inputs(inputs: Iterable[Input]) -> Iterator[tuple[str, str]]:
    """Path and SHA-256 of every file that was read, sorted by source.

    Raises:
        FileError: one cannot be read, or is not as it was.
    """
    by_path: dict[str, list[Input]] = {}
    for one in inputs:
        by_path.setdefault(one.path, []).append(one)
    for path, same in sorted(by_path.items()):
        states = [one.read for one in same if one.read]
        if os.path.isdir(path):
            yield from ((one, _digest_of_input(one, [])) for one, found in walk(path) if stat.S_ISREG(found.st_mode))
            for state in states:
                _require_as_read(path, maildir.fingerprint(path, with_times=True), state)
        else:
            place = os.path.realpath(path) if any(one.is_volume for one in same) else path
            yield path, _digest_of_input(place, states)


def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below the folder but folders, sorted, with ``lstat``; links are told and not followed.

    Raises:
        FileError: a folder cannot be read.
    """

    def failed(error: OSError) -> None:
        raise file_error(error, str(error.filename))

    for parent, folders, names in os.walk(folder, onerror=failed):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*names, *links]):
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):
                yield path, os.lstat(path)


def digest_of(path: str) -> str:
    """SHA-256 of a file.

    Raises:
        FileError: it cannot be read, or is a link.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        raise file_error(error, path) from error
    try:
        return _digest_of_open(descriptor, path)
    finally:
        os.close(descriptor)


def _digest_of_input(path: str, states: list[dict]) -> str:
    """Of what was opened, and not of what has its name a moment later."""
    with _folders.opened(os.path.dirname(path)) as parent:
        try:
            descriptor = os.open(os.path.basename(path), _READ, dir_fd=parent)
        except OSError as error:
            raise file_error(error, path) from error
    try:
        for state in states:
            _require_as_read(path, output.state_of(descriptor), state)
        before = output.state_of(descriptor)
        digest = _digest_of_open(descriptor, path)
        _require_as_read(path, output.state_of(descriptor), before)
        return digest
    finally:
        os.close(descriptor)


def _require_as_read(path: str, found: dict, read: dict) -> None:
    if found != read:
        raise FileError(
            f"{path}: it has changed since it was read, and nothing was sealed; stop what writes to it and run again"
        )


def _digest_of_open(descriptor: int, path: str) -> str:
    found = hashlib.sha256()
    try:
        while chunk := os.read(descriptor, _CHUNK):
            found.update(chunk)
    except OSError as error:
        raise file_error(error, path) from error
    return found.hexdigest()
