# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of data_recovery: one line of JSON for every item, put together from what is known of every source.

A file that is there is replaced only when it is the report that an earlier run left: the state folder keeps the state
(size, time, inode) of what was written. It is noted before the report gets its name, beside the state of the one that
it replaces, so whenever a run is killed, what is there is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import done as finished
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import output
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

_FORMAT = "keyops-data-report/1"


class Report:
    """The file, or none at all when ``path`` is None."""

    def __init__(self, state_dir: str, path: str | None) -> None:
        self._path = path or ""
        self._noted = os.path.join(finished.folder(state_dir), f"{canonical.digest(os.fsencode(self._path))}.report")

    @property
    def is_wanted(self) -> bool:
        """Whether there is one to write."""
        return bool(self._path)

    def require_ours(self) -> None:
        """Raise FileError when something else has the report's name."""
        if self._path:
            self._state()

    def is_as(self, parts: Sequence[output.Nowhere]) -> bool:
        """Whether it has these lines, in this order.

        Raises:
            FileError: it cannot be read.
        """
        return output.state_at(self._path) is not None and output.has(self._path, parts)

    def write(self, lines: Iterable[bytes]) -> None:
        """Write it whole.

        Raises:
            FileError: something else has its name, or the disk is full.
        """
        with output.written(self._path) as report:
            for line in lines:
                report.write(line)
            after, there = report.finish(), self._state()
            self._note([after] if there is None else [after, there])
            report.name(replacing=there is not None)

    def forget(self) -> None:
        """Remove what is known of it.

        Raises:
            FileError: it cannot be removed.
        """
        if self._path and os.path.lexists(self._noted):
            _files.remove(self._noted)

    def _state(self) -> dict | None:
        there = output.state_at(self._path)
        if there is not None and there not in self._known():
            raise FileError(
                f"report: {self._path} exists, and no earlier run left it as it is; name another place, or move it away"
            )
        return there

    def _known(self) -> list:
        existing = _files.read_existing(self._noted)
        if existing is None:
            return []
        try:
            return canonical.load_object(existing.content, _FORMAT, {"states": list})["states"]
        except FormatError:
            return []

    def _note(self, states: list[dict]) -> None:
        _files.make_private_folder(os.path.dirname(self._noted))
        _files.replace(_files.NewFile(self._noted, canonical.dumps({"format": _FORMAT, "states": states})))
