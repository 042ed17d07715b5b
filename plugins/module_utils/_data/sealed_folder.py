# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sealed folder: recovered data, and one signed summary of where it came from (docs/formats.md, "Recovered data").

Invariants:

- The summary is written last. Without it the folder is not sealed, and whatever is in it may be half of the work.
- The summary names the digests of two lists in the form of sha256sum: of every file in the folder, and of every file
  that was read. So the one signature covers all of them, and needs no more than openssl and sha256sum to be checked.
- Before a folder is sealed, its files have mode 0400 and its folders 0700; a link or a special file in it is refused.
- What is listed as read is what was read: a source that has changed since is refused.
- Memory does not grow with the size of a file. A list is streamed to the disk.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.sealed_files import (
    Input,
    digest_of,
    sums_of_inputs,
    walk,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.sealed_names import OUTPUTS, SOURCES, SUMMARY
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import NewFile, drafts_of, sync
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    KeyopsError,
    SignatureInvalid,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import is_leftover
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate

PAYLOAD_TYPE = "application/vnd.keyops.recovered-data.v1+json"
_VERSION = "keyops-recovered-data/1"
_FIELDS = {
    **{"request_id": str, "key_owner": str, "host": str, "reason": str, "created": str, "keys": list},
    **{"missing": list, "sources": list, "failures": list, "failed": int, "outputs": dict, "inputs": dict},
    **{"requester_certificate": str},
}
_LIST = {"files": int, "sha256": str}
_KEY = {"key_id": str, "record": int, "group": str, "agents": list, "agent_ids": list}
_MISSING = {"key_id": str, "reason": str, "detail": str}
#: A summary has the first failures only; hundreds of thousands of sources fit.
_SUMMARY_LIMIT = 256 * 1024 * 1024
_MOST_TOLD = 20


@dataclass(frozen=True)
class Case:
    """What the summary says beside the digests: public facts, no content.

    Attributes:
        request_id, key_owner, reason: of the recovery request; empty where the keys were at hand.
        keys: ``{"key_id", "record", "group", "agents", "agent_ids"}`` of each key that was used.
        missing: ``{"key_id", "reason", "detail"}`` of each key that was asked for and did not come.
        sources: ``{"src", "dest", "kind", ...}`` with the counts of each source.
        failures: the first items that did not come out, each with its reason.
        failed: how many did not.
        requester_certificate: DER, of the key that signs.
    """

    request_id: str
    key_owner: str
    host: str
    reason: str
    keys: list[dict]
    sources: list[dict]
    failures: list[dict]
    failed: int
    requester_certificate: bytes = field(repr=False)
    missing: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Verified:
    """A sealed folder as it was found: the summary, when its signature verifies, and what is wrong with the rest."""

    summary: dict
    signer: bytes
    digest: str
    problems: tuple[str, ...]


def check_free(folder: str, dests: Iterable[str]) -> None:
    """Raise FileError when the folder holds something that this case does not put there, or others may look into it."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
        raise FileError(f"{folder}: it must be a folder of this user's, with mode 0700, or not be there yet")
    expected = [os.path.normpath(dest) for dest in dests]
    own = {os.path.join(folder, name) for name in (OUTPUTS, SOURCES, SUMMARY)}
    for path, dummy in walk(folder):
        inside = any(path == dest or path.startswith(dest + "/") for dest in expected)
        if not inside and path not in own and not is_leftover(os.path.basename(path)):
            raise FileError(f"{path}: it is not of this case, and would be signed as if it were; move it away")


def seal(folder: str, inputs: Iterable[Input], case: Case, signing_key: Any) -> str:
    """Make the folder read-only, write both lists and the signed summary; returns the summary's digest.

    Args:
        inputs: what was read.

    Raises:
        FileError: something in the folder is no regular file, a file cannot be read or written, or a source is not as
            it was when it was read.
    """
    _make_read_only(folder)
    inputs_list = _write_list(os.path.join(folder, SOURCES), sums_of_inputs(inputs))
    outputs_list = _write_list(os.path.join(folder, OUTPUTS), _sums_below(folder))
    value = {name: getattr(case, name) for name in _FIELDS if name not in ("created", "outputs", "inputs")}
    value.update(format=_VERSION, created=times.text(times.now()), outputs=outputs_list, inputs=inputs_list)
    value["requester_certificate"] = canonical.encode(case.requester_certificate)
    envelope = dsse.sign(canonical.dumps(value), PAYLOAD_TYPE, signing_key)
    _files.replace(NewFile(os.path.join(folder, SUMMARY), envelope, 0o400))
    return canonical.digest(envelope)


def is_sealed(folder: str) -> bool:
    """Whether there is a summary; nothing is verified."""
    return os.path.lexists(os.path.join(folder, SUMMARY))


def verify(folder: str, certificate: bytes | None) -> Verified:
    """The summary of a sealed folder, and everything that is not as it says.

    Args:
        certificate: DER, of the requester who must have signed it; None: the one in the summary, which the caller
            compares with what is known about it.

    Raises:
        FileMissing: there is no summary.
        FormatError: it is none of this version.
        SignatureInvalid: it was not signed with this certificate's key.
    """
    envelope = _files.read_file(os.path.join(folder, SUMMARY), _SUMMARY_LIMIT)
    named = canonical.decode(_parse(dsse.payload_of(envelope, PAYLOAD_TYPE))["requester_certificate"])
    signer = certificate or named
    if key_id_of_certificate(signer) != key_id_of_certificate(named):  # of the same key, it may have been renewed since
        dsse.verify(envelope, PAYLOAD_TYPE, named)
        raise SignatureInvalid(
            f"it is signed by another requester's key ({key_id_of_certificate(named)[:16]}...): give its certificate"
        )
    summary = _parse(dsse.verify(envelope, PAYLOAD_TYPE, signer))
    return Verified(summary, signer, canonical.digest(envelope), tuple(_problems(folder, summary)))


def _parse(payload: bytes) -> dict:
    value = canonical.load_object(payload, _VERSION, _FIELDS)
    times.parse(value["created"])
    for name in ("outputs", "inputs"):
        canonical.check_fields(value[name], _LIST, name)
        check_digest(value[name]["sha256"])
    for key in value["keys"]:
        canonical.check_fields(key, _KEY, "key")
        check_digest(key["key_id"])
    for key in value["missing"]:
        canonical.check_fields(key, _MISSING, "a missing key")
        check_digest(key["key_id"])
    if value["request_id"]:
        check_digest(value["request_id"])
    return value


def _problems(folder: str, summary: dict) -> Iterator[str]:
    for name, listed in ((OUTPUTS, summary["outputs"]), (SOURCES, summary["inputs"])):
        try:
            if digest_of(os.path.join(folder, name)) != listed["sha256"]:
                yield f"{name}: it is not the list that was signed"
                return
        except KeyopsError as error:
            yield str(error)
            return
    expected = _read_list(os.path.join(folder, OUTPUTS))
    told = 0
    for path, status in walk(folder):
        name = os.path.relpath(path, folder)
        if name in (OUTPUTS, SUMMARY):
            continue
        wanted = expected.pop(name, None)
        problem = _problem_of(path, status, wanted)
        if problem and told < _MOST_TOLD:
            told += 1
            yield f"{shown(name)}: {problem}"
    for name in sorted(expected)[: _MOST_TOLD - told]:
        yield f"{shown(name)}: it is gone"


def _problem_of(path: str, status: os.stat_result, wanted: str | None) -> str:
    if wanted is None:
        return "it was not there when the folder was sealed"
    if not stat.S_ISREG(status.st_mode) or digest_of(path) != wanted:
        return "its content is not what was sealed"
    return "" if stat.S_IMODE(status.st_mode) == 0o400 else "its mode is not 0400"


def _make_read_only(folder: str) -> None:
    # The folder is this user's own with mode 0700 (check_free), so nobody exchanges a file between look and change.
    for parent, folders, dummy in os.walk(folder):
        _files.sweep_leftovers(parent)
        for name in folders:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o700)
    for path, status in walk(folder):
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"{path}: it is no regular file, so it cannot be sealed; move it away")
        if is_leftover(os.path.basename(path)):
            raise FileError(f"{path}: another process writes there; end it, or move the file away, and run again")
        if stat.S_IMODE(status.st_mode) != 0o400:
            os.chmod(path, 0o400)


def _sums_below(folder: str) -> Iterator[tuple[str, str]]:
    for path, dummy in walk(folder):
        name = os.path.relpath(path, folder)
        if name not in (OUTPUTS, SUMMARY):
            yield name, digest_of(path)


def _write_list(path: str, sums: Iterable[tuple[str, str]]) -> dict:
    """Write a list as sha256sum does; returns its digest and its number of files."""
    count, found = 0, hashlib.sha256()
    with drafts_of([NewFile(path, b"", 0o400)]) as (drafts, folders):
        for name, digest in sums:
            line = _line(name, digest)
            count += 1
            found.update(line)
            while line:
                line = line[os.write(drafts[0].descriptor, line) :]
        sync([drafts[0].descriptor])
        drafts[0].rename()
        sync(folders)
    return {"files": count, "sha256": found.hexdigest()}


def _line(name: str, digest: str) -> bytes:
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != raw else b"") + digest.encode() + b"  " + escaped + b"\n"


def _read_list(path: str) -> dict[str, str]:
    """Name and digest of each line of a list that was signed."""
    found = {}
    with open(path, "rb") as file:
        for line in file:
            escaped = line.startswith(b"\\")
            digest, dummy, raw = line[escaped:].rstrip(b"\n").partition(b"  ")
            if escaped:
                parts = [part.replace(b"\\n", b"\n").replace(b"\\r", b"\r") for part in raw.split(b"\\\\")]
                raw = b"\\".join(parts)
            found[os.fsdecode(raw)] = digest.decode("ascii", "replace")
    return found


def shown(name: str) -> str:
    """A file's name as it can stand in a message and in JSON, whatever its bytes are."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
