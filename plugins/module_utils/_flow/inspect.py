# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at keys and at what shows their usage; change nothing.

1. Search the given folders for private keys, certificates and more (inspect_search.py).
2. Read the public facts of the named keys, and of those on the searched tokens (inspect_tokens.py); what cannot be
   read is told per key.
3. Gather the evidence about all of them in one pass, and judge each as archiving would.

Results hold public facts only. A key that cannot be read is no failure: finding such keys is what this is for.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import describe
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.search import Place
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ArchiveRefusal,
    KeyopsError,
    KeyUnreadable,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect_search
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT
from ansible_collections.keyops.lifecycle.plugins.module_utils._folders import file_error
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import (
    discovery,
    eligibility,
    evidence,
    reading,
    ssh,
    usages,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence

#: Certificates, and places of SSH, that are told per key; all count. Whoever copies both would multiply them.
_MOST_TOLD = 32


@dataclass(frozen=True)
class _Looked:
    """One key: what is there.

    Attributes:
        item: the options; for a found key only ``key``.
        path: of the file.
        place: None when there is no file, or it cannot be read.
        encrypted, container: None when that cannot be told.
        facts, named: None and empty when they cannot be read.
        error: why something cannot be read, or None.
        found: by the search, not named.
        part: its number in a file with several keys, or None.
        on_token: ``inspect_tokens.KeyOnToken`` of a key on a token; None for a file.
    """

    item: dict = field(repr=False)
    path: str
    place: Place | None = None
    encrypted: bool | None = None
    container: str | None = None
    facts: KeyFacts | None = None
    named: tuple[CertificateFacts, ...] = ()
    error: KeyopsError | None = None
    found: bool = False
    part: int | None = None
    on_token: Any = None


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    params = task.params
    state_dir = params["state_dir"] or _receipts.default_state_dir()
    places = ssh.SshPlaces(extra=tuple(params["authorized_keys"]))
    searched = inspect_search.run(params["search"], places)
    tokens = _look_at_tokens(task)
    on_tokens = iter(tokens.named if tokens else ())
    named = [
        _of_token(next(on_tokens))
        if reference.is_token(item["key"])
        else _look(item, reference.parse_path(item["key"]).path)
        for item in params["keys"]
    ]
    found_on_tokens = [_of_token(one) for one in tokens.found] if tokens else []
    looked = [*named, *_found(searched, {one.path for one in named}), *found_on_tokens]
    gathered = evidence.gather(
        [_subject(one) for one in looked if one.facts],
        state_dir,
        places=places,
        findings=_findings(searched, tokens),
    )
    known = iter(zip(gathered.evidence, gathered.receipts))
    results = [_row(one, *next(known)) if one.facts else _row(one) for one in looked]
    told = [*searched.findings.not_looked_at, *inspect_search.not_returned(searched)] if searched else []
    receipts, unreadable = _receipts.read_all(state_dir) if searched else ([], [])
    told += tokens.not_looked_at if tokens else ()
    not_looked_at = list(dict.fromkeys([*told, *unreadable, *gathered.not_looked_at]))
    more = {"receipts": [asdict(one) for one in receipts]} if searched else {}
    return FlowResult(
        False, results, extra={**inspect_search.returned(searched), **more, "not_looked_at": not_looked_at}
    )


def _look_at_tokens(task: HostTask) -> Any:
    """``inspect_tokens.Looked``, or None when no token is named."""
    items = [item for item in task.params["keys"] if reference.is_token(item["key"])]
    searched = task.params.get("tokens") or []
    if not items and not searched:
        return None
    # Not at the top: what looks at files loads nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import hsm_info, inspect_tokens

    pins = [*((one["key"], one.get("pin")) for one in items), *((one["uri"], one["pin"]) for one in searched)]
    with hsm_info.locked_for_logins(pins, task):
        return inspect_tokens.look(items, searched)


def _of_token(key: Any) -> _Looked:
    container = key.facts.container if key.facts else None
    more = {"facts": key.facts, "named": key.named, "error": key.error, "found": key.found, "on_token": key}
    return _Looked(key.item, "", container=container, **more)


def _findings(searched: inspect_search.Searched | None, tokens: Any) -> discovery.Findings | None:
    """What the search found, with the certificates on tokens."""
    findings = searched.findings if searched else None
    if tokens is None:
        return findings
    before = findings or discovery.Findings()
    return replace(before, certificates=(*before.certificates, *tokens.certificates))


def _look(item: dict, path: str) -> _Looked:
    if not os.path.lexists(path):
        return _Looked(item, path)
    place = encrypted = facts = None
    problem: KeyopsError | None = None
    named: tuple[CertificateFacts, ...] = ()
    try:
        file = _files.read_existing(path, KEY_FILE_LIMIT)
        if file is not None:
            place = Place(path, file.mode, file.uid, file.gid, os.lstat(path).st_mtime, file.links)
            encrypted = _encrypted(file)
            facts = key_file.facts_of(file.content, item.get("passphrase"))
            named = evidence.read_named(item.get("certificates", ()))
    except OSError as error:
        problem = file_error(error, path)
    except KeyopsError as error:
        problem = error
    return _Looked(item, path, place, encrypted, facts.container if facts else None, facts, named, problem)


def _found(searched: inspect_search.Searched | None, named: set[str]) -> list[_Looked]:
    """What the search has found, without the keys that were named."""
    keys = searched.inventory.keys if searched else ()
    return [
        _Looked(
            {"key": one.place.path},
            one.place.path,
            one.place,
            one.key.encrypted,
            one.key.container,
            one.key.facts,
            error=one.key.error,
            found=True,
            part=one.part,
        )
        for one in keys
        if one.place.path not in named
    ]


def _subject(one: _Looked) -> evidence.Subject:
    if one.facts is None:
        raise AssertionError("only keys that were read come here")
    return evidence.Subject(
        one.facts, one.path, one.item.get("usage"), one.named, bool(one.item.get("accept_declared_usage"))
    )


def _row(one: _Looked, known: Evidence | None = None, receipt: Receipt | None = None) -> dict:
    facts, place = one.facts, one.place
    row = {
        **{"key": reading.shown(one.item["key"]), "found": one.found, "part": one.part},
        "exists": one.found or (one.on_token.exists if one.on_token else os.path.lexists(one.path)),
        "key_id": facts.key_id if facts else None,
        "algorithm": facts.algorithm if facts else None,
        "usage": facts.bound_usage if facts else None,
        "container": one.container,
        "encrypted": one.encrypted,
        "public_key": _pem(facts.public_key) if facts else None,
        "mode": inspect_search.mode_of(place) if place else None,
        "owner": inspect_search.owner_of(place) if place else None,
        "group": inspect_search.group_of(place) if place else None,
        "modified": inspect_search.modified_of(place) if place else None,
        "hard_links": place.links if place else None,
        "token": one.on_token.row() if one.on_token else None,
        "evidence": _evidence_row(known, receipt) if known else None,
        "error": _told(one.error),
    }
    return {**row, **_judgement(one, known)}


def _encrypted(file: _files.ExistingFile) -> bool | None:
    try:
        return key_file.is_encrypted(file.content)
    except KeyUnreadable:
        return None


def _pem(public_key: bytes) -> str:
    text = base64.encodebytes(public_key).replace(b"\n", b"").decode("ascii")
    lines = "\n".join(re.findall(".{1,64}", text))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def _judgement(one: _Looked, known: Evidence | None) -> dict:
    """What archiving would say; a key of which something could not be read is not archivable, and not refused."""
    if known is None or one.error:
        return {"archivable": False, "refusal": None}
    try:
        eligibility.judge(known)
    except ArchiveRefusal as refusal:
        return {"archivable": False, "refusal": _told(refusal)}
    return {"archivable": True, "refusal": None}


def _told(error: KeyopsError | None) -> dict | None:
    return {"class": type(error).__name__, "message": str(error)} if error else None


def _evidence_row(known: Evidence, receipt: Receipt | None) -> dict:
    told = [(one, True) for one in known.named] + [(one, False) for one in known.found[:_MOST_TOLD]]
    return {
        "certificates": [_certificate_row(one, named, known.facts.key_id) for one, named in told],
        "ssh_uses": list(known.ssh_uses[:_MOST_TOLD]),
        "receipt": receipt
        and {"usage": receipt.usage, "sealed_key": receipt.sealed_key, "log_number": receipt.log_number},
    }


def _certificate_row(one: CertificateFacts, named: bool, key_id: str) -> dict:
    purposes = one.extended_key_usage
    return {
        **{"source": one.source, "kind": one.kind, "named": named, "for_this_key": one.key_id == key_id},
        "key_usage": None if one.key_usage is None else list(one.key_usage),
        "extended_key_usage": None if purposes is None else [usages.extended_key_usage_name(oid) for oid in purposes],
        **describe.subject_and_end(one),
    }
