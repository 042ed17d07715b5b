# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SSH hosts of the leak hunt, seen from outside, as root of the machine sees them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from leak_hunt.hunter import Haystack

CHECKOUT = Path(__file__).resolve().parents[3]
_SCRIPTS = CHECKOUT / "tests" / "fleet"


class Fleet:
    """A fleet of its own name, started new."""

    def __init__(self, name: str, count: int) -> None:
        self.folder = CHECKOUT / ".build" / f"fleet-{name}"
        self.hosts = tuple(f"host{number}" for number in range(1, count + 1))
        self._environment = {**os.environ, "KEYOPS_FLEET": name}
        self._count = str(count)

    def __enter__(self) -> Fleet:
        self._script("down")
        said = self._script("up", self._count)
        self.bridge = re.findall(r"kf-[0-9a-f]{6}", said)[-1]
        self.bridge_address = (self.folder / "network").read_text().strip() + ".1"
        return self

    def __exit__(self, *_exception: object) -> None:
        self._script("down")

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yml"

    def address(self, host: str) -> str:
        """The host's IPv4 address on the bridge."""
        configured = (self.folder / "ssh_config").read_text()
        (found,) = re.findall(rf"^Host {host}\n    HostName (\S+)$", configured, re.MULTILINE)
        return str(found)

    def pid(self, host: str) -> int:
        """The first process inside the host, its sshd."""
        outer = (self.folder / "hosts" / host / "pid").read_text().split()[0]
        return int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])

    def root(self, host: str) -> Path:
        """The host's file system, with its /dev, /run and /proc."""
        return Path(f"/proc/{self.pid(host)}/root")

    def processes(self, host: str) -> list[tuple[int, str]]:
        """Process numbers (of this machine) and command lines of what runs in the host."""
        namespace = os.readlink(f"/proc/{self.pid(host)}/ns/pid")
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == namespace:
                    command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
                    found.append((int(name), command.decode("utf-8", "replace")))
            except OSError:  # ended
                continue
        return found

    def run(self, host: str, command: list[str], stdin: bytes = b"") -> None:
        """Run something in the host as its root, past Ansible and SSH."""
        inside = ["nsenter", "-t", str(self.pid(host)), "-m", "-n", "-p", "-r"]
        subprocess.run([*inside, *command], input=stdin, check=True, timeout=30)

    def haystacks(self, host: str, since: float) -> Iterator[Haystack]:
        """All that the host wrote since then: the overlay's upper layer, file systems in memory, what its sshd said."""
        home = self.folder / "hosts" / host
        yield from self._packed(host, str(home / "layer" / "upper"), "", since)
        for folder in ("dev/shm", "run"):
            yield from self._packed(host, f"{home}/merged/{folder}", f"/{folder}", since)
        yield Haystack(f"{host} sshd's log", (home / "log").read_bytes())

    def _packed(self, host: str, folder: str, shown: str, since: float) -> Iterator[Haystack]:
        # Through the host's mount namespace: the layer may be a file system that only it has.
        command = ["nsenter", "-m", "-t", str(self._outer(host))]
        command += ["tar", "-c", f"--newer=@{since}", "--warning=none", "-C", folder, "."]
        packed = subprocess.run(command, capture_output=True, check=False)
        # 1: a file changed or vanished while it was read, as files of a running host do; what was read is searched.
        assert packed.returncode in (0, 1), f"tar of {folder} ended with {packed.returncode}: {packed.stderr.decode()}"
        names = []
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            for member in archive:
                names.append(member.name)
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield Haystack(f"{host} {shown}{member.name[1:]}", content.read())
        yield Haystack(f"{host} {shown}: names", "\n".join(names).encode("utf-8", "surrogateescape"))

    def _outer(self, host: str) -> int:
        return int((self.folder / "hosts" / host / "pid").read_text().split()[0])

    def _script(self, *command: str) -> str:
        environment = self._environment
        done = subprocess.run(
            [_SCRIPTS / command[0], *command[1:]], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout
