# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far long work is: one small file in the state folder, written every few seconds and gone at the end.

It holds numbers and the path of the source: what ``cat`` or a monitoring agent may see.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import FAILED, Tally
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times

#: Seconds between two writes.
EVERY = 5.0


class Progress:
    """The file ``progress-<process>.json`` in a folder; nothing at all when the folder is None."""

    def __init__(self, folder: str | None, sources: int) -> None:
        self._path = None if folder is None else os.path.join(folder, f"progress-{os.getpid()}.json")
        self._next = time.monotonic() + EVERY
        self._written = False
        self._facts: dict[str, Any] = {"sources": sources, "source": 0, "src": "", "started": times.text(times.now())}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *dummy: object) -> None:
        if self._written and self._path is not None:
            _files.remove(self._path)

    def begin(self, src: str) -> None:
        """The next source is worked on."""
        self._facts.update(source=self._facts["source"] + 1, src=src)

    def items(self, count: int) -> None:
        """So many sources that are one file each are done."""
        self._facts.update(source=self._facts["source"] + count, src="")
        self._tell({})

    def bytes_of(self, size: int, tally: Tally) -> Callable[[int], None]:
        """What a source calls with the bytes of it that are done."""

        def told(done: int) -> None:
            self._tell(
                {"bytes": done, "size": size, "items": sum(tally.counts.values()), "failed": tally.counts[FAILED]}
            )

        return told

    def _tell(self, facts: dict) -> None:
        if self._path is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        _files.make_private_folder(os.path.dirname(self._path))
        _files.replace(_files.NewFile(self._path, canonical.dumps({**self._facts, **facts})))
        self._written = True
