# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Export keys for their owner: password-protected files, sealed ones, and keys brought into the owner's own token.

This is the one place where a private key leaves its file on purpose (DESIGN, rule 2), and it leaves under a password:

1. Everything is read, judged (_flow/export_sources.py) and compared (_flow/export_plan.py) before anything is written;
   one error, and nothing is.
2. What is there and would be lost is left alone, unless forced.
3. The note comes first, then the message with a generated password, then the file: whatever a kill leaves, the next run
   goes on. A generated password is never in a result, in a relay or in a note; only sealed to its owner.

Steps: ``facts`` tells key IDs and usages for the controller to compare with the vault, and writes nothing. ``close``
notes of which exports the vault has the event, and the message with the password.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import (
    envelope,
    exported,
    passwords,
    pkcs12_mac,
    pkcs12_write,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.exported import Made
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyExists,
    OptionError,
    WrongKeyRecovered,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._files import ExistingFile, NewFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export_plan, export_sources, export_wishes
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_plan import Plan
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_sources import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_wishes import Wish
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import load_sound
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import pem, reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

_MEDIA_TYPES = {"pkcs12": "application/x-pkcs12", "pkcs8": "application/pkcs8-encrypted"}


def run(task: HostTask) -> FlowResult:
    """See the module's docstring.

    Relay in: ``{"signing": [usages that may go into tokens]}``; for ``close`` ``{"told": [dest]}``. Out:
    ``{"untold": [{"dest", "format", "key_ids", "digest", "message"}]}``, what the vault does not know yet, of
    a destination the oldest first.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    if task.step == "close":
        return _close(state_dir, task.relay["told"])
    wishes = export_wishes.read_wishes(task.params["exports"])
    known = [exported.read(state_dir, wish.dest) for wish in wishes]
    allowed = (task.relay or {}).get("signing", [])
    sources, warnings = export_sources.read_sources(wishes, known, state_dir, allowed, task.check_mode)
    if task.step == "facts":
        return FlowResult(
            False, [_known_key(wish, one) for wish, many in zip(wishes, sources) for one in many if one.facts]
        )
    with _tokens(task, wishes, state_dir) as on_tokens:
        plans = [export_plan.plan(*one, on_tokens) for one in zip(wishes, sources, known)]
        done = [_carried_out(plan, state_dir, on_tokens) if not task.check_mode else (plan, None) for plan in plans]
    rows = [_row(plan, made) for plan, made in done]
    warnings += [text for plan in plans for text in plan.warnings]
    untold = [] if task.check_mode else _untold(wishes, state_dir)
    changed = any(row["changed"] for row in rows)
    return FlowResult(changed, rows, diff=_diff(plans), relay={"untold": untold}, warnings=warnings)


def _known_key(wish: Wish, source: Source) -> dict:
    return {"dest": wish.dest, "format": wish.format, "key_id": source.key_id, "usage": source.usage}


def _tokens(task: HostTask, wishes: Sequence[Wish], state_dir: str) -> Any:
    mine = [wish for wish in wishes if wish.format == "token"]
    if not mine:
        return contextlib.nullcontext()
    # Not at the top: a host that writes files loads nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export_tokens

    return export_tokens.opened(mine, None if task.check_mode else state_dir)


def _close(state_dir: str, told: Sequence[str]) -> FlowResult:
    for dest in told:
        known = tuple(replace(one, pending="", told=True) for one in exported.read(state_dir, dest))
        exported.write(state_dir, dest, known)
    return FlowResult(False, [])


def _untold(wishes: Sequence[Wish], state_dir: str) -> list[dict]:
    found = []
    for wish in wishes:
        for one in exported.read(state_dir, wish.dest):
            if not one.told:
                key_ids = sorted(key["key_id"] for key in one.keys)
                facts = {"dest": wish.dest, "format": wish.format, "key_ids": key_ids}
                found.append({**facts, "digest": one.digest, "message": one.pending})
    return found


# --- doing it ----------------------------------------------------------------------------------------------------


def _carried_out(plan: Plan, state_dir: str, on_tokens: Any) -> tuple[Plan, Made | None]:
    wish = plan.wish
    if plan.action == "adjusted" and plan.existing:
        _files.set_attributes(plan.existing, wish.mode, wish.item["owner"], wish.item["group"])
    if not plan.writes:
        return plan, plan.known[-1] if plan.known else None
    keys = [_loaded(source) for source in plan.sources]
    if wish.format == "token":
        made = _made(plan, "")
        exported.write(state_dir, wish.dest, (*plan.known, made))
        on_tokens.write(wish, plan.sources[0], keys[0])
        return plan, made
    password = passwords.generate() if wish.handover else wish.item["password"]
    content = _sealed(wish, _protected(plan, keys, password))
    made = _made(plan, canonical.digest(content))
    message = b""
    if wish.handover:
        message = passwords.message(password, wish.dest, made.digest, wish.handover.recipient, "password_to")
        made = replace(made, password_digest=canonical.digest(message))
        made = made if wish.handover.dest else replace(made, pending=canonical.encode(message))
    exported.write(state_dir, wish.dest, (*plan.known, made))
    if wish.handover and wish.handover.dest:
        _write(wish, wish.handover.dest, message, plan.message)
    _write(wish, wish.dest, content, plan.existing)
    return plan, made


def _loaded(source: Source) -> PrivateKey:
    """The key, fully checked, and still the one that was judged."""
    path = reference.parse_path(source.item["key"]).path
    key, dummy = load_sound(path, source.item["passphrase"])
    if key.facts.key_id != source.key_id:
        raise WrongKeyRecovered(f"{path}: another process replaced the key meanwhile; run again")
    return key


def _made(plan: Plan, digest: str) -> Made:
    keys = [{"key": one.item["key"], "key_id": str(one.key_id)} for one in plan.sources]
    return Made(digest, plan.facts, keys, created=times.text(times.now()))


def _protected(plan: Plan, keys: Sequence[PrivateKey], password: str) -> bytes:
    wish = plan.wish
    if wish.format == "pkcs8":
        return pem.write("ENCRYPTED PRIVATE KEY", pkcs12_write.encrypt(keys[0].pkcs8, password, wish.profile))
    entries = [
        pkcs12_write.Entry(key, source.certificate, source.friendly_name) for key, source in zip(keys, plan.sources)
    ]
    own = {source.certificate for source in plan.sources}
    chain = dict.fromkeys(one for source in plan.sources for one in source.chain if one not in own)
    mac = pkcs12_mac.Mac(wish.mac, wish.profile.mac_hash, wish.profile.iterations)
    return pkcs12_write.write(entries, list(chain), password, wish.profile, mac)


def _sealed(wish: Wish, content: bytes) -> bytes:
    if wish.sealed_to is None:
        return content
    try:
        if wish.item["encrypt_to"]["form"] == "cms":
            return envelope.as_cms(content, wish.sealed_to)
        return envelope.as_mail(content, wish.sealed_to, wish.mail, _MEDIA_TYPES[wish.format])
    except FormatError as error:
        raise OptionError(f"encrypt_to.certificate: {error}") from error


def _write(wish: Wish, path: str, content: bytes, seen: ExistingFile | None) -> None:
    """Write a file in the place of what was seen there, or of nothing."""
    file = NewFile(path, content, wish.mode, wish.item["owner"], wish.item["group"])
    if seen is not None:
        _files.replace_all([file], [seen])
    elif not _files.write_new([file])[0]:
        raise KeyExists(f"{path}: another process made a file there meanwhile; run again")


# --- telling it --------------------------------------------------------------------------------------------------


def _row(plan: Plan, made: Made | None) -> dict:
    wish = plan.wish
    keys = [
        {
            "key": source.item["key"],
            "key_id": source.key_id,
            "usage": source.usage,
            "algorithm": source.facts.algorithm if source.facts else None,
        }
        for source in plan.sources
    ]
    return {
        "dest": wish.dest,
        "format": wish.format,
        "profile": plan.facts["profile"],
        "mac": plan.facts["mac"],
        "action": plan.action,
        "changed": plan.action in ("created", "replaced", "adjusted"),
        "keys": keys,
        "certificates": len({one["certificate"] for one in plan.facts["keys"]} - {None}) + len(plan.facts["chain"]),
        "digest": _digest_of(plan, made),
        "password_file": wish.handover.dest if wish.handover else None,
    }


def _digest_of(plan: Plan, made: Made | None) -> str | None:
    if plan.writes or plan.existing is None:
        return (made.digest or None) if made else None
    return hashlib.sha256(plan.existing.content).hexdigest()


def _diff(plans: Sequence[Plan]) -> list[dict]:
    changing = [plan for plan in plans if plan.action in ("created", "replaced", "adjusted")]
    return [
        {
            "before_header": plan.wish.dest,
            "after_header": plan.wish.dest,
            "before": _shown(plan, plan.before, plan.existing),
            "after": _shown(plan, plan.facts, None),
        }
        for plan in changing
    ]


def _shown(plan: Plan, facts: dict | None, existing: ExistingFile | None) -> dict:
    if facts is None:
        return {"unknown content": canonical.digest(existing.content)} if existing else {}
    mode = existing.mode if existing else plan.wish.mode
    return facts if plan.wish.format == "token" else {**facts, "mode": f"{mode:04o}"}
