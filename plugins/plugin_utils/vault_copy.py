# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparing two vaults and copying what one of them lacks, page by page: the memory does not grow with the vaults.

- An object that both have is compared and never written. The destination may lack what the source has, and nothing
  else: any other difference ends in ``VaultsDiffer``, which names it.
- No record is shown before its sealed key and shares, also when the source is written to meanwhile: each page of
  records is preceded by what it names and the destination lacks.
- A name that was destroyed in the source is taken in the destination by a placeholder, which is destroyed. Nothing else
  is ever destroyed here.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, VaultsDiffer
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.records import parts_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: What takes a destroyed name, for the moment until it is destroyed.
PLACEHOLDER = b"keyops: this name was destroyed in the vault that it comes from\n"

#: Names of one listing, and objects whose contents are in memory at once.
_NAMES, _PAGE = 1000, 200
#: Records whose sealed keys and shares are looked for at once.
_RECORDS = 50


@dataclass
class Count:
    """What one walk through one folder found.

    Attributes:
        objects: names in the source, those of destroyed objects among them.
        missing: of these, what the destination lacks, or lacked until it was copied.
        destroyed: of these, names of destroyed objects, where they were looked at.
    """

    objects: int = 0
    missing: int = 0
    destroyed: int = 0


@dataclass(frozen=True)
class _Page:
    missing: list[str]
    common: list[str]


class Copier:
    """From one vault to another.

    Args:
        tell: called with the folder and the number of objects so far, often.
    """

    def __init__(self, source: Vault, destination: Vault, tell: Callable[[str, int], None]) -> None:
        self._source, self._destination, self._tell = source, destination, tell

    def compare(self, folder: str) -> Count:
        """Compare the contents of every object of a folder that both have; nothing is written.

        Raises:
            VaultsDiffer: when the destination has anything that the source has not.
        """
        count = Count()
        for page in self._pages(folder, count):
            unfinished, destroyed = self._compared(page.common)
            count.missing += len(page.missing) + len(unfinished)
            count.destroyed += destroyed + len(page.missing) - len(self._source.exists(page.missing))
        return count

    def copy(self, folder: str) -> Count:
        """Copy every object of a folder that the destination lacks.

        Raises:
            VaultsDiffer: when the destination has names that the source has not.
        """
        count = Count()
        for page in self._pages(folder, count):
            count.destroyed += self._copied(folder, page.missing)
            count.missing += len(page.missing)
        return count

    def verify(self, folder: str) -> Count:
        """Compare every object of a folder, and copy before what came since.

        Raises:
            VaultsDiffer: when the destination is not like the source.
        """
        return self._completed(folder, everything=True)

    def complete(self, folder: str) -> Count:
        """Copy what came since, and compare that; of everything else, the names.

        Raises:
            VaultsDiffer: when the destination is not like the source.
        """
        return self._completed(folder, everything=False)

    def _completed(self, folder: str, everything: bool) -> Count:
        count = Count()
        for page in self._pages(folder, count):
            self._copied(folder, page.missing)
            unfinished, destroyed = self._compared(page.missing + page.common if everything else page.missing)
            self._destination.destroy(unfinished)
            count.missing += len(page.missing) + len(unfinished)
            count.destroyed += destroyed
        return count

    def _pages(self, folder: str, count: Count) -> Iterator[_Page]:
        prefix = f"{folder}/"
        sides = (
            (path, side) for path, side in _merged(_names(self._source, prefix), _names(self._destination, prefix))
        )
        while chunk := list(itertools.islice(sides, _PAGE)):
            self._refuse_additional([path for path, found in chunk if found == {1}])
            page = _Page(
                missing=[path for path, found in chunk if found == {0}],
                common=[path for path, found in chunk if len(found) == 2],
            )
            count.objects += len(page.missing) + len(page.common)
            yield page
            self._tell(folder, count.objects)

    def _refuse_additional(self, paths: list[str]) -> None:
        # Another migration may have copied what came into the source after it was listed here.
        if additional := sorted(set(paths) - self._source.exists(paths)):
            raise VaultsDiffer(
                f"the destination has objects that the source does not have: {_some(additional)}; it is another "
                "vault, or in use already. Nothing was overwritten; give an empty destination"
            )

    def _compared(self, paths: list[str]) -> tuple[list[str], int]:
        """Names that still have to be destroyed, and how many are destroyed in the source."""
        # The destination first: an object that is destroyed between the two readings then shows as a difference.
        theirs, ours = self._destination.read(paths), self._source.read(paths)
        other = [path for path in paths if path in ours and path in theirs and ours[path] != theirs[path]]
        if other:
            raise VaultsDiffer(
                f"the destination has another content than the source under {_some(other)}. Nothing was overwritten; "
                "find out which is genuine (each hashes to its name in sealed/, shares/; events chain)"
            )
        if lost := [path for path in paths if path in ours and path not in theirs]:
            raise VaultsDiffer(
                f"destroyed in the destination and not in the source: {_some(lost)}. Nothing comes back under a "
                "destroyed name; give an empty destination, or destroy them in the source too"
            )
        unfinished = [path for path in paths if path not in ours and path in theirs]
        if kept := [path for path in unfinished if theirs[path] != PLACEHOLDER]:
            raise VaultsDiffer(
                f"destroyed in the source and not in the destination: {_some(kept)}. Destroy them there with the "
                "credential for that, then run again"
            )
        return unfinished, len(paths) - len(ours)

    def _copied(self, folder: str, paths: list[str]) -> int:
        """How many of them are destroyed ones."""
        contents = self._source.read(paths)
        if folder == "records":
            self._copy_parts(contents)
        self._destination.create(contents)
        destroyed = [path for path in paths if path not in contents]
        # Only what was created here: under a name that somebody took in this moment lies something else.
        self._destination.destroy(self._destination.create(dict.fromkeys(destroyed, PLACEHOLDER)))
        return len(destroyed)

    def _copy_parts(self, contents: Mapping[str, bytes]) -> None:
        records = iter(contents.values())
        while some := list(itertools.islice(records, _RECORDS)):
            parts = {part for content in some for part in _parts(content)}
            self._destination.create(self._source.read(parts - self._destination.exists(parts)))


def _parts(content: bytes) -> frozenset[str]:
    try:
        return parts_of(record.parse(content))
    except FormatError:
        return frozenset()  # no reader takes it for a record


def _names(vault: Vault, prefix: str) -> Iterator[str]:
    last = ""
    while page := vault.list(prefix, after=last, limit=_NAMES):
        yield from page
        last = page[-1]


def _merged(*sorted_names: Iterable[str]) -> Iterator[tuple[str, set[int]]]:
    """Every name once, with the numbers of those who have it."""
    sides = [zip(names, itertools.repeat(side)) for side, names in enumerate(sorted_names)]
    for path, found in itertools.groupby(heapq.merge(*sides), key=itemgetter(0)):
        yield path, {side for dummy, side in found}


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + more
