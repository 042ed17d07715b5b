# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archive keys: the host's half, in three steps that the action asks for.

- ``facts``: what is there, all the evidence about it, and what is refused; nothing is changed and no key is fully
  loaded.
- ``seal``: the keys that the vault does not have: judged again, checked fully, sealed to the groups; the possession
  challenge is answered. What leaves the host is ciphertext and public facts.
- ``receipt``: the vault has the record: keep the receipt.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ArchiveRefusal,
    KeyNotFound,
    KeyopsError,
    NotWrappable,
    OptionError,
    StateError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import load_sound, read_facts
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import possession, reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.groups import parse_groups
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import SealedKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.seal_key import seal
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import evidence as evidences
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.eligibility import judge, judge_declared
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import Evidence
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.ssh import SshPlaces


@dataclass(frozen=True)
class _Examined:
    """One item of ``keys``: what is there, and whether it may be archived.

    Attributes:
        item: the options.
        evidence: None when there is no key yet (check mode) or it cannot be archived without looking further.
        usage: when it may be archived.
        refusal: when it may not.
        stays_inside: why it does not come out of its token again; it has a receipt, so only the controller knows
            whether it has to.
    """

    item: dict = field(repr=False)
    evidence: Evidence | None = None
    receipt: Receipt | None = None
    usage: str | None = None
    refusal: KeyopsError | None = None
    stays_inside: KeyopsError | None = None


def run(task: HostTask, open_tokens: Any = None) -> FlowResult:
    """See the module's docstring.

    Args:
        open_tokens: ``archive_tokens.opened``, where keys may be on tokens (archive_anywhere.py).
    """
    if task.step == "facts":
        return _facts(task, open_tokens)
    if task.step == "seal":
        return _seal(task, open_tokens)
    if task.step == "receipt":
        _receipts.write_receipts(_state_dir(task), [Receipt(**receipt) for receipt in task.relay["receipts"]])
        return FlowResult(True, [])
    raise OptionError("step: this module is called by its action plugin only")


def _facts(task: HostTask, open_tokens: Any) -> FlowResult:
    """Relay out: ``{"certificates": {key ID: [base64]}, "heads": [[number, digest]]}``, the log's heads in receipts."""
    with _tokens(task, open_tokens) as on_tokens:
        examined, warnings = _examine(task, on_tokens)
    kept = {one.evidence.facts.key_id: _certificates(one.evidence) for one in examined if one.evidence}
    heads = {(one.receipt.log_number, one.receipt.log_digest) for one in examined if one.receipt}
    relay = {"certificates": kept, "heads": sorted(heads)}
    return FlowResult(False, [_row(one) for one in examined], relay=relay, warnings=warnings)


@contextlib.contextmanager
def _tokens(task: HostTask, open_tokens: Any) -> Iterator[Any]:
    """The items that are on tokens (``archive_tokens.TokenKeys``), or None when all are in files."""
    items = [item for item in task.params["keys"] if reference.is_token(item["key"])]
    if not items:
        yield None
        return
    if open_tokens is None:
        raise OptionError("keys: a key on a token is archived by key_archive_on_token, which its action plugin chooses")
    with open_tokens(items, _state_dir(task), task.check_mode) as on_tokens:
        yield on_tokens


def _examine(task: HostTask, on_tokens: Any) -> tuple[list[_Examined], list[str]]:
    """Every item judged by all the evidence on this host; an unreadable file is an error, not a refusal."""
    read = [_read(item, task.check_mode, on_tokens) for item in task.params["keys"]]
    known = [facts.key_id for facts in read if facts]
    if len(set(known)) != len(known):
        raise OptionError("keys: two items are the same key")
    subjects = [_subject(item, facts) for item, facts in zip(task.params["keys"], read) if facts]
    for option in ("search", "authorized_keys"):
        _check_absolute(option, task.params[option])
    places = SshPlaces(extra=tuple(task.params["authorized_keys"]))
    on_token = on_tokens.findings if on_tokens else None
    gathered = evidences.gather(subjects, _state_dir(task), task.params["search"], places, on_token)
    found = {one.facts.key_id: (one, receipt) for one, receipt in zip(gathered.evidence, gathered.receipts)}
    examined = [
        _judged(item, *found[facts.key_id], on_tokens) if facts else _coming(item)
        for item, facts in zip(task.params["keys"], read)
    ]
    not_looked_at = (*gathered.not_looked_at, *(on_token.not_looked_at if on_token else ()))
    return examined, [f"not looked at for evidence: {text}" for text in not_looked_at]


def _check_absolute(option: str, paths: list[str]) -> None:
    """Raise OptionError for a path that means something else wherever the module happens to run."""
    for path in paths:
        if not os.path.isabs(path):
            raise OptionError(f"{option}: {path!r} is not an absolute path; begin it with /")


def _read(item: dict, check_mode: bool, on_tokens: Any) -> KeyFacts | None:
    if reference.is_token(item["key"]):
        facts: KeyFacts | None = on_tokens.facts(item, check_mode)
        return facts
    if item["pin"] is not None:
        raise OptionError(f"pin: {item['key']} is a key file, which may have a passphrase: give passphrase")
    path = reference.parse_path(item["key"]).path
    facts = read_facts(path, item["passphrase"])
    if facts is not None:
        return facts
    if check_mode:
        return None  # the same check run would have made it
    raise KeyNotFound(f"{item['key']}: there is no key; make it with private_key first")


def _subject(item: dict, facts: KeyFacts) -> evidences.Subject:
    return evidences.Subject(
        facts,
        reference.parse(item["key"]).path,
        item["usage"],
        evidences.read_named(item["certificates"]),
        item["accept_declared_usage"],
    )


def _judged(item: dict, evidence: Evidence, receipt: Receipt | None, on_tokens: Any) -> _Examined:
    try:
        usage = judge(evidence)
    except ArchiveRefusal as refusal:
        return _Examined(item, evidence, receipt, refusal=refusal)
    try:
        if evidence.facts.container == "token":
            on_tokens.require_wrappable(item)
    except NotWrappable as refusal:
        if receipt is None:
            return _Examined(item, evidence, refusal=refusal)
        return _Examined(item, evidence, receipt, usage=usage, stays_inside=refusal)
    return _Examined(item, evidence, receipt, usage=usage)


def _coming(item: dict) -> _Examined:
    """A key that does not exist yet (check mode), judged by what is declared: there is nothing else."""
    try:
        judge_declared(item["key"], item["usage"])
    except ArchiveRefusal as refusal:
        return _Examined(item, refusal=refusal)
    return _Examined(item)


def _certificates(evidence: Evidence) -> list[str]:
    """What the record keeps: no requests, since they are made after archiving and would call for another revision."""
    seen = (*evidence.named, *evidence.found)
    own = {one.der for one in seen if one.key_id == evidence.facts.key_id and one.kind == certificates.CERTIFICATE}
    return [canonical.encode(der) for der in sorted(own)]


def _row(one: _Examined) -> dict:
    facts = one.evidence.facts if one.evidence else None
    refusal = {"class": type(one.refusal).__name__, "message": str(one.refusal)} if one.refusal else None
    return {
        **{"key": one.item["key"], "usage": one.usage or one.item["usage"], "refusal": refusal},
        "key_id": facts.key_id if facts else None,
        "algorithm": facts.algorithm if facts else None,
        "container": facts.container if facts else None,
        "public_key": canonical.encode(facts.public_key) if facts else None,
        "receipt": one.receipt.sealed_key if one.receipt else None,
        "stays_inside": str(one.stays_inside) if one.stays_inside else None,
    }


def _seal(task: HostTask, open_tokens: Any) -> FlowResult:
    """Relay in: ``{"challenges": {key ID: challenge}}``; out: ``{"sealed": {key ID: ...}}``."""
    with _tokens(task, open_tokens) as on_tokens:
        return FlowResult(False, [], relay={"sealed": _sealed(task, on_tokens)})


def _sealed(task: HostTask, on_tokens: Any) -> dict[str, dict]:
    groups = parse_groups(task.params["recovery_groups"], task.params["minimum_threshold"], times.now())
    challenges = task.relay["challenges"]
    examined, _warnings = _examine(task, on_tokens)
    wanted = {
        one.evidence.facts.key_id: one for one in examined if one.evidence and one.evidence.facts.key_id in challenges
    }
    if set(wanted) != set(challenges):
        raise StateError("a key was replaced while it was being archived: run again")
    sealed = {}
    for key_id, one in wanted.items():
        if one.refusal:  # judged again, because the evidence may have changed since the first step
            raise one.refusal
        owned = (task.params["key_owner"], groups)
        if reference.is_token(one.item["key"]):
            sealed[key_id] = _relayed(*on_tokens.seal(one.item, str(one.usage), owned, challenges[key_id]))
        else:
            sealed[key_id] = _relayed(*_seal_file(one, key_id, owned, challenges[key_id]))
    return sealed


def _seal_file(one: _Examined, key_id: str, owned: tuple, challenge: dict) -> tuple[SealedKey, str]:
    key, private_key = load_sound(reference.parse_path(one.item["key"]).path, one.item["passphrase"])
    if key.facts.key_id != key_id:
        raise StateError(f"{one.item['key']} was replaced while it was being archived: run again")
    answer = possession.answer_challenge(private_key, key_id, challenge)
    return seal(key, str(one.usage), *owned), answer


def _relayed(key: SealedKey, answer: str) -> dict:
    groups = [
        {
            "kek_id": group.kek_id,
            "shares": [
                {"share_digest": share.share_digest, "message": canonical.encode(share.message)}
                for share in group.shares
            ],
        }
        for group in key.groups
    ]
    return {
        **{"key_id": key.key_id, "usage": key.usage, "digest": key.digest, "message": canonical.encode(key.message)},
        **{"groups": groups, "possession": answer, "wrapping": key.wrapping},
    }


def _state_dir(task: HostTask) -> str:
    return task.params["state_dir"] or _receipts.default_state_dir()
