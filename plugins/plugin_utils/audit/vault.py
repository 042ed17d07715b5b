# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vault as the audit sees it: its records, register and freezes, and what is wrong with its objects and its log.

Only names are listed of sealed keys and shares; no ciphertext is read, which the auditor's credential could not. The
vault is walked page by page, so that a large one needs little memory beside its records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Finding, ReceiptSeen, VaultSeen
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

_NAMES, _KEYS = 5000, 500
#: Action and outcome of the audit's own events.
ACTION = "audit"
_DIGEST = 64


def look(
    vault: Vault,
    receipts: Iterable[ReceiptSeen],
    expected_heads: Iterable[Head] = (),
    known_problems: Iterable[str] = (),
    signing_certificates: Iterable[bytes] = (),
) -> VaultSeen:
    """Everything that the audit needs from the vault.

    Args:
        receipts: of all hosts; each holds a head of the log that somebody has seen.
        expected_heads: further heads.
        known_problems: marks of problems with the log that were looked into.
        signing_certificates: DER, of those who sign events.
    """
    found: list[Finding] = []
    sound: dict[str, tuple[Record, ...]] = {}
    incomplete: set[tuple[str, int]] = set()
    parts: set[str] = set()
    frozen: dict[str, str] = {}
    for chunk in _chunks(_listed(vault)):
        _walk(vault, chunk, sound, incomplete, parts, found)
        frozen.update({key_id: _frozen(one) for key_id, one in freezes.frozen(vault, chunk).items()})
    found += _orphans(vault, parts)
    found += _strangers(vault)
    registered, proven, created = _register(vault, sound)
    log_findings, told, head = _log(
        vault, [*_heads(receipts), *expected_heads], set(known_problems), list(signing_certificates)
    )
    return VaultSeen(
        *(sound, frozenset(incomplete), registered, proven, created, frozen),
        *((*found, *log_findings), told, (head.number, head.digest)),
    )


def _frozen(one: freezes.Frozen) -> str:
    """Why; a key of which only some revisions are lifted is told, whoever made those revisions."""
    lifted = ", ".join(map(str, sorted(one.lifted_for)))
    return f"{one.reason} (lifted for revision {lifted} of its record only)" if lifted else one.reason


def _listed(vault: Vault) -> Iterator[tuple[str, list[str]]]:
    for key_id, names in groupby(_names(vault, "records/"), key=lambda path: path.split("/")[1]):
        yield key_id, list(names)


def _chunks(listed: Iterator[tuple[str, list[str]]]) -> Iterator[dict[str, list[str]]]:
    while chunk := dict(islice(listed, _KEYS)):
        yield chunk


def _names(vault: Vault, prefix: str) -> Iterator[str]:
    last = ""
    while page := vault.list(prefix, after=last, limit=_NAMES):
        yield from page
        last = page[-1]


def _walk(
    vault: Vault,
    chunk: dict[str, list[str]],
    sound: dict[str, tuple[Record, ...]],
    incomplete: set[tuple[str, int]],
    parts: set[str],
    found: list[Finding],
) -> None:
    """Look at the records of some keys; what is learnt goes into the arguments behind ``chunk``."""
    walked = records.walk(vault, chunk)
    good = [one for series in walked.values() for one in series if isinstance(one, Record)]
    whole = {(one.key_id, one.number) for one in records.intact(vault, good)}
    for key_id, names in chunk.items():
        series = walked[key_id]
        mine = tuple(one for one in series if isinstance(one, Record))
        if mine:
            sound[key_id] = mine
        for one in mine:
            parts |= records.parts_of(one)
            if (key_id, one.number) not in whole:
                incomplete.add((key_id, one.number))
                found.append(_incomplete(one))
        bad = [one for one in series if not isinstance(one, Record)]
        found += [_finding(catalogue.RECORD_UNSOUND, one.path, one.text, key_id) for one in bad]
        hidden = records.problems_of_names(names, len(series))
        found += [_finding(catalogue.VAULT_SHADOWED, one.path, one.text, key_id) for one in hidden]


def _incomplete(one: Record) -> Finding:
    return _finding(
        catalogue.ARCHIVE_INCOMPLETE,
        paths.record(one.key_id, one.number),
        f"its sealed key or some of its shares are not there; it was archived from {one.host}:{one.place}",
        one.key_id,
    )


def _orphans(vault: Vault, parts: set[str]) -> Iterator[Finding]:
    """Sealed keys and shares that no record names. Of destroyed ones the names remain, and they are none."""
    for prefix in ("sealed/", "shares/"):
        try:
            loose = [path for path in _names(vault, prefix) if path not in parts]
        except VaultForbidden:
            yield _finding(catalogue.PLACE_NOT_AUDITED, prefix, "this credential may not list it; take the auditor's")
            continue
        for start in range(0, len(loose), _NAMES):
            there = vault.exists(loose[start : start + _NAMES])
            for path in sorted(there):
                yield _finding(catalogue.VAULT_ORPHAN, path, "no record names it")


def _strangers(vault: Vault) -> Iterator[Finding]:
    """What lies under names that no object has; those among the events are told with the log."""
    for folder in paths.FOLDERS:
        if folder == "events":
            continue
        try:
            for name in vault.strangers(f"{folder}/"):
                shown = name.encode("unicode_escape").decode("ascii")[:200]
                yield _finding(catalogue.VAULT_SHADOWED, shown, "is not the name of an object; somebody put it there")
        except VaultForbidden:
            continue


def _register(
    vault: Vault, sound: dict[str, tuple[Record, ...]]
) -> tuple[frozenset[str], frozenset[str], dict[str, str]]:
    """The signing register: all its key IDs; those of archived keys with the key's own proof; when each was made."""
    try:
        registered = {path.split("/")[1] for path in _names(vault, "signing/") if path.count("/") == 1}
    except VaultForbidden:
        registered = set(signing_register.registered(vault, sound))
    both = registered & set(sound)
    created: dict[str, str] = {}
    names = sorted(registered)
    for start in range(0, len(names), _NAMES):
        for path, content in vault.read(paths.signing_key(name) for name in names[start : start + _NAMES]).items():
            created[path.split("/")[1]] = _created(content)
    return frozenset(registered), signing_register.proven(vault, both), {k: v for k, v in created.items() if v}


def _created(content: bytes) -> str:
    try:
        value = canonical.loads(content)
    except FormatError:
        return ""
    made = value.get("created") if isinstance(value, dict) else None
    return made if isinstance(made, str) else ""


def _heads(receipts: Iterable[ReceiptSeen]) -> list[Head]:
    """Each head once. A receipt whose digest the host did not send shows no head."""
    seen = {(one.log_number, one.log_digest) for one in receipts}
    return [Head(number, digest) for number, digest in sorted(seen) if number > 0 and len(digest) == _DIGEST]


def _log(
    vault: Vault, heads: list[Head], known: set[str], certificates: list[bytes]
) -> tuple[list[Finding], frozenset[tuple[str, str]], Head]:
    report = event_log.verify(vault, heads, certificates)
    found = []
    for problem in report.problems:
        kind = catalogue.LOG_WENT_BACK if problem.kind == "cut_off" else catalogue.LOG_UNSOUND
        if problem.mark is None or problem.mark not in known:
            subject = problem.mark or problem.text
            place = paths.event(problem.number) if problem.number else "events/"
            found.append(Finding(kind, place=place, detail=problem.text, subject=f"{problem.kind} {subject}"))
    told = {
        (key_id, detail)
        for event in report.events
        if (event.action, event.outcome) == (ACTION, "alarm")
        for key_id, detail in event.keys
    }
    return found, frozenset(told), report.head


def _finding(kind: catalogue.Kind, place: str, detail: str, key_id: str = "") -> Finding:
    return Finding(kind, place=place, key_id=key_id, detail=detail)
