# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays through the real ansible-playbook, with connection local; a story.Scene's machines are its hosts."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import story

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Play:
    """One run of ansible-playbook, in a process group of its own; the environment of its processes carries ``mark``."""

    process: subprocess.Popen
    output: Path
    mark: str

    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text(errors="replace")

    def finish(self) -> str:
        """Wait for its success; returns what it printed."""
        code = self.process.wait(timeout=240)
        assert code == 0, self.text()[-4000:]
        return self.text()


@dataclass
class Controller:
    """A folder to start plays from."""

    folder: Path
    started: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, host: story.Machine, tasks: list[dict], *arguments: str) -> Play:
        """Start a play of these tasks on one host; the vault and the state folder are module defaults."""
        play = {
            **{"hosts": host.name, "gather_facts": False, "tasks": tasks},
            "module_defaults": {"group/keyops.lifecycle.vault": {"vault": {"path": str(host.vault_path)}}},
        }
        playbook = self.folder / f"{self.started + 1}-{host.name}.json"
        playbook.write_text(json.dumps([play]))
        return self._start(host, playbook, *arguments)

    def playbook(self, host: story.Machine, name: str, variables: dict) -> str:
        """Run a playbook of the collection on one host to its success; returns what it printed."""
        return self.start_playbook(host, name, variables).finish()

    def start_playbook(self, host: story.Machine, name: str, variables: dict) -> Play:
        """Start a playbook of the collection on one host."""
        given = self.folder / f"{self.started + 1}-{host.name}.variables"
        given.write_text(
            json.dumps({"keyops_host": host.name, "keyops_vault": {"path": str(host.vault_path)}, **variables})
        )
        return self._start(host, f"keyops.lifecycle.{name}", "-e", f"@{given}")

    def _start(self, host: story.Machine, playbook: Path | str, *arguments: str) -> Play:
        self.started += 1
        name = f"{self.started}-{host.name}"
        output = self.folder / f"{name}.out"
        inventory = self.folder / f"{name}.inventory"
        inventory.write_text(f"{host.name} ansible_connection=local ansible_python_interpreter={sys.executable}\n")
        mark = f"KEYOPS_TEST_RUN={secrets.token_hex(16)}"
        command = [CHECKOUT / "tests/tools/with-env", "ansible-playbook", "-i", inventory, playbook, *arguments]
        variables = dict([mark.split("=")], ANSIBLE_NOCOLOR="1", **self.environment)
        with output.open("wb") as to:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Play(process, output, mark)

    def run(self, host: story.Machine, tasks: list[dict], *arguments: str) -> str:
        """Run a play to its success; returns what it printed."""
        return self.start(host, tasks, *arguments).finish()


def task(module: str, **options: object) -> dict:
    """One task."""
    return {"name": module, f"keyops.lifecycle.{module}": options}


def provisioning(host: story.Machine, keys: dict[str, str]) -> dict:
    """The task that makes EC keys: file name to usage."""
    wishes = [{"key": str(host.folder / name), "usage": usage, "algorithm": "ec-p256"} for name, usage in keys.items()]
    return task("private_key", keys=wishes, state_dir=str(host.folder / "state"))


def archiving(host: story.Machine, scene: story.Scene, names: list[str]) -> dict:
    """The task that archives these keys."""
    keys = [{"key": str(host.folder / name)} for name in names]
    options = {"key_owner": host.name, "recovery_groups": scene.groups(), "state_dir": str(host.folder / "state")}
    return task("key_archive", keys=keys, **options)


def recovering(host: story.Machine, scene: story.Scene, key_ids: dict[str, str]) -> list[dict]:
    """The tasks from the request to the recovered keys (file name to key ID), with two approvals between."""
    state = {"state_dir": str(host.folder / "state")}
    asked = [{"key_id": key_id} for key_id in key_ids.values()]
    back = [{"key_id": key_id, "key": str(host.folder / name)} for name, key_id in key_ids.items()]
    request = task(
        "recovery_request", keys=asked, key_owner=host.name, reason="a test", **scene.requester(host), **state
    )
    approvals = [
        task(
            "recovery_approval",
            request_id="{{ asked.request_id }}",
            expected_owner=host.name,
            agent=agent.name,
            encryption_key=str(agent.folder / "encryption.key"),
            signing_key=str(agent.folder / "signing.key"),
        )
        for agent in scene.agents[:2]
    ]
    recovery = task("key_recovery", request_id="{{ asked.request_id }}", keys=back, **state)
    return [{**request, "register": "asked"}, *approvals, recovery]
