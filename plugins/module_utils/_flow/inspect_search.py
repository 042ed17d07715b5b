# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The search of private_key_info: its options, and what it returns beside the keys.

Rows are compact and their number is bounded, because every host's result goes through the controller's memory. When
there are more certificates than ``max_results``, those whose key was found come first: they are what is judged.
"""

from __future__ import annotations

import base64
import datetime
import functools
import grp
import os
import pwd
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import describe, search, tree
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.found import LARGEST_PUBLIC_KEY
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.search import (
    Inventory,
    Place,
    PlacedCertificate,
    PlacedEntry,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, discovery, reading, ssh

#: Bytes of a certificate that is returned whole.
_LARGEST_CONTENT = 32 * 1024


@dataclass(frozen=True)
class Searched:
    """What a search has found, and how long it took.

    Attributes:
        inventory: everything.
        findings: the certificates, as evidence.
        most: rows of a kind that are returned.
        contents: whether certificates and requests are returned whole.
        seconds: the time.
    """

    inventory: Inventory
    findings: discovery.Findings
    most: int
    contents: bool
    seconds: float


def run(options: dict | None, places: ssh.SshPlaces) -> Searched | None:
    """Search as the option ``search`` says; None without it.

    Raises:
        OptionError: a path is no folder, a bound is not positive, or an exclusion is no path and no name.
    """
    if options is None:
        return None
    for bound in ("max_files", "max_seconds", "max_results"):
        if options[bound] < 1:
            raise OptionError(f"search.{bound}: at least 1")
    folders, missing = _folders(options)
    start = time.monotonic()
    bounds = tree.Bounds(
        options["recursive"],
        tuple(options["exclude"]),
        options["one_file_system"],
        options["max_files"],
        start + options["max_seconds"],
    )
    passphrases = tuple(one["passphrase"] for one in options["passphrases"])
    found = search.run(search.Wanted(tuple(folders), bounds, options["max_results"], passphrases, places))
    facts = tuple(one.facts for one in (*found.certificates, *found.requests))
    findings = discovery.Findings(
        facts, not_looked_at=(*missing, *found.not_looked_at), read_folders=found.read_folders
    )
    return Searched(found, findings, options["max_results"], options["contents"], time.monotonic() - start)


def _folders(options: dict) -> tuple[list[str], list[str]]:
    """The folders that are there, and a sentence for each other path."""
    given, missing_paths = options["paths"], options["missing_paths"]
    there = [one for one in given if missing_paths == "fail" or os.path.isdir(one)]
    discovery.check_folders([*there, *(one for one in given if not os.path.isabs(one))], "search.paths")
    # What is there and is no folder, such as a link to nowhere, is never passed over.
    told = [one for one in given if one not in there and (missing_paths == "tell" or os.path.lexists(one))]
    return there, [f"{reading.shown(one)}: {discovery.NO_FOLDER}" for one in told]


def returned(searched: Searched | None) -> dict:
    """The module's return values beside ``results`` and ``not_looked_at``."""
    if searched is None:
        return {}
    found = searched.inventory
    keys = {one.key.facts.key_id for one in found.keys if one.key.facts}
    certified, beyond = _first(found.certificates, keys, searched.most)
    requested, more = _first(found.requests, keys, searched.most)
    public_keys: dict[str, str] = {}
    rows = {
        "certificates": [_certificate_row(one, public_keys, keys, searched.contents) for one in certified],
        "certificate_requests": [_certificate_row(one, public_keys, keys, searched.contents) for one in requested],
        "authorized_keys": [_entry_row(one, public_keys, keys) for one in found.entries],
    }
    return {
        **rows,
        "public_keys": public_keys,
        "searched": {
            "files": found.files,
            "folders": found.folders,
            "seconds": round(searched.seconds, 2),
            "complete": found.complete and not (beyond or more),
        },
    }


def not_returned(searched: Searched) -> list[str]:
    """A sentence when there are more certificates or requests than rows."""
    found = searched.inventory
    beyond = max(len(found.certificates) - searched.most, 0) + max(len(found.requests) - searched.most, 0)
    return [f"{beyond} more certificates and requests: not returned, because of search.max_results"] if beyond else []


def _first(placed: Sequence[PlacedCertificate], keys: set[str], most: int) -> tuple[Sequence[PlacedCertificate], int]:
    """So many of them, those for keys that were found first; and how many are left out."""
    beyond = max(len(placed) - most, 0)
    ordered = sorted(placed, key=lambda one: one.facts.key_id not in keys) if beyond else placed
    return ordered[:most], beyond


def _certificate_row(
    placed: PlacedCertificate, public_keys: dict[str, str], keys: set[str], with_content: bool
) -> dict:
    facts = placed.facts
    is_request = facts.kind == certificates.REQUEST
    row = describe.request(facts) if is_request else describe.certificate(facts)
    _keep_public_key(certificates.parts(facts.der, tolerant=True).public_key, facts.key_id, public_keys, keys)
    paths = [reading.shown(path) for path in placed.paths]
    # Roots are most of what every host has, and nobody needs them: a chain ends at what the controller trusts.
    is_root = row.get("ca") and row.get("self_signed")
    content = (
        base64.b64encode(facts.der).decode("ascii")
        if with_content and not is_root and len(facts.der) <= _LARGEST_CONTENT
        else None
    )
    return {"paths": paths, "more_paths": placed.more_paths, **row, "content": content}


def _keep_public_key(public_key: bytes, key_id: str, public_keys: dict[str, str], keys: set[str]) -> None:
    if key_id not in keys and key_id not in public_keys and len(public_key) <= LARGEST_PUBLIC_KEY:
        public_keys[key_id] = base64.b64encode(public_key).decode("ascii")


def _entry_row(placed: PlacedEntry, public_keys: dict[str, str], keys: set[str]) -> dict:
    entry, place = placed.entry, placed.place
    key_id = algorithm = None
    if entry.public_key is not None:
        key_id, algorithm = _named(entry.public_key)
        if key_id is not None:
            _keep_public_key(entry.public_key, key_id, public_keys, keys)
    return {
        "path": reading.shown(place.path),
        "line": entry.line,
        "type": entry.kind,
        "key_id": key_id,
        "algorithm": algorithm,
        "options": list(entry.options),
        "mode": mode_of(place),
        "owner": owner_of(place),
    }


def _named(public_key: bytes) -> tuple[str | None, str | None]:
    try:
        return identity.key_id(public_key), identity.algorithm_of(public_key)
    except FormatError:
        return None, None


# --- places -------------------------------------------------------------------------------------------------------


def mode_of(place: Place) -> str:
    """The mode in octal."""
    return f"{place.mode:04o}"


def owner_of(place: Place) -> str:
    """The owner's name, or its number when it has none."""
    return _user(place.uid)


def group_of(place: Place) -> str:
    """The group's name, or its number when it has none."""
    return _group(place.gid)


def modified_of(place: Place) -> str | None:
    """When the file was written last; None for times that no calendar has."""
    try:
        when = datetime.datetime.fromtimestamp(int(place.modified), datetime.timezone.utc)
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


@functools.lru_cache(maxsize=1024)
def _user(number: int) -> str:
    # Asked once per number: on hosts with a directory service each question goes over the network.
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@functools.lru_cache(maxsize=1024)
def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
