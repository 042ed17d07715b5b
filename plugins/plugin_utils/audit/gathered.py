# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what ``private_key_info`` returned per host to the audit's dataclasses.

A host may lie or be broken: whatever has not the expected form counts as not told, and never ends the audit of the
others. Nothing here is trusted for more than it says; evidence that freezes is verified elsewhere (evidence.py).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import (
    CertificateSeen,
    HostSeen,
    KeySeen,
    ReceiptSeen,
)

_KEY_ID = re.compile(r"[0-9a-f]{64}")
#: Characters.
_LONGEST, _LONGEST_WORD = 8192, 64


def hosts(gathered: Mapping[str, Any], declared: Mapping[str, Any]) -> tuple[HostSeen, ...]:
    """What each host told, sorted by name.

    Args:
        gathered: inventory name to the result of private_key_info; None or a failed result where there is none.
        declared: inventory name to the host's ``keyops_keys``.
    """
    return tuple(_checked(str(name), gathered[name], declared.get(name)) for name in sorted(gathered))


def _checked(name: str, result: Any, declared: Any) -> HostSeen:
    try:
        return _host(name, result, declared)
    except (TypeError, ValueError, KeyError, AttributeError):
        return HostSeen(
            name, problem="what it sent has not the form of facts; somebody may have changed the host's part"
        )


def _host(name: str, result: Any, declared: Any) -> HostSeen:
    if not isinstance(result, Mapping) or not isinstance(result.get("results"), list):
        told = result.get("msg") if isinstance(result, Mapping) else None
        return HostSeen(name, problem=_text(told) or "it gave no facts; it was not reached, or its task failed")
    certificates = (
        *(_certificate(name, row, "certificate") for row in _rows(result, "certificates")),
        *(_certificate(name, row, "certificate request") for row in _rows(result, "certificate_requests")),
    )
    by_key: dict[str, list[CertificateSeen]] = {}
    for one in certificates:
        by_key.setdefault(one.key_id, []).append(one)
    items = {str(item.get("key")): dict(item) for item in dicts(declared) if item.get("key")}
    keys = [_key(name, row, by_key, items) for row in _rows(result, "results") if row.get("exists")]
    receipts = {one.key_id: one for one in (_receipt(name, row) for row in _rows(result, "receipts")) if one}
    receipts.update({key.receipt.key_id: key.receipt for key in keys if key.receipt and key.key_id not in receipts})
    return HostSeen(
        name,
        tuple(keys),
        tuple(dict.fromkeys([*certificates, *(one for key in keys for one in key.certificates)])),
        tuple(receipts.values()),
        tuple(_text(text) or "" for text in result.get("not_looked_at") or ()),
        tuple(
            (_text(row["key_id"]) or "", _entry(row)) for row in _rows(result, "authorized_keys") if row.get("key_id")
        ),
        _public_keys(result.get("public_keys")),
        _is_cut_short(result),
    )


def _is_cut_short(result: Mapping) -> bool:
    searched = result.get("searched")
    return isinstance(searched, Mapping) and searched.get("complete") is False


def _entry(row: Mapping) -> str:
    return f"{_text(row.get('path'))}, line {_text(row.get('line'))}"


def _public_keys(value: Any) -> dict[str, str]:
    """Key ID to PEM."""
    if not isinstance(value, Mapping):
        return {}
    form = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n"
    return {_text(key_id) or "": form.format(_text(text)) for key_id, text in value.items() if isinstance(text, str)}


def _key(host: str, row: Mapping, by_key: Mapping[str, list[CertificateSeen]], declared: Mapping) -> KeySeen:
    place, key_id = _text(row.get("key")) or "", row.get("key_id")
    if isinstance(row.get("part"), int):
        place = f"{place} (key {row['part']})"
    key_id = key_id if isinstance(key_id, str) and _KEY_ID.fullmatch(key_id) else None
    evidence = row["evidence"] if isinstance(row.get("evidence"), Mapping) else {}
    near = [
        _certificate(host, {**one, "key_id": key_id}, _text(one.get("kind")) or "certificate")
        for one in _rows(evidence, "certificates")
        if key_id and one.get("for_this_key", True)
    ]
    item = declared.get(_text(row.get("key")) or "", {})
    receipt = _receipt(host, {"key_id": key_id, **evidence["receipt"]}) if evidence.get("receipt") else None
    return KeySeen(
        host=host,
        place=place,
        key_id=key_id,
        algorithm=_word(row.get("algorithm")),
        public_key=_text(row.get("public_key")),
        usage=_word(row.get("usage")),
        container=_text(row.get("container")),
        encrypted=row.get("encrypted") if isinstance(row.get("encrypted"), bool) else None,
        mode=_mode(row.get("mode")),
        owner=_text(row.get("owner")),
        group=_text(row.get("group")),
        modified=_text(row.get("modified")),
        certificates=_merged(by_key.get(key_id or "", ()), near),
        ssh_uses=tuple(_text(use) or "" for use in evidence.get("ssh_uses") or ()),
        receipt=receipt,
        refusal=_message(row.get("refusal")),
        error=_message(row.get("error")),
        declared=item,
        path=_text(row.get("key")) or "",
    )


def _merged(found: Iterable[CertificateSeen], near: Iterable[CertificateSeen]) -> tuple[CertificateSeen, ...]:
    """Those that the search found, and those beside the key that it did not."""
    found = tuple(found)
    known = {(path, one.kind, one.subject, one.not_after) for one in found for path in (one.source, *one.others)}
    return (*found, *(one for one in near if (one.source, one.kind, one.subject, one.not_after) not in known))


def _certificate(host: str, row: Mapping, kind: str) -> CertificateSeen:
    usage, extended = row.get("key_usage"), row.get("extended_key_usage")
    paths = [_text(path) or "" for path in row.get("paths") or [row.get("source")]]
    return CertificateSeen(
        host=host,
        source=paths[0] if paths else "",
        kind=kind,
        key_id=_text(row.get("key_id")) or "",
        key_usage=None if usage is None else tuple(_text(bit) or "" for bit in usage),
        extended_key_usage=None if extended is None else tuple(_text(name) or "" for name in extended),
        subject=_text(row.get("subject")) or "",
        not_before=_text(row.get("not_before")),
        not_after=_text(row.get("not_after")),
        ca=bool(row.get("ca")),
        others=tuple(paths[1:]),
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
        *(host, key_id, sealed, _text(row.get("usage")) or ""),
        log_number=number if isinstance(number, int) else 0,
        log_digest=digest if isinstance(digest, str) and _KEY_ID.fullmatch(digest) else "",
    )


def _message(error: Any) -> str | None:
    return _text(error.get("message")) if isinstance(error, Mapping) else None


def _mode(value: Any) -> int | None:
    return int(value, 8) if isinstance(value, str) and re.fullmatch("[0-7]{3,5}", value) else None


def _rows(result: Mapping, name: str) -> list[Mapping]:
    return dicts(result.get(name))


def dicts(value: Any) -> list[Mapping]:
    """The dictionaries of a list; none of what is no list."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, (list, tuple)) else []


def _text(value: Any) -> str | None:
    """A text that can be written anywhere: no lone surrogates, and no longer than a path may be."""
    return None if value is None else str(value)[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _word(value: Any) -> str | None:
    return (_text(value) or "")[:_LONGEST_WORD] if isinstance(value, str) else None
