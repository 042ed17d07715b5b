# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put recovered keys back: on the owner's host, with the one-time key that was made there.

Step ``recover``:

1. A key that is at its place already, whole, is left alone; the rest is recovered. What is damaged is not overwritten.
2. The request is the host's own copy, whose ID must be the one asked for; it must be within its time. With ``into``,
   every key that it asks for must have been brought: a controller or vault cannot leave one out unseen.
3. For each key: m approvals of one group verify and its shares open the sealed key to exactly this key ID.
4. All keys are opened before the first one is written; a file with another key is never overwritten.
5. The receipts are written, then the keys with their usage, then the files with their certificates
   (recover_certificates.py): whatever a kill leaves, the next run goes on.

Step ``close``, when the controller has written the event: what is back is noted in the open request. When all of it is,
the one-time key is removed; so are those of requests whose time is over.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    KeyUnreadable,
    OptionError,
    RequestMismatch,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_certificates, recovered_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import (
    check_new_passphrase,
    load_sound,
    lock_folder,
    read_facts,
    read_mode,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_id
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import open_requests, quorum


@dataclass(frozen=True)
class _Wanted:
    """One item of ``keys``: which key, where to (``path`` is empty for a token), and whether it is there already."""

    key_id: str
    path: str
    options: dict = field(repr=False)
    present: bool = False


def run(task: HostTask) -> FlowResult:
    """See the module's docstring.

    Relay in: ``{"head": {"number", "digest"}, "keys": {key ID: {"records": [base64], "sealed": {digest: base64},
    "approvals": {agent ID: [base64]}, "frozen": str | None}}}``; out: ``{"unclosed": [key ID]}``, what is back and not
    yet noted as such.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    for item in task.params["keys"]:
        _check_options(item)
    _require_said(task, state_dir)
    _require_all(task, state_dir)
    with _tokens(task, state_dir) as on_tokens:
        return _run(task, state_dir, on_tokens)


def _check_options(item: dict) -> None:
    """Raise OptionError for what is said of a file about a token, or the other way round."""
    of_the_other = ("passphrase", "owner", "group") if reference.is_token(item["key"]) else ("pin", "extractable")
    for option in of_the_other:
        if item[option]:
            raise OptionError(f"{option}: it says nothing about {item['key']}; leave it out")


@contextlib.contextmanager
def _tokens(task: HostTask, state_dir: str) -> Iterator[Any]:
    """The items that are on tokens (``recover_tokens.TokenPlaces``), or None when all are files."""
    items = [item for item in task.params["keys"] if reference.is_token(item["key"])]
    if not items:
        yield None
        return
    # Not at the top: a host whose keys go into files loads nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_tokens

    with recover_tokens.opened(items, lock_folder(state_dir, task.check_mode)) as on_tokens:
        yield on_tokens


def _run(task: HostTask, state_dir: str, on_tokens: Any) -> FlowResult:
    new_folder = recover_certificates.missing_folder(task.params["into"])
    wanted = [_wanted(item, on_tokens, new_folder) for item in _unique(task.params["keys"])]
    if task.step == "close":
        _close(state_dir, task.params["request_id"], {item.key_id for item in wanted if item.present}, on_tokens)
        return FlowResult(False, [])
    missing = [item for item in wanted if not item.present]
    given = {item.key_id: task.relay["keys"][item.key_id]["records"] for item in wanted}
    records = {key_id: recovered_keys.parsed_records(texts, key_id) for key_id, texts in given.items()}
    certificates = recover_certificates.gathered(task.params["keys"], records, new_folder)
    opened = _open_all(state_dir, task, missing, on_tokens) if missing else {}
    if not task.check_mode:
        _receipts.write_receipts(state_dir, [_receipt(one, task.relay["head"]) for one in opened.values()])  # 5
        if new_folder:
            _files.make_private_folder(new_folder)
        _write([item for item in missing if item.path], opened)
        for item in missing:
            if not item.path:
                on_tokens.write(item.key_id)
        recover_certificates.write(certificates)
    relay = {"unclosed": _unclosed(state_dir, task.params["request_id"], wanted)}
    results = [_row(item, opened.get(item.key_id), certificates[item.key_id]) for item in wanted]
    warnings = on_tokens.warnings if on_tokens else []
    changed = any(row["changed"] for row in results)
    diff = [*_diff(missing), *recover_certificates.diff(certificates)]
    return FlowResult(changed, results, diff=diff, relay=relay, warnings=warnings)


def _open_all(state_dir: str, task: HostTask, missing: list[_Wanted], on_tokens: Any) -> dict[str, quorum.Opened]:
    key_ids = [item.key_id for item in missing]
    opened_request = recovered_keys.load_open(state_dir, task.params["request_id"], key_ids)  # 2
    _require_places(opened_request, [item.options for item in missing])
    return {item.key_id: _open(item, opened_request, task.relay, on_tokens) for item in missing}  # 3, 4


def _unique(items: list[dict]) -> list[dict]:
    # A token may stand there several times: without a label, each key gets the one that it had.
    paths = [item["key"] for item in items if not reference.is_token(item["key"])]
    if len(set(paths)) != len(paths) or len({item["key_id"] for item in items}) != len(items):
        raise OptionError("keys: a key ID or a key reference stands there twice")
    return items


def _wanted(item: dict, on_tokens: Any, new_folder: str) -> _Wanted:
    key_id = check_id(item["key_id"], "key_id")
    if reference.is_token(item["key"]):
        return _Wanted(key_id, "", item, present=on_tokens.is_there(key_id))
    path = reference.parse_path(item["key"]).path
    check_new_passphrase(item["passphrase"])
    read_mode(item["mode"])
    there = _facts_of_whole(path, item["passphrase"])
    if there is None:
        recover_certificates.check_target(path, item, new_folder)
        return _Wanted(key_id, path, item)
    if there.key_id != key_id:
        raise KeyExists(f"{path} holds another key ({there.key_id[:16]}...), which stays: name another place")
    return _Wanted(key_id, path, item, present=True)


def _facts_of_whole(path: str, passphrase: str | None) -> KeyFacts | None:
    """The facts of the key file at the place, or None when there is none.

    Raises:
        KeyUnreadable: it is damaged. Its public half alone can be whole, and then the archive is still needed.
    """
    try:
        there = read_facts(path, passphrase)
        if there is not None:
            load_sound(path, passphrase)
        return there
    except WrongPassphrase:
        raise
    except KeyUnreadable as error:
        raise KeyUnreadable(f"{error}. Nothing was written; move the file away and run again") from error


def _require_said(task: HostTask, state_dir: str) -> None:
    """Raise RequestMismatch for a token that the request does not name, before its library is loaded."""
    items = [item for item in task.params["keys"] if reference.is_token(item["key"])]
    if items and open_requests.is_open(state_dir, task.params["request_id"]):
        _require_places(open_requests.load(state_dir, task.params["request_id"]), items)


def _require_all(task: HostTask, state_dir: str) -> None:
    """Raise RequestMismatch when all keys of the request were wanted and some were not brought."""
    request_id = task.params["request_id"]
    if task.params["into"] is None or not open_requests.is_open(state_dir, request_id):
        return
    brought = {item["key_id"] for item in task.params["keys"]}
    left_out = [one for one in open_requests.load(state_dir, request_id).request.key_ids if one not in brought]
    if left_out:
        raise RequestMismatch(
            f"the request also asks for {', '.join(left_out)}: the vault's copy of it was changed, and nothing was "
            "written"
        )


def _require_places(opened: open_requests.OpenRequest, items: list[dict]) -> None:
    for item in items:
        said, place = opened.request.place_of(item["key_id"]), item["key"]
        if said != place and (said or reference.is_token(place)):
            raise RequestMismatch(
                f"{place}: by the request, which the agents saw, key {item['key_id'][:16]}... goes to "
                f"{said or 'a file'}; recover it there, or make a new request"
            )


def _open(item: _Wanted, opened: open_requests.OpenRequest, relay: dict, on_tokens: Any) -> quorum.Opened:
    prove = None if item.path else functools.partial(on_tokens.prove, item.key_id, opened.request)
    found = recovered_keys.open_key(item.key_id, opened, relay, prove)
    if not item.path and found.key is not None:
        on_tokens.take_in(item.key_id, opened.request, found.key, found.record)
    return found


def _write(missing: list[_Wanted], opened: dict[str, quorum.Opened]) -> None:
    files = []
    for item in missing:
        options = item.options
        found = opened[item.key_id]
        if found.key is None:
            raise AssertionError("a key that stays wrapped goes into a token")
        key = key_file.with_usage(found.key, found.record.usage)
        content = key_file.serialize(key, options["passphrase"])
        files.append(_files.NewFile(item.path, content, read_mode(options["mode"]), options["owner"], options["group"]))
    for item, created in zip(missing, _files.write_new(files)):
        if not created:  # somebody else wrote it since step 1; create-only, so it is whole and untouched
            raise KeyExists(f"{item.path} was written by another process meanwhile: run again")


def _receipt(opened: quorum.Opened, head: dict) -> Receipt:
    recorded = opened.record
    return Receipt(recorded.key_id, recorded.usage, recorded.sealed_key, head["number"], head["digest"])


def _unclosed(state_dir: str, request_id: str, wanted: list[_Wanted]) -> list[str]:
    if not open_requests.is_open(state_dir, request_id):
        return []
    opened = open_requests.load(state_dir, request_id)
    return sorted({item.key_id for item in wanted} & set(opened.request.key_ids) - set(opened.recovered))


def _close(state_dir: str, request_id: str, back: set[str], on_tokens: Any) -> None:
    token_key = None
    if open_requests.is_open(state_dir, request_id):
        opened = open_requests.load(state_dir, request_id)
        recovered = set(opened.recovered) | back
        if recovered >= set(opened.request.key_ids):
            token_key = opened.request.token_key
            if on_tokens:
                on_tokens.remove_one_time_keys(token_key)
            open_requests.remove(state_dir, request_id)
        else:
            changed = {**opened.__dict__, "recovered": tuple(sorted(recovered))}
            open_requests.save(state_dir, open_requests.OpenRequest(**changed))
    if on_tokens and token_key is None:
        on_tokens.remove_one_time_keys(None)
    open_requests.remove_expired(state_dir, times.now())


def _row(item: _Wanted, opened: quorum.Opened | None, certificates: recover_certificates.Certificates) -> dict:
    row = {"key": item.options["key"], "key_id": item.key_id, "certificates": certificates.digests}
    row["changed"] = not item.present or certificates.file is not None
    if opened is None:
        return {**row, "group": None, "agents": [], "agent_ids": [], "record": None, "usage": None, "problems": []}
    return {
        **{**row, "group": opened.group, "agents": list(opened.agents), "record": opened.record.number},
        "agent_ids": list(opened.agent_ids),
        **{"usage": opened.record.usage, "problems": list(opened.problems)},
    }


def _diff(missing: list[_Wanted]) -> list[dict]:
    return [
        {
            **dict.fromkeys(("before_header", "after_header"), item.path or item.options["key"]),
            **{"before": {"key_id": None}, "after": {"key_id": item.key_id}},
        }
        for item in missing
    ]
