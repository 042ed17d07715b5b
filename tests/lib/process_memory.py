# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Search a stopped process's memory: everything that a core dump would hold, and the pages that are left out of one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 22
#: Of the kernel, and no memory of the process.
_NOT_READABLE = ("[vvar]", "[vvar_vclock]", "[vsyscall]")


def found(pid: int, needles: dict[str, bytes]) -> set[str]:
    """Names of the needles that are in the memory of a process of ours, which is stopped meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        longest = max(map(len, needles.values()))
        seen: set[str] = set()
        for text in _memory(pid, longest):
            seen |= {name for name, needle in needles.items() if needle in text}
        return seen
    finally:
        os.kill(pid, signal.SIGCONT)


def _memory(pid: int, overlap: int) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end, rights, name = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)", line).groups()  # type: ignore[union-attr]
            if rights[0] != "r" or name in _NOT_READABLE:
                continue
            kept = b""
            for place in range(int(start, 16), int(end, 16), _CHUNK):
                memory.seek(place)
                text = memory.read(min(_CHUNK, int(end, 16) - place))
                yield kept + text
                kept = text[-overlap:]
