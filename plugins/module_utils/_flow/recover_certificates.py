# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates of recovered keys, in a file beside each key: every one that the records have, newest first.

Such a file only ever grows: certificates that are there already stay, and a file that holds anything else than
certificates of its key is refused before anything is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import certificates

#: Everybody may read certificates.
_MODE = 0o644


@dataclass(frozen=True)
class Certificates:
    """The certificates of one key, and their file.

    Attributes:
        known: DER of those that the records have, newest first.
        file: to be written, or None when there is nothing to write.
        seen: what is at its place, or None.
    """

    known: tuple[bytes, ...] = field(default=(), repr=False)
    file: _files.NewFile | None = None
    seen: _files.ExistingFile | None = field(default=None, repr=False)

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each, newest first."""
        return [canonical.digest(one) for one in self.known]


def missing_folder(into: dict | None) -> str:
    """The folder that ``into`` names, when it has to be made; otherwise an empty text.

    Raises:
        OptionError: when it is no absolute path.
    """
    if into is None:
        return ""
    if not os.path.isabs(into["folder"]):
        raise OptionError(f"into: {into['folder']!r} is not an absolute path; begin it with /")
    folder = os.path.normpath(into["folder"])
    return "" if os.path.isdir(folder) else folder


def check_target(path: str, options: dict, new_folder: str) -> None:
    """Raise FileError unless the file can be created; of a folder that is still to be made, only the owner counts."""
    if new_folder and os.path.dirname(path) == new_folder:
        _folders.check_may_give(*_folders.owner_ids(options["owner"], options["group"]))
    else:
        _files.check_target(path, options["owner"], options["group"])


def gathered(
    items: Sequence[dict], records: Mapping[str, Sequence[Record]], new_folder: str
) -> dict[str, Certificates]:
    """By key ID, what there is and what is to be written.

    Args:
        items: of ``keys``.
        records: by key ID, the revisions that parse.

    Raises:
        OptionError: a file is named that two keys would share, or a path that is not absolute.
        FileError: one cannot be written, or holds something else.
    """
    places = [item["certificates_path"] for item in items if item["certificates_path"]]
    keys = {item["key"] for item in items}
    if len({*places, *keys}) < len(places) + len(keys):
        raise OptionError("certificates_path: a file is named twice; every key needs its own for its certificates")
    return {item["key_id"]: _of_one(item, records.get(item["key_id"], ()), new_folder) for item in items}


def _of_one(item: dict, records: Sequence[Record], new_folder: str) -> Certificates:
    known, path = certificates.of_key(records, item["key_id"]), item["certificates_path"]
    if not path:
        return Certificates(known)
    if not os.path.isabs(path):
        raise OptionError(f"certificates_path: {path!r} is not an absolute path; begin it with /")
    seen = _files.read_existing(path)
    there = _read(seen, item["key_id"])
    wanted = certificates.newest_first({*known, *there})
    if set(wanted) == set(there):
        return Certificates(known)
    check_target(path, item, new_folder)
    content = certificates.as_pem(wanted)
    return Certificates(known, _files.NewFile(path, content, _MODE, item["owner"], item["group"]), seen)


def _read(seen: _files.ExistingFile | None, key_id: str) -> tuple[bytes, ...]:
    if seen is None:
        return ()
    try:
        return certificates.in_file(seen.content, key_id, seen.path)
    except FormatError as error:
        raise FileError(f"certificates_path: {error}; it is left as it is, so name another file") from error


def diff(found: Mapping[str, Certificates]) -> list[dict]:
    """Per file that is written, whose certificates it gets."""
    return [
        {
            **dict.fromkeys(("before_header", "after_header"), one.file.path),
            **{"before": {"certificates_of": key_id if one.seen else None}, "after": {"certificates_of": key_id}},
        }
        for key_id, one in found.items()
        if one.file
    ]


def write(found: Mapping[str, Certificates]) -> None:
    """Write what is to be written, each file whole and at once."""
    wanted = [(one.file, one.seen) for one in found.values() if one.file]
    _files.replace_all([file for file, dummy in wanted], [seen for dummy, seen in wanted])
