# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kill -9 at random moments of a rotation, and right after each of its durable effects; the role and the playbook.

After each kill, seen from outside: every key is whole and certified, the old one or the new one, no new one is in use
before its archive is there, and no old one that decrypts is lost. Then the same order is given again and finishes the
rotation, once: no key is rotated twice, the services have been told, and a third run has nothing to do.

KEYOPS_ROTATION_KILLS says how many runs of the playbook are killed; all other kills are in one process.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import story
from killing import kill_all_with, processes_with, run_in_child
from local_play import Controller, Play
from rotating import Rotated, die_after, make_authority

PLAYS = int(os.environ.get("KEYOPS_ROTATION_KILLS", "2"))


class Hosts:
    """Hosts with keys to rotate, one after the other, with one vault."""

    def __init__(self, folder: Path, agents: list[story.Agent]) -> None:
        self.scene, self.authority, self.number = story.Scene(folder, agents), make_authority(folder), 0

    def next(self) -> Rotated:
        """A new one, with keys, archives and certificates."""
        self.number += 1
        return Rotated(self.scene, self.scene.machine(f"host{self.number}"), self.authority)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> list[story.Agent]:
    return story.make_scene(tmp_path_factory.mktemp("agents")).agents


@pytest.fixture
def hosts(tmp_path: Path, agents: list[story.Agent]) -> Iterator[Hosts]:
    """In memory where that can be: a killed process leaves the same there as on a disk, and nobody waits for fsync."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield Hosts(tmp_path, agents)
        return
    with tempfile.TemporaryDirectory(prefix="keyops-rotate-", dir=memory) as folder:
        yield Hosts(Path(folder), agents)


def finish(one: Rotated) -> None:
    """The next run finishes what a killed one has begun; the one after it has nothing to do."""
    one.check_nothing_lost()
    one.rotate()
    one.check_finished()
    before = one.files()
    assert not one.rotate()
    assert one.files() == before


def test_a_kill_after_each_effect(hosts: Hosts) -> None:
    number, killed = 0, True
    while killed:
        number += 1
        one = hosts.next()
        killed = run_in_child(lambda one=one, number=number: die_after(number, one.rotate))[0]
        finish(one)
    assert number > 25, "there are fewer effects than a rotation of three keys has"


def test_a_kill_at_a_random_moment(hosts: Hosts) -> None:
    usual = min(run_in_child(hosts.next().rotate)[1] for dummy in range(2))
    hits = 0
    for dummy in range(36):
        one = hosts.next()
        hits += run_in_child(one.rotate, random.uniform(0, usual))[0]
        finish(one)
        if hits == 12:
            return
    raise AssertionError(f"only {hits} kills met the work: the others came too late")


def test_a_kill_of_the_playbook(hosts: Hosts) -> None:
    """Whole runs, modules alone, the controller alone; the next run finishes. Certificates as in docs/rotation.md."""
    controller = Controller(hosts.scene.folder)
    one = hosts.next()
    variables = one.variables(hosts.scene.folder)
    usual = _work_of(controller.start_playbook(one.host, "rotate", variables), None)
    now = one.check_finished()
    assert _told(one) == sorted(now.values())
    assert "changed=0" in controller.playbook(one.host, "rotate", variables)
    for number in range(PLAYS):
        one = hosts.next()
        variables = one.variables(hosts.scene.folder)
        play = controller.start_playbook(one.host, "rotate", variables)
        _work_of(play, random.uniform(0, usual))
        what = ("all", "module", "controller")[number % 3]
        _kill(play, what)
        one.check_nothing_lost()
        if number % 5:
            one.rotate()  # the same modules in the same order, and in a tenth of the time
        else:
            controller.playbook(one.host, "rotate", variables)
        now = one.check_finished()
        assert set(_told(one)) == set(now.values()), "a service was not told of its key"
        print(f"kill {number + 1} ({what}): finished")


def _told(one: Rotated) -> list[str]:
    told = one.host.folder / "told"
    return sorted([*one.told, *(told.read_text().split() if told.exists() else [])])


def _kill(play: Play, what: str) -> None:
    """kill -9 of the whole run, of the controller alone, or of the modules alone; then wait for all its processes."""
    if what == "all":
        kill_all_with(play.mark)
    elif what == "controller":
        with suppress(ProcessLookupError):
            os.killpg(play.process.pid, signal.SIGKILL)
    else:
        _kill_next_module(play)
    play.process.wait(timeout=240)
    deadline = time.monotonic() + 240
    while processes_with(play.mark):
        assert time.monotonic() < deadline, "what the killed run has started does not end"
        time.sleep(0.05)


def _kill_next_module(play: Play) -> None:
    """A pipelined module is a Python without arguments."""
    while play.process.poll() is None:
        for pid in processes_with(play.mark):
            with suppress(OSError):
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                if len(arguments) == 1 and b"python" in arguments[0]:
                    time.sleep(random.uniform(0, 0.3))
                    os.kill(pid, signal.SIGKILL)
                    return
        time.sleep(0.01)


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
