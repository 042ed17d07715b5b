# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host and a vault look like from outside, after a crash or a crowd: read by openssl, SQLite and SHA-256.

Nothing of the product is used here, so that what it wrote is not judged by the code that wrote it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

_RECEIPT = {"format", "key_id", "usage", "sealed_key", "log_number", "log_digest"}
_OPEN_REQUEST = {"format", "envelope", "one_time_key", "recovered"}
_HIDDEN = re.compile(r"\.keyops-[0-9a-f]{16}\.tmp")


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def key_id(path: Path) -> str:
    """The key ID of a key file, which openssl must be able to read."""
    found = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"], capture_output=True, check=False
    )
    assert found.returncode == 0, f"{path} is no whole key: {found.stderr.decode()}"
    return digest(found.stdout)


@dataclass
class HostFolder:
    """A host's folder as it was found.

    Attributes:
        keys: file name to key ID.
        receipts: key ID to the receipt's members.
        requests: IDs of the open requests.
    """

    keys: dict[str, str] = field(default_factory=dict)
    receipts: dict[str, dict] = field(default_factory=dict)
    requests: set[str] = field(default_factory=set)


def look_at_host(folder: Path) -> HostFolder:
    """Read everything below a host's folder; every file is whole, has its mode, and nothing else lies around."""
    found = HostFolder()
    names = {path.name for path in folder.glob("*.key") if path.is_file() and path.name != "requester.key"}
    with ThreadPoolExecutor(2) as pool:
        found.keys = dict(zip(sorted(names), pool.map(lambda name: key_id(folder / name), sorted(names))))
    for path in [*folder.glob("*.key"), *folder.glob("state/*/*")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in [*folder.glob(".*"), *folder.glob("state/*/.*")]:
        assert _HIDDEN.fullmatch(path.name), path
    for path in folder.glob("state/receipts/*.json"):
        receipt = json.loads(path.read_bytes())
        assert set(receipt) == _RECEIPT, path
        assert receipt["key_id"] == path.stem, path
        found.receipts[path.stem] = receipt
    for path in folder.glob("state/requests/*.json"):
        assert set(json.loads(path.read_bytes())) == _OPEN_REQUEST, path
        found.requests.add(path.stem)
    return found


@dataclass
class VaultFile:
    """A vault's objects as SQLite gives them: path to content."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def below(self, folder: str) -> dict[str, bytes]:
        """The objects of one folder."""
        return {path: content for path, content in self.objects.items() if path.startswith(folder + "/")}

    def records(self) -> list[dict]:
        """All records, parsed."""
        return [json.loads(content) for content in self.below("records").values()]

    def events(self) -> list[dict]:
        """The event log in its order, parsed."""
        return [json.loads(content) for dummy, content in sorted(self.below("events").items())]

    def orphans(self) -> list[str]:
        """Sealed keys and shares that no record names."""
        named = {f"sealed/{item['sealed_key']}" for item in self.records()}
        for item in self.records():
            named |= _shares(item)
        return sorted({*self.below("sealed"), *self.below("shares")} - named)


def look_at_vault(path: Path) -> VaultFile:
    """Read a vault that may never have been made: it is sound, its records are complete, its event log is a chain."""
    if not path.exists() or not path.stat().st_size:
        return VaultFile()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'object'").fetchone()[0]
        rows = connection.execute("SELECT path, content FROM object").fetchall() if tables else []
    return check_vault(VaultFile({path: bytes(content) for path, content in rows}))


def check_vault(found: VaultFile) -> VaultFile:
    """Its records are complete, and its event log is a chain."""
    numbers: dict[str, list[int]] = {}
    for item in found.records():
        _check_record(found, item)
        numbers.setdefault(item["key_id"], []).append(item["number"])
    for one, taken in numbers.items():
        assert sorted(taken) == list(range(1, len(taken) + 1)), f"the records of {one} have a gap"
    _check_chain(found)
    return found


def _shares(item: dict) -> set[str]:
    return {f"shares/{agent['agent_id']}/{agent['share']}" for group in item["groups"] for agent in group["agents"]}


def _check_record(found: VaultFile, item: dict) -> None:
    """What a record names is there: a record without its sealed key or shares would be a lost key."""
    names = _shares(item) | {f"sealed/{item['sealed_key']}"}
    for name in names:
        assert name in found.objects, f"record {item['key_id'][:16]}.../{item['number']} names {name}, which is lost"
        assert digest(found.objects[name]) == name.rsplit("/", 1)[1], f"{name} does not have its digest"


def _check_chain(found: VaultFile) -> None:
    """Numbers from 1 without a gap, each event with the digest of the one before."""
    previous = "0" * 64
    for number, (path, content) in enumerate(sorted(found.below("events").items()), start=1):
        event = json.loads(content)
        assert path == f"events/{number:012d}", f"{path} stands where number {number} should"
        assert (event["number"], event["previous"]) == (number, previous), f"the chain breaks at {path}"
        previous = digest(content)


def check_nothing_lost(host: HostFolder, vault: VaultFile) -> None:
    """Every receipt has its record, and the event that it remembers as the log's head."""
    recorded = {(item["key_id"], item["sealed_key"]) for item in vault.records()}
    for one, receipt in host.receipts.items():
        assert (one, receipt["sealed_key"]) in recorded, f"the receipt of {one[:16]}... has no record"
        event = vault.objects.get(f"events/{receipt['log_number']:012d}")
        assert event is not None, "the head of a receipt is gone"
        assert digest(event) == receipt["log_digest"], "the head of a receipt is another event"
