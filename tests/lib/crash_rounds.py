# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that are to be crashed, and the work of each: plain calls of the modules' processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import story
from outside import HostFolder, VaultFile, check_nothing_lost, look_at_host, look_at_vault

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import looking_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

KEYS = [f"{number}.key" for number in range(5)]


@dataclass
class Round:
    """One host that is to be crashed: its vault may be new, and then it is made under the kill too."""

    scene: story.Scene
    host: story.Machine
    key_ids: list[str] = field(default_factory=list)
    content: dict[str, bytes] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        """The key files."""
        return [self.host.folder / name for name in KEYS]

    def look(self) -> tuple[HostFolder, VaultFile]:
        """What is there; it fits together."""
        host, vault = look_at_host(self.host.folder), look_at_vault(self.scene.vault_path)
        check_nothing_lost(host, vault)
        return host, vault

    def generate(self, signing: bool = True) -> dict:
        """Five keys that encrypt and five that sign."""
        wishes = [("key_agreement", name) for name in KEYS]
        wishes += [("signature", f"sign-{name}") for name in KEYS if signing]
        keys = [{"key": str(self.host.folder / name), "usage": usage, "algorithm": "ec-p256"} for usage, name in wishes]
        return self.host.run("private_key", keys=keys)

    def archive(self) -> dict:
        """Archive the five keys that encrypt."""
        keys = [{"key": str(path)} for path in self.paths()]
        groups = self.scene.groups()
        return self.host.run("key_archive", keys=keys, key_owner=self.host.name, recovery_groups=groups)

    def recover(self) -> dict:
        """Ask, let two agents approve, put the keys back."""
        request_id = self.scene.ask(self.host, self.key_ids)
        for agent in self.scene.agents[:2]:
            agent.approve(self.scene.vault_path, request_id, self.host.name)
        keys = [{"key_id": key_id, "key": str(path)} for key_id, path in zip(self.key_ids, self.paths())]
        return self.host.run("key_recovery", request_id=request_id, keys=keys)

    def look_up(self) -> list[dict]:
        """What key_archive_info says about the keys."""
        with open_vault({"path": str(self.scene.vault_path)}, True) as vault:
            params = {"keys": [{"key_id": key_id} for key_id in self.key_ids]}
            params.update(key_owner=None, limit=None, after=None, request_id=None)
            return looking_up.look_up(ControllerTask(params, vault, False, "localhost", "tester", None))["results"]

    def have_keys(self) -> None:
        """The host before it archives."""
        self.key_ids = [row["key_id"] for row in self.generate(signing=False)["results"]]
        self.content = {path.name: path.read_bytes() for path in self.paths()}

    def lose_keys(self) -> None:
        """The host after its disk died, with everything archived."""
        self.have_keys()
        self.archive()
        self.lose()

    def lose(self) -> None:
        """The keys and all state go."""
        for path in [*self.paths(), *self.host.folder.glob("state/*/*")]:
            path.unlink()
        self.scene.requester(self.host)


class Rounds:
    """Hosts one after the other; most share a vault, so that it outlives many crashes; every fifth has a new one."""

    def __init__(self, folder: Path, agents: list[story.Agent]) -> None:
        self.folder, self.agents, self.number = folder, agents, 0

    def next(self, prepare: Callable[[Round], None] | None) -> Round:
        """The next host, ready for the work."""
        self.number += 1
        folder = self.folder / (f"new-{self.number}" if self.number % 5 == 0 else "shared")
        folder.mkdir(exist_ok=True)
        scene = story.Scene(folder, self.agents)
        one = Round(scene, scene.machine(f"host{self.number}"))
        if prepare:
            prepare(one)
        return one
