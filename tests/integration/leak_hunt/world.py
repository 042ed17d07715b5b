# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The world of the hunt: a controller with folders of its own, and ansible-playbook as talkative as it can be."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from killing import kill_all_with
from leak_hunt import key_numbers
from leak_hunt.fleet import CHECKOUT, Fleet
from leak_hunt.hunter import Haystack, files_below
from leak_hunt.needles import Secret

HERE = Path(__file__).resolve().parent
AGENTS = ("agent-1", "agent-2", "agent-3")
#: Characters that quoting changes: such a passphrase looks different in every kind of log.
NASTY = "\\'\"é $%<&;`{"


def passphrase(nasty: bool = False) -> str:
    """A new one, with which nothing else begins or ends."""
    text = secrets.token_urlsafe(12).replace("-", "x").replace("_", "y")
    return f"{text[:6]}{NASTY}{text[6:]}" if nasty else text


@dataclass
class World:
    """One controller, its hosts, and what must not be found."""

    fleet: Fleet
    base: Path = CHECKOUT / ".build" / "leak-hunt"
    secrets: list[Secret] = field(default_factory=list)
    #: Places (as the haystacks name them) where a secret belongs, by the begin of its name.
    belongs: dict[str, set[str]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    #: Of the story, and of the part of it in which hosts get secrets: what apt installs before is not searched.
    begin: float = field(default_factory=time.time)
    prepared: float = 0.0

    def __post_init__(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        for name in ("cwd", "inventory/host_vars", "inventory/group_vars", "out", "tmp", "search", "agents"):
            (self.base / name).mkdir(parents=True, mode=0o700)
        self.marker = "vault" + secrets.token_hex(10)
        self.vault = self.base / self.marker / "vault.db"
        self.vault.parent.mkdir(mode=0o700)
        self.secrets.append(Secret("the option vault", self.marker.encode(), "marker"))
        (self.base / "inventory" / "hosts.yml").write_text("all: {children: {fleet: {}}}\n")

    def new_passphrase(self, name: str, *places: Path, nasty: bool = False) -> str:
        """A passphrase that may stand in these files of the controller only."""
        text = passphrase(nasty)
        self.add_passphrase(name, text, *places)
        return text

    def add_passphrase(self, name: str, text: str, *places: Path) -> None:
        """A passphrase that may stand in these files of the controller only."""
        self.secrets.append(Secret(f"{name}: passphrase", text.encode(), "text"))
        self.belongs[f"{name}: passphrase"] = {f"controller/{place.relative_to(self.base)}" for place in places}

    def add_key(self, name: str, data: bytes, opened_by: str | None, *places: str) -> str:
        """A private key that may stand in these places only; returns its key ID."""
        key = key_numbers.load(data, opened_by)
        key_id = key_numbers.key_id(key)
        name = f"{name} {key_id[:8]}"
        found = [item for item in key_numbers.secrets_of(name, key) if item not in self.secrets]
        self.secrets += found
        self.belongs.setdefault(f"{name}:", set()).update(places)
        return key_id

    def write(self, path: str, content: object) -> Path:
        """A YAML file of the controller."""
        file = self.base / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(yaml.safe_dump(content, allow_unicode=True))
        return file

    def command(self, *arguments: object) -> list[str]:
        """ansible-playbook as it is called here; a play's name without dots is one of this folder's."""
        playbook, *rest = map(str, arguments)
        if "." not in playbook and "/" not in playbook:
            playbook = str(HERE / "plays" / f"{playbook}.yml")
        inventories = ["-i", str(self.base / "inventory" / "hosts.yml"), "-i", str(self.fleet.inventory)]
        return [
            str(CHECKOUT / "tests/tools/with-env"),
            "env",
            *self._settings(),
            "ansible-playbook",
            *inventories,
            playbook,
            "-vvvv",
            *rest,
        ]

    def start(self, *arguments: object, pipelining: bool = False, debug: bool = False) -> subprocess.Popen:
        """Start ansible-playbook in a process group of its own; its output goes to a file of ``out``."""
        name = f"{len(self.runs) + 1:02}-{Path(str(arguments[0])).name}"
        self.runs.append(name)
        self._write_configuration(pipelining)
        environment = {
            **os.environ,
            "ANSIBLE_DEBUG": str(int(debug)),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.base / "tmp"),
        }
        with (self.base / "out" / name).open("wb") as output:  # a file: ssh's ControlPersist keeps a pipe open
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.base / "cwd",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def play(self, *arguments: object, pipelining: bool = False, debug: bool = False, succeeds: bool = True) -> str:
        """Run ansible-playbook to its end; returns its output."""
        started = self.start(*arguments, pipelining=pipelining, debug=debug)
        code = started.wait(timeout=180)
        output = (self.base / "out" / self.runs[-1]).read_text(errors="replace")
        if succeeds:
            assert code == 0, f"{self.base}/out/{self.runs[-1]}: {output[-3000:]}"
        return output

    def end(self) -> None:
        """End what killed runs have left: a worker of a dead controller waits for ever when it has much to say."""
        kill_all_with(f"LEAK_HUNT_DUMP={self.base}/dump")

    def results(self, task: str) -> list[dict]:
        """The results of all tasks of that name, as a callback saw them."""
        found = []
        for line in (self.base / "dump").read_text().splitlines():
            for item in json.loads(line):
                if "result" in item and item["fields"].get("name") == task:
                    found.append(item["result"])
        return found

    def haystacks(self) -> Iterator[Haystack]:
        """The controller's files: its own folders, and what is new in /tmp and in the home folder."""
        for name in sorted(os.listdir(self.base)):
            if name != "search":
                folder = self.base / name
                if folder.is_dir():
                    yield from files_below(folder, f"controller/{name}")
                else:
                    yield Haystack(f"controller/{name}", folder.read_bytes())
        for folder in ("/tmp", "/var/tmp", "/dev/shm", str(Path.home())):
            # The checkout may lie in one of them, with all that may hold secrets.
            yield from files_below(Path(folder), folder, since=self.begin, without=CHECKOUT)

    def _settings(self) -> list[str]:
        home = self.base / "ansible"
        return [
            f"ANSIBLE_CONFIG={self.base}/cwd/ansible.cfg",
            f"ANSIBLE_HOME={home}",
            f"ANSIBLE_LOCAL_TEMP={home}/tmp",
            f"ANSIBLE_SSH_CONTROL_PATH_DIR={home}/cp",
            f"ANSIBLE_CACHE_PLUGIN_CONNECTION={self.base}/facts",
            f"LEAK_HUNT_DUMP={self.base}/dump",
        ]

    def _write_configuration(self, pipelining: bool) -> None:
        lines = [
            "[defaults]",
            f"log_path = {self.base}/ansible.log",
            "fact_caching = jsonfile",
            "callbacks_enabled = dump_everything",
            f"callback_plugins = {HERE}/callback_plugins",
            "[connection]",
            f"pipelining = {pipelining}",
            "",
        ]
        (self.base / "cwd" / "ansible.cfg").write_text("\n".join(lines))
