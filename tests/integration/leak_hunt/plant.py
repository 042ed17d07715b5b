# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leaks on purpose, one of each kind: a hunt that does not find these proves nothing."""

from __future__ import annotations

import base64
import contextlib
import secrets
import socket
import sqlite3
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from leak_hunt.needles import Secret
from leak_hunt.world import World

_SLEEP = ["/usr/bin/python3", "-c", "import time; time.sleep(0.5)"]
_LOG = ["/usr/bin/python3", "-c", "import syslog, sys; syslog.syslog(sys.stdin.read())"]
_SEND = [
    "/usr/bin/python3",
    "-c",
    "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2]))).sendall(sys.stdin.buffer.read())",
]


class Planted:
    """The planted secrets, and the begin of the place where each must be found."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.places: dict[str, str] = {}

    def add(self, place: str, kind: str = "number") -> bytes:
        """A new secret that is about to be planted there."""
        value = secrets.token_bytes(32) if kind == "number" else secrets.token_urlsafe(9).encode()
        name = f"planted: {place}"
        self.places[name] = place
        self.world.secrets.append(Secret(name, value, kind))
        return value

    def during_the_story(self) -> None:
        """What is gone or moves on afterwards: processes, messages, traffic, temporary files; and files on a host."""
        fleet = self.world.fleet
        root = fleet.root("host2")
        fleet.run("host2", [*_SLEEP, self.add("process", "text").decode()])
        fleet.run("host2", ["/usr/bin/env", f"LEAK={self.add('process').hex()}", *_SLEEP])
        fleet.run("host2", _LOG, repr(self.add("host2 syslog")).encode())
        with socket.create_server((fleet.bridge_address, 0)) as server:
            port = str(server.getsockname()[1])
            fleet.run("host2", [*_SEND, fleet.bridge_address, port], self.add("traffic"))
        short_lived = (root / "tmp" / "short-lived", fleet.root("host1") / "var/lib/keyops/rotations/short-lived")
        for host, path in zip(("host2", "host1"), short_lived):
            path.write_bytes(self.add(f"temporary file {host}"))
        time.sleep(0.5)
        for path in short_lived:
            path.unlink()
        for path in ("tmp/a", "root/b", "home/ops/c", "var/d", "dev/shm/e", "etc/keyops/signature.key.bak"):
            (root / path).write_bytes(_pem(self.add(f"host2 /{path}")))
        (root / "tmp" / self.add("host2 : names").hex()).touch()

    @contextlib.contextmanager
    def afterwards(self) -> Iterator[None]:
        """Leaks in the controller's files, in every one of its folders."""
        base = self.world.base
        for name in ("agents/agent-1", "facts", "out", "tmp", "ansible", "cwd", "inventory", self.world.marker):
            (base / name / "planted").write_bytes(_pem(self.add(f"controller/{name}/planted")))
        for name in ("ansible.log", "dump"):
            with (base / name).open("a") as file:
                file.write(f'["{int.from_bytes(self.add(f"controller/{name}"), "big")}"]\n')
        with sqlite3.connect(self.world.vault) as vault:
            vault.execute("create table planted (content blob)")
            vault.execute("insert into planted values (?)", (self.add(f"controller/{self.world.marker}/vault.db"),))
        elsewhere = Path("/tmp", f"keyops-{secrets.token_hex(8)}")
        elsewhere.write_bytes(self.add("/tmp/keyops-")[::-1])
        try:
            yield
        finally:
            elsewhere.unlink()


def _pem(value: bytes) -> bytes:
    """As a part of something larger, in base64 with short lines."""
    text = base64.b64encode(b"before " + value + b" after").decode()
    return "\n".join(textwrap.wrap(text, 20)).encode()
