# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources of data_recovery as they are found: readable, of which kind, and whether they are as they were."""

from __future__ import annotations

import os
from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils import _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs, maildir, output, single
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.done import Done
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError


def looked_at(source: Source) -> Source:
    """The source with its kind.

    Raises:
        FileMissing, FileError: it cannot be read.
        DataDamaged: its content is of no kind that is known.
    """
    if source.kind == "auto":
        return replace(source, kind="ntfs") if efs.is_volume(source.src) else single.with_kind(source)
    if source.kind == "ntfs":
        efs.state_of(source.src)
    elif source.kind == "maildir":
        with _folders.opened(source.src):
            pass
    else:
        with output.opened(source.src):
            pass
    return source


def require_unchanged(path: str, before: dict, after: dict) -> None:
    """Raise FileError unless a source is after the work as it was before."""
    if before != after:
        raise FileError(f"{path}: it changed while it was read; stop what writes to it and run again")


def is_as_left(known: Done) -> bool:
    """Whether source and output are as they were when the work was done; a run that failed left no output."""
    if known.source.kind == "ntfs":  # which knows for itself what is there
        return False
    if known.source.kind == "maildir":
        return (
            os.path.isdir(known.source.src)
            and os.path.isdir(known.source.dest)
            and maildir.fingerprint(known.source.dest, with_times=True) == known.after
            and maildir.fingerprint(known.source.src, with_times=True) == known.before
        )
    return (
        output.state_at(known.source.src) == known.before and (output.state_at(known.source.dest) or {}) == known.after
    )
