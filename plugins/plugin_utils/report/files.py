# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that an audit keeps on the controller, and those of a report: read and written here and nowhere else.

- Every file appears whole or not at all, and is the user's own (0600, folders 0700); metrics are for everybody (0644).
- What was kept and is broken is an error that names the file and the remedy: a head that cannot be read would let a
  log that went back pass, and a page without its past would look like the first one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import NewFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.outcome import FORMAT
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Head

OUTCOME, HEAD, HISTORY = "audit.json", "head.json", "history"
#: Bytes of an outcome, which grows with the fleet (100,000 keys make 150 MB), and of the small files.
_OUTCOME_LIMIT, _SMALL_LIMIT = 1 << 31, 1 << 20
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class KeptHeads:
    """Heads of the event log that past audits saw.

    Attributes:
        last: of the last audit; its number is 0 where the log was empty.
        missed: earlier ones that the log did not hold any more, and that nobody has acknowledged.
    """

    last: Head | None
    missed: tuple[Head, ...] = ()

    @property
    def expected(self) -> tuple[Head, ...]:
        """What the log must hold. An empty log shows nothing."""
        heads = (*self.missed, *([self.last] if self.last else []))
        return tuple(head for head in heads if head.number > 0)


def check_path(path: str, option: str) -> str:
    """The path without a slash at its end.

    Raises:
        OptionError: unless it is an absolute path.
    """
    if not os.path.isabs(path):
        raise OptionError(f"{option}: give an absolute path on the controller")
    return os.path.normpath(path)


def read_outcome(folder: str) -> dict | None:
    """The outcome of the last audit, None without one.

    Raises:
        FileError: it cannot be read, or is no outcome.
    """
    return _read(f"{folder}/{OUTCOME}", _outcome, "run the audit again, which writes it anew", _OUTCOME_LIMIT)


def read_heads(folder: str) -> KeptHeads:
    """The heads that past audits saw.

    Raises:
        FileError: the file cannot be read, or holds no head.
    """
    remedy = (
        "restore it from a backup, or give the head of an earlier audit.json (vault.head) in keyops_expected_heads and "
        "remove the file; without any head this audit could not tell whether the event log went back"
    )
    return _read(f"{folder}/{HEAD}", _heads, remedy) or KeptHeads(None)


def read_history(folder: str) -> list[dict]:
    """Time and summary of past audits, the oldest first.

    Raises:
        FileError: one of them cannot be read, or is none.
    """
    past = f"{folder}/{HISTORY}"
    try:
        names = sorted(name for name in os.listdir(past) if name.endswith(".json") and name[0] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(f"{past}: {error.strerror}; see who has changed its mode or owner") from error
    remedy = "restore it from a backup, or remove it: the page's chart then lacks that audit"
    found = [_read(f"{past}/{name}", _summary, remedy) for name in names]
    return [one for one in found if one is not None]


def outcome_files(folder: str, outcome: Mapping, heads: KeptHeads | None) -> list[NewFile]:
    """What an audit keeps; without ``heads`` (no vault) the kept head stays as it is."""
    short = {name: outcome[name] for name in ("time", "summary", "limit") if name in outcome}
    name = outcome["time"].replace(":", "")
    files = [_json(f"{folder}/{OUTCOME}", outcome), _json(f"{folder}/{HISTORY}/{name}.json", short)]
    if heads and heads.last:
        missed = [_row(head) for head in heads.missed]
        files.append(_json(f"{folder}/{HEAD}", {**_row(heads.last), **({"missed": missed} if missed else {})}))
    return files


def text_file(path: str, text: str, mode: int = 0o600) -> NewFile:
    """A file of text. What is no Unicode, as names on a host may be, is shown as a question mark."""
    return NewFile(path, text.encode("utf-8", "replace"), mode)


def json_file(path: str, value: object) -> NewFile:
    """A file of JSON."""
    return _json(path, value)


def make_folder(path: str) -> None:
    """See that the folder is there and nobody else's.

    Raises:
        FileError: it cannot be made, or belongs to another user.
    """
    _files.make_private_folder(path)
    try:
        if os.stat(path).st_mode & 0o777 != 0o700:
            os.chmod(path, 0o700)
    except OSError as error:
        raise FileError(f"{path}: its mode cannot be set to 0700 ({error.strerror}); use another folder") from error


def differing(files: Sequence[NewFile]) -> list[NewFile]:
    """Those that are not there as they should be.

    Raises:
        FileError: something else has the name of one of them.
    """
    return [file for file in files if _differs(file)]


def write(files: Sequence[NewFile]) -> None:
    """Write them, each whole and at once.

    Raises:
        FileError: a folder does not let us, or the disk is full.
    """
    _files.replace_all(files)


def _differs(file: NewFile) -> bool:
    there = _files.read_existing(file.path, _OUTCOME_LIMIT)
    return there is None or there.content != file.content or there.mode != file.mode


def _json(path: str, value: object) -> NewFile:
    return NewFile(path, json.dumps(value).encode("ascii") + b"\n")


def _row(head: Head) -> dict:
    return {"number": head.number, "digest": head.digest}


def _read(path: str, form: Callable[[Any], _Read], remedy: str, limit: int = _SMALL_LIMIT) -> _Read | None:
    existing = _files.read_existing(path, limit)
    if existing is None:
        return None
    try:
        return form(json.loads(existing.content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError) as error:
        told = "it is no JSON" if isinstance(error, ValueError) else "its JSON is not what an audit writes"
        raise FileError(f"{path}: this is not the file that an audit kept there ({told}); {remedy}") from error


def _outcome(value: Any) -> dict:
    if value["format"] != FORMAT:
        raise FormatError("another format")
    value["summary"]["findings"].items()
    return dict(value)


def _heads(value: Any) -> KeptHeads:
    return KeptHeads(_head(value), tuple(_head(one) for one in value.get("missed", [])))


def _head(value: Any) -> Head:
    number = value["number"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise FormatError("no number")
    return Head(number, check_digest(value["digest"]))


def _summary(value: Any) -> dict:
    times.parse(value["time"])
    counts = value["summary"]["findings"].values()
    if not all(isinstance(count, int) for count in counts):
        raise FormatError("no numbers")
    return dict(value)
