# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vault in memory, for tests: it passes the same contract suite as the real ones (vault/test_contract.py)."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Paths, Vault


class MemoryVault(Vault):
    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._condemned: set[str] = set()

    def close(self) -> None:
        return

    def tamper(self, path: str, content: bytes | None) -> None:
        """What no vault does for a caller: replace an object, or lose it so that its name is free again."""
        self._objects.pop(path, None)
        if content is not None:
            self._objects[path] = content

    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        created = frozenset(objects) - set(self._objects) - self._condemned
        self._objects.update({path: objects[path] for path in created})
        return created

    def _exists(self, paths: Paths) -> frozenset[str]:
        return frozenset(path for path in paths if path in self._objects)

    def _read(self, paths: Paths) -> dict[str, bytes]:
        return {path: self._objects[path] for path in paths if path in self._objects}

    def _list(self, prefix: str, after: str, limit: int | None) -> Paths:
        taken = [*self._objects, *self._condemned]
        return sorted(path for path in taken if path.startswith(prefix) and path > after)[:limit]

    def _destroy(self, paths: Paths) -> None:
        for path in paths:
            if self._objects.pop(path, None) is not None:
                self._condemned.add(path)
