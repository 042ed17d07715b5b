# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The outputs of sources that are one file each: which are to be written, and their writing, many at once.

What is there and was not made here from this source is never replaced.
"""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import done as finished
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import output, single
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, KeyopsError


def is_fresh(state_dir: str, one: single.Single) -> bool:
    """Whether the output is to be written: it is not there, or is ours and of what the source was before.

    Raises:
        FileError: there is something else.
    """
    state = output.state_at(one.source.dest)
    if state is None:
        return True
    try:
        output.require_same(one.source.dest, one.content or b"")
    except FileError:
        if not finished.is_ours(state_dir, one.source, state):
            raise
        return True
    return False


def create(state_dir: str, fresh: dict[int, single.Single]) -> dict[int, KeyopsError]:
    """Write the outputs, all at once; what could not be written, and why."""
    if not fresh:
        return {}
    files = {number: _files.NewFile(one.source.dest, one.content or b"") for number, one in fresh.items()}
    try:
        for parent in sorted({os.path.dirname(file.path) for file in files.values()}):
            _files.make_private_folder(parent)
        ours = {number for number, one in fresh.items() if _is_ours(state_dir, one.source)}
        _files.replace_all([files[number] for number in ours])
        new = {number: file for number, file in files.items() if number not in ours}
        created = _files.write_new(list(new.values()))
    except FileError as error:
        return dict.fromkeys(files, error)
    taken = [number for number, was in zip(new, created) if not was]
    return {number: FileError(f"{files[number].path}: another process wrote it; run again") for number in taken}


def _is_ours(state_dir: str, source: Source) -> bool:
    """Whether what is there now is an earlier run's output; somebody may have come since ``is_fresh``."""
    state = output.state_at(source.dest)
    return state is not None and finished.is_ours(state_dir, source, state)
