# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An OpenBao cluster that things happen to: what its nodes say to one another, and what clients say to them through the
load balancer's address, goes through proxies (cutting_proxy.py); each node stores on a small disk of its own (needs
root), and writes an audit log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from cutting_proxy import Proxy
from openbao_cluster import Cluster, Node, free_ports, wait

#: MiB of each node's disk.
DISK = 192


class FaultyCluster(Cluster):
    """Three nodes; ``url`` is the load balancer's address."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 3, audit=folder.resolve() / "audit")
        self._relays: dict[str, int] = {}
        self._balancer = free_ports(1)[0]
        self.proxy: Proxy | None = None
        self.cuts = 0

    @property
    def url(self) -> str:
        """Whatever node takes the connection."""
        return f"https://127.0.0.1:{self._balancer}"

    @property
    def network(self) -> Proxy:
        """The proxies."""
        assert self.proxy
        return self.proxy

    def up(self, count: int = 3) -> None:
        """A server that has just joined has no vote, and without the others' votes nobody takes over from a leader."""
        super().up(count)
        self.root("POST", "sys/storage/raft/autopilot/configuration", {"server_stabilization_time": "1s"})
        wait(lambda: self._votes() == count, "not every node has a vote")

    def _votes(self) -> int:
        answer = self.root("GET", "sys/storage/raft/configuration")
        return sum(one["voter"] for one in answer["data"]["config"]["servers"]) if answer else 0

    def down(self) -> None:
        for node in self.nodes:
            self.kill(node)
            subprocess.run(["umount", _disk(node)], check=True)
        if self.proxy:
            self.proxy.__exit__()
        super().down()

    def _make(self, count: int) -> None:
        super()._make(count)
        links = {self._relays[node.name]: [node.cluster_port] for node in self.nodes}
        self.proxy = Proxy({**links, self._balancer: [node.port for node in self.nodes]})

    def _configure(self, node: dict, nodes: list[dict]) -> None:
        super()._configure(node, nodes)
        folder = self.folder / node["name"]
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", folder / "raft"], check=True)
        relay = self._relays[node["name"]] = free_ports(1)[0]
        config = json.loads((folder / "config.json").read_text())
        config["cluster_addr"] = f"https://127.0.0.1:{relay}"
        config["storage"]["raft"]["performance_multiplier"] = 1  # what the server's manual tells to set in production
        (folder / "config.json").write_text(json.dumps(config, indent=2))

    @contextlib.contextmanager
    def lost_answers(self, every: int) -> Iterator[None]:
        """Every so many-th request of the clients is sent and its answer is lost."""
        self.network.cut(self._balancer, every)
        yield
        self.cuts += self.network.cut(self._balancer, 0)

    @contextlib.contextmanager
    def cut_between_nodes(self) -> Iterator[None]:
        """The connections of the other nodes to the leader end, with the requests of clients that they carry."""
        node = self.active()
        self.network.drop(node.cluster_port)
        self.network.free()
        yield

    @contextlib.contextmanager
    def killed_leader(self) -> Iterator[None]:
        """kill -9; it comes back, and is unsealed."""
        node = self.active()
        self.kill(node)
        yield
        self.start(node)
        self.unseal(node)

    @contextlib.contextmanager
    def all_killed(self) -> Iterator[None]:
        """kill -9 of all nodes; they come back, and are unsealed."""
        for node in self.nodes:
            self.kill(node)
        yield
        for node in self.nodes:
            self.start(node)
        for node in self.nodes:
            self.unseal(node)

    @contextlib.contextmanager
    def sealed_leader(self) -> Iterator[None]:
        """Sealed by order; it is unsealed."""
        node = self.active()
        self.seal(node)
        yield
        self.unseal(node)

    @contextlib.contextmanager
    def paused_leader(self) -> Iterator[None]:
        """Stopped (SIGSTOP), which the load balancer notices after half a second; then it goes on where it was."""
        node = self.active()
        assert node.pid
        os.kill(node.pid, signal.SIGSTOP)
        try:
            time.sleep(0.5)
            self.network.drop(node.port)
            yield
        finally:
            os.kill(node.pid, signal.SIGCONT)
        self.network.free()

    @contextlib.contextmanager
    def isolated_leader(self) -> Iterator[None]:
        """Nothing passes between it and the other nodes, but clients reach all three."""
        node = self.active()
        assert node.pid
        self.network.isolate(node.cluster_port, node.pid)
        yield
        self.network.free()

    @contextlib.contextmanager
    def full_disks(self) -> Iterator[None]:
        """No node has a block left; then there is space again, and those that have died of it come back."""
        ballast = [_disk(node) / "ballast" for node in self.nodes]
        for path in ballast:
            with contextlib.suppress(OSError), path.open("wb", buffering=0) as to:
                while True:
                    to.write(bytes(1 << 20))
        try:
            yield
        finally:
            for path in ballast:
                path.unlink()
            for node in self.nodes:
                self.start(node)
            for node in self.nodes:
                self.unseal(node)

    def active(self) -> Node:
        """The leader, as soon as there is one."""
        wait(lambda: self.leader() is not None, "there is no leader")
        leader = self.leader()
        return leader if leader else self.active()

    def logins(self) -> int:
        """How many logins the nodes have answered, by their audit logs."""
        lines = (self.folder / "audit").read_text().splitlines()
        requests = [one["request"]["path"] for one in map(json.loads, lines) if one["type"] == "response"]
        return sum(path.startswith("auth/") and path.endswith("/login") for path in requests)


def _disk(node: Node) -> Path:
    return node.folder / "raft"
