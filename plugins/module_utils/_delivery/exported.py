# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this host exported to where: one file per destination below the state folder, with public facts only.

It is how a file is known again that cannot be opened here any more (its password was generated, or it is sealed to its
owner), and how a key is known that has left its station since. It is written before the file that it tells of: of a
file it keeps the two newest versions, so that a kill between the two leaves none that is unknown. Older ones stay until
the vault has their events, though without a vault not without end.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

_FORMAT = "keyops-exported/1"
_FIELDS = {"dest": str, "made": list}
_MADE = {
    **{"digest": str, "facts": dict, "keys": list, "password_digest": str},
    **{"pending": str, "told": bool, "created": str},
}
_KEY = {"key": str, "key_id": str}
_KEPT = 2
#: Bytes of the older ones that no vault's log has yet, half of what is read: without a vault nobody is ever told.
_LARGEST = _files.DEFAULT_LIMIT // 2


@dataclass(frozen=True)
class Made:
    """One version of what was exported.

    Attributes:
        digest: SHA-256 of the file; empty for a key on a token.
        facts: public facts (_flow/export_sources.py).
        keys: ``{"key", "key_id"}`` of each key.
        password_digest: SHA-256 of the message with its password, or empty.
        pending: base64 of that message, as long as the vault does not have it; ciphertext.
        told: whether the vault's log has the event of it.
        created: when.
    """

    digest: str
    facts: dict
    keys: list = field(default_factory=list)
    password_digest: str = ""
    pending: str = ""
    told: bool = False
    created: str = ""


def read(state_dir: str, dest: str) -> tuple[Made, ...]:
    """What is known of a destination, the newest last.

    Raises:
        StateError: there is a file and it does not have its form.
        FileError: it cannot be read.
    """
    path = _path(state_dir, dest)
    existing = _files.read_existing(path)
    if existing is None:
        return ()
    try:
        value = canonical.load_object(existing.content, _FORMAT, _FIELDS)
        for one in value["made"]:
            canonical.check_fields(one, _MADE, "version")
            for key in one["keys"]:
                canonical.check_fields(key, _KEY, "key")
    except FormatError as error:
        raise StateError(f"{path}: not valid ({error}); remove it, and export with force: true") from error
    if value["dest"] != dest:
        raise StateError(f"{path}: it is about another file; remove it, and export with force: true")
    return tuple(Made(**one) for one in value["made"])


def write(state_dir: str, dest: str, made: tuple[Made, ...]) -> None:
    """Keep the newest versions, and those that are still to be told, durably.

    Raises:
        FileError: the state folder cannot be used.
    """
    _files.make_private_folder(os.path.join(state_dir, "exports"))
    value = {"format": _FORMAT, "dest": dest, "made": [asdict(one) for one in (*_untold(made), *made[-_KEPT:])]}
    _files.replace(_files.NewFile(_path(state_dir, dest), canonical.dumps(value)))


def _untold(made: tuple[Made, ...]) -> list[Made]:
    """Of the versions before the newest those that are still to be told, as many of the latest as are kept."""
    kept: list[Made] = []
    size = 0
    for one in reversed(made[:-_KEPT]):
        size += 0 if one.told else len(canonical.dumps(asdict(one)))
        if size > _LARGEST:
            break
        kept += [] if one.told else [one]
    return kept[::-1]


def _path(state_dir: str, dest: str) -> str:
    return os.path.join(state_dir, "exports", f"{hashlib.sha256(dest.encode('utf-8')).hexdigest()}.json")
