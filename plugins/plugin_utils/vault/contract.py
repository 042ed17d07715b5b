# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a vault is: a create-only object store, and nothing more.

Invariants, which one contract test suite checks for every backend:

- An object never changes. ``create`` leaves a name that exists as it is and says so, whatever the content.
- ``create`` returns when what it created is durable, and two writers of one name never both create it.
- The name of a destroyed object stays taken: it cannot be created again, so nobody can put another object there.
- ``list`` names everything that was ever created; ``exists`` and ``read`` tell what still is.
- What another program has put below a folder under a name that no object has is no object: ``list`` leaves it out, so
  nobody can stop a reader with it, and ``strangers`` tells of it.

All meaning lives above it, once (records, event log, ...). Names are checked here for every backend, so that no caller
can reach anything but an object. An open vault belongs to the process that opened it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import TracebackType

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import ObjectNameError

#: One folder and one to four segments. No dots, no upper case: the same name means the same object everywhere.
_PATH = re.compile(r"[a-z]{1,32}(?:/[0-9a-z]{1,64}){1,4}")
_PREFIX = re.compile(r"[a-z]{1,32}/(?:[0-9a-z]{1,64}/){0,3}")

#: Bytes. Base64 of this still fits one entry of a Raft log with the usual limit of 1 MiB, so any vault can move to any.
CONTENT_LIMIT = 700_000

#: Names in one page of the search for strangers.
_PAGE = 1000

#: ``list`` means the method inside the classes.
Paths = list[str]


class Vault(ABC):
    """The contract. Backends implement the methods with an underscore; paths reach them checked, unique and sorted."""

    def create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        """Create objects, many at once, durably; returns the paths that were newly created.

        Raises:
            ObjectNameError: for a name or content that no vault takes; nothing was created.
            VaultError: when the vault cannot do it; some objects may have been created (ask again, it is idempotent).
        """
        for path, content in objects.items():
            if not isinstance(content, bytes) or len(content) > CONTENT_LIMIT:
                raise ObjectNameError(f"the object {path[:200]!r} is not bytes, or longer than {CONTENT_LIMIT} bytes")
        checked = _checked(objects)
        return self._create({path: objects[path] for path in checked}) if checked else frozenset()

    def exists(self, paths: Iterable[str]) -> frozenset[str]:
        """Those of ``paths`` that exist (destroyed objects do not)."""
        checked = _checked(paths)
        return self._exists(checked) if checked else frozenset()

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those of ``paths`` that exist."""
        checked = _checked(paths)
        return self._read(checked) if checked else {}

    def list(self, prefix: str, after: str = "", limit: int | None = None) -> Paths:
        """Full paths below ``prefix`` (``records/``, ``records/<key ID>/``), sorted as bytes, greater than ``after``.

        Destroyed objects are among them: their names are all that is left of them.

        Args:
            prefix: ends with a slash.
            after: the last path of the page before, or empty.
            limit: at most so many, or None for all.
        """
        if not _PREFIX.fullmatch(prefix):
            raise ObjectNameError(f"{prefix[:200]!r} is not the prefix of vault objects")
        found: Paths = []
        last = _checked([after])[0] if after else ""
        while page := self._list(prefix, last, limit):
            found += [path for path in page if _PATH.fullmatch(path)]
            if limit is None or len(page) < limit or len(found) >= limit:
                break
            last = page[-1]
        return found[:limit]

    def strangers(self, prefix: str, limit: int = 100) -> Paths:
        """What lies below ``prefix`` and is no object, at most ``limit`` names: not to be used, only to be told."""
        found: Paths = []
        last = ""
        while page := self._list(prefix, last, _PAGE):
            found += [path for path in page if not _PATH.fullmatch(path)]
            if len(page) < _PAGE or len(found) >= limit:
                break
            last = page[-1]
        return found[:limit]

    def destroy(self, paths: Iterable[str]) -> None:
        """Destroy the content of those of ``paths`` that exist, for good. Only for what dual control has condemned."""
        checked = _checked(paths)
        if checked:
            self._destroy(checked)

    @abstractmethod
    def close(self) -> None:
        """Give up all resources; closing twice is no error."""

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]: ...

    @abstractmethod
    def _exists(self, paths: Paths) -> frozenset[str]: ...

    @abstractmethod
    def _read(self, paths: Paths) -> dict[str, bytes]: ...

    @abstractmethod
    def _list(self, prefix: str, after: str, limit: int | None) -> Paths: ...

    @abstractmethod
    def _destroy(self, paths: Paths) -> None: ...


def _checked(paths: Iterable[str]) -> Paths:
    unique = set(paths)
    for path in unique:
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise ObjectNameError(f"{str(path)[:200]!r} is not the name of a vault object")
    return sorted(unique)
