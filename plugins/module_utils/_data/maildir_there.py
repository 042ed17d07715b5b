# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which mails of a Maildir are there already: by their path first, and then by the name that flags do not change.

Two mails of a folder may share that name, one in ``cur`` and one in ``new``: after two deliveries, or the kill of a
reader that moved one. So a file that has the path of another mail of the source is that one, and where a name is
shared, only the content says whether a file is the mail.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence


class There:
    """The mails that earlier runs wrote, for all processes of a run."""

    def __init__(self, src: str, there: Iterable[tuple[str, str]] = (), bases: Iterable[str] = ()) -> None:
        """
        Args:
            src: the Maildir that is read.
            there: name without flags, and path, of each mail that was written.
            bases: the name without flags of each mail of the source; not needed where nothing is there.
        """
        self._src = src
        self._paths: dict[str, list[str]] = {}
        for base, path in there:
            self._paths.setdefault(base, []).append(path)
        self._shared = _more_than_once(bases) if self._paths else set()

    def places_of(self, base: str, path: str) -> list[str]:
        """Where a mail may be: under its own path, or as a reader renamed it."""
        found = self._paths.get(base, [])
        if path in found:
            return [path]
        return [one for one in found if not os.path.lexists(os.path.join(self._src, one))]

    def may_be_another(self, base: str, path: str, places: Sequence[str]) -> bool:
        """Whether what is at these places may be another mail of the same name."""
        return path not in places and hash(base) in self._shared


def _more_than_once(bases: Iterable[str]) -> set[int]:
    """Hashes, since there may be millions: with two names of one hash a mail is written once more, and none is lost."""
    seen: set[int] = set()
    shared: set[int] = set()
    for base in bases:
        (shared if hash(base) in seen else seen).add(hash(base))
    return shared
