# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kill -9 at random moments of provisioning: every key file is whole or absent, and the next run finishes the job."""

from __future__ import annotations

import os
import random
import signal
import stat
import time

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file

KEYS = 10
KILLS = 40


def provision_and_die(host, items, delay):
    """Provision in a process of its own, and kill that after ``delay`` seconds; whether it was still running."""
    pid = os.fork()
    if pid == 0:
        # The child leaves without any of the test runner's exits.
        host.run(*items)
        os._exit(0)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def check_files(host, algorithm):
    """Every named file is a whole and sound key with its final mode; returns their number, and the hidden files."""
    names = os.listdir(host.keys)
    for name in names:
        path = host.keys / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        if not name.startswith("."):
            key = key_file.load(path.read_bytes(), None)
            key_file.check_fully(key)
            assert (key.facts.algorithm, key.facts.bound_usage) == (algorithm, "key_agreement")
    hidden = [name for name in names if name.startswith(".")]
    return len(names) - len(hidden), hidden


class Moments:
    """Random moments from the start to a little beyond the end of the work, however the machine's speed drifts."""

    def __init__(self, host, items):
        start = time.monotonic()
        host.run(*items)
        self.longest = 1.3 * (time.monotonic() - start)

    def next(self):
        return random.uniform(0, self.longest)

    def learn(self, killed):
        """A late kill says that the work is shorter than was thought; one in time, that it may be longer."""
        self.longest *= 1.1 if killed else 0.8


@pytest.mark.parametrize("files", ["nameless", "hidden"])
def test_creating(host, files, monkeypatch):
    """With nameless files nothing is left over at once; without them, after the next run."""
    if files == "hidden":
        monkeypatch.delattr(os, "O_TMPFILE")
    moments, killed, parts = None, 0, set()
    for number in range(KILLS):
        folder = host.keys / str(number)
        folder.mkdir()
        one = type(host)(folder)
        items = [one.key(str(name), usage="key_agreement") for name in range(KEYS)]
        if moments is None:
            moments = Moments(one, items)
            continue
        in_time = provision_and_die(one, items, moments.next())
        moments.learn(in_time)
        killed += in_time
        there, hidden = check_files(one, "ec-p256")
        parts.add(there)
        assert files == "hidden" or hidden == []
        kept = {name: one.snapshot()[name] for name in one.snapshot() if not name.startswith(".")}
        result = one.run(*items)
        assert [row["action"] for row in result.results].count("kept") == there
        assert {name: one.snapshot()[name] for name in kept} == kept
        assert check_files(one, "ec-p256") == (KEYS, [])
        assert one.run(*items).changed is False
    assert killed >= KILLS // 4, "the kills came too late to mean anything"


def test_replacing(host):
    """Every file is the old key or a new one; hidden files of that instant are gone after the next run."""
    items = [host.key(str(name), usage="key_agreement") for name in range(KEYS)]
    host.run(*items)
    again = [{**item, "regenerate": "always", "destroy_unarchived": True} for item in items]
    moments, killed = Moments(host, again), 0
    for dummy in range(KILLS):
        in_time = provision_and_die(host, again, moments.next())
        moments.learn(in_time)
        killed += in_time
        assert check_files(host, "ec-p256")[0] == KEYS
        assert host.run(*items).changed is False
        assert check_files(host, "ec-p256") == (KEYS, [])
    assert killed >= KILLS // 4, "the kills came too late to mean anything"
