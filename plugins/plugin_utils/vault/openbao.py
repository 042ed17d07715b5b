# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The central vault of a fleet: a KV version 2 secrets engine of OpenBao, or of a server with the same API.

- An object is one secret with one version, ``{"content": base64, "writer": ...}``, created with check-and-set 0. What a
  credential may do is for the server's policies to say (roles/vault), which grant nobody an update or a delete.
- Under such a policy the server answers a second ``create`` with 403, as it answers what is forbidden; the metadata of
  the object tells the two apart.
- ``writer`` is a random number of one call of ``create``. When an answer was lost on its way, it tells whether the
  object there is ours, so that one happening is never written as two. A writer that may not read what it creates (the
  archiver of sealed keys, whose names are their digests) is told that the object exists.
- A destroyed object keeps its metadata, and with it its name.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import secrets
from collections.abc import Iterator, Mapping

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    NotAVault,
    VaultError,
    VaultForbidden,
    VaultReadOnly,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Paths, Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server import Answer, Server
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import ServerOptions

#: Names in one answer to a listing.
_PAGE = 1000


class OpenBaoVault(Vault):
    """The KV engine that the options name, as the user that they name."""

    def __init__(self, options: ServerOptions, writable: bool = True) -> None:
        """Nothing is connected before the first operation.

        Raises:
            OptionError: when the library hvac is missing.
        """
        self._server = Server(options)
        self._mount = options.mount
        self._writable = writable

    def close(self) -> None:
        self._server.close()

    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        def one(path: str) -> str | None:
            return path if self._created(path, objects[path], writer) else None

        self._refuse_unless_writable("created")
        writer = secrets.token_hex(16)
        return frozenset(path for path in self._server.each(one, objects) if path)

    def _created(self, path: str, content: bytes, writer: str) -> bool:
        data = {"content": base64.b64encode(content).decode(), "writer": writer}
        answer = self._server.request("post", f"{self._mount}/data/{path}", {"options": {"cas": 0}, "data": data})
        if answer.status == 200 and "version" in (answer.body.get("data") or {}):
            return True
        if not self._is_taken(path, answer):
            raise self._refused(answer, "create", path)
        return answer.unclear and self._writer_of(path) == writer

    def _is_taken(self, path: str, answer: Answer) -> bool:
        if answer.status == 400:
            return "check-and-set" in answer.errors
        return answer.status == 403 and self._metadata(path).status == 200

    def _writer_of(self, path: str) -> object:
        answer = self._server.request("get", f"{self._mount}/data/{path}")
        return ((answer.body.get("data") or {}).get("data") or {}).get("writer") if answer.status == 200 else None

    def _exists(self, paths: Paths) -> frozenset[str]:
        def one(path: str) -> str | None:
            answer = self._metadata(path)
            if answer.status == 404 and self._means_absent(answer):
                return None
            if answer.status != 200:
                raise self._refused(answer, "look up", path)
            version = (answer.body["data"].get("versions") or {}).get("1") or {"destroyed": True}
            return None if version.get("destroyed") or version.get("deletion_time") else path

        return frozenset(path for path in self._server.each(one, paths) if path)

    def _metadata(self, path: str) -> Answer:
        return self._server.request("get", f"{self._mount}/metadata/{path}")

    def _read(self, paths: Paths) -> dict[str, bytes]:
        def one(path: str) -> tuple[str, bytes | None]:
            answer = self._server.request("get", f"{self._mount}/data/{path}")
            if answer.status == 404 and self._means_absent(answer):
                return path, None
            if answer.status != 200:
                raise self._refused(answer, "read", path)
            return path, _content(path, answer)

        return {path: content for path, content in self._server.each(one, paths) if content is not None}

    def _list(self, prefix: str, after: str, limit: int | None) -> Paths:
        found: Paths = []
        for page in self._pages(prefix, after):
            found += page
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def _pages(self, prefix: str, after: str) -> Iterator[Paths]:
        """The paths below ``prefix``, in their order: page after page of its names, with all that lies below them."""
        name = after[len(prefix) :].split("/", 1)[0] if after.startswith(prefix) else ""
        if after > prefix and not name:
            return  # everything here sorts before
        # The folder of the last path may hold more, and sorts right behind its bare name.
        start = f"{prefix}{name}" if name else ""
        while names := self._names(prefix, start):
            paths = self._below([prefix + one for one in names])
            yield paths[bisect.bisect_right(paths, after) :]
            if len(names) < _PAGE:
                return
            start = prefix + names[-1]

    def _below(self, paths: Paths) -> Paths:
        """Objects among the paths, and below the folders among them; sorted."""
        found = [path for path in paths if not path.endswith("/")]
        folders = [path for path in paths if path.endswith("/")]
        while folders:
            listed = [path for below in self._server.each(self._all_names, folders) for path in below]
            found += [path for path in listed if not path.endswith("/")]
            folders = [path for path in listed if path.endswith("/")]
        return sorted(found)

    def _all_names(self, folder: str) -> Paths:
        paths: Paths = []
        while names := self._names(folder, paths[-1] if paths else ""):
            paths += [folder + one for one in names]
            if len(names) < _PAGE:
                break
        return paths

    def _names(self, folder: str, after: str) -> Paths:
        """The next names directly below a folder, those of folders with a slash at their end."""
        query = {"limit": _PAGE, **({"after": after[len(folder) :]} if after else {})}
        answer = self._server.request("list", f"{self._mount}/metadata/{folder}", query=query)
        if answer.status == 404 and self._means_absent(answer):
            return []
        if answer.status != 200:
            raise self._refused(answer, "list", folder)
        # A server that knows no pages returns all names, each time.
        names = sorted(str(one) for one in answer.body["data"]["keys"])
        return names[bisect.bisect_right(names, after[len(folder) :]) :][:_PAGE]

    def _destroy(self, paths: Paths) -> None:
        def one(path: str) -> None:
            answer = self._server.request("put", f"{self._mount}/destroy/{path}", {"versions": [1]})
            if answer.status not in (200, 204):
                raise self._refused(answer, "destroy", path)

        self._refuse_unless_writable("destroyed")
        self._server.each(one, sorted(self._exists(paths)))

    def _refuse_unless_writable(self, what: str) -> None:
        if not self._writable:
            raise VaultReadOnly(f"nothing is {what} in check mode")

    def _means_absent(self, answer: Answer) -> bool:
        """A missing object has no errors, or its metadata; a missing engine has an error."""
        return not answer.errors

    def _refused(self, answer: Answer, what: str, path: str) -> VaultError:
        shown = f"{self._mount}/{path[:60]}"
        if answer.status == 403:
            return VaultForbidden(
                f"the vault's policy does not let this credential {what} {shown}; use the one of this duty, and "
                "check the mount, the namespace and the policies (role vault)"
            )
        if answer.status in (200, 204, 404, 405):
            return NotAVault(
                f"vault.mount: there is no key-value engine of version 2 at {self._mount!r} "
                f"({answer.errors or answer.status}); the role vault makes one"
            )
        return VaultError(f"the vault cannot {what} {shown}: {answer.status} {answer.errors}")


def _content(path: str, answer: Answer) -> bytes:
    data = answer.body.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("data"), Mapping):
        raise NotAVault(f"vault.mount: the answer for {path[:60]} is not that of a key-value engine of version 2")
    try:
        return base64.b64decode(data["data"].get("content"), validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise NotAVault(f"vault.mount: {path[:60]} was not written by this collection: it has no content") from error
