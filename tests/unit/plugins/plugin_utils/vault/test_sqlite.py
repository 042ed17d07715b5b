# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SQLite vault: its file, its rows against other tools, and every failure with its own error."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import tempfile

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyopsError,
    NotAVault,
    OptionError,
    VaultError,
    VaultForbidden,
    VaultFull,
    VaultReadOnly,
    VaultUnavailable,
    VaultUnsafe,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault import sqlite
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "vault.db"


def opened(path, check_mode=False):
    return open_vault({"backend": "sqlite", "path": str(path)}, check_mode)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def filled(path):
    with opened(path) as vault:
        vault.create({"events/1": b"first", "sealed/a": b"sealed"})
    return path


@pytest.mark.parametrize("umask", [0, 0o027, 0o077])
def test_file_and_folders_are_their_owners_alone(path, umask):
    old = os.umask(umask)
    try:
        with opened(path) as vault:
            vault.create({"events/1": b"x"})
            assert sorted(mode(path.parent / name) for name in os.listdir(path.parent)) == [0o600] * 3
    finally:
        os.umask(old)
    assert mode(path.parent) == mode(path.parent.parent) == 0o700
    assert os.listdir(path.parent) == ["vault.db"]


@pytest.mark.parametrize("name", ["a?mode=memory", "b#c", "d%2fe", "f g", "é.db", "'\""])
def test_any_file_name_is_that_file(tmp_path, name):
    with opened(tmp_path / name) as vault:
        vault.create({"events/1": b"x"})
    with opened(f"/{tmp_path}/{name}") as vault:
        assert vault.exists(["events/1"])
    assert os.listdir(tmp_path) == [name]


def test_writes_through_to_the_disk(path):
    with opened(path) as vault:
        settings = [
            vault._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    assert settings == ["wal", 2]


def test_another_tool_cannot_change_rows(filled):
    database = sqlite3.connect(filled)
    for statement in (
        "UPDATE object SET content = 'x'",
        "UPDATE object SET path = 'events/2'",
        "DELETE FROM object",
        "DELETE FROM object WHERE path = 'events/1'",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
    # REPLACE would delete without firing DELETE triggers; it is ignored.
    database.execute("REPLACE INTO object (path, content) VALUES ('events/1', 'x')")
    database.execute("REPLACE INTO object (number, path, content) VALUES (1, 'events/9', 'x')")
    database.commit()
    assert database.execute("SELECT path, content FROM object ORDER BY number").fetchall() == [
        ("events/1", b"first"),
        ("sealed/a", b"sealed"),
    ]
    database.close()


def test_what_is_condemned_stays_so(filled):
    with opened(filled) as vault:
        vault.destroy(["sealed/a"])
    database = sqlite3.connect(filled)
    for statement in ("DELETE FROM condemned", "UPDATE condemned SET path = 'sealed/b'"):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
    database.close()


def test_destroyed_content_leaves_the_disk(path):
    content = os.urandom(30_000)
    with opened(path) as vault:
        vault.create({"sealed/a": content})
        vault.destroy(["sealed/a"])
        on_disk = b"".join((path.parent / name).read_bytes() for name in os.listdir(path.parent))
    assert not any(content[start : start + 32] in on_disk for start in range(0, len(content), 500))


def test_check_mode_makes_nothing_and_reads_as_empty(path):
    with opened(path, check_mode=True) as vault:
        assert vault.read(["events/1"]) == {} and vault.list("events/") == [] and not vault.exists(["events/1"])
        for write in (lambda: vault.create({"events/1": b""}), lambda: vault.destroy(["events/1"])):
            with pytest.raises(VaultReadOnly):
                write()
    assert not path.parent.parent.exists()


def test_check_mode_reads_what_is_there(filled):
    before = filled.read_bytes()
    with opened(filled, check_mode=True) as vault:
        assert vault.read(["events/1"]) == {"events/1": b"first"}
        for write in (lambda: vault.create({"events/2": b""}), lambda: vault.destroy(["events/1"])):
            with pytest.raises(VaultReadOnly):
                write()
    assert filled.read_bytes() == before
    assert os.listdir(filled.parent) == ["vault.db"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_an_empty_file_is_a_vault_that_was_killed_at_birth(tmp_path, check_mode):
    path = tmp_path / "vault.db"
    path.touch(0o600)
    with opened(path, check_mode) as vault:
        assert vault.list("events/") == []
    assert (path.stat().st_size == 0) == check_mode


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o602, 0o666, 0o700])
def test_refuses_a_file_that_others_can_reach(filled, bits):
    filled.chmod(bits)
    for check_mode in (False, True):
        with pytest.raises(VaultUnsafe, match="chmod 600"):
            opened(filled, check_mode)


def test_refuses_links_and_other_kinds_of_file(filled, tmp_path):
    (tmp_path / "link.db").symlink_to(filled)
    (tmp_path / "dangling.db").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.db", 0o600)
    (tmp_path / "folder.db").mkdir()
    expected = {"link.db": VaultUnsafe, "dangling.db": VaultUnsafe, "pipe.db": NotAVault, "folder.db": NotAVault}
    for name, kind in expected.items():
        with pytest.raises(kind):
            opened(tmp_path / name)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("bits", [0o770, 0o777, 0o1777])
def test_refuses_a_folder_that_others_can_write(filled, bits):
    filled.parent.chmod(bits)
    with pytest.raises(VaultUnsafe, match="chmod go-w"):
        opened(filled)
    with pytest.raises(VaultUnsafe):
        opened(filled.parent / "other.db")
    assert not (filled.parent / "other.db").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (None, "vault:"),
        ({}, "vault:"),
        ({"backend": "openbao", "path": "/x/y"}, "vault.backend"),
        ({"backend": "sqlite"}, "vault.path"),
        ({"path": "relative.db"}, "vault.path"),
        ({"path": "/ends/with/"}, "vault.path"),
        ({"path": "/null\0byte"}, "vault.path"),
        ({"path": "/dev/null/vault.db"}, "vault.path"),
    ],
)
def test_names_the_wrong_option(options, text):
    with pytest.raises(OptionError, match=text):
        open_vault(options)


def test_refuses_another_applications_database(tmp_path):
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.commit()
    database.close()
    path.chmod(0o600)
    before = path.read_bytes()
    for check_mode in (False, True):
        with pytest.raises(NotAVault):
            opened(path, check_mode)
    assert path.read_bytes() == before


def test_refuses_a_vault_of_another_release(filled):
    database = sqlite3.connect(filled)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(NotAVault, match="another release"):
        opened(filled)


def test_refuses_what_is_no_database(tmp_path):
    path = tmp_path / "vault.db"
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" * 100)
    path.chmod(0o600)
    with pytest.raises(NotAVault):
        opened(path)


def test_says_that_a_damaged_file_is_damaged(filled):
    with opened(filled) as vault:
        vault.create({f"sealed/{number}": b"x" * 3000 for number in range(200)})
    data = bytearray(filled.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    filled.write_bytes(data)
    with pytest.raises(NotAVault), opened(filled) as vault:
        vault.read([f"sealed/{number}" for number in range(200)])


def test_a_full_disk_loses_nothing(filled):
    with opened(filled) as vault:
        pages = vault._connection.execute("PRAGMA page_count").fetchone()[0]
        vault._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(VaultFull, match="free some space"):
            vault.create({f"sealed/{number}": b"x" * 3000 for number in range(200)})
        assert vault.list("sealed/") == ["sealed/a"]
        vault._connection.execute("PRAGMA max_page_count = 100000")
        assert len(vault.create({f"sealed/{number}": b"x" * 3000 for number in range(200)})) == 200


def test_waits_for_a_lock_and_then_says_so(filled, monkeypatch):
    monkeypatch.setattr(sqlite, "PATIENCE", 0.3)
    other = sqlite3.connect(filled, isolation_level=None)
    with opened(filled) as vault:
        other.execute("BEGIN IMMEDIATE")
        assert vault.read(["events/1"]) == {"events/1": b"first"}
        assert vault.create({"events/1": b""}) == frozenset()
        with pytest.raises(VaultUnavailable, match="try again"):
            vault.create({"events/2": b""})
        other.execute("ROLLBACK")
        assert vault.create({"events/2": b""}) == {"events/2"}
    other.close()


def _in_child(work):
    """The class of the error that ``work`` raises in a child process that is an ordinary user."""

    def run(queue):
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            work()
            queue.put(None)
        except KeyopsError as error:
            queue.put(type(error))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=run, args=(queue,))
    child.start()
    found = queue.get(timeout=30)
    child.join()
    return found


@pytest.fixture
def shared_folder():
    """A folder that an ordinary user can reach, which below pytest's own folders is impossible."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        yield folder
        os.chmod(folder, 0o755)


def test_a_folder_that_can_only_be_read(shared_folder):
    assert _in_child(lambda: opened(shared_folder + "/vault.db")) is VaultForbidden
    assert _in_child(lambda: opened(shared_folder + "/deeper/vault.db")) is VaultForbidden


def test_a_vault_of_another_user(filled, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(filled).st_uid + 1)
    with pytest.raises(VaultUnsafe):
        opened(filled)


def test_is_not_carried_into_another_process(filled):
    with opened(filled) as vault:
        assert _in_child(lambda: vault.exists(["events/1"])) is VaultError


def _first_opener(path, barrier):
    barrier.wait()
    with opened(path) as vault:
        vault.create({f"events/{os.getpid()}": b"x"})


def test_twenty_processes_make_one_vault(path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(20)
    children = [context.Process(target=_first_opener, args=(path, barrier)) for _child in range(20)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 20
    with opened(path) as vault:
        assert len(vault.list("events/")) == 20


@pytest.mark.parametrize("check_mode", [False, True])
def test_where_no_vault_may_be_made_a_mistyped_path_is_noticed(tmp_path, check_mode):
    path = tmp_path / "no" / "vault.db"
    with pytest.raises(VaultUnavailable, match="no vault at this path"):
        open_vault({"path": str(path)}, check_mode, make=False)
    assert not path.parent.exists()
