# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded vault: one SQLite file with one owner.

- Write-ahead log with ``synchronous=FULL``: what ``create`` returned is on the disk. The file must lie on a local file
  system (SQLite's write-ahead log does not work over NFS).
- Rows are immutable: triggers let no UPDATE, no REPLACE, and no DELETE but of condemned objects pass. That guards
  against accidents and other tools; the file's owner can always drop a trigger, and the event log's chain and the heads
  kept elsewhere find that out. There is one file owner instead of the separate credentials that a vault server has.
- A file that is another application's database is refused before anything in it is changed.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    NotAVault,
    VaultError,
    VaultForbidden,
    VaultFull,
    VaultReadOnly,
    VaultUnavailable,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Paths, Vault

_Result = TypeVar("_Result")

APPLICATION_ID = 0x6B6F7631  # "kov1"
SCHEMA_VERSION = 1

#: Seconds to wait for other writers before giving up.
PATIENCE = 120.0

#: ``content`` lies in the order of creation and the index holds names alone, so asking for names reads no content.
#: REPLACE deletes without firing DELETE triggers, therefore the INSERT trigger leaves taken names and numbers alone.
_SCHEMA = (
    "CREATE TABLE object (number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, content BLOB NOT NULL)",
    "CREATE TABLE condemned (path TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID",
    """CREATE TRIGGER object_create BEFORE INSERT ON object
       WHEN EXISTS (SELECT 1 FROM object WHERE path = NEW.path)
         OR EXISTS (SELECT 1 FROM object WHERE number = NEW.number)
         OR EXISTS (SELECT 1 FROM condemned WHERE path = NEW.path)
       BEGIN SELECT RAISE(IGNORE); END""",
    """CREATE TRIGGER object_keep BEFORE UPDATE ON object
       BEGIN SELECT RAISE(ABORT, 'objects of the vault never change'); END""",
    """CREATE TRIGGER object_destroy BEFORE DELETE ON object
       WHEN NOT EXISTS (SELECT 1 FROM condemned WHERE path = OLD.path)
       BEGIN SELECT RAISE(ABORT, 'only condemned objects may be destroyed'); END""",
    """CREATE TRIGGER condemned_create BEFORE INSERT ON condemned
       WHEN EXISTS (SELECT 1 FROM condemned WHERE path = NEW.path)
       BEGIN SELECT RAISE(IGNORE); END""",
    """CREATE TRIGGER condemned_keep BEFORE UPDATE ON condemned
       BEGIN SELECT RAISE(ABORT, 'what is condemned stays so'); END""",
    """CREATE TRIGGER condemned_stay BEFORE DELETE ON condemned
       BEGIN SELECT RAISE(ABORT, 'what is condemned stays so'); END""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_REMEDIES = (
    ("lock", VaultUnavailable, f"other processes have kept it busy for {PATIENCE:.0f} seconds; try again later"),
    ("full", VaultFull, "there is no room left; free some space and run again, nothing is lost"),
    ("not a database", NotAVault, "the file is not a SQLite database; name the vault file, or a new one"),
    ("malformed", NotAVault, "the file is damaged; bring back a copy and verify its event log"),
    ("readonly", VaultReadOnly, "the file or its folder can only be read; check owner, mode and mount"),
    ("unable to open", VaultForbidden, "the file or its folder cannot be opened; check owner, mode and mount"),
)


class SqliteVault(Vault):
    """A vault in the file ``path``, which exists and was checked (see sqlite_file.py)."""

    def __init__(self, path: str, writable: bool = True) -> None:
        """Open the file; make the tables when it is empty.

        Raises:
            NotAVault: when the file is something else, damaged, or of another release.
            VaultError: when it cannot be opened or is busy for too long.
        """
        self._path = path
        self._process = os.getpid()
        self._writable = writable
        try:
            # mode=rw: never make a file here; sqlite_file.make does it with the right mode.
            self._connection = sqlite3.connect(
                f"file://{quote(path)}?mode=rw", uri=True, isolation_level=None, timeout=0
            )
        except sqlite3.Error as error:
            raise self._translated(error) from error
        try:
            self._run(self._prepare)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        def work(connection: sqlite3.Connection) -> frozenset[str]:
            with _writing(connection):
                insert = "INSERT OR IGNORE INTO object (path, content) VALUES (?, ?)"
                return frozenset(
                    path
                    for path, content in objects.items()
                    if connection.execute(insert, (path, content)).rowcount > 0
                )

        self._refuse_unless_writable()
        if len(self._exists(list(objects))) == len(objects):
            return frozenset()  # asked without the write lock: a writer that comes late keeps nobody waiting
        return self._run(work)

    def _exists(self, paths: Paths) -> frozenset[str]:
        return frozenset(path for (path,) in self._select("path", paths))

    def _read(self, paths: Paths) -> dict[str, bytes]:
        return {path: bytes(content) for path, content in self._select("path, content", paths)}

    def _list(self, prefix: str, after: str, limit: int | None) -> Paths:
        query = (
            "SELECT path FROM object WHERE path > :after AND path < :end UNION ALL "
            "SELECT path FROM condemned WHERE path > :after AND path < :end ORDER BY path LIMIT :limit"
        )
        end = prefix[:-1] + chr(ord("/") + 1)
        bounds = {"after": max(after, prefix), "end": end, "limit": -1 if limit is None else limit}
        return [path for (path,) in self._run(lambda connection: connection.execute(query, bounds).fetchall())]

    def _destroy(self, paths: Paths) -> None:
        def work(connection: sqlite3.Connection) -> None:
            with _writing(connection):
                for path in paths:
                    connection.execute("INSERT INTO condemned SELECT path FROM object WHERE path = ?", (path,))
                    connection.execute("DELETE FROM object WHERE path = ?", (path,))

        def forget(connection: sqlite3.Connection) -> None:
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("database is locked")

        self._refuse_unless_writable()
        self._run(work)
        # Deleted content is overwritten with zeros (secure_delete); what the write-ahead log still holds goes here.
        self._run(forget)

    def _select(self, columns: str, paths: Paths) -> list[tuple]:
        def work(connection: sqlite3.Connection) -> list[tuple]:
            rows: list[tuple] = []
            for start in range(0, len(paths), 500):  # old builds of SQLite take 999 variables
                chunk = paths[start : start + 500]
                marks = ",".join("?" * len(chunk))
                # Only the number of marks varies; every value is bound.
                query = f"SELECT {columns} FROM object WHERE path IN ({marks})"  # noqa: S608
                rows += connection.execute(query, chunk).fetchall()
            return rows

        return self._run(work)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA cache_size = -65536")  # KiB
        connection.execute("PRAGMA wal_autocheckpoint = 16000")  # pages, 64 MiB
        connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes
        if self._writable and self._is_new(connection):
            with _writing(connection):
                if self._is_new(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement)
        self._check_kind(connection)
        if not self._writable:
            connection.execute("PRAGMA query_only = ON")
        elif connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return self._kind(connection) == (0, 0) and tables == 0

    def _kind(self, connection: sqlite3.Connection) -> tuple[int, int]:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))

    def _check_kind(self, connection: sqlite3.Connection) -> None:
        application, version = self._kind(connection)
        if application != APPLICATION_ID:
            raise NotAVault(
                f"vault.path: {self._path} is another application's database; name the vault file or a new one"
            )
        if version != SCHEMA_VERSION:
            raise NotAVault(
                f"vault.path: {self._path} is a vault of another release (schema {version}); use that release"
            )

    def _refuse_unless_writable(self) -> None:
        if not self._writable:
            raise VaultReadOnly(f"the vault {self._path} was opened for reading only (check mode)")

    def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """The result of ``work``, which is done again from its start while other processes hold the lock."""
        if os.getpid() != self._process:
            raise VaultError("a vault cannot be carried into another process; open it there")
        deadline, pause = time.monotonic() + PATIENCE, 0.001
        while True:
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    raise self._translated(error) from error
            # SQLite's own waiting goes up to 100 ms; with many short writers that leaves the disk idle.
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(pause * 1.5, 0.02)

    def _translated(self, error: sqlite3.Error) -> VaultError:
        for text, kind, remedy in _REMEDIES:
            if text in str(error):
                return kind(f"vault.path: {self._path}: {remedy} ({error})")
        return VaultError(f"vault.path: {self._path}: {error}; check the disk, and that it is a local file system")


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the write lock from its start, so that no check in it can become stale."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors (a full disk) have rolled it back already
            connection.execute("ROLLBACK")
        raise
