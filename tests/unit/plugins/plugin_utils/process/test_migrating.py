# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving a vault: kills at every write, differences, destroyed names, writers that do not stop."""

from __future__ import annotations

import itertools
import sqlite3

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    EventLogError,
    OptionError,
    VaultsDiffer,
    VaultStillUsed,
    VaultUnavailable,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_check, event_log, records, vault_copy
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import migrating
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.named import NamedVault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import EmptyVault, open_vault
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

AGENTS = ("a" * 64, "b" * 64)


class Killed(Exception):
    """The end of a run."""


class Wrapped(Vault):
    """A vault that calls ``before(operation, argument)`` first."""

    def __init__(self, vault, before):
        self._vault, self._before = vault, before

    def close(self):
        self._vault.close()

    def _create(self, objects):
        self._before("create", objects)
        return self._vault.create(objects)

    def _exists(self, paths):
        self._before("exists", paths)
        return self._vault.exists(paths)

    def _read(self, paths):
        self._before("read", paths)
        return self._vault.read(paths)

    def _list(self, prefix, after, limit):
        self._before("list", prefix)
        return self._vault.list(prefix, after, limit)

    def _destroy(self, paths):
        self._before("destroy", paths)
        self._vault.destroy(paths)


def archive(vault, number):
    """What an archival leaves: sealed key, shares, record, event."""
    key, shares = b"key %d" % number, [b"share %d of %d" % (number, agent) for agent in range(2)]
    parts = {paths.sealed_key(canonical.digest(key)): key}
    parts.update({paths.share(agent, canonical.digest(share)): share for agent, share in zip(AGENTS, shares)})
    agents = tuple(
        RecordedAgent(f"agent {agent[0]}", agent, b"certificate", b"certificate", "1" * 64, canonical.digest(share))
        for agent, share in zip(AGENTS, shares)
    )
    public_key = b"public key %d" % number
    made = Record(
        key_id=canonical.digest(public_key),
        number=1,
        key_owner="alice",
        usage="key_transport",
        algorithm="rsa-3072",
        public_key=public_key,
        host="h",
        place="/k",
        created="2026-01-31T12:00:00Z",
        sealed_key=canonical.digest(key),
        groups=(RecordedGroup("admins", 2, "3" * 32, agents),),
    )
    vault.create(parts)
    vault.create({paths.record(made.key_id, 1): record.dump(made)})
    happened(vault, made.key_id)


def happened(vault, key_id="c" * 64):
    return event_log.append(vault, action="archive", outcome="success", actor="ops", host="h", keys=[(key_id, "")])


def filled(vault, archives=12):
    """A vault with every kind of object, two destroyed ones, and garbage."""
    for number in range(archives):
        archive(vault, number)
    key_id = canonical.digest(b"public key 0")
    vault.create({paths.request("d" * 64): b"request", paths.approval("d" * 64, key_id, AGENTS[0], 1): b"approval"})
    vault.create({paths.signing_key("e" * 64): b"signing", paths.freeze(key_id, 1): b"freeze"})
    vault.create({paths.lift(key_id, "f" * 64, AGENTS[0], 1): b"lift"})
    vault.create({"records/garbage/1": b"no record", paths.record("f" * 64, 1): b"condemned", "sealed/condemned": b"x"})
    vault.destroy([paths.record("f" * 64, 1), "sealed/condemned"])
    return vault


def content(vault):
    """Every name, with the content or None for a destroyed one."""
    names = [path for folder in paths.FOLDERS for path in vault.list(f"{folder}/")]
    found = vault.read(names)
    return {path: found.get(path) for path in names}


def migrate(source, destination, check_mode=False, say=lambda text: None):
    vaults = {
        "source": NamedVault(source, "source", "memory one"),
        "destination": NamedVault(destination, "destination", "memory two"),
    }
    task = ControllerTask({}, None, check_mode, "localhost", "ops@controller", None, None, vaults)
    return migrating.migrate(task, say)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(vault_copy, "_NAMES", 7)
    monkeypatch.setattr(vault_copy, "_PAGE", 5)
    monkeypatch.setattr(vault_copy, "_RECORDS", 2)


@pytest.fixture
def source():
    return filled(MemoryVault())


def sqlite(folder, name="vault.db"):
    return open_vault({"backend": "sqlite", "path": str(folder / "vaults" / name)})


@pytest.mark.parametrize("there", ["memory", "sqlite"])
@pytest.mark.parametrize("here", ["memory", "sqlite"])
def test_everything_moves_and_the_log_goes_on(here, there, tmp_path):
    source = filled(MemoryVault() if here == "memory" else sqlite(tmp_path, "one"))
    destination = MemoryVault() if there == "memory" else sqlite(tmp_path, "two")
    before = content(source)
    with source, destination:
        result = migrate(source, destination)
        after = content(destination)
        assert after == content(source)
        (added,) = set(after) - set(before)
        assert {path: after[path] for path in before} == before
        assert added == paths.event(13) and b'"action":"migrate"' in after[added] and b"memory two" in after[added]
        assert destination.exists(after) == {path for path, found in before.items() if found is not None} | {added}
        rows = {row["prefix"]: row for row in result["results"]}
        assert list(rows) == [f"{folder}/" for folder in paths.FOLDERS]
        assert rows["shares/"] == {"prefix": "shares/", "objects": 24, "copied": 24, "destroyed": 0}
        assert rows["records/"] == {"prefix": "records/", "objects": 14, "copied": 14, "destroyed": 1}
        assert rows["events/"] == {"prefix": "events/", "objects": 13, "copied": 13, "destroyed": 0}
        head = {"number": 13, "digest": canonical.digest(after[added])}
        assert result["changed"] and result["head"] == head and result["warnings"] == []
        assert happened(destination).number == 14
        assert event_log.verify(destination).problems == ()


def test_a_second_run_changes_nothing(source):
    destination = MemoryVault()
    first = migrate(source, destination)
    again = migrate(source, Wrapped(destination, refuse_writes))
    assert not again["changed"] and again["head"] == first["head"]
    assert [row["copied"] for row in again["results"]] == [0] * len(paths.FOLDERS)
    assert [row["objects"] for row in again["results"]] == [row["objects"] for row in first["results"]]
    assert [row["destroyed"] for row in again["results"]] == [row["destroyed"] for row in first["results"]]


def refuse_writes(operation, argument):
    assert operation in ("list", "read", "exists") or not argument


def test_check_mode_counts_and_writes_nothing(source):
    before = content(source)
    result = migrate(Wrapped(source, refuse_writes), EmptyVault(), check_mode=True)
    assert result["changed"] and content(source) == before
    assert {row["prefix"]: row["copied"] for row in result["results"]} == {
        **{"sealed/": 13, "shares/": 24, "signing/": 1, "freezes/": 1, "records/": 14},
        **{"requests/": 1, "approvals/": 1, "lifts/": 1, "deliveries/": 0, "events/": 12},
    }
    assert result["head"]["number"] == 12
    destination = MemoryVault()
    migrate(source, destination)
    done = migrate(source, destination, check_mode=True)
    assert not done["changed"] and [row["copied"] for row in done["results"]] == [0] * len(paths.FOLDERS)


def test_it_moves_back_and_on(source):
    destination = MemoryVault()
    migrate(source, destination)
    archive(destination, 100)
    vaults = {
        "source": NamedVault(destination, "source", "memory two"),
        "destination": NamedVault(source, "destination", "memory one"),
    }
    task = ControllerTask({}, None, False, "localhost", "ops@controller", None, None, vaults)
    assert migrating.migrate(task, print)["head"]["number"] == 15
    assert content(source) == content(destination)
    archive(source, 101)
    assert migrate(source, destination)["head"]["number"] == 17
    assert content(source) == content(destination)


@pytest.mark.parametrize("kept", ["sqlite", "memory"])
def test_resumed_after_a_kill_at_every_write(kept, tmp_path):
    """A kill before or after each single write to one of the two; every record that can be seen has its parts."""
    for moment in itertools.count():
        source, destination = (
            filled(MemoryVault(), 6),
            MemoryVault() if kept == "memory" else sqlite(tmp_path, str(moment)),
        )
        steps = itertools.count()

        def kill(operation, argument, steps=steps, moment=moment):
            if operation in ("create", "destroy") and argument and next(steps) == moment:
                raise Killed

        with destination:
            try:
                migrate(Wrapped(source, kill), Wrapped(destination, kill))
                break
            except Killed:
                no_record_without_its_parts(destination)
            migrate(source, destination)
            assert content(destination) == content(source)
            assert event_log.verify(destination).head.number == 7
    assert moment > 15


def no_record_without_its_parts(vault):
    for path in vault.list("records/"):
        found = vault.read([path]).get(path, b"")
        if found.startswith(b"{"):
            parts = records.parts_of(record.parse(found))
            assert vault.exists(parts) == parts


def test_a_placeholder_of_a_killed_run_is_destroyed(source):
    destination = MemoryVault()
    destination.create({"sealed/condemned": vault_copy.PLACEHOLDER})
    migrate(source, destination)
    assert destination.exists(["sealed/condemned"]) == frozenset() and content(destination) == content(source)


def test_events_and_records_that_come_meanwhile_are_copied(source):
    """A writer archives before every seventh question to the source, until it stops."""
    numbers, questions = iter(range(100, 120)), itertools.count()

    def write(operation, argument):
        if next(questions) % 7 == 6:
            for number in itertools.islice(numbers, 1):
                archive(source, number)

    def look(operation, argument):
        if operation == "create":
            for found in argument.values():
                if found.startswith(b'{"algorithm"'):
                    parts = records.parts_of(record.parse(found))
                    assert destination.exists(parts) == parts

    destination = MemoryVault()
    result = migrate(Wrapped(source, write), Wrapped(destination, look))
    assert content(destination) == content(source)
    assert next(numbers, None) is None and result["head"]["number"] == len(destination.list("events/"))


def test_a_writer_that_does_not_stop_is_told_and_a_second_run_catches_up(source):
    times = iter(range(3))

    def write(operation, argument):
        if operation == "list" and argument == "events/" and closed() and next(times, None) is not None:
            happened(source)

    def closed():
        return any(b'"action":"migrate"' in found for path, found in content(source).items() if path[0] == "e")

    destination = MemoryVault()
    with pytest.raises(VaultStillUsed, match=r"event 1\d .archive by ops for h. was written after event 13"):
        migrate(Wrapped(source, write), destination)
    result = migrate(source, destination)
    assert result["changed"] and content(destination) == content(source)


@pytest.mark.parametrize("path", [paths.event(3), paths.record(canonical.digest(b"public key 4"), 1)])
def test_another_content_is_named_and_nothing_is_written(source, path):
    destination = MemoryVault()
    destination.create({path: b"another"})
    before = content(source)
    for check_mode in (True, False):
        with pytest.raises(VaultsDiffer, match=path):
            migrate(source, Wrapped(destination, refuse_writes), check_mode)
    assert content(source) == before


def test_an_edit_during_the_copy_is_found_at_the_end(source):
    destination = MemoryVault()
    path = paths.sealed_key(canonical.digest(b"key 3"))

    def edit(operation, argument):
        if operation == "create" and paths.event(5) in argument:
            destination.tamper(path, b"another")

    with pytest.raises(VaultsDiffer, match=path):
        migrate(source, Wrapped(destination, edit))
    assert "migrate" not in [event.action for event in event_log.verify(source).events]


def test_a_vault_in_use_is_no_destination(source):
    destination = MemoryVault()
    archive(destination, 0)
    archive(destination, 50)
    with pytest.raises(VaultsDiffer, match=r"another content|does not have"):
        migrate(source, Wrapped(destination, refuse_writes))


def test_destroyed_on_one_side_only(source):
    destination = MemoryVault()
    migrate(source, destination)
    here, there = (paths.sealed_key(canonical.digest(b"key %d" % number)) for number in (1, 2))
    source.destroy([here])
    with pytest.raises(VaultsDiffer, match=f"not in the destination: {here}"):
        migrate(source, destination)
    assert destination.exists([here]) == {here}
    destination.destroy([here])
    assert not migrate(source, destination)["changed"]
    destination.destroy([there])
    with pytest.raises(VaultsDiffer, match=f"not in the source: {there}"):
        migrate(source, destination)


def test_problems_of_the_log_come_along_as_warnings(source):
    source.create({paths.event(13): b"no event"})
    destination = MemoryVault()
    result = migrate(source, destination)
    assert len(result["warnings"]) == 1 and "event 13" in result["warnings"][0]
    assert content(destination) == content(source)


def test_a_log_that_lost_its_end_is_told(source):
    destination = MemoryVault()

    def cut(operation, argument):
        if operation == "read" and argument == [paths.event(13)] and destination.exists(argument):
            destination.tamper(paths.event(13), b"another")

    with pytest.raises((EventLogError, VaultsDiffer)):
        migrate(source, Wrapped(destination, cut))


def test_a_vault_is_not_moved_onto_itself(source):
    vault = NamedVault(source, "source", "memory one")
    task = ControllerTask({}, None, False, "h", "ops", None, None, {"source": vault, "destination": vault})
    with pytest.raises(OptionError, match="destination"):
        migrating.migrate(task, print)


def test_long_work_says_how_far_it_is(source, monkeypatch):
    said = []
    monkeypatch.setattr(migrating, "_PAUSE", 0.0)
    migrate(source, MemoryVault(), say=said.append)
    assert "vault_migration: copying, 24 objects of shares/ so far" in said


def test_a_failing_vault_is_named(source):
    def fail(operation, argument):
        if operation == "read":
            raise VaultUnavailable("vault.url: https://vault.example.com cannot be reached")

    with pytest.raises(VaultUnavailable, match=r"^destination\.url: https://vault\.example\.com "):
        migrate(source, Wrapped(filled(MemoryVault()), fail))


def test_memory_does_not_grow_with_the_vault(source, monkeypatch):
    most = 0
    monkeypatch.setattr(event_check, "_PAGE", 5)

    def measure(operation, argument):
        nonlocal most
        most = max(most, len(argument) if operation in ("create", "read", "exists", "destroy") else 0)

    for number in range(100, 200):
        archive(source, number)
    migrate(Wrapped(source, measure), Wrapped(MemoryVault(), measure))
    assert most <= 16  # as many names are asked for when the log's end is looked for


def test_the_sqlite_file_holds_the_same(tmp_path):
    with (
        filled(sqlite(tmp_path, "one")) as source,
        sqlite(tmp_path, "two") as middle,
        sqlite(tmp_path, "three") as last,
    ):
        migrate(source, middle)
        migrate(middle, last)

    def rows(name, table):
        with sqlite3.connect(tmp_path / "vaults" / name) as connection:
            return set(connection.execute(f"SELECT {table}"))

    for table in ("path, content FROM object", "path FROM condemned"):
        assert rows("one", table) <= rows("two", table) <= rows("three", table)
