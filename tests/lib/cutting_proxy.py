# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bad network on loopback: TCP proxies that cut, drop and hold connections, in a process of their own.

A link listens on one port and carries to the first of its targets that is not dropped and takes the connection, as a
load balancer does. It does not look into TLS: what is longer than a handshake's messages is taken for a request.

- ``cut``: of all requests every n-th is sent, and its answer never comes: the connection ends when the answer does
  come, or a few milliseconds after the request.
- ``drop``: connections to a target end, and no new ones are made.
- ``hold``: what goes to a target or comes from it is kept back, in both directions, until it is freed.
- ``isolate``: the same for all that a process has connected through a link, and for a target: a node without network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

#: Bytes. The client's messages of a TLS handshake after the first are shorter; requests of this collection are longer.
_REQUEST = 150


class Proxy:
    """The proxies' process; ends with the block."""

    def __init__(self, links: Mapping[int, Sequence[int]]) -> None:
        """From the port to listen on to the ports to carry to, all on 127.0.0.1."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps({str(port): list(targets) for port, targets in links.items()})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._wait()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def cut(self, link: int, every: int) -> int:
        """Cut every so many-th request through a link, none through the others; returns how many were cut before."""
        return self._tell("cut", link, every)

    def drop(self, target: int) -> None:
        """End the connections to this port, and make no new ones."""
        self._tell("drop", target)

    def hold(self, target: int) -> None:
        """Keep back everything to and from this port."""
        self._tell("hold", target)

    def isolate(self, target: int, pid: int) -> None:
        """Keep back everything to and from this port and this process."""
        self._tell("isolate", target, pid)

    def free(self) -> None:
        """End all dropping, holding and isolation."""
        self._tell("free")

    def _tell(self, *words: object) -> int:
        assert self._process.stdin
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._wait()

    def _wait(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


class Network:
    """What is wrong with the network now."""

    def __init__(self) -> None:
        self.link = self.every = self.requests = self.cuts = 0
        self.dropped: set[int] = set()
        self.held: set[int] = set()
        self.isolated: set[int] = set()
        self.connections: set[Connection] = set()
        self.changed = asyncio.Condition()

    async def obey(self, word: str, *numbers: int) -> int:
        """Carry out one command of ``Proxy``; returns a number for it."""
        answer = 0
        if word == "cut":
            answer, self.cuts = self.cuts, 0
            self.link, self.every = numbers
        elif word == "drop":
            self.dropped.add(numbers[0])
            for one in [every for every in self.connections if every.target == numbers[0]]:
                one.end()
        elif word == "free":
            self.dropped, self.held, self.isolated = set(), set(), set()
        else:
            self.held.add(numbers[0])
            self.isolated |= set(numbers[1:])
            for one in self.connections:
                one.owner = None
        async with self.changed:
            self.changed.notify_all()
        return answer

    def next_is_cut(self, link: int) -> bool:
        """Whether the request that just came through this link is one of those."""
        if link != self.link or not self.every:
            return False
        self.requests += 1
        if self.requests % self.every:
            return False
        self.cuts += 1
        return True


class Connection:
    """One connection through a link."""

    def __init__(self, network: Network, link: int, target: int, port: int) -> None:
        self._network, self._link, self.target, self._port = network, link, target, port
        self._writers: list[asyncio.StreamWriter] = []
        self._doomed = False
        self.owner: set[int] | None = None  #: isolated processes that have the near end; None before that is looked up

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry both directions until one side ends."""
        self._writers = [writer]
        self._network.connections.add(self)
        try:
            await self._passable()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.append(there_writer)
            await asyncio.gather(self._requests(reader, there_writer), self._answers(there_reader, writer))
        except OSError:
            return
        finally:
            self.end()
            self._network.connections.discard(self)

    def end(self) -> None:
        """End both sides."""
        for writer in self._writers:
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        while data := await reader.read(1 << 16):
            await self._passable()
            writer.write(data)
            await writer.drain()
            if not first and len(data) > _REQUEST and self._network.next_is_cut(self._link):
                self._doomed = True
                if random.random() < 0.5:
                    asyncio.get_running_loop().call_later(random.uniform(0, 0.01), self.end)
            first = False
        self.end()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._passable()
            if self._doomed:
                break
            writer.write(data)
            await writer.drain()
        self.end()

    async def _passable(self) -> None:
        async with self._network.changed:
            await self._network.changed.wait_for(lambda: not self._is_held())

    def _is_held(self) -> bool:
        if self.target in self._network.held:
            return True
        if not self._network.isolated:
            return False
        if self.owner is None:
            inode = _inode(self._port)
            self.owner = {pid for pid in self._network.isolated if inode and _has(pid, inode)}
        return bool(self.owner)


def _inode(port: int) -> str:
    """The socket that is bound to this local port and is connected."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == port and fields[3] == "01":
            return f"socket:[{fields[9]}]"
    return ""


def _has(pid: int, inode: str) -> bool:
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if os.readlink(path) == inode:
                return True
    return False


async def _serve(links: Mapping[str, Sequence[int]]) -> None:
    network = Network()

    def acceptor(link: int, targets: Sequence[int]) -> Callable[..., Awaitable[None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            usable = [port for port in targets if port not in network.dropped and _listens(port)]
            if usable:
                port = writer.get_extra_info("peername")[1]
                await Connection(network, link, random.choice(usable), port).carry(reader, writer)
            writer.close()

        return accept

    for port, targets in links.items():
        await asyncio.start_server(acceptor(int(port), targets), "127.0.0.1", int(port))
    print(len(links), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        word, *numbers = line.decode().split()
        print(await network.obey(word, *map(int, numbers)), flush=True)


def _listens(port: int) -> bool:
    ending = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(ending) and line.split()[3] == "0A" for line in lines)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
