# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A SQLite vault with a story moves to a real OpenBao server and back, by the playbook; runs are killed on the way."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import killing
import pytest
import story
from openbao_cluster import Cluster

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import migrating
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.named import NamedVault, place_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

CHECKOUT = Path(__file__).resolve().parents[2]

#: Enough objects that a kill comes in their middle.
MANY = 800

#: The duty ``migrator`` (role vault), with the right to destroy.
POLICY = """
path "keyops/data/*" { capabilities = ["create", "read"] }
path "keyops/metadata/*" { capabilities = ["read", "list"] }
path "keyops/destroy/*" { capabilities = ["update"] }
"""


@dataclass
class Move:
    """The vaults between which it goes, and the host whose keys are in them."""

    folder: Path
    scene: story.Scene
    host: story.Machine
    key_id: str
    server: dict

    @property
    def first(self) -> dict:
        """The vault's file at the beginning."""
        return {"backend": "sqlite", "path": str(self.scene.vault_path)}

    @property
    def second(self) -> dict:
        """The file that it comes to at the end."""
        return {"backend": "sqlite", "path": str(self.folder / "back" / "vault.db")}

    def playbook(self, source: dict, destination: dict, *arguments: str, code: int = 0) -> str:
        """Run the playbook; returns what it printed."""
        variables = self.folder / "migrate.json"
        variables.write_text(json.dumps({"keyops_migrate_source": source, "keyops_migrate_destination": destination}))
        command = [CHECKOUT / "tests/tools/with-env", "ansible-playbook", "keyops.lifecycle.migrate", "-vv", "-e"]
        done = subprocess.run(
            [*map(str, command), f"@{variables}", *arguments],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout[-3000:]
        assert self.server["token"] not in done.stdout + done.stderr
        return done.stdout

    def rows(self, vault: dict) -> dict[str, bytes | None]:
        """What a file holds, as sqlite3 says; None for the destroyed."""
        with closing(sqlite3.connect(vault["path"])) as connection:
            found = dict(connection.execute("SELECT path, content FROM object"))
            return {**found, **dict.fromkeys(path for (path,) in connection.execute("SELECT path FROM condemned"))}


@pytest.fixture(name="move", scope="module")
def _move(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Move]:
    folder = tmp_path_factory.mktemp("migrate")
    scene = story.make_scene(folder)
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    with Cluster(folder / "cluster", 1) as cluster:
        cluster.mount("keyops")
        token = cluster.token("migrator", POLICY)
        server = {"backend": "openbao", "url": cluster.nodes[0].url, "ca_cert": str(cluster.ca_cert), "token": token}
        yield Move(folder, scene, host, key_id, server)


def _recover(move: Move, **vault: dict) -> None:
    """The key is lost and comes back, by two agents, through this vault."""
    before = (move.host.folder / "mail.key").read_bytes()
    (move.host.folder / "mail.key").unlink()
    request_id = move.scene.ask(move.host, [move.key_id], **vault)
    for agent in move.scene.agents[:2]:
        agent.approve(move.scene.vault_path, request_id, move.host.name, **vault)
    move.scene.recover(move.host, request_id, move.key_id, **vault)
    assert (move.host.folder / "mail.key").read_bytes() == before


def _fill(move: Move) -> None:
    many = {paths.sealed_key(canonical.digest(b"%d" % number)): b"%d" % number for number in range(MANY)}
    with open_vault(move.first) as vault:
        vault.create({**many, paths.sealed_key("c" * 64): b"condemned", paths.record("d" * 64, 1): b"condemned"})
        vault.destroy([paths.sealed_key("c" * 64), paths.record("d" * 64, 1)])


def _opened(options: dict, name: str) -> NamedVault:
    full = {"mount": "keyops", "validate_certs": True, "auth_method": "token", "connections": 16, "timeout": 60}
    options = {**full, **options} if options["backend"] == "openbao" else options
    return NamedVault(open_vault(options), name, place_of(options))


def _migrate(move: Move) -> None:
    """What the module does, in this process."""
    with _opened(move.first, "source") as source, _opened(move.server, "destination") as destination:
        vaults = {"source": source, "destination": destination}
        migrating.migrate(ControllerTask({}, None, False, "localhost", "tester", None, None, vaults), print)


def _check_records(move: Move) -> int:
    """No record without its sealed key and shares; returns how many objects there are."""
    with _opened(move.server, "server") as vault:
        found = records.walk(vault, [move.key_id])[move.key_id]
        assert records.intact(vault, found, contents=True) == list(found)
        return sum(len(vault.list(f"{folder}/")) for folder in paths.FOLDERS)


def _break_glass(move: Move) -> None:
    """The commands of docs/break-glass.md, from the server to the key."""
    page = (CHECKOUT / "docs" / "break-glass.md").read_text()
    steps = dict(re.findall(r"<!-- step: ([a-z ]+) -->\n```sh\n(.*?)```\n", page, re.DOTALL))
    folder = move.folder / "glass"
    folder.mkdir()
    agents = "".join(
        f"PLACE={place} AGENT_KEY='{agent.folder}/encryption.key'\n{steps['open share']}{steps['check share']}"
        for place, agent in enumerate(move.scene.agents[:2], start=1)
    )
    last = "".join(steps[name] for name in ("combine", "open key", "check key"))
    script = steps["list from openbao"] + steps["take from openbao"] + agents + last
    known = {"MOUNT": "keyops", "KEY_ID": move.key_id, "REVISION": "1", "GROUP": "0"}
    known |= {"BAO_ADDR": move.server["url"], "BAO_CACERT": move.server["ca_cert"], "BAO_TOKEN": move.server["token"]}
    done = subprocess.run(
        [CHECKOUT / "tests/tools/with-env", "bash", "-euo", "pipefail", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **known},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and f"this is the key {move.key_id}" in done.stdout, done.stdout + done.stderr


def test_to_the_server_and_back(move: Move) -> None:
    """The whole way; killed on it at moments that become later until a run is done, and finished by the playbook."""
    _recover(move)
    _fill(move)
    before = move.rows(move.first)

    checked = move.playbook(move.first, move.server, "--check")
    assert f'"copied": {MANY + 2}' in checked and _check_records(move) == 0
    reached, moment, killed = [], 0.3, True
    while (killed and len(reached) < 4) or not reached[-1]:
        killed, _seconds = killing.run_in_child(lambda: _migrate(move), kill_after=moment)
        reached.append(_check_records(move))
        moment += 0.4
    assert reached == sorted(reached) and any(0 < number < len(before) for number in reached), reached

    told = move.playbook(move.first, move.server)
    assert "changed=1" in told and "The log ends with event" in told
    assert "changed=0" in move.playbook(move.first, move.server)
    closed = move.rows(move.first)
    assert set(before) < set(closed) and _check_records(move) == len(closed)

    _break_glass(move)

    server = {"vault": {**move.server, "auth_method": "token"}}
    _recover(move, **server)
    move.playbook(move.server, move.second)
    back = move.rows(move.second)
    assert {path: back[path] for path in closed} == closed
    assert {path.split("/")[0] for path in set(back) - set(closed)} == {"requests", "approvals", "events"}
    with open_vault(move.second) as vault:
        assert event_log.verify(vault).problems == ()

    # Where it came from is a beginning of what it became, so it can go there as well.
    move.playbook(move.server, move.first)
    home = move.rows(move.first)
    (last,) = set(home) - set(back)
    assert last.startswith("events/") and {path: home[path] for path in back} == back
    refused = move.playbook(move.second, move.first, code=2)
    assert "VaultsDiffer" in refused and last in refused
