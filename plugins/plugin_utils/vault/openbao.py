# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The central vault of a fleet: a KV version 2 secrets engine of OpenBao, or of a server with the same API.

- An object is one secret with one version, ``{"content": base64, "writer": ...}``, created with check-and-set 0. What a
  credential may do is for the server's policies to say (roles/vault), which grant nobody an update or a delete.
- Under such a policy the server answers a second ``create`` with 403, as it answers what is forbidden; what is there
  tells the two apart.
- ``writer`` is a random number of one call of ``create``. It tells whether the object that is there already is ours, so
  that one happening is never written as two: the first answer may have been lost on its way to us, or to a standby or a
  load balancer that sent the request again by itself. A writer that may not read what it creates (the archiver of
  sealed keys, whose names are their digests) is told that the object exists.
- A destroyed object keeps its metadata, and with it its name.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import itertools
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    NotAVault,
    VaultError,
    VaultForbidden,
    VaultReadOnly,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Paths, Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server import Answer, Server
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import ServerOptions

#: What a name of ours, or of a folder on the way to one, looks like; whatever else lies there is not gone into.
_NAME = re.compile(r"[0-9a-z]{1,64}")
#: Slashes in the longest path (contract.py).
_DEPTH = 4

#: Names in one answer to a listing, and folders whose names are asked for at once.
_PAGE, _AHEAD = 1000, 64

#: Seconds before an object that is said to be there is looked for, again and again.
_STALE_PAUSES = (0.0, 0.3, 1.0)


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
        self._is_known = False

    def close(self) -> None:
        self._server.close()

    def _know_engine(self) -> None:
        """Find out, once, that there is an engine of the right kind: what is no vault must not look like an empty one.

        The server answers this to everybody who may do anything with the engine, without a policy of its own.
        """
        if self._is_known:
            return
        answer = self._server.request("get", f"sys/internal/ui/mounts/{self._mount}")
        engine = _data(answer)
        options = engine.get("options")
        version = options.get("version") if isinstance(options, Mapping) else None
        if answer.status == 403:
            raise VaultForbidden(
                f"vault.mount: this credential may do nothing with an engine at {self._mount!r}, or there is none; use "
                "the credential of this duty, and check the mount and the namespace (role vault)"
            )
        if answer.status != 200 or (engine.get("type"), version) != ("kv", "2"):
            raise self._refused(Answer(404, answer.body), "use", "")
        self._is_known = True

    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        def one(path: str) -> str | None:
            return path if self._created(path, objects[path], writer) else None

        self._refuse_unless_writable("created")
        self._know_engine()
        writer = secrets.token_hex(16)
        return frozenset(path for path in self._server.each(one, objects) if path)

    def _created(self, path: str, content: bytes, writer: str) -> bool:
        data = {"content": base64.b64encode(content).decode(), "writer": writer}
        answer = self._server.request("post", f"{self._mount}/data/{path}", {"options": {"cas": 0}, "data": data})
        if answer.status == 200 and "version" in _data(answer):
            return True
        if answer.status == 403 or (answer.status == 400 and "check-and-set" in answer.errors):
            return self._is_there_by(writer, path, answer)
        raise self._refused(answer, "create", path)

    def _is_there_by(self, writer: str, path: str, refused: Answer) -> bool:
        """Whether the object that is there already is this writer's.

        Raises:
            VaultForbidden: when there is none.
        """
        for pause in _STALE_PAUSES:
            time.sleep(pause)
            there = self._server.request("get", f"{self._mount}/data/{path}")
            if there.status == 200:
                found = _data(there).get("data")
                return isinstance(found, Mapping) and found.get("writer") == writer
            if self._metadata(path).status == 200:
                return False  # destroyed, or this credential may not read it
            # A leader that has just been replaced and does not know it yet may answer from its past.
        raise self._refused(refused, "create", path)

    def _exists(self, paths: Paths) -> frozenset[str]:
        def one(path: str) -> str | None:
            answer = self._metadata(path)
            if _means_absent(answer):
                return None
            versions = _data(answer).get("versions")
            if answer.status != 200 or not isinstance(versions, Mapping):
                raise self._refused(answer, "look up", path)
            version = versions.get("1") or {"destroyed": True}
            return None if version.get("destroyed") or version.get("deletion_time") else path

        self._know_engine()
        return frozenset(path for path in self._server.each(one, paths) if path)

    def _metadata(self, path: str) -> Answer:
        return self._server.request("get", f"{self._mount}/metadata/{path}")

    def _read(self, paths: Paths) -> dict[str, bytes]:
        def one(path: str) -> tuple[str, bytes | None]:
            answer = self._server.request("get", f"{self._mount}/data/{path}")
            if _means_absent(answer):
                return path, None
            data = _data(answer).get("data")
            if answer.status != 200 or not isinstance(data, Mapping):
                raise self._refused(answer, "read", path)
            return path, _content(data)

        self._know_engine()
        return {path: content for path, content in self._server.each(one, paths) if content is not None}

    def _list(self, prefix: str, after: str, limit: int | None) -> Paths:
        self._know_engine()
        return list(itertools.islice(self._walk(prefix, after, self._first_names(prefix, after)), limit))

    def _walk(self, folder: str, after: str, names: Paths) -> Iterator[str]:
        """The paths below ``folder`` that are greater than ``after``, in their order, no more than are taken.

        Args:
            names: the first page of the folder's names.
        """
        # A folder's name has a slash at its end, which sorts before everything that a name holds: the order of the
        # names is the order of all paths below them.
        while names:
            for start in range(0, len(names), _AHEAD):
                paths = [folder + name for name in names[start : start + _AHEAD]]
                folders = [path for path in paths if _is_folder(path)]
                below = dict(zip(folders, self._server.each(lambda one: self._first_names(one, after), folders)))
                for path in paths:
                    if path in below:
                        yield from self._walk(path, after, below[path])
                    elif path > after:
                        yield path
            if len(names) < _PAGE:
                return
            names = self._names(folder, names[-1])

    def _first_names(self, folder: str, after: str) -> Paths:
        """The first names directly below a folder with which paths greater than ``after`` may begin."""
        if after > folder and not after.startswith(folder):
            return []  # everything in it sorts before
        # What lies in the folder of the last path sorts right behind that folder's bare name.
        return self._names(folder, after[len(folder) :].split("/", 1)[0] if after.startswith(folder) else "")

    def _names(self, folder: str, start: str) -> Paths:
        """The next names directly below a folder behind ``start``, those of folders with a slash at their end."""
        query = {"limit": _PAGE, **({"after": start} if start else {})}
        answer = self._server.request("list", f"{self._mount}/metadata/{folder}", query=query)
        if _means_absent(answer):
            return []
        keys = _data(answer).get("keys")
        if answer.status != 200 or not isinstance(keys, list):
            raise self._refused(answer, "list", folder)
        # A server that knows no pages returns all names, each time.
        names = sorted(str(one) for one in keys)
        return names[bisect.bisect_right(names, start) :][:_PAGE]

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


def _is_folder(path: str) -> bool:
    return path.endswith("/") and path.count("/") <= _DEPTH and bool(_NAME.fullmatch(path.split("/")[-2]))


def _data(answer: Answer) -> Mapping[str, Any]:
    """The member ``data`` of the answer; empty where the answer is not of that shape."""
    data = answer.body.get("data")
    return data if isinstance(data, Mapping) else {}


def _means_absent(answer: Answer) -> bool:
    """The server's own word that nothing is there: an empty list of errors, or what is left of a destroyed object.

    The 404 of another program, such as a proxy, says nothing about the vault.
    """
    return answer.status == 404 and (answer.body.get("errors") == [] or "data" in answer.body)


def _content(data: Mapping[str, Any]) -> bytes:
    """What was created; of what another program has put there, its JSON, so that it stops no reader."""
    content = data.get("content")
    try:
        if isinstance(content, str):
            return base64.b64decode(content, validate=True)
    except (ValueError, binascii.Error):
        pass  # no base64: not ours
    return json.dumps(data, sort_keys=True).encode()
