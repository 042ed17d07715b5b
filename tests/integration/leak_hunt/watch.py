# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What passes and is gone afterwards: traffic, process lists, syslog messages, short-lived files."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from leak_hunt.fleet import Fleet
from leak_hunt.hunter import Haystack

_PROC = Path("/proc")
#: Looks at a new process: it may be seen first between fork and exec.
_LOOKS = 5
#: Where programs put files for a moment, and where rotations are remembered while they last.
_TEMPORARY = ("tmp", "var/tmp", "dev/shm", "root/.ansible", "home/ops/.ansible", "var/lib/keyops/rotations")


class Sampler:
    """Arguments and environments of all processes of this machine and its hosts, and the hosts' temporary files."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.processes: dict[tuple[str, str], set[bytes]] = {}
        self.files: dict[str, set[bytes]] = {}
        self._seen: dict[str, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._thread.join()

    def haystacks(self) -> Iterator[Haystack]:
        """What was seen."""
        for (pid, what), contents in self.processes.items():
            yield Haystack(f"process {pid}: {what}", b"\n".join(contents))
        for path, contents in self.files.items():
            yield Haystack(f"temporary file {path}", b"\n".join(contents))

    def _run(self) -> None:
        while not self._done.wait(0.03):
            self._look_at_processes()
            self._look_at_files()

    def _look_at_processes(self) -> None:
        pids = [name for name in os.listdir(_PROC) if name.isdigit()]
        self._seen = {pid: self._seen.get(pid, 0) for pid in pids}
        for pid in pids:
            if self._seen[pid] >= _LOOKS:
                continue
            self._seen[pid] += 1
            for what in ("cmdline", "environ"):
                try:
                    data = (_PROC / pid / what).read_bytes()
                except OSError:  # it has ended
                    continue
                self.processes.setdefault((pid, what), set()).add(data)

    def _look_at_files(self) -> None:
        for host in self.fleet.hosts:
            for folder in _TEMPORARY:
                for parent, _folders, names in os.walk(self.fleet.root(host) / folder):
                    for name in names:
                        self._keep(host, os.path.join(parent, name))

    def _keep(self, host: str, path: str) -> None:
        try:
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 1_000_000:
                self.files.setdefault(f"{host} {path}", set()).add(Path(path).read_bytes())
        except OSError:  # gone
            return


class Capture:
    """All that crosses the fleet's bridge: between its two marks, with nothing dropped on the way."""

    def __init__(self, fleet: Fleet, path: Path) -> None:
        self.path = path
        self._to = (fleet.bridge_address, fleet.address("host1"))
        # Packets are handed over one by one and at once; 64 MiB for those that tcpdump has no time for yet.
        self._command = ["tcpdump", "-i", fleet.bridge, "--immediate-mode", "-B", "65536", "-U", "-s", "0"]
        self._command += ["-Z", "root", "-w", str(path)]

    def __enter__(self) -> Capture:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE)
        assert self._process.stderr
        assert b"listening on" in self._process.stderr.readline()
        self._mark()
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self._mark()
        finally:
            self._process.send_signal(signal.SIGINT)
            _output, said = self._process.communicate(timeout=60)
        assert re.search(rb"^0 packets dropped by kernel", said, re.MULTILINE), said.decode()

    def haystacks(self) -> Iterator[Haystack]:
        """The capture."""
        yield Haystack("traffic", self.path.read_bytes())

    def _mark(self) -> None:
        """Returns when something sent now is in the file, and so all that was sent before it."""
        mark = secrets.token_bytes(16)
        bridge, host = self._to
        end = time.monotonic() + 60
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((bridge, 0))
            while not (self.path.exists() and mark in self.path.read_bytes()):
                assert time.monotonic() < end, "tcpdump does not see the bridge"
                sender.sendto(mark, (host, 9))
                time.sleep(0.2)


class Syslog:
    """Listens on /dev/log of every host, where the hosts themselves run no syslog."""

    def __init__(self, fleet: Fleet) -> None:
        self.messages: dict[str, list[bytes]] = {host: [] for host in fleet.hosts}
        self._fleet = fleet
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Syslog:
        for host in self._fleet.hosts:
            path = self._fleet.root(host) / "dev/log"
            path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            listener.bind(str(path))
            path.chmod(0o666)
            self._sockets.append(listener)
            threading.Thread(target=self._listen, args=(listener, host), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for listener in self._sockets:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _listen(self, listener: socket.socket, host: str) -> None:
        while True:
            try:
                message = listener.recv(1 << 20)
            except OSError:
                return
            if not message:
                return
            self.messages[host].append(message)

    def haystacks(self) -> Iterator[Haystack]:
        """The messages of each host."""
        for host, messages in self.messages.items():
            yield Haystack(f"{host} syslog", b"\n".join(messages))
