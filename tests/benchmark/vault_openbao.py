# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OpenBao vault beside the bare alternative: hvac in a pool of threads, the same cluster, connections and run.

A cluster of three nodes with Raft and TLS on this machine. Prints the creates per second of 1000 archives (a sealed
key, three shares and a record each, in the order in which they must be written) on both sides, in turns; then, per size
of the vault, what it costs to ask which of 500 names exist, which should stay flat; then events per second.

    python tests/benchmark/vault_openbao.py [--largest 100000] [--archives 1000]

Fails when the backend reaches less than 80 % of the bare client's creates per second.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import hvac
import requests

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / ".build" / "collections"), str(CHECKOUT / "tests" / "lib")]

from openbao_cluster import Cluster

from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

CONNECTIONS, TARGET = 16, 0.8
#: Keys of one host that are archived at once.
BATCH = 20
SEALED, SHARE, RECORD = (os.urandom(size) for size in (2000, 1300, 5000))


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def archives(mark: str, first: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What one host's batch writes: sealed keys and shares, then the records."""
    before, records = {}, {}
    for number in range(first, first + BATCH):
        before[f"sealed/{digest(mark, number)}"] = SEALED
        before.update({f"shares/{digest(agent)}/{digest(mark, number, agent)}": SHARE for agent in range(3)})
        records[f"records/{digest(mark, number, 'key')}/1"] = RECORD
    return before, records


class Bare:
    """The alternative: hvac's own call for every object, in a pool of threads."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        session = requests.Session()
        session.verify = str(cluster.ca_cert)
        session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS, pool_block=True))
        self._client = hvac.Client(url=url, token=cluster.root_token, session=session)
        self._pool = ThreadPoolExecutor(CONNECTIONS)

    def create(self, objects: dict[str, bytes]) -> None:
        def one(path: str) -> None:
            secret = {"content": base64.b64encode(objects[path]).decode()}
            self._client.secrets.kv.v2.create_or_update_secret(path, secret, cas=0, mount_point="bare")

        list(self._pool.map(one, objects))


def creates(vault: Vault, bare: Bare, count: int) -> float:
    """Creates per second on both sides, in turns; returns the ratio."""
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    sides = (("ours", vault), ("bare", bare))
    for turn, first in enumerate(range(0, count, BATCH * 5)):
        for side, store in sides if turn % 2 else sides[::-1]:
            start, written = time.perf_counter(), 0
            for batch in range(first, min(first + BATCH * 5, count), BATCH):
                for objects in archives(side, batch):
                    store.create(objects)
                    written += len(objects)
            rates[side].append(written / (time.perf_counter() - start))
    ours, theirs = median(rates["ours"]), median(rates["bare"])
    ratio = median(one / other for one, other in zip(rates["ours"], rates["bare"]))
    print(f"{count} archives, {count * 5} objects, {CONNECTIONS} connections: {ours:.0f} creates/s, ", end="")
    print(f"bare hvac {theirs:.0f}/s, ratio {ratio:.2f} (target: at least {TARGET})", flush=True)
    return ratio


def sizes(vault: Vault, largest: int) -> None:
    """What asking for names costs, per size of the vault."""
    print(f"{'records':>9} {'names':>6} {'lookup':>11} {'to 1st':>7}")
    first, done, size = 0.0, 0, 1000
    while size <= largest:
        for start in range(done, size, 1000):
            vault.create({f"records/{digest('size', number)}/1": b"x" for number in range(start, start + 1000)})
        done = size
        paths = [f"records/{digest('size', number)}/{end}" for number in range(0, size, size // 250) for end in (1, 2)]
        asked = min(_seconds(vault, paths) for _attempt in range(5)) / len(paths)
        first = first or asked
        print(f"{size:>9} {len(paths):>6} {asked * 1e6:>8.0f} us {asked / first:>7.2f}", flush=True)
        size *= 10


def _seconds(vault: Vault, paths: list[str]) -> float:
    start = time.perf_counter()
    assert len(vault.exists(paths)) == len(paths) // 2
    return time.perf_counter() - start


def _write_events(options: dict, count: int) -> None:
    with open_vault(options) as vault:
        for _turn in range(count):
            event_log.append(vault, action="benchmark", outcome="success", actor="bench", host="bench")


def events(options: dict) -> None:
    """Events per second of one writer and of ten processes; afterwards the chain must verify."""
    total = 0
    for writers, count in ((1, 50), (10, 10)):
        children = [multiprocessing.Process(target=_write_events, args=(options, count)) for _writer in range(writers)]
        start = time.perf_counter()
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert all(child.exitcode == 0 for child in children)
        total += writers * count
        print(f"{writers:>2} writers: {writers * count / (time.perf_counter() - start):>6.0f} events/s", flush=True)
    with open_vault(options) as vault:
        report = event_log.verify(vault)
    assert report.problems == () and report.head.number == total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--largest", type=int, default=10_000, help="largest size of the vault")
    parser.add_argument("--archives", type=int, default=1000, help="archives to create")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(dir=CHECKOUT / ".build", prefix="bench-openbao-")
    with Cluster(Path(folder), 3) as cluster:
        leader = cluster.leader()
        assert leader
        for mount in ("keyops", "bare", "events"):
            cluster.mount(mount)
        common = {"backend": "openbao", "url": leader.url, "token": cluster.root_token, "ca_cert": str(cluster.ca_cert)}
        common |= {"validate_certs": True, "auth_method": "token", "connections": CONNECTIONS, "timeout": 60}
        with open_vault({**common, "mount": "keyops"}) as vault:
            ratio = creates(vault, Bare(cluster, leader.url), arguments.archives)
            sizes(vault, arguments.largest)
        events({**common, "mount": "events"})
    sys.exit(ratio < TARGET)


if __name__ == "__main__":
    main()
