# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this host notes of the keys that its rotations replaced: ``<state folder>/replaced/<32 hex digits>.json``.

- A name says little: anybody may keep a file that is called like a predecessor. Only what is noted here, by its whole
  key ID, is a predecessor whose time can be over.
- Since when it has been one is noted too. The file's own times do not say it: a change of its mode moves them.

A note is made before the first file changes its name. It is dropped by a later rotation, when its key is gone. A
missing note keeps a key, and destroys none.
"""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotation_files as names
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest

_FORMAT = "keyops-replaced/1"
_FIELDS = {"key": str, "replaced": list}
_NOTE = {"key_id": str, "since": str}


def read(state_dir: str, path: str) -> dict[str, str]:
    """By key ID, since when each predecessor of the key at this path has been one (UTC, as the formats write it).

    Raises:
        StateError: the file is damaged.
    """
    place = _place(state_dir, path)
    existing = _files.read_existing(place)
    if existing is None:
        return {}
    try:
        value = canonical.load_object(existing.content, _FORMAT, _FIELDS)
        if value["key"] != path:
            raise FormatError("it is of another key")
        for one in value["replaced"]:
            canonical.check_fields(one, _NOTE, "a replaced key")
            times.parse(one["since"])
        return {check_digest(one["key_id"]): one["since"] for one in value["replaced"]}
    except FormatError as error:
        raise StateError(
            f"{place} is damaged ({error}): remove it and run again; old keys that it names stay until you remove them"
        ) from error


def add(state_dir: str, path: str, key_id: str) -> None:
    """Note, durably, that the key at this path is replaced now; notes of keys that are gone go."""
    kept = {one: since for one, since in read(state_dir, path).items() if os.path.lexists(names.old_of(path, one))}
    kept[key_id] = times.text(times.now())
    replaced = [{"key_id": one, "since": since} for one, since in sorted(kept.items())]
    place = _place(state_dir, path)
    _files.make_private_folder(os.path.dirname(place))
    _files.replace(_files.NewFile(place, canonical.dumps({"format": _FORMAT, "key": path, "replaced": replaced})))


def _place(state_dir: str, path: str) -> str:
    return os.path.join(state_dir, "replaced", names.note_name(path))
