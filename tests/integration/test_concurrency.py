# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many at once against one SQLite vault: nothing is lost, and the event log stays one chain."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import story
from killing import fork
from local_play import Controller, archiving, provisioning
from outside import check_nothing_lost, look_at_host, look_at_vault

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError

CROWD = 20


@pytest.fixture
def scene(tmp_path: Path) -> story.Scene:
    return story.make_scene(tmp_path)


def test_twenty_plays_with_their_own_keys(scene: story.Scene) -> None:
    """Twenty controllers start together, with no vault there yet; each has keys of its own host to make and archive."""
    hosts = [scene.machine(f"host{number}") for number in range(CROWD)]
    encrypting = ["a.key", "b.key"]
    wishes = {**dict.fromkeys(encrypting, "key_agreement"), "c.key": "signature", "d.key": "authentication"}
    plays = [
        Controller(host.folder).start(host, [provisioning(host, wishes), archiving(host, scene, encrypting)])
        for host in hosts
    ]
    for play in plays:
        assert "changed=2" in play.finish()
    vault = look_at_vault(scene.vault_path)
    for host in hosts:
        found = look_at_host(host.folder)
        check_nothing_lost(found, vault)
        assert len(found.keys) == len(wishes)
        assert set(found.receipts) == {found.keys[name] for name in encrypting}
        for name in ("c.key", "d.key"):
            assert f"signing/{found.keys[name]}" in vault.objects
    assert len(vault.records()) == CROWD * len(encrypting)
    assert not vault.orphans()
    archived = [event for event in vault.events() if event["action"] == "archive"]
    assert sorted(event["host"] for event in archived) == sorted(host.name for host in hosts)
    assert {event["outcome"] for event in vault.events()} == {"success"}


def test_twenty_processes_with_the_same_keys(scene: story.Scene) -> None:
    """Generating and archiving the same keys of one host: at most additional revisions, and only clear errors."""
    host = scene.machine("mail1")
    names = [f"{number}.key" for number in range(3)]
    outcomes = _at_once(host.folder, lambda: _provision_and_archive(scene, host, names))
    assert outcomes.count("") >= CROWD // 2, f"too few got through: {outcomes}"
    found, vault = look_at_host(host.folder), look_at_vault(scene.vault_path)
    check_nothing_lost(found, vault)
    assert set(found.keys) == set(names)
    assert set(found.receipts) == set(found.keys.values())
    assert {item["key_id"] for item in vault.records()} == set(found.keys.values())
    _provision_and_archive(scene, host, names)
    assert look_at_vault(scene.vault_path).objects.keys() == vault.objects.keys(), "nothing was left to do"
    _check_recoverable(scene, host, found.keys)


def _check_recoverable(scene: story.Scene, host: story.Machine, keys: dict[str, str]) -> None:
    before = {name: (host.folder / name).read_bytes() for name in keys}
    for name in keys:
        (host.folder / name).unlink()
    request_id = _approved(scene, host, list(keys.values()))
    for name, key_id in keys.items():
        scene.recover(host, request_id, key_id, name)
    assert {name: (host.folder / name).read_bytes() for name in keys} == before


def _approved(scene: story.Scene, host: story.Machine, key_ids: list[str]) -> str:
    request_id = scene.ask(host, key_ids)
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, host.name)
    return request_id


def test_twenty_recoveries_of_the_same_keys(scene: story.Scene) -> None:
    """The same request answered by twenty processes: the key is there once, whole."""
    host = scene.machine("mail1")
    _provision_and_archive(scene, host, ["0.key"])
    key_id = look_at_host(host.folder).keys["0.key"]
    (host.folder / "0.key").unlink()
    request_id = _approved(scene, host, [key_id])
    outcomes = _at_once(host.folder, lambda: scene.recover(host, request_id, key_id, "0.key"))
    assert "" in outcomes
    found = look_at_host(host.folder)
    assert found.keys == {"0.key": key_id}
    assert not found.requests
    check_nothing_lost(found, look_at_vault(scene.vault_path))


def _provision_and_archive(scene: story.Scene, host: story.Machine, names: list[str]) -> None:
    for name in names:
        scene.generate(host, name)
    keys = [{"key": str(host.folder / name)} for name in names]
    host.run("key_archive", keys=keys, key_owner=host.name, recovery_groups=scene.groups())


def _at_once(folder: Path, work: Callable[[], object]) -> list[str]:
    """Do the work in so many processes at once; per process the message of its KeyopsError, or an empty text."""
    begin_reading, begin_writing = os.pipe()
    report = folder.parent / "outcomes"

    def one() -> None:
        os.close(begin_writing)
        os.read(begin_reading, 1)  # returns when the parent closes its end
        try:
            work()
            told = ""
        except KeyopsError as error:
            told = f"{type(error).__name__}: {error}"
        with report.open("a") as to:  # one short write: appended whole
            to.write(json.dumps(told) + "\n")

    pids = [fork(one) for dummy in range(CROWD)]
    os.close(begin_reading)
    os.close(begin_writing)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "a process ended with something else than a KeyopsError"
    return [json.loads(line) for line in report.read_text().splitlines()]
