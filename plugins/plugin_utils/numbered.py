# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbered objects in a vault (record revisions, freezes, approvals): read and added in bulk, many series at once.

A series is counted from 1; readers walk from 1 while the numbers exist. A number is claimed by creating it, so two
writers never share one and nothing is overwritten. A number whose object was destroyed stays taken and ends the series:
adding behind it would hide the new object from every reader, so that is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DestroyedRefused
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: From the name of a series and a number to the object's path.
PathOf = Callable[[str, int], str]


def read(vault: Vault, path_of: PathOf, names: Iterable[str]) -> dict[str, list[bytes]]:
    """Every series from 1 while it goes on, in rounds for all of them at once; an unknown name has an empty list."""
    found: dict[str, list[bytes]] = {name: [] for name in names}
    going, width = set(found), 1
    while going:
        asked = {name: [path_of(name, len(found[name]) + step) for step in range(1, width + 1)] for name in going}
        objects = vault.read(path for paths in asked.values() for path in paths)
        for name, paths in asked.items():
            for path in paths:
                if path not in objects:
                    going.discard(name)
                    break
                found[name].append(objects[path])
        width = min(width * 2, 64)
    return found


def add(vault: Vault, path_of: PathOf, contents: Mapping[str, Callable[[int], bytes]]) -> dict[str, int]:
    """Add one object to each series; returns the number that each got.

    Args:
        contents: per series, from its number to the content.

    Raises:
        DestroyedRefused: when a series ends in a destroyed object; the others were added.
    """
    got: dict[str, int] = {}
    destroyed: list[str] = []
    waiting = dict.fromkeys(contents, 1)
    while waiting:
        waiting = _first_free(vault, path_of, waiting)
        paths = {path_of(name, number): name for name, number in waiting.items()}
        created = vault.create({path: contents[name](waiting[name]) for path, name in paths.items()})
        got.update({paths[path]: waiting[paths[path]] for path in created})
        taken = [path for path in paths if path not in created]
        there = vault.exists(taken)
        destroyed += [path for path in taken if path not in there]
        # Another writer was first: try the number behind it.
        waiting = {paths[path]: waiting[paths[path]] + 1 for path in there}
    if destroyed:
        raise DestroyedRefused(
            f"{', '.join(sorted(destroyed)[:5])}: destroyed under dual control, and what was destroyed is not archived "
            "again; generate a new key"
        )
    return got


def _first_free(vault: Vault, path_of: PathOf, starts: Mapping[str, int]) -> dict[str, int]:
    free: dict[str, int] = {}
    going, width = dict(starts), 1
    while going:
        there = vault.exists(path_of(name, first + step) for name, first in going.items() for step in range(width))
        onward = {}
        for name, first in going.items():
            missing = [first + step for step in range(width) if path_of(name, first + step) not in there]
            if missing:
                free[name] = missing[0]
            else:
                onward[name] = first + width
        going, width = onward, min(width * 2, 64)
    return free
