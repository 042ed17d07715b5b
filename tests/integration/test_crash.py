# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kill -9 at random moments of generating, archiving and recovering, and right after each of their durable effects.

After each kill, seen from outside: every file is whole or absent, everything that a receipt or a record promises is in
the vault, and the event log is a chain. Then the same work runs again and finishes the job, and a third run has nothing
to do. What a killed run may leave is ciphertext that no record names, and revisions that no receipt names.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import story
from crash_rounds import KEYS, Round, Rounds
from killing import kill_all_with, processes_with, run_in_child
from local_play import Controller, Play, archiving, recovering
from outside import HostFolder

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import Draft
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.sqlite import SqliteVault


@dataclass(frozen=True)
class Job:
    """What is killed.

    Attributes:
        prepare: makes a host ready for it, or None.
        work: is killed.
        finish: gets the round and what there was after the kill; does the work again and looks.
    """

    prepare: Callable[[Round], None] | None
    work: Callable[[Round], dict]
    finish: Callable[[Round, HostFolder], None]


def kill_at_random(rounds: Rounds, job: Job, kills: int) -> None:
    """Kill the work so many times, at any moment of its usual time, each time on a new host."""
    usual = min(_seconds(rounds, job) for dummy in range(3))
    hits = 0
    for dummy in range(kills * 5):
        one = rounds.next(job.prepare)
        killed, seconds = run_in_child(lambda one=one: job.work(one), random.uniform(0, usual))
        # What comes too late was measured when the machine had more to do.
        hits, usual = hits + killed, usual if killed else min(usual, seconds) * 0.9
        job.finish(one, one.look()[0])
        if hits == kills:
            return
    raise AssertionError(f"only {hits} kills met the work: the others came too late")


def _seconds(rounds: Rounds, job: Job) -> float:
    one = rounds.next(job.prepare)
    killed, seconds = run_in_child(lambda: job.work(one))
    assert not killed
    one.look()
    return seconds


def kill_after_each_effect(rounds: Rounds, job: Job) -> int:
    """Kill the work after its first durable effect, after its second, and so on; returns how many it has."""
    number, killed = 0, True
    while killed:
        number += 1
        one = rounds.next(job.prepare)
        killed = run_in_child(lambda one=one, number=number: _die_after(number, lambda: job.work(one)))[0]
        job.finish(one, one.look()[0])
    return number - 1


def _die_after(number: int, work: Callable[[], object]) -> None:
    """In the child, which is thrown away: the process kills itself when so many effects have happened."""
    left = iter(range(number - 1, -1, -1))

    def dying(effect: Callable) -> Callable:
        def wrapped(*arguments: object, **options: object) -> object:
            result = effect(*arguments, **options)
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    for owner, name in ((SqliteVault, "_create"), (Draft, "link"), (Draft, "rename"), (_files, "remove")):
        setattr(owner, name, dying(getattr(owner, name)))
    work()


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> list[story.Agent]:
    """Enrolled once for all rounds."""
    return story.make_scene(tmp_path_factory.mktemp("agents")).agents


@pytest.fixture
def rounds(quick_folder: Path, agents: list[story.Agent]) -> Rounds:
    return Rounds(quick_folder, agents)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: a killed process leaves the same there as on a disk, and nobody waits for fsync."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="keyops-crash-", dir=memory) as folder:
        yield Path(folder)


def _generated(one: Round, before: HostFolder) -> None:
    """Keys that are whole stay as they are; signing keys reach the register, whatever came between."""
    one.generate()
    after, vault = one.look()
    assert len(after.keys) == 2 * len(KEYS)
    assert before.keys.items() <= after.keys.items(), "a key was replaced"
    signing = {f"signing/{key_id}" for name, key_id in after.keys.items() if name.startswith("sign-")}
    assert signing <= set(vault.objects)
    assert not one.generate()["changed"]


def _archived(one: Round, before: HostFolder) -> None:
    """A receipt is never without its record, and the next run archives what has none, and nothing else."""
    one.archive()
    after, dummy = one.look()
    assert set(after.receipts) == set(one.key_ids)
    assert before.receipts.items() <= after.receipts.items(), "what was archived was archived again"
    assert not one.archive()["changed"]
    if random.random() < 0.3:
        one.lose()
        _recovered(one, HostFolder())


def _recovered(one: Round, before: HostFolder) -> None:
    """The next run goes on: the same bytes are back, with receipts; no one-time key is left, and nothing is to do."""
    assert set(before.keys.values()) <= set(one.key_ids)
    one.recover()
    assert {path.name: path.read_bytes() for path in one.paths()} == one.content
    after, vault = one.look()
    assert not after.requests, "a one-time key outlived its request"
    assert set(after.receipts) == set(one.key_ids)
    assert not one.archive()["changed"]
    told = {key["key_id"] for event in vault.events() if event["action"] == "recover" for key in event["keys"]}
    assert set(one.key_ids) <= told, "a recovery without an event"


JOBS = {
    "generating": Job(None, Round.generate, _generated),
    "archiving": Job(Round.have_keys, Round.archive, _archived),
    "recovering": Job(Round.lose_keys, Round.recover, _recovered),
}


@pytest.mark.parametrize(("name", "kills"), [("generating", 20), ("archiving", 45), ("recovering", 40)])
def test_a_kill_at_a_random_moment(rounds: Rounds, name: str, kills: int) -> None:
    kill_at_random(rounds, JOBS[name], kills)


@pytest.mark.parametrize(("name", "at_least"), [("generating", 12), ("archiving", 8), ("recovering", 27)])
def test_a_kill_after_each_effect(rounds: Rounds, name: str, at_least: int) -> None:
    """Between two effects lie microseconds that a random moment seldom meets; each effect is on the disk by then."""
    assert kill_after_each_effect(rounds, JOBS[name]) >= at_least


def test_what_a_kill_leaves_is_reported_and_harmless(rounds: Rounds) -> None:
    """Killed after the ciphertext and after the record: one leaves orphans, the other a revision without a receipt."""
    orphans = 0
    for number, revisions in ((1, 1), (2, 2)):
        one = rounds.next(Round.have_keys)
        assert run_in_child(lambda one=one, number=number: _die_after(number, one.archive))[0]
        one.archive()
        dummy, vault = one.look()
        for row in one.look_up():
            assert (len(row["revisions"]), row["problems"], row["archived"]) == (revisions, [], True)
        left, orphans = len(vault.orphans()) - orphans, len(vault.orphans())
        # Per key the sealed key and three shares.
        assert left == (len(KEYS) * 4 if revisions == 1 else 0)


@pytest.mark.parametrize("name", ["archiving", "recovering"])
def test_a_kill_of_ansible_playbook(rounds: Rounds, quick_folder: Path, name: str) -> None:
    """The same through Ansible; when only the controller dies, what runs on the host runs on to its end."""
    controller = Controller(quick_folder)
    one = rounds.next(JOBS[name].prepare)
    usual = _work_of(controller.start(one.host, _tasks(one, name)), None)
    for number in range(5):
        one = rounds.next(JOBS[name].prepare)
        play = controller.start(one.host, _tasks(one, name))
        _work_of(play, random.uniform(0, usual))
        if number % 2:
            os.killpg(play.process.pid, signal.SIGKILL)
        else:
            kill_all_with(play.mark)
        play.process.wait()
        while processes_with(play.mark):
            time.sleep(0.05)
        JOBS[name].finish(one, one.look()[0])
    # Of the last one, Ansible finds the rest done.
    assert "changed=0" in controller.run(one.host, _tasks(one, "archiving"))


def _tasks(one: Round, name: str) -> list[dict]:
    if name == "archiving":
        return [archiving(one.host, one.scene, KEYS)]
    return recovering(one.host, one.scene, dict(zip(KEYS, one.key_ids)))


def _work_of(play: Play, seconds: float | None) -> float:
    """Wait for so many seconds of work, or to the end; the work begins with the first task. Returns how long it was."""
    while "TASK" not in play.text():
        assert play.process.poll() is None, play.text()
        time.sleep(0.02)
    begin = time.monotonic()
    if seconds is None:
        play.finish()
    else:
        time.sleep(seconds)
    return time.monotonic() - begin
