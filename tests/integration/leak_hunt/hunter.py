# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The search itself: all haystacks, as they are and without white space, in one pass of grep over all needles."""

from __future__ import annotations

import bisect
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from leak_hunt.needles import Secret, needles

#: White space and its escapes in JSON, in JSON within JSON, and in Python literals. An escape is looked for at the
#: begin of a run of backslashes only: from each of its places, a long run in anybody's file would take hours.
_SPACE = re.compile(rb"(?:\s|(?<!\\)\\+[nrt])+")


@dataclass(frozen=True)
class Haystack:
    """Something to search: where it was found, and its bytes."""

    place: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, order=True)
class Hit:
    """One secret in one place in one encoding; ``before`` is what stands there before it, to find the leak."""

    place: str
    secret: str
    encoding: str
    before: str = field(compare=False, default="")


def search(haystacks: Iterable[Haystack], secrets: Iterable[Secret], work: Path) -> list[Hit]:
    """Every secret that is in a haystack, once per place and encoding.

    Args:
        haystacks: what to search; each is copied below ``work``.
        secrets: what to search for.
        work: an existing folder for the copies, which hold whatever leaked.
    """
    known: dict[bytes, set[tuple[str, str]]] = defaultdict(set)
    for secret in secrets:
        for needle, encoding in needles(secret):
            known[needle].add((secret.name, encoding))
    (work / "needles").write_bytes(b"\n".join(known) + b"\n")
    starts, places = _pile(haystacks, work / "pile")
    hits = set()
    pile = (work / "pile").open("rb")
    with pile:
        for offset, found in _grep(work):
            place = places[bisect.bisect_right(starts, offset) - 1]
            pile.seek(max(0, offset - 80))
            before = pile.read(min(80, offset)).decode("ascii", "replace")
            hits |= {Hit(place, name, encoding, before) for name, encoding in known[found]}
    return sorted(hits)


def _pile(haystacks: Iterable[Haystack], path: Path) -> tuple[list[int], list[str]]:
    starts, places = [], []
    with path.open("wb") as pile:
        for haystack in haystacks:
            for data in (haystack.data, _SPACE.sub(b"", haystack.data)):
                starts.append(pile.tell())
                places.append(haystack.place)
                pile.write(data + b"\n")
    return starts, places


def _grep(work: Path) -> Iterator[tuple[int, bytes]]:
    command = ["grep", "-a", "-o", "-b", "-F", "-f", work / "needles", work / "pile"]
    found = subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    assert found.returncode in (0, 1), found.stderr
    for line in found.stdout.split(b"\n")[:-1]:
        offset, match = line.split(b":", 1)
        yield int(offset), match


def files_below(folder: Path, shown: str, since: float = 0.0, without: Path | None = None) -> Iterator[Haystack]:
    """All files below a folder, and the names of all that is there: names leak too.

    Args:
        folder: where to begin; links are not followed.
        shown: what stands in the places instead of the folder.
        since: only files whose content or inode changed after this time.
        without: a folder that is left out.
    """
    names = []
    for parent, folders, files in os.walk(folder):
        # What pytest keeps of other tests: many files, and none of the story's processes knows of them.
        folders[:] = [name for name in folders if not name.startswith("pytest-of-") and Path(parent, name) != without]
        names += [os.path.join(parent, name) for name in (*folders, *files)]
        for name in files:
            path = Path(parent, name)
            try:
                status = path.lstat()
                if path.is_symlink() or not path.is_file() or max(status.st_mtime, status.st_ctime) < since:
                    continue
                data = path.read_bytes()
            except (FileNotFoundError, PermissionError):
                continue  # gone meanwhile, or another user's pseudo file
            yield Haystack(f"{shown}/{path.relative_to(folder)}", data)
    yield Haystack(f"{shown}: names", "\n".join(names).encode("utf-8", "surrogateescape"))
