# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may lie in a folder that is sealed: the outputs of this work, each as the work left it, and nothing else.

Whatever is signed was made here from a source, or compared with what is made from it. A file below a Maildir or a
volume's folder that is of no mail and no file of the source (any more) is an error that names it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import maildir, output
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.sealed_files import walk
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.sealed_names import OUTPUTS, SOURCES
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import is_leftover


@dataclass(frozen=True)
class Made:
    """What came of a source.

    Attributes:
        source: with its kind.
        after: the state of its output, where that is one file; empty: there is none.
        files: of a volume, the paths of the files that were made or are there as they should be.
    """

    source: Source
    after: dict
    files: frozenset[str] = field(default=frozenset(), repr=False)


def require_made(folder: str, made: Iterable[Made], report: str | None) -> None:
    """See that every file of the folder is one of this work.

    Raises:
        FileError: one is not, or cannot be looked at.
    """
    outputs = {one.source.dest: one for one in made}
    ours = {os.path.join(folder, name) for name in (OUTPUTS, SOURCES)} | ({report} if report else set())
    fits: dict[str, Callable[[str], bool]] = {}
    for path, dummy in walk(folder):
        if path in ours or is_leftover(os.path.basename(path)):
            continue
        dest = _dest_of(path, folder, outputs)
        if dest not in fits:
            fits[dest] = _fits(outputs.get(dest))
        if not fits[dest](path):
            raise FileError(
                f"{path}: it is no output of this work, or not as this work left it, and would be signed as if it "
                "were; move it away and run again"
            )


def _dest_of(path: str, folder: str, outputs: dict[str, Made]) -> str:
    """The output that a file is, or lies in; empty when there is none."""
    while path != folder:
        if path in outputs:
            return path
        path = os.path.dirname(path)
    return ""


def _fits(made: Made | None) -> Callable[[str], bool]:
    if made is None:
        return lambda path: False
    if made.source.kind == "ntfs":
        return made.files.__contains__
    if made.source.kind == "maildir":
        return _Mails(made.source).has
    return lambda path: path == made.source.dest and output.state_at(path) == made.after


class _Mails:
    """The mails of a Maildir and its lists; each mail of the source stands for one of the output.

    That is the one of the same path, or, where there is none, one whose flags a reader has changed.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        moved = (one for one in maildir.mails(source.src) if not os.path.lexists(os.path.join(source.dest, one.path)))
        self._left = Counter(mail.base for mail in moved)

    def has(self, path: str) -> bool:
        below, name = os.path.split(os.path.relpath(path, self._source.dest))
        folder, part = os.path.split(below)
        if part in maildir.MAILS:
            true = os.path.join(self._source.src, below, name)
            if os.path.isfile(true) and not os.path.islink(true) and not name.startswith("."):
                return True
            base = maildir.Mail(folder, part, name, 0, 0).base
            self._left[base] -= 1
            return self._left[base] >= 0
        there = _files.read_existing(os.path.join(self._source.src, below, name)) if name in maildir.COPIED else None
        return there is not None and there.content == _files.read_file(path)
