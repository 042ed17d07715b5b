# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/production.md, literally: its configuration and commands on three real servers."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from openbao_cluster import Cluster, Node, wait

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "production.md").read_text()
STEPS = dict(re.findall(r"<!-- step: ([a-z ]+) -->\n```sh\n(.*?)```\n", PAGE, re.DOTALL))


class PageCluster(Cluster):
    """A cluster with the configuration of the page, that people initialised and unsealed by it."""

    def _configure(self, node: dict, nodes: list[dict]) -> None:
        folder = self.folder / node["name"]
        (folder / "raft").mkdir(mode=0o700, parents=True)
        (found,) = re.findall(r"<!-- configuration -->\n```hcl\n(.*?)```\n", PAGE, re.DOTALL)
        for number, one in enumerate(nodes, start=1):
            found = found.replace(f"https://vault-{number}.example.com:8200", f"https://127.0.0.1:{one['port']}")
        first = nodes[0]["port"]
        own = {
            "0.0.0.0:8200": f"127.0.0.1:{node['port']}",
            "0.0.0.0:8201": f"127.0.0.1:{node['cluster_port']}",
            'node_id = "vault-1"': f'node_id = "{node["name"]}"',
            f'\napi_addr     = "https://127.0.0.1:{first}"': f'\napi_addr = "https://127.0.0.1:{node["port"]}"',
            "vault-1.example.com:8201": f"127.0.0.1:{node['cluster_port']}",
            "/var/lib/openbao": str(folder / "raft"),
            "/etc/openbao": str(self.folder),
            # One path in every cluster: the audit device stands in the snapshot too.
            "/var/log/openbao": str(self.folder.parent),
        }
        for text, instead in own.items():
            assert text in found, text
            found = found.replace(text, instead)
        (folder / "config.json").write_text(found)

    def _initialise(self, node: Node) -> None:
        told = self.step("init", node)
        (self.folder / "keys").write_text("\n".join(re.findall(r"Unseal Key \d: (\S+)", told)))
        (self.folder / "root-token").write_text(re.findall(r"Initial Root Token: (\S+)", told)[0])

    def unseal(self, node: Node) -> None:
        """Three of the five, one after the other; again while the node has not found the others yet."""

        def done() -> bool:
            with contextlib.suppress(AssertionError):
                for key in (self.folder / "keys").read_text().split()[1:4]:
                    self.step("unseal", node, typed=key)
            return (self.health(node) or {}).get("sealed") is False

        wait(done, f"{node.name} stays sealed")

    def step(self, name: str, node: Node | None = None, token: str | None = None, typed: str = "", **more: str) -> str:
        """Run a step of the page against one node (the leader); ``typed`` is what its holder types."""
        return self.shell(STEPS[name].rstrip("\n") + (f" {typed}" if typed else ""), node, token, **more)

    def shell(self, script: str, node: Node | None = None, token: str | None = None, **more: str) -> str:
        """What the commands print; they succeed."""
        address = node or self.leader()
        assert address
        root = self.folder / "root-token"
        known = {"BAO_ADDR": address.url, "BAO_CACERT": str(self.ca_cert), "HOME": str(self.folder)}
        known["BAO_TOKEN"] = token if token is not None else root.read_text() if root.exists() else ""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={"PATH": os.environ["PATH"], **known, **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def healthy(self) -> None:
        """As the page sees it: three voters, all of them well."""

        def whole() -> bool:
            told = self.step("healthy")
            return len(re.findall(r"(?m)^node\d .*(?:leader|follower) +true", told)) == 3 and "false" not in told

        wait(whole, "the cluster does not become healthy")

    def opened(self) -> Vault:
        """The vault in it, over one of its nodes."""
        options = {"backend": "openbao", "url": self.nodes[0].url, "mount": "keyops", "ca_cert": str(self.ca_cert)}
        options |= {"auth_method": "token", "token": self.root_token, "validate_certs": True}
        return open_vault({**options, "connections": 16, "timeout": 60})


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageCluster]:
    with PageCluster(tmp_path_factory.mktemp("production") / "first", 3) as cluster:
        cluster.mount("keyops")
        yield cluster


def test_build_restart_lose_and_restore(cluster: PageCluster) -> None:
    """The page from its configuration to the restored snapshot; objects of the vault are there all the time."""
    cluster.healthy()
    with cluster.opened() as vault:
        vault.create({"events/000000000001": b"before the snapshot"})
    token = cluster.step("backup token").split()[-1]
    snapshot = str(cluster.folder.parent / "snapshot")
    cluster.step("save", token=token, SNAPSHOT=snapshot)
    assert os.stat(snapshot).st_mode & 0o777 == 0o600
    with pytest.raises(AssertionError, match="403"):
        cluster.shell("bao kv get -mount=keyops events/000000000001", token=token)
    with cluster.opened() as vault:
        vault.create({"events/000000000002": b"behind the snapshot"})

    _restart_one_by_one(cluster)
    with cluster.opened() as vault:
        assert len(vault.read(["events/000000000001", "events/000000000002"])) == 2
    assert (cluster.folder.parent / "audit.log").stat().st_size > 0

    _go_on_alone(cluster)
    with cluster.opened() as vault:
        assert len(vault.read(["events/000000000001", "events/000000000002"])) == 2

    _restore(cluster, Path(snapshot))


def _restart_one_by_one(cluster: PageCluster) -> None:
    leader = cluster.leader()
    standbys = [node for node in cluster.nodes if node != leader]
    for node in [*standbys, leader]:
        assert node
        if node == cluster.leader():
            cluster.step("step down", node)
            wait(lambda one=node: cluster.leader() not in (None, one), "nobody takes over")  # type: ignore[misc]
        cluster.kill(node)
        cluster.start(node)
        cluster.unseal(node)
        cluster.healthy()


def _go_on_alone(cluster: PageCluster) -> None:
    """Two nodes are lost for good."""
    for node in cluster.nodes:
        cluster.kill(node)
    node = cluster.nodes[0]
    script = STEPS["alone"].replace("/var/lib/openbao/", f"{node.folder}/raft/")
    script = script.replace("vault-1.example.com:8201", f"127.0.0.1:{node.cluster_port}").replace("vault-1", node.name)
    cluster.shell(script, node)
    cluster.start(node)
    cluster.unseal(node)
    wait(lambda: cluster.leader() == node, "it does not go on alone")


def _restore(old: PageCluster, snapshot: Path) -> None:
    """All of it is lost, and comes back in a new cluster from the snapshot and the old keys."""
    with PageCluster(old.folder.parent / "second", 1) as new:
        new.step("restore", SNAPSHOT=str(snapshot))
        for name in ("keys", "root-token"):
            (new.folder / name).write_text((old.folder / name).read_text())
        wait(lambda: new.leader() is None, "it does not take the snapshot's keys")
        new.unseal(new.nodes[0])
        wait(lambda: new.leader() is not None, "it does not come up")
        with new.opened() as vault:
            assert vault.list("events/") == ["events/000000000001"]
            assert vault.read(["events/000000000001"]) == {"events/000000000001": b"before the snapshot"}
        new.step("revoke root")
        with pytest.raises(AssertionError, match="403"):
            new.shell("bao kv list -mount=keyops events")
