# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archival runs that a fault meets: several hosts at once, each a process that archives one batch after the other.

What each batch was told is compared with what the vault holds, seen from outside (outside_server.py).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import story
from killing import fork
from outside import VaultFile, check_nothing_lost, look_at_host
from outside_server import OutsideServer

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError

WRITERS, BATCHES, KEYS = 2, 2, 2
_NAMES = [f"{number}.key" for number in range(BATCHES * KEYS)]
_USAGE = {"usage": "key_agreement", "accept_declared_usage": True}

#: From nothing to the option ``vault``; asked at each archiving.
Options = Callable[[], dict]
Fault = Callable[[], AbstractContextManager]


@dataclass(frozen=True)
class Batch:
    """What one call of key_archive was told.

    Attributes:
        host: its name.
        key_ids: of the keys.
        error: class and message, or empty for success.
    """

    host: str
    key_ids: frozenset[str]
    error: str


@dataclass
class Runs:
    """All runs of one kind, in one vault.

    Attributes:
        options: the option ``vault`` of the archiver.
        told: what the batches of all runs were told.
    """

    scene: story.Scene
    options: Options
    server: OutsideServer
    told: list[Batch] = field(default_factory=list)
    usual: float = 0.0

    def measure(self) -> None:
        """How long it takes when nothing happens."""
        begin = time.monotonic()
        batches, hosts = self._archive(lambda: None)
        self.usual = time.monotonic() - begin
        assert {batch.error for batch in batches} == {""}
        self.check(batches, hosts)

    def run(self, fault: Fault, lasts: tuple[float, float]) -> list[Batch]:
        """One run: the fault comes at a random moment and lasts so long; then all is looked at, and finished."""

        def happen() -> None:
            time.sleep(random.uniform(0, self.usual * 0.8))
            with fault():
                time.sleep(random.uniform(*lasts))

        batches, hosts = self._archive(happen)
        self.check(batches, hosts)
        return batches

    def check(self, batches: list[Batch], hosts: list[story.Machine]) -> None:
        """What was told is true; the next call finishes the rest, and the one behind it has nothing to do."""
        self.told += batches
        before = self.server.look()
        self._check_told(before)
        for host in hosts:
            check_nothing_lost(look_at_host(host.folder), before)
        failed = {batch.host for batch in batches if batch.error}
        children = [
            Child(lambda host=host: self._archive_again(host, 2 if host.name in failed else 1)) for host in hosts
        ]
        for again in [child.result() for child in children]:
            assert not any(one["error"] for one in again), again
            assert not again[-1]["changed"], "what was archived is archived again"
        after = self.server.look()
        self._check_told(after)
        for host in hosts:
            found = look_at_host(host.folder)
            check_nothing_lost(found, after)
            assert set(found.receipts) == set(found.keys.values())
        new = {item["key_id"] for item in after.records()} - {item["key_id"] for item in before.records()}
        assert new <= {one for batch in batches if batch.error for one in batch.key_ids}

    def _check_told(self, vault: VaultFile) -> None:
        """Success is exactly one record and one event; after a failure there may be one more, without a receipt."""
        records = Counter(item["key_id"] for item in vault.records())
        events = Counter(
            frozenset(key["key_id"] for key in event["keys"])
            for event in vault.events()
            if (event["action"], event["outcome"]) == ("archive", "success")
        )
        for batch in self.told:
            if not batch.error:
                assert [records[one] for one in batch.key_ids] == [1] * KEYS, f"archived, and not there once: {batch}"
                assert events[batch.key_ids] == 1, f"not one event, but {events[batch.key_ids]}: {batch}"
            else:
                assert max(records[one] for one in batch.key_ids) <= 2
                assert events[batch.key_ids] <= 2

    def _archive(self, meanwhile: Callable[[], None]) -> tuple[list[Batch], list[story.Machine]]:
        """Several hosts at once; returns what each batch was told."""
        hosts = [self.scene.machine(f"host{len(self.told)}x{number}") for number in range(WRITERS)]
        for host in hosts:
            _generate(host)
        children = [Child(lambda host=host: self._archive_batches(host)) for host in hosts]
        meanwhile()
        answers = [child.result() for child in children]
        told = []
        for host, answer in zip(hosts, answers):
            keys = look_at_host(host.folder).keys
            told += [Batch(host.name, frozenset(keys[name] for name in names), error) for names, error in answer]
        return told, hosts

    def _archive_batches(self, host: story.Machine) -> list[tuple[list[str], str]]:
        told = []
        for number in range(BATCHES):
            answer = self._archive_keys(host, _NAMES[number * KEYS : (number + 1) * KEYS])
            told.append((answer["names"], answer["error"]))
        return told

    def _archive_again(self, host: story.Machine, times: int) -> list[dict]:
        return [self._archive_keys(host, _NAMES) for dummy in range(times)]

    def _archive_keys(self, host: story.Machine, names: list[str]) -> dict:
        keys = [{"key": str(host.folder / name), **_USAGE} for name in names]
        options = {"key_owner": host.name, "recovery_groups": self.scene.groups(), "vault": self.options()}
        answer = {"names": names, "changed": None, "error": ""}
        try:
            return {**answer, "changed": host.run("key_archive", keys=keys, **options)["changed"]}
        except KeyopsError as error:
            return {**answer, "error": f"{type(error).__name__}: {error}"}


class Child:
    """Work in a forked process, and what it returned (as JSON)."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._reading, writing = os.pipe()
        self._pid = fork(lambda: os.write(writing, json.dumps(work()).encode()))
        os.close(writing)

    def result(self) -> object:
        """Waits for its end."""
        with os.fdopen(self._reading, "rb") as pipe:
            answer = pipe.read()
        assert os.waitpid(self._pid, 0)[1] == 0, "a process ended with something else than a KeyopsError"
        return json.loads(answer)


def _generate(host: story.Machine) -> None:
    """Keys that openssl makes."""
    for name in _NAMES:
        story.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", host.folder / name)
        (host.folder / name).chmod(0o600)
