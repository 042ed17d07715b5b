# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a key that is being rotated, and what is remembered of it.

- ``mail.key`` is the key that is in use, ``mail.key.next`` its successor, ``mail.key.<16 hex digits>`` a predecessor,
  named by the begin of its key ID. The certificate and the request of each have the same ending.
- ``<state folder>/rotations/<32 hex digits>.json`` says that the successor has taken its place and that the services
  have not been told yet. It is written before the first file changes its name, and goes last.

Names are all that changes: no content of a private key is read to be written again, and at every moment each key has a
name. Each step can be done twice.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from dataclasses import asdict, dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest

_FORMAT = "keyops-rotation/1"
_FIELDS = {"key": str, "key_id": str, "old_key_id": str}
_OLD = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Begun:
    """A successor that takes, or has taken, its place; the members are those of the format."""

    key: str
    key_id: str
    old_key_id: str


def next_of(path: str) -> str:
    """Where the successor is until it takes its place."""
    return f"{path}.next"


def old_of(path: str, key_id: str) -> str:
    """Where a predecessor is kept."""
    return f"{path}.{key_id[:16]}"


def olds_of(path: str) -> list[str]:
    """What is there under the names of predecessors; rotation_olds.py tells which of them are."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise _folders.file_error(error, folder) from error
    begin = f"{name}."
    return [
        os.path.join(folder, one)
        for one in sorted(names)
        if one.startswith(begin) and _OLD.fullmatch(one[len(begin) :])
    ]


def modified(path: str) -> str:
    """When its content was last changed, by the file system (UTC)."""
    changed = os.stat(path, follow_symlinks=False).st_mtime
    return times.text(datetime.datetime.fromtimestamp(changed, datetime.timezone.utc))


def read_begun(state_dir: str, path: str) -> Begun | None:
    """What has begun with the key of this path, or None.

    Raises:
        StateError: the file is damaged.
    """
    place = _place(state_dir, path)
    existing = _files.read_existing(place)
    if existing is None:
        return None
    try:
        value = canonical.load_object(existing.content, _FORMAT, _FIELDS)
        if value["key"] != path:
            raise FormatError("it is of another key")
        return Begun(path, check_digest(value["key_id"]), check_digest(value["old_key_id"]))
    except FormatError as error:
        raise StateError(f"{place} is damaged ({error}): remove it, tell the services, and run again") from error


def write_begun(state_dir: str, begun: Begun) -> None:
    """Remember it, durably."""
    place = _place(state_dir, begun.key)
    _files.make_private_folder(os.path.dirname(place))
    _files.replace(_files.NewFile(place, canonical.dumps({"format": _FORMAT, **asdict(begun)})))


def forget(state_dir: str, path: str) -> None:
    """The services have been told."""
    _files.remove(_place(state_dir, path))


def keep(path: str, name: str) -> None:
    """Give the file a second name, durably; a file that has the name already must be the same one.

    Raises:
        FileError: another file has the name.
    """
    with _folders.opened(os.path.dirname(path), to_write=True) as folder:
        source, target = os.path.basename(path), os.path.basename(name)
        try:
            os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.fsync(folder)
        except FileExistsError as error:
            if not os.path.samestat(_status(source, folder), _status(target, folder)):
                raise FileError(f"{name}: another file has this name, which is for {path}; move it away") from error
        except OSError as error:
            raise _folders.file_error(error, path) from error


def move(path: str, name: str) -> None:
    """Give the file its name, durably and at once, whatever had it."""
    with _folders.opened(os.path.dirname(path), to_write=True) as folder:
        try:
            os.rename(os.path.basename(path), os.path.basename(name), src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError as error:
            raise _folders.file_error(error, path) from error


def _status(name: str, folder: int) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def note_name(path: str) -> str:
    """The name of a file in the state folder that says something of the key at this path."""
    return f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _place(state_dir: str, path: str) -> str:
    return os.path.join(state_dir, "rotations", note_name(path))
