# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SQLite vault beside the bare alternative: ``sqlite3`` with ``executemany``, same durability, same disk, same run.

Prints per size of the vault: creating 5000 more records in batches (microseconds per record, and the ratio to
executemany), looking up 500 names, and the ratio to the smallest size, which should stay flat. Then events per second
with one writer and with 20 processes, beside 20 processes that append rows with ``SELECT max() + 1`` to a bare table.

    python tests/benchmark/vault_sqlite.py [--largest 1000000]
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

COLLECTIONS = Path(__file__).resolve().parents[2] / ".build" / "collections"
sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

BATCH, SAMPLE, WRITERS, EVENTS = 500, 5000, 20, 25
CONTENT = os.urandom(1200)  # a record without certificates, or a sealed EC key


def name(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


class Bare:
    """The alternative: a table, a transaction per batch, executemany."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=120)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS object (path TEXT PRIMARY KEY, content BLOB NOT NULL)")

    def create(self, objects: dict) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT OR IGNORE INTO object VALUES (?, ?)", objects.items())
        self.connection.execute("COMMIT")


def fill(store: object, first: int, last: int, batch: int) -> float:
    """Seconds for creating the records ``first`` to ``last - 1``."""
    batches = [
        {f"records/{name(number)}/1": CONTENT for number in range(start, min(start + batch, last))}
        for start in range(first, last, batch)
    ]
    start = time.perf_counter()
    for objects in batches:
        store.create(objects)
    return time.perf_counter() - start


def lookup(vault: object, size: int) -> float:
    """Seconds for asking for 500 names that exist and 500 that do not."""
    paths = [f"records/{name(number)}/{end}" for number in range(0, size, max(1, size // 500)) for end in (1, 2)]
    start = time.perf_counter()
    vault.exists(paths)
    return time.perf_counter() - start


def sizes(folder: str, largest: int) -> None:
    print(f"{'records':>9} {'create':>9} {'bare':>9} {'ratio':>6} {'to 1st':>7} {'lookup':>9} {'to 1st':>7}")
    bare = Bare(f"{folder}/bare.db")
    first = None
    with open_vault({"path": f"{folder}/vault.db"}) as vault:
        done, size = 0, 1000
        while size <= largest:
            for start in range(done, size, 20_000):
                for store in (vault, bare):
                    fill(store, start, min(start + 20_000, size), 5000)
            # In turns, so that what the disk does beside hits both.
            ours = theirs = 0.0
            for start in range(size, size + SAMPLE, BATCH):
                ours += fill(vault, start, start + BATCH, BATCH)
                theirs += fill(bare, start, start + BATCH, BATCH)
            done, asked = size + SAMPLE, min(lookup(vault, size) for _attempt in range(3))
            first = first or (ours, asked)
            print(
                f"{size:>9} {ours / SAMPLE * 1e6:>6.0f} us {theirs / SAMPLE * 1e6:>6.0f} us {ours / theirs:>6.2f} "
                f"{ours / first[0]:>7.2f} {asked / 1000 * 1e6:>6.1f} us {asked / first[1]:>7.2f}",
                flush=True,
            )
            size *= 10


def write_events(path: str, count: int) -> None:
    with open_vault({"path": path}) as vault:
        for _turn in range(count):
            event_log.append(vault, action="benchmark", outcome="success", actor="bench", host="bench")


def write_rows(path: str, count: int) -> None:
    bare = Bare(path)
    for _turn in range(count):
        bare.connection.execute("BEGIN IMMEDIATE")
        number = bare.connection.execute("SELECT count(*) FROM object").fetchone()[0] + 1
        bare.connection.execute("INSERT INTO object VALUES (?, ?)", (f"events/{number:012d}", CONTENT[:300]))
        bare.connection.execute("COMMIT")


def rate(work: object, path: str, writers: int, count: int) -> float:
    """Events per second of ``writers`` processes that write ``count`` each."""
    work(path, 1)
    children = [multiprocessing.Process(target=work, args=(path, count)) for _writer in range(writers)]
    start = time.perf_counter()
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
    return writers * count / (time.perf_counter() - start)


def events(folder: str) -> None:
    for writers, count in ((1, 200), (WRITERS, EVENTS)):
        ours = rate(write_events, f"{folder}/events{writers}.db", writers, count)
        theirs = rate(write_rows, f"{folder}/rows{writers}.db", writers, count)
        with open_vault({"path": f"{folder}/events{writers}.db"}) as vault:
            report = event_log.verify(vault)
            assert report.problems == () and report.head.number == writers * count + 1
        print(f"{writers:>2} writers: {ours:>6.0f} events/s, bare rows {theirs:>6.0f}/s, ratio {ours / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--largest", type=int, default=100_000, help="largest size of the vault")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=COLLECTIONS.parent) as folder:
        events(folder)
        sizes(folder, arguments.largest)


if __name__ == "__main__":
    main()
