# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench: three SSH hosts, the two sides that are measured on them, and one timed play.

Both sides use the same connections, which are open before anything is measured, the same pipelining and the same hosts.
A play's time is that of the whole command. A play that does not change what it should, or changes what it should not,
ends the benchmark: what did nothing is not fast.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / ".build"
FLEET = BUILD / "fleet-bench"
FOLDER = BUILD / "bench"
PLAYS = CHECKOUT / "tests" / "benchmark" / "plays"
HOSTS = ("host1", "host2", "host3")

#: The same for both sides: one connection per host for the whole benchmark, modules through a pipe.
_CONNECTION = {
    "ANSIBLE_PIPELINING": "true",
    "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=1800s",
    "ANSIBLE_STDOUT_CALLBACK": "default",
}
#: The peer takes its collections from its own virtual environment.
_OURS_ALONE = ("ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Side:
    """One installation of Ansible."""

    name: str
    programs: Path
    environment: dict

    def version(self) -> str:
        """The version of ansible-core."""
        command = [self.programs / "ansible-playbook", "--version"]
        shown = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
        return re.findall(r"core (\S+?)\]", shown.stdout)[0]


OURS = Side("ours", BUILD / "venv" / "bin", {**os.environ, **_CONNECTION})
LOOP = Side(
    "loop",
    BUILD / "venv-bench" / "bin",
    {name: value for name, value in {**os.environ, **_CONNECTION}.items() if name not in _OURS_ALONE},
)


@dataclass(frozen=True)
class Played:
    """A play that ended well: seconds, and what it printed. ``ended`` is False when its time was up."""

    seconds: float
    output: str
    ended: bool = True


def play(
    side: Side, playbook: str, variables: dict | None = None, changed: bool | None = None, limit: float | None = None
) -> Played:
    """Run a playbook and measure it.

    Args:
        side: whose Ansible.
        playbook: path, or the full name of a playbook in a collection.
        variables: extra variables.
        changed: whether every host must report a change, or no host may; None for plays that are not judged.
        limit: seconds after which it is stopped.

    Raises:
        SystemExit: it failed, or did not do what it should.
    """
    given = FOLDER / "variables.json"
    given.write_text(json.dumps(variables or {}))
    command = [side.programs / "ansible-playbook", "-i", FLEET / "inventory.yml", playbook, "-e", f"@{given}"]
    # A file, not a pipe: the process that keeps the connection open would keep the pipe open too.
    with (FOLDER / "play.log").open("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=side.environment,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            code = None
        seconds = time.perf_counter() - start
        log.seek(0)
        output = log.read()
    if code is not None and (code or not _did(output, changed)):
        sys.exit(f"...{output[-4000:]}\n{playbook} ended with {code}; changes that were expected: {changed}")
    return Played(seconds, output, code is not None)


def _did(output: str, changed: bool | None) -> bool:
    counts = [int(count) for count in re.findall(r"\bchanged=(\d+)", output)]
    return bool(counts) and (changed is None or all(bool(count) is changed for count in counts))


def on_host(host: str, command: str) -> str:
    """What a command prints on a host."""
    return subprocess.run(
        ["ssh", "-F", FLEET / "ssh_config", host, command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def fresh_folder() -> None:
    """Make the folder of this benchmark anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o700, parents=True)
