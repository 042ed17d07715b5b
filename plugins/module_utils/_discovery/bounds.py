# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a walk goes: its bounds, what the user excludes, where file systems begin, and what is told of all that."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import reading

_MOST_PROBLEMS = 100
#: A line of mountinfo: two numbers, the device, a root, the mount point, options, and behind a dash the type.
_MOUNT = re.compile(r"[0-9]+ [0-9]+ ([0-9]+):([0-9]+) \S+ (\S+) .*? - (\S+) ")
_KERNELS_OWN = frozenset(
    (
        *("proc", "sysfs", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "pstore", "bpf", "configfs"),
        *("efivarfs", "fusectl", "mqueue", "hugetlbfs", "binfmt_misc", "autofs", "rpc_pipefs", "nsfs", "devpts"),
        *("selinuxfs", "smackfs"),
    )
)


@dataclass(frozen=True)
class Bounds:
    """Where to walk, and how far.

    Attributes:
        recursive: also the folders below.
        exclude: what is not looked at (see ``Exclusions``).
        one_file_system: no other file system is entered.
        max_files: over all folders.
        deadline: of time.monotonic().
    """

    recursive: bool = True
    exclude: tuple[str, ...] = ()
    one_file_system: bool = True
    max_files: int = 1_000_000
    deadline: float = float("inf")


class Problems:
    """Sentences about what was not looked at: the first hundred, and how many more there were."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._more = 0

    def add(self, text: str) -> None:
        """One more."""
        if len(self._told) < _MOST_PROBLEMS:
            self._told[text] = None
        else:
            self._more += 1

    def told(self) -> tuple[str, ...]:
        """All sentences."""
        return (*self._told, f"and {self._more} more were not looked at") if self._more else tuple(self._told)


class Exclusions:
    """Decides what the user has excluded: absolute paths with ``*`` and ``?`` in their parts, and bare names.

    Raises:
        OptionError: one is neither.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        names: list[str] = []
        paths: list[str] = []
        for pattern in patterns:
            if "/" in pattern.rstrip("/") and not os.path.isabs(pattern):
                raise OptionError(f"search.exclude: {pattern!r} is neither an absolute path nor a name without a slash")
            (paths if os.path.isabs(pattern) else names).append(_expression(pattern.rstrip("/")))
        self._name, self._path = _any(names), _any(paths)

    def __call__(self, folder: str, name: str) -> bool:
        """Whether the entry of the folder is excluded."""
        if self._name is not None and self._name(name):
            return True
        return self._path is not None and bool(self._path(os.path.join(folder, name)))


def _expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _any(expressions: list[str]) -> Callable | None:
    return re.compile("(?:" + "|".join(expressions) + r")\Z", re.S).match if expressions else None


def mounts() -> tuple[frozenset[int], dict[str, int]]:
    """Devices of the file systems that are the kernel's own, and the device at each mount point (proc(5))."""
    own: set[int] = set()
    points: dict[str, int] = {}
    listed = [data for dummy, data in reading.read_present(["/proc/self/mountinfo"], 1 << 24, [])]
    for line in os.fsdecode(b"".join(listed)).splitlines():
        found = _MOUNT.match(line)
        if found:
            device = os.makedev(int(found.group(1)), int(found.group(2)))
            points[re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), found.group(3))] = device
            own.update({device} if found.group(4) in _KERNELS_OWN else ())
    return frozenset(own), points
