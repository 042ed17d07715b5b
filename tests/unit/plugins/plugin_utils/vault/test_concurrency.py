# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many processes and killed processes at one SQLite vault: nothing is lost, no chain forks, every vault opens."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, numbered
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

KEYS = ["a" * 64, "b" * 64]
WRITERS, EVENTS = 20, 10
CONTEXT = multiprocessing.get_context("fork")


def say(vault, detail):
    return event_log.append(vault, action="test", outcome="success", actor="ops", host="h", detail=detail)


def writer(path, name, barrier, results):
    barrier.wait()
    written = []
    with open_vault({"path": path}) as vault:
        for turn in range(EVENTS):
            head = say(vault, f"{name}.{turn}")
            content = f"{name}.{turn}".encode()
            got = numbered.add(vault, paths.record, dict.fromkeys(KEYS, lambda _number, content=content: content))
            written.append((head, got))
    results.put((name, written))


def test_twenty_writers_lose_nothing(tmp_path):
    path = str(tmp_path / "vault.db")
    barrier, results = CONTEXT.Barrier(WRITERS), CONTEXT.Queue()
    children = [CONTEXT.Process(target=writer, args=(path, name, barrier, results)) for name in range(WRITERS)]
    for child in children:
        child.start()
    written = dict(results.get(timeout=120) for _child in children)
    for child in children:
        child.join(60)
    with open_vault({"path": path}) as vault:
        heads = [head for one in written.values() for head, _got in one]
        report = event_log.verify(vault, heads)
        assert report.problems == () and report.head.number == WRITERS * EVENTS
        said = {f"{name}.{turn}" for name in range(WRITERS) for turn in range(EVENTS)}
        assert {event.detail for event in report.events} == said
        revisions = numbered.read(vault, paths.record, KEYS)
        for key in KEYS:
            assert {content.decode() for content in revisions[key]} == said
            for name, one in written.items():
                for turn, (_head, got) in enumerate(one):
                    assert revisions[key][got[key] - 1].decode() == f"{name}.{turn}"


def endless(path, pipe):
    with open_vault({"path": path}) as vault:
        for turn in range(1_000_000):
            vault.create({f"sealed/{os.getpid()}x{turn}x{part}": os.urandom(2000) for part in range(20)})
            os.write(pipe, b"%d %d\n" % (turn, say(vault, str(turn)).number))


@pytest.mark.parametrize("run", range(20))
def test_killed_writers_leave_a_vault_that_opens_and_verifies(tmp_path, run):
    path = str(tmp_path / "vault.db")
    randomness = random.Random(run)
    reports = [os.pipe() for _pipe in range(3)]
    children = [CONTEXT.Process(target=endless, args=(path, pipe[1])) for pipe in reports]
    for child in children:
        child.start()
    # From "before the file is there" to "in the middle of the work".
    time.sleep(randomness.uniform(0.0, 0.15))
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        time.sleep(randomness.uniform(0, 0.01))
    for child in children:
        child.join()
    with open_vault({"path": path}) as vault:
        report = event_log.verify(vault)
        assert report.problems == ()
        for child, pipe in zip(children, reports):
            os.close(pipe[1])
            with os.fdopen(pipe[0], "rb") as stream:
                done = [tuple(int(word) for word in line.split()) for line in stream if line.endswith(b"\n")]
            # What was reported as done is there, and a batch is there as a whole or not at all.
            assert all(number <= report.head.number for _turn, number in done)
            turns = [turn for turn, _number in done]
            for turn in [*turns, len(turns)]:
                batch = [f"sealed/{child.pid}x{turn}x{part}" for part in range(20)]
                assert len(vault.exists(batch)) in ((20,) if turn in turns else (0, 20))
        assert say(vault, "after").number == report.head.number + 1
