# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet audit's eyes: all private keys, certificates, requests and authorized_keys entries below given folders.

1. Walk the folders (tree.py); read what may hold something (contents.py).
2. Read SSH's files of this host's accounts, wherever they lie.
3. Try the passphrases on what stayed closed, with what is left of the time (opening.py).

Each certificate is read once, however many copies lie around, and so is one that is broken. What is kept is public, or
encrypted, and bounded in number and in bytes.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import authorized, contents, opening, tree
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.authorized import Entry
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.found import FoundKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, reading, ssh
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts

#: Bounds on what is kept, whatever lies around: far above what any host has.
_MOST_CERTIFICATES = 100_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_PER_KEY = 1000
_MOST_PATHS = 8
_AUTHORIZED_KEYS = "authorized_keys"


@dataclass(frozen=True)
class Place:
    """A file in which something was found: its path, mode, owner's and group's number, time of writing, links."""

    path: str
    mode: int
    uid: int
    gid: int
    modified: float
    links: int


@dataclass(frozen=True)
class PlacedKey:
    """A private key and its place; ``part`` is its number in a file with several, else None."""

    place: Place
    part: int | None
    key: FoundKey


@dataclass(frozen=True)
class PlacedCertificate:
    """A certificate or request, the first paths where it lies, and in how many files more it does."""

    facts: CertificateFacts
    paths: list[str]
    more_paths: int


@dataclass(frozen=True)
class PlacedEntry:
    """An entry of an authorized_keys file and its place."""

    place: Place
    entry: Entry


@dataclass(frozen=True)
class Wanted:
    """What to search, and how far.

    Attributes:
        paths: of folders.
        bounds: of the walk.
        most: keys, and entries, that are kept.
        passphrases: to try.
        ssh: where this host's SSH files are.
    """

    paths: tuple[str, ...]
    bounds: tree.Bounds
    most: int = 5000
    passphrases: tuple[str, ...] = field(default=(), repr=False)
    ssh: ssh.SshPlaces = field(default_factory=ssh.SshPlaces)


@dataclass(frozen=True)
class Inventory:
    """What was found.

    Attributes:
        keys, certificates, requests, entries: sorted by path.
        read_folders: folders with keys of which every file was read to its end, and that hold no link.
        not_looked_at: one sentence for what was left out.
        files, folders: how many were opened.
        complete: no bound has cut the search short.
    """

    keys: tuple[PlacedKey, ...] = ()
    certificates: tuple[PlacedCertificate, ...] = ()
    requests: tuple[PlacedCertificate, ...] = ()
    entries: tuple[PlacedEntry, ...] = ()
    read_folders: frozenset[str] = frozenset()
    not_looked_at: tuple[str, ...] = ()
    files: int = 0
    folders: int = 0
    complete: bool = True


def run(wanted: Wanted) -> Inventory:
    """See the module's docstring.

    Raises:
        OptionError: an exclusion is no path and no name.
    """
    return _Search(wanted).run()


@dataclass
class _Certificate:
    facts: CertificateFacts | None
    paths: list[str]
    more: int = 0
    last: str = ""

    def add(self, path: str, keep: bool) -> int:
        """Another place (twice in one file is one place); how many bytes that takes."""
        if path in (self.last, self.paths[0]):
            return 0
        self.last = path
        if keep and len(self.paths) < _MOST_PATHS:
            self.paths.append(path)
            return len(path)
        self.more += 1
        return 0


class _Search:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._walk = tree.Walk(wanted.bounds, contents.is_candidate, _AUTHORIZED_KEYS)
        self._problems = self._walk.problems
        self._keys: list[PlacedKey] = []
        self._certificates: dict[bytes, _Certificate] = {}
        self._entries: dict[tuple[int, int, int], PlacedEntry] = {}
        self._per_key: dict[str, int] = {}
        self._bytes = self._beyond = 0
        self._complete = True

    def run(self) -> Inventory:
        read_folders = self._search_folders()
        self._search_ssh()
        self._try_passphrases()
        if self._beyond:
            self._complete = False
            self._problems.add(f"{self._beyond} more keys, certificates or entries: not looked at, search.max_results")
        known = self._certificates.values()
        placed = [PlacedCertificate(one.facts, sorted(one.paths), one.more) for one in known if one.facts]
        placed.sort(key=lambda one: (one.paths[0], one.facts.der))
        return Inventory(
            tuple(sorted(self._keys, key=lambda one: (one.place.path, one.part or 0))),
            tuple(one for one in placed if one.facts.kind == certificates.CERTIFICATE),
            tuple(one for one in placed if one.facts.kind == certificates.REQUEST),
            tuple(sorted(self._entries.values(), key=lambda one: (one.place.path, one.entry.line))),
            read_folders,
            self._problems.told(),
            self._walk.files,
            self._walk.folders,
            self._complete and self._walk.complete,
        )

    # --- the folders --------------------------------------------------------------------------------------------------

    def _search_folders(self) -> frozenset[str]:
        """The folders with keys that were read plainly (see Inventory)."""
        plain, has_keys, has_trouble = set(), False, False
        for found in self._walk.run(self._wanted.paths):
            if isinstance(found, tree.FolderEnd):
                if has_keys and found.plain and not has_trouble:
                    plain.add(found.folder)
                has_keys = has_trouble = False
                continue
            keys, trouble = self._take(found)
            has_keys, has_trouble = has_keys or keys, has_trouble or trouble
        return frozenset(plain)

    def _take(self, file: tree.File) -> tuple[bool, bool]:
        """Whether there are keys in it, and whether something in it could not be read."""
        place = _place(file)
        if file.path.rpartition("/")[2].startswith(_AUTHORIZED_KEYS):
            self._take_entries(place, file)
        told = self._take_contents(place, contents.read(file.content))
        for text in told:
            self._problems.add(f"{reading.shown(file.path)}: not looked at, {text}")
        return bool(self._keys) and self._keys[-1].place is place, bool(told)

    def _take_contents(self, place: Place, found: contents.Contents) -> list[str]:
        """Keeps what was found; what could not be read."""
        several = len(found.keys) > 1
        for number, key in enumerate(found.keys, 1):
            self._keep_key(PlacedKey(place, number if several else None, key))
        told = list(found.broken)
        for data in found.certificates:
            told += self._keep_certificate(place.path, data)
        return list(dict.fromkeys(told))

    def _keep_key(self, key: PlacedKey) -> None:
        if len(self._keys) >= self._wanted.most:
            self._beyond += 1
            return
        sealed = key.key.sealed
        if sealed and not (self._wanted.passphrases and self._bytes + len(sealed) <= _MOST_BYTES):
            key = replace(key, key=replace(key.key, sealed=b""))
        self._bytes += len(key.key.sealed)
        self._keys.append(key)

    def _keep_certificate(self, path: str, data: bytes) -> tuple[str, ...]:
        name = hashlib.sha256(data).digest()
        known = self._certificates.get(name)
        if known is not None:
            self._bytes += known.add(path, keep=self._bytes < _MOST_BYTES)
            return ()
        if len(self._certificates) >= _MOST_CERTIFICATES or self._bytes + len(data) > _MOST_BYTES:
            self._beyond += 1
            return ()
        facts = certificates.parse_found(data, reading.shown(path))[0] if data[:1] == b"\x30" else ()
        if facts:
            of_key = self._per_key.get(facts[0].key_id, 0)
            if of_key >= _MOST_PER_KEY:
                self._beyond += 1
                return ()
            self._per_key[facts[0].key_id] = of_key + 1
        self._certificates[name] = _Certificate(facts[0] if facts else None, [path])
        self._bytes += len(data)
        return () if facts else ("broken certificate or certificate request",)

    # --- SSH ----------------------------------------------------------------------------------------------------------

    def _search_ssh(self) -> None:
        told: list[str] = []
        for path in [*ssh.authorized_files(self._wanted.ssh, told), *self._wanted.ssh.extra]:
            file = tree.read_followed(path, told)
            if file is not None:
                self._take_entries(_place(file), file)
        for text in told:
            self._problems.add(text)

    def _take_entries(self, place: Place, file: tree.File) -> None:
        for entry in authorized.read(file.content):
            if len(self._entries) >= self._wanted.most:
                self._beyond += 1
            else:
                key = (file.status.st_dev, file.status.st_ino, entry.line)
                self._entries.setdefault(key, PlacedEntry(place, entry))

    # --- passphrases --------------------------------------------------------------------------------------------------

    def _try_passphrases(self) -> None:
        if not self._wanted.passphrases:
            return
        deadline = self._wanted.bounds.deadline
        tried, self._keys = self._keys, []
        untried = 0
        for one in tried:
            if not one.key.sealed or time.monotonic() >= deadline:
                untried += bool(one.key.sealed)
                self._keep_key(one)
                continue
            found = opening.opened(one.key, self._wanted.passphrases, deadline)
            several = len(found.keys) > 1 or one.part is not None
            for number, key in enumerate(found.keys, one.part or 1):
                self._keep_key(PlacedKey(one.place, number if several else None, key))
            for data in found.certificates:
                self._keep_certificate(one.place.path, data)
        if untried:
            self._complete = False
            self._problems.add(f"{untried} encrypted keys: no passphrase was tried, because of search.max_seconds")


def _place(file: tree.File) -> Place:
    status = file.status
    return Place(file.path, status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime, status.st_nlink)
