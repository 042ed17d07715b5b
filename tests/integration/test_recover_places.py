# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vault that says where keys are: the playbook ``recover`` believes the request and the inventory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import story
from local_play import Controller

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths, record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> story.Scene:
    return story.make_scene(tmp_path / "scene")


def _lost(scene: story.Scene, host: story.Machine, says: str) -> str:
    """A key that was archived and lost; then the vault adds a revision of its record with another place."""
    key_id = scene.generate(host)
    scene.archive(host)
    (host.folder / "mail.key").unlink()
    with open_vault({"backend": "sqlite", "path": str(scene.vault_path)}) as vault:
        (genuine,) = vault.read([paths.record(key_id, 1)]).values()
        forged = dataclasses.replace(record.parse(genuine), number=2, place=says)
        assert vault.create({paths.record(key_id, 2): record.dump(forged)})
    return key_id


def test_a_key_goes_where_the_request_says(scene: story.Scene, tmp_path: Path) -> None:
    host, controller = scene.machine("mail1"), Controller(tmp_path)
    place, elsewhere = str(host.folder / "mail.key"), tmp_path / "synced" / "mail.key"
    elsewhere.parent.mkdir()
    key_id = _lost(scene, host, str(elsewhere))
    asked = {"key_owner": "mail1", "reason": "a test", **scene.requester(host)}
    wanted = [{"key_id": key_id, "key": place}]
    request_id = host.run("recovery_request", keys=wanted, **asked)["request_id"]
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    state = {"keyops_request_id": request_id, "keyops_state_dir": str(host.folder / "state")}
    controller.playbook(host, "recover", state)
    assert Path(place).exists() and not elsewhere.exists()


def test_no_place_and_no_library_of_the_vault_s_choice(scene: story.Scene, tmp_path: Path) -> None:
    host, controller = scene.machine("mail1"), Controller(tmp_path)
    key_id = _lost(scene, host, f"pkcs11:token=ops;object=mail?module-path={tmp_path}/evil.so")
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    listed = [{"key": str(host.folder / "mail.key"), "usage": "key_agreement", "algorithm": "ec-p256"}]
    state = {"keyops_request_id": request_id, "keyops_state_dir": str(host.folder / "state"), "keyops_keys": listed}
    play = controller.start_playbook(host, "recover", state)
    assert play.process.wait(timeout=240) != 0
    assert "Name the keys and their places in keyops_recover_keys" in play.text() and "evil.so" not in play.text()
    named = {"keyops_recover_keys": [{"key_id": key_id, "key": listed[0]["key"]}]}
    controller.playbook(host, "recover", {**state, **named})
    assert Path(listed[0]["key"]).exists()
