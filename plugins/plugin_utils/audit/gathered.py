# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what ``private_key_info`` returned per host to the audit's dataclasses.

A host may lie or be broken. A row that has not the expected form is left out, and the host counts as not audited beside
what could be read of it; it never ends the audit of the others. Nothing here is trusted for more than it says; evidence
that freezes is verified elsewhere (evidence.py).

What a host sends comes in through here alone, so this is where it is made harmless:

1. Every text is escaped (``share_text.shown``): terminals, logs and pages show it as it is, with no control characters,
   line breaks or changes of the writing direction.
2. What a row holds is bounded, and so are the algorithms of a host. The number of its rows is bounded where they come
   to the controller (process/inspecting.py).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import sent
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import (
    CertificateSeen,
    HostSeen,
    KeySeen,
    ReceiptSeen,
)

_KEY_ID = re.compile(r"[0-9a-f]{64}")
_LARGEST = 2**53
#: Certificates on other hosts for one key.
_ELSEWHERE = 100
#: Algorithms of one host, and failing probes.
_ALGORITHMS, _PROBES = 32, 1000


def hosts(gathered: Mapping[str, Any], declared: Mapping[str, Any]) -> tuple[HostSeen, ...]:
    """What each host told, sorted by name.

    Args:
        gathered: inventory name to the result of private_key_info; None or a failed result where there is none.
        declared: inventory name to the host's ``keyops_keys``.
    """
    return _with_elsewhere([_checked(str(name), gathered[name], declared.get(name)) for name in sorted(gathered)])


def _with_elsewhere(seen: Sequence[HostSeen]) -> tuple[HostSeen, ...]:
    """The hosts, each of whose keys has the certificates that lie for it on the others."""
    by_key: dict[str, list[CertificateSeen]] = {}
    for one in (one for host in seen for one in host.certificates):
        by_key.setdefault(one.key_id, []).append(one)
    return tuple(replace(host, keys=tuple(_with_others(key, by_key) for key in host.keys)) for host in seen)


def _with_others(key: KeySeen, by_key: Mapping[str, Sequence[CertificateSeen]]) -> KeySeen:
    there = by_key.get(key.key_id or "", ()) if key.key_id else ()
    if all(one.host == key.host for one in there):
        return key
    # The same certificate is on many hosts; each is told of once.
    told = {_content(one) for one in key.certificates}
    found = {_content(one): one for one in reversed(there) if one.host != key.host and _content(one) not in told}
    return replace(key, elsewhere=tuple(sorted(found.values(), key=lambda one: (one.host, one.source)))[:_ELSEWHERE])


def _content(one: CertificateSeen) -> tuple:
    """What is the same of copies of a certificate."""
    said = (one.kind, one.subject, one.not_before, one.not_after, one.key_usage, one.extended_key_usage)
    return (one.der,) if one.der else said


@dataclass(frozen=True)
class Probed:
    """What a host told of its tokens: label, probe and detail of each probe that fails; why it told less, or None."""

    failing: tuple[tuple[str, str, str], ...] = ()
    problem: str | None = None


def probed(result: Any) -> Probed:
    """What one result of hsm_info tells."""
    told = failure(result)
    if told:
        return Probed(problem=told)
    reader = sent.Reader(result)
    found = [
        (sent.text(token.get("label")) or "", sent.text(one.get("name")) or "", sent.text(one.get("detail")) or "")
        for row in reader.each("results", dict)
        for token in reader.of(row, "tokens")
        for one in reader.of(token, "probe")
        if one.get("outcome") == "fails"
    ]
    reader.cut += len(found[_PROBES:])
    return Probed(tuple(found[:_PROBES]), reader.problem)


def _checked(name: str, result: Any, declared: Any) -> HostSeen:
    told = failure(result)
    if told is None and not isinstance(result.get("results"), (list, tuple)):
        told = "it gave no facts; it was not reached, or its task failed"
    return HostSeen(name, problem=told) if told else _host(name, result, declared)


def failure(result: Any) -> str | None:
    """Why the task gave no result that counts, or None.

    With ``failed_when: false`` the result says no more that it failed; each failure of a module of this collection has
    an ``error_class``.
    """
    if not isinstance(result, Mapping):
        return "it gave no facts; it was not reached, or its task failed"
    if not (result.get("failed") or result.get("unreachable") or "error_class" in result or "results" not in result):
        return None
    return sent.readable(result.get("msg")) or "it gave no facts; it was not reached, or its task failed"


def _host(name: str, result: Mapping, declared: Any) -> HostSeen:
    reader = sent.Reader(result)
    certificates = (
        *reader.each("certificates", lambda row: _certificate(name, row, "certificate")),
        *reader.each("certificate_requests", lambda row: _certificate(name, row, "certificate request")),
    )
    by_key: dict[str, list[CertificateSeen]] = {}
    for one in certificates:
        by_key.setdefault(one.key_id, []).append(one)
    items = {sent.text(item.get("key")) or "": dict(item) for item in sent.dicts(declared) if item.get("key")}
    keys = reader.each("results", lambda row: _key(name, row, by_key, items) if row.get("exists") else None)
    keys = _with_few_algorithms(keys, reader)
    receipts = {one.key_id: one for one in reader.each("receipts", lambda row: _receipt(name, row))}
    receipts.update({key.receipt.key_id: key.receipt for key in keys if key.receipt and key.key_id not in receipts})
    seen = HostSeen(
        name,
        tuple(keys),
        tuple(dict.fromkeys([*certificates, *(one for key in keys for one in key.certificates)])),
        tuple(receipts.values()),
        tuple(reader.each("not_looked_at", sent.sentence)),
        tuple(reader.each("authorized_keys", _entry)),
        reader.one(_public_keys, result.get("public_keys")) or {},
        bool(reader.one(_is_cut_short, result.get("searched"))),
    )
    return replace(seen, problem=reader.problem)


def _with_few_algorithms(keys: Sequence[KeySeen], reader: sent.Reader) -> list[KeySeen]:
    """Each algorithm is a series of metrics and a choice on the page; a host that says many is not believed."""
    known = list(dict.fromkeys(key.algorithm for key in keys))[:_ALGORITHMS]
    told = [key if key.algorithm in known else replace(key, algorithm=sent.UNKNOWN) for key in keys]
    reader.unread += sum(new is not old for new, old in zip(told, keys))
    return told


def _is_cut_short(searched: Any) -> bool:
    return searched is not None and searched.get("complete") is False


def _entry(row: Mapping) -> tuple[str, str] | None:
    """Key ID and place of an entry for SSH; None of one without a key."""
    place = f"{sent.text(row.get('path'))}, line {sent.text(row.get('line'))}"
    return (sent.text(row["key_id"]) or "", place) if row.get("key_id") else None


def _public_keys(value: Any) -> dict[str, str]:
    """Key ID to PEM."""
    form = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n"
    items = {} if value is None else value.items()
    return {sent.text(key_id) or "": form.format(sent.pem(text)) for key_id, text in items}


def _key(host: str, row: Mapping, by_key: Mapping[str, list[CertificateSeen]], declared: Mapping) -> KeySeen:
    place, key_id = sent.text(row.get("key")) or "", row.get("key_id")
    if isinstance(row.get("part"), int):
        place = f"{place} (key {row['part']})"
    key_id = key_id if isinstance(key_id, str) and _KEY_ID.fullmatch(key_id) else None
    evidence = row["evidence"] if isinstance(row.get("evidence"), Mapping) else {}
    near = [
        _certificate(host, {**one, "key_id": key_id}, sent.text(one.get("kind")) or "certificate")
        for one in _rows(evidence, "certificates")[: sent.IN_ROW]
        if key_id and one.get("for_this_key", True)
    ]
    item = declared.get(sent.text(row.get("key")) or "", {})
    receipt = _receipt(host, {"key_id": key_id, **evidence["receipt"]}) if evidence.get("receipt") else None
    return KeySeen(
        host=host,
        place=place,
        key_id=key_id,
        algorithm=sent.algorithm(row.get("algorithm")),
        public_key=sent.pem(row.get("public_key")),
        usage=sent.word(row.get("usage")),
        container=sent.text(row.get("container")),
        encrypted=row.get("encrypted") if isinstance(row.get("encrypted"), bool) else None,
        mode=_mode(row.get("mode")),
        owner=sent.text(row.get("owner")),
        group=sent.text(row.get("group")),
        modified=sent.text(row.get("modified")),
        certificates=_merged(by_key.get(key_id or "", ()), near),
        ssh_uses=sent.sentences(evidence.get("ssh_uses")) or (),
        receipt=receipt,
        refusal=_message(row.get("refusal")),
        error=_message(row.get("error")),
        declared=item,
        path=sent.text(row.get("key")) or "",
    )


def _merged(found: Iterable[CertificateSeen], near: Iterable[CertificateSeen]) -> tuple[CertificateSeen, ...]:
    """Those that the search found, and those beside the key that it did not."""
    found = tuple(found)
    known = {(path, one.kind, one.subject, one.not_after) for one in found for path in (one.source, *one.others)}
    return (*found, *(one for one in near if (one.source, one.kind, one.subject, one.not_after) not in known))


def _certificate(host: str, row: Mapping, kind: str) -> CertificateSeen:
    usage, extended = row.get("key_usage"), row.get("extended_key_usage")
    paths = sent.sentences(row.get("paths")) or (sent.text(row.get("source")) or "",)
    return CertificateSeen(
        host=host,
        source=paths[0],
        kind=kind,
        key_id=sent.text(row.get("key_id")) or "",
        key_usage=sent.sentences(usage),
        extended_key_usage=sent.sentences(extended),
        subject=sent.text(row.get("subject")) or "",
        not_before=sent.text(row.get("not_before")),
        not_after=sent.text(row.get("not_after")),
        ca=bool(row.get("ca")),
        others=paths[1:],
        der=_der(row.get("content")),
    )


def _der(text: Any) -> bytes:
    if not isinstance(text, str):
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _receipt(host: str, row: Mapping) -> ReceiptSeen | None:
    key_id, sealed = row.get("key_id"), row.get("sealed_key")
    if not (
        isinstance(key_id, str) and _KEY_ID.fullmatch(key_id) and isinstance(sealed, str) and _KEY_ID.fullmatch(sealed)
    ):
        return None
    number, digest = row.get("log_number"), row.get("log_digest")
    return ReceiptSeen(
        *(host, key_id, sealed, sent.text(row.get("usage")) or ""),
        log_number=number if isinstance(number, int) and 0 <= number <= _LARGEST else 0,
        log_digest=digest if isinstance(digest, str) and _KEY_ID.fullmatch(digest) else "",
    )


def _message(error: Any) -> str | None:
    return sent.text(error.get("message")) if isinstance(error, Mapping) else None


def _mode(value: Any) -> int | None:
    return int(value, 8) if isinstance(value, str) and re.fullmatch("[0-7]{3,5}", value) else None


def _rows(result: Mapping, name: str) -> list[Mapping]:
    return sent.dicts(result.get(name))
