# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data that is decrypted into a sealed folder, straight from a recovery request where there is one.

Step ``decrypt``:

1. The requester's key and certificate are read first: whatever follows ends in something that it can sign. For a
   request they must be of the key that signed it, renewed or not: whom the agents saw is who vouches for what comes.
2. A folder that is sealed already, for this request, and is as it was sealed, needs no key and is left alone.
3. The request is this host's own copy, within its time. Its keys are opened with the shares of a quorum, and are in
   the memory of this process only: no file, no result, no message ever holds one.
4. The sources are decrypted (recover_data.py). Where something of this host stood in the way, a full disk say, the
   folder is not sealed and the request stays open: the same work again may give all. Otherwise the folder is sealed,
   and the summary is the last that is written. What the state folder knew of the sources, Message-IDs among it, goes
   after that.

Step ``close``, when the controller has written the event: the one-time key is removed, with those whose time is over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import done as finished
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import sealed_files, sealed_folder, sealed_outputs
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import MOST_FAILURES, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyopsError,
    OptionError,
    RecoveryError,
    Refusal,
    RequestMismatch,
    StateError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_keys, recovered_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.certificate_option import read_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_places import Places
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_report import Report
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_work import Work
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder, read_private_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_id
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import (
    key_id_of_certificate,
    key_id_of_private_key,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import certificates, open_requests, quorum


@dataclass(frozen=True)
class _Seal:
    """The option ``seal``, read."""

    folder: str
    signing_key: Any = field(repr=False)
    certificate: bytes = field(repr=False)


@dataclass
class _Keys:
    """What is decrypted with, and what the summary says about it."""

    decryptors: list[Decryptor]
    told: list[dict]
    problems: list[str] = field(default_factory=list)
    missing: list[dict] = field(default_factory=list)
    request: open_requests.OpenRequest | None = None


def run(task: HostTask, places: Places) -> FlowResult:
    """See the module's docstring.

    Relay in: ``{"keys": ...}`` as for ``recovered_keys.open_key``; out: ``{"unclosed": bool, "summary": digest,
    "keys": [{"key_id", "record", "group", "agents", "agent_ids"}], "failed": int}``.
    """
    state_dir, sources = places.state_dir, places.sources
    request_id = task.params["request_id"]
    request_id = "" if request_id is None else check_id(request_id, "request_id")
    if task.step == "close":
        open_requests.remove(state_dir, request_id)
        open_requests.remove_expired(state_dir, times.now())
        return FlowResult(False, [])
    seal = _seal_option(task.params["seal"], places)  # 1
    is_open = bool(request_id) and open_requests.is_open(state_dir, request_id)
    if is_open:
        _require_requester(open_requests.load(state_dir, request_id).request.requester_certificate, seal)
    if sealed_folder.is_sealed(seal.folder):
        result = _sealed_already(seal, request_id, sources, is_open)  # 2
        if not task.check_mode:
            _forget(places)
        return result
    if sources:
        sealed_folder.check_free(seal.folder, [*(one.dest for one in sources), *filter(None, [places.report])])
    elif not task.check_mode:  # which asks then whether the keys come back, whatever an earlier run left
        raise OptionError("sources: name what is to be decrypted and sealed; without any there is only check mode")
    work = Work(task, places)
    work.look()
    with contextlib.ExitStack() as opened:  # 3
        if request_id:
            keys = _of_request(task, state_dir, request_id)
        else:
            lock_in = lock_folder(state_dir, task.check_mode)
            keys = _at_hand(opened.enter_context(data_keys.opened(task.params["keys"], lock_in)))
        work.decrypt(keys.decryptors)
        found = work.result()
        work.require_no_obstacle()
        case = _case(task, found, keys, seal)
    digest = ""
    if not task.check_mode:
        inputs = [_input(state_dir, one, row["kind"]) for one, row in zip(sources, found.results)]
        sealed_outputs.require_made(seal.folder, work.made(), places.report)
        digest = sealed_folder.seal(seal.folder, inputs, case, seal.signing_key)  # 4
        _forget(places)
    relay = {"unclosed": is_open, "summary": digest, "keys": keys.told, "failed": case.failed}
    warnings = [*found.warnings, *keys.problems]
    return FlowResult(True, found.results, found.diff, relay, warnings, {**found.extra, "summary": digest or None})


def _forget(places: Places) -> None:
    finished.forget(places.state_dir, places.sources)
    Report(places.state_dir, places.report).forget()


def _seal_option(given: dict, places: Places) -> _Seal:
    folder = str(places.folder)
    for one in places.sources:
        if not one.dest.startswith(folder + "/"):
            raise OptionError(f"sources: the output {one.dest} must lie in {folder}, which is sealed")
    signing_key = read_private_key(given["signing_key"], given["signing_key_passphrase"], "seal.signing_key")
    certificate = read_certificate(given["signing_certificate"], "seal.signing_certificate")
    if certificate is None or key_id_of_certificate(certificate) != key_id_of_private_key(signing_key):
        raise OptionError("seal.signing_certificate: it belongs to another key than signing_key")
    return _Seal(folder, signing_key, certificate)


def _input(state_dir: str, source: Source, kind: str) -> sealed_files.Input:
    known = finished.read(state_dir, source)
    return sealed_files.Input(source.src, known.before if known else {}, kind == "ntfs")


def _require_requester(certificate: bytes, seal: _Seal) -> None:
    """Raise RequestMismatch unless the summary is signed with the key that signed the request."""
    if key_id_of_certificate(certificate) != key_id_of_certificate(seal.certificate):
        raise RequestMismatch(
            "seal.signing_key: another requester made the request; sign the summary with the key that signed it"
        )


def _sealed_already(seal: _Seal, request_id: str, sources: Sequence[Source], is_open: bool) -> FlowResult:
    try:
        # A requester's key is rotated in its time. Of a request, the event log knows which summary is the true one.
        found = sealed_folder.verify(seal.folder, None if request_id else seal.certificate)
    except FormatError as error:
        raise StateError(f"{seal.folder} is sealed, and its summary is not this requester's: {error}") from error
    if found.problems:
        raise StateError(f"{seal.folder} is not as it was sealed: {'; '.join(found.problems)}")
    rows = {(row["src"], row["dest"]): row for row in found.summary["sources"]}
    wanted = [(_plain(one.src), _plain(one.dest)) for one in sources]
    if found.summary["request_id"] != request_id or set(rows) != set(wanted):
        raise StateError(f"{seal.folder} is sealed for another request, or with other sources: name another folder")
    signed_by = key_id_of_certificate(found.signer)
    other = signed_by if signed_by != key_id_of_certificate(seal.certificate) else ""
    relay = {"unclosed": is_open, "summary": found.digest, "other_signer": other}
    relay.update(keys=found.summary["keys"], failed=found.summary["failed"])
    results = [{**rows[place], "changed": False} for place in wanted]
    return FlowResult(False, results, relay=relay, extra={"summary": found.digest})


def _at_hand(decryptors: list[Decryptor]) -> _Keys:
    """Keys that nobody had to approve."""
    nobody = {"record": 0, "group": "", "agents": [], "agent_ids": []}
    return _Keys(decryptors, [{"key_id": one.key_id, **nobody} for one in decryptors])


def _of_request(task: HostTask, state_dir: str, request_id: str) -> _Keys:
    opened = recovered_keys.load_open(state_dir, request_id, [])
    keys = _Keys([], [], request=opened)
    failures: list[KeyopsError] = []
    for key_id in opened.request.key_ids:
        try:
            if key_id not in task.relay["keys"]:
                raise RequestMismatch("the vault's copy of the request does not ask for it: it was changed")
            found = recovered_keys.open_key(key_id, opened, task.relay)
        except (RecoveryError, Refusal, FormatError) as error:
            failures.append(error)
            keys.missing.append({"key_id": key_id, "reason": type(error).__name__, "detail": str(error)})
            keys.problems.append(f"key {key_id[:16]}... was not recovered: {error}")
            continue
        keys.decryptors.append(_decryptor(key_id, found, task.relay["keys"][key_id]["records"]))
        agents = {"agents": list(found.agents), "agent_ids": list(found.agent_ids)}
        keys.told.append({"key_id": key_id, "record": found.record.number, "group": found.group, **agents})
    if failures and (task.params["on_missing_key"] == "fail" or not keys.decryptors):
        raise failures[0]
    return keys


def _decryptor(key_id: str, found: quorum.Opened, records: list[str]) -> Decryptor:
    if found.key is None:
        raise AssertionError("a key of a request without a place in a token comes out of it")
    private_key = key_file.to_cryptography(found.key)
    name = f"key {key_id[:16]}..."
    readable: list[bytes] = []
    for one in certificates.of_key(recovered_keys.parsed_records(records, key_id), key_id):
        # Whoever can write records can add what calls itself a certificate of this key: it must not stand in the way.
        try:
            readable += Decryptor(name, private_key, [one]).certificates
        except OptionError:
            continue
    return Decryptor(name, private_key, readable)


def _case(task: HostTask, found: FlowResult, keys: _Keys, seal: _Seal) -> sealed_folder.Case:
    request = keys.request.request if keys.request else None
    failures = [{"source": row["src"], **one} for row in found.results for one in row["failures"]]
    return sealed_folder.Case(
        request_id=keys.request.request_id if keys.request else "",
        key_owner=request.key_owner if request else "",
        host=request.host if request else "",
        reason=request.reason if request else "",
        keys=keys.told,
        missing=_plain(keys.missing),
        sources=[_plain({name: value for name, value in row.items() if name != "changed"}) for row in found.results],
        failures=_plain(failures[:MOST_FAILURES]),
        failed=sum(row["failed"] for row in found.results),
        requester_certificate=seal.certificate,
    )


def _plain(value: Any) -> Any:
    """The value with texts that canonical JSON has: file names may be any bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
