# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was decrypted before: one file per source below the state folder, and one with the items of a mailbox.

So a run that finds everything done needs no key for it, and the report can be written again at any time. They hold no
content. A source that changed since, an output that is not as it was left, or new keys where something failed, make the
work necessary again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import output
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileMissing, FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

_FORMAT = "keyops-data/1"
_FIELDS = {
    **{"src": str, "dest": str, "kind": str, "source": dict, "output": dict, "keys": list, "facts": dict},
    **{"lines": list},
}


@dataclass(frozen=True)
class Done:
    """One source as it was done.

    Attributes:
        source: with its kind.
        before: the source's state then (``output.state_of``).
        after: the output's; empty when there is none.
        key_ids: of all keys that were there, used or not, and need not be tried again; none where something of this
            host stood in the way.
        facts: counts and failures, as in the result.
        lines: the items' lines of a report, where they are not in a file of their own.
    """

    source: Source
    before: dict
    after: dict
    key_ids: tuple[str, ...]
    facts: dict
    lines: tuple[str, ...] = field(default=(), repr=False)


def folder(state_dir: str) -> str:
    """Where these files are."""
    return os.path.join(state_dir, "data")


def items_path(state_dir: str, source: Source) -> str:
    """The file with the items of a source."""
    return os.path.join(folder(state_dir), f"{_name(source)}.items")


def made_path(state_dir: str, source: Source) -> str:
    """The file with what was made of a volume (``efs_made``)."""
    return os.path.join(folder(state_dir), f"{_name(source)}.made")


def read(state_dir: str, source: Source) -> Done | None:
    """What was done with this source and output; None when nothing is known, or what is there cannot be read.

    A file that is not as it should be costs no more than doing the work again.
    """
    existing = _files.read_existing(os.path.join(folder(state_dir), f"{_name(source)}.json"))
    if existing is None:
        return None
    try:
        value = canonical.load_object(existing.content, _FORMAT, _FIELDS)
    except FormatError:
        return None
    if (value["src"], value["dest"]) != (source.src, source.dest) or source.kind not in ("auto", value["kind"]):
        return None
    known = Source(source.src, source.dest, value["kind"], source.files)
    return Done(known, value["source"], value["output"], tuple(value["keys"]), value["facts"], tuple(value["lines"]))


def is_ours(state_dir: str, source: Source, state: dict) -> bool:
    """Whether an output of this state was left by an earlier run, of this source."""
    known = read(state_dir, source)
    return known is not None and known.after == state


def write(state_dir: str, done: Sequence[Done]) -> None:
    """Keep what was done.

    Raises:
        FileError: the state folder cannot be used.
    """
    if not done:
        return
    _files.make_private_folder(folder(state_dir))
    files = []
    for one in done:
        value = {
            **{"format": _FORMAT, "src": one.source.src, "dest": one.source.dest, "kind": one.source.kind},
            **{"source": one.before, "output": one.after, "keys": sorted(one.key_ids), "facts": one.facts},
            **{"lines": list(one.lines)},
        }
        path = os.path.join(folder(state_dir), f"{_name(one.source)}.json")
        files.append(_files.NewFile(path, canonical.dumps(value)))
    _files.replace_all(files)


def has_lines(state_dir: str, done: Done) -> bool:
    """Whether the items of a source are known, as a report needs them."""
    return bool(done.lines) or os.path.isfile(items_path(state_dir, done.source))


def lines(state_dir: str, done: Done) -> Iterator[bytes]:
    """The items of a source, as lines of JSON.

    Raises:
        FileError: they cannot be read.
    """
    if done.lines:
        yield from (line.encode() + b"\n" for line in done.lines)
        return
    try:
        with output.opened(items_path(state_dir, done.source)) as file, os.fdopen(os.dup(file), "rb") as found:
            yield from found
    except FileMissing:
        return


def forget(state_dir: str, sources: Sequence[Source]) -> None:
    """Remove what is known of these sources: something else says that they are done (a sealed folder).

    Raises:
        FileError: it cannot be removed.
    """
    for source in sources:
        known = os.path.join(folder(state_dir), f"{_name(source)}.json")
        for path in (items_path(state_dir, source), made_path(state_dir, source), known):
            if os.path.lexists(path):
                _files.remove(path)


def _name(source: Source) -> str:
    return canonical.digest(canonical.dumps([source.src, source.dest]))
