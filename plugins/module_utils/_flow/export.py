# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Export keys for their owner: password-protected files, sealed ones, and keys brought into the owner's own token.

This is the one place where a private key leaves its file on purpose (DESIGN, rule 2), and it leaves under a password:

1. Everything is read, judged and compared before anything is written; one error, and nothing is.
2. A file that is there is opened, or known from this host's own notes. One that holds a key which would be lost, that
   does not open, or that is not known is left alone, unless forced.
3. The note comes first, then the message with a generated password, then the file: whatever a kill leaves, the next run
   goes on. A generated password is never in a result, in a relay or in a note; only sealed to its owner.

Steps: ``facts`` tells key IDs and usages for the controller to compare with the vault, and writes nothing. ``close``
notes of which exports the vault has the event, and the message with the password.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import (
    envelope,
    exported,
    passwords,
    pkcs12_mac,
    pkcs12_open,
    pkcs12_write,
    profiles,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.exported import Made
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyExists,
    KeyNotFound,
    KeyUnreadable,
    OptionError,
    WrongKeyRecovered,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._files import ExistingFile, NewFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export_wishes as wishing
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_wishes import Source, Wish
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import load_sound
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pem, reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

_MEDIA_TYPES = {"pkcs12": "application/x-pkcs12", "pkcs8": "application/pkcs8-encrypted"}


@dataclass(frozen=True)
class _Plan:
    """What will be done for one wish.

    Attributes:
        action: ``created``, ``replaced``, ``adjusted`` (mode or owner), ``kept``, or ``delivered``: it was, and the key
            has left this host since.
        existing, message: the files that are there.
        before: public facts of what is there, or None.
        facts: of what will be there.
        known: this host's notes about the destination.
        warnings: for the user.
    """

    wish: Wish
    sources: Sequence[Source] = field(repr=False)
    action: str
    facts: dict
    before: dict | None = None
    existing: ExistingFile | None = field(default=None, repr=False)
    message: ExistingFile | None = field(default=None, repr=False)
    known: tuple[Made, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        return self.action in ("created", "replaced")


def run(task: HostTask) -> FlowResult:
    """See the module's docstring.

    Relay in: ``{"signing": [usages that may go into tokens]}``; for ``close`` ``{"told": [dest]}``. Out:
    ``{"untold": [{"dest", "format", "key_ids", "digest", "message"}]}``, what the vault does not know yet, of
    a destination the oldest first.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    if task.step == "close":
        return _close(state_dir, task.relay["told"])
    wishes = wishing.read_wishes(task.params["exports"])
    known = [exported.read(state_dir, wish.dest) for wish in wishes]
    allowed = (task.relay or {}).get("signing", [])
    sources, warnings = wishing.read_sources(wishes, known, state_dir, allowed, task.check_mode)
    if task.step == "facts":
        return FlowResult(
            False, [_known_key(wish, one) for wish, many in zip(wishes, sources) for one in many if one.facts]
        )
    with _tokens(task, wishes, state_dir) as on_tokens:
        plans = [_plan(*one, on_tokens) for one in zip(wishes, sources, known)]
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


# --- what is to be done ------------------------------------------------------------------------------------------


def _plan(wish: Wish, sources: Sequence[Source], known: tuple[Made, ...], on_tokens: Any) -> _Plan:
    facts = wishing.facts_of(wish, sources)
    plan = _Plan(wish, sources, "created", facts, known=known, warnings=_incomplete(wish, sources))
    if wish.format == "token":
        return replace(plan, **on_tokens.plan(wish, sources[0], known))
    existing = _files.read_existing(wish.dest)
    gone = [one for one in sources if one.facts is None and one.key_id]
    if gone:
        return _remembered(replace(plan, existing=existing), gone)
    if existing is None:
        plan = replace(plan, message=_message_there(wish, known))
        wishing.require_folder(wish)
        return plan
    before = _facts_there(wish, existing, known)
    if before is not None and before == facts:
        differs = _files.needs_attributes(existing, wish.mode, wish.item["owner"], wish.item["group"])
        return replace(plan, action="adjusted" if differs else "kept", before=before, existing=existing, facts=before)
    _require_nothing_lost(wish, sources, before)
    wishing.require_folder(wish)
    message = _message_there(wish, known)
    return replace(plan, action="replaced", before=before, existing=existing, message=message)


def _incomplete(wish: Wish, sources: Sequence[Source]) -> tuple[str, ...]:
    bare = [one.item["key"] for one in sources if one.facts and one.certificate is None]
    if wish.format != "pkcs12" or not bare:
        return ()
    return (f"{wish.dest}: {', '.join(bare)} goes without a certificate, and most programs import no such key",)


def _remembered(plan: _Plan, gone: Sequence[Source]) -> _Plan:
    """A key that has left this host was delivered, if what is wanted is what was made.

    Raises:
        KeyNotFound: something else is wanted of it.
    """
    newest, wanted = plan.known[-1], {one.key_id for one in plan.sources}
    had = {key["key_id"] for key in newest.keys}
    members = ("format", "profile", "mac", "password_to", "encrypted_to", "form")
    differs = [name for name in members if newest.facts.get(name) != plan.facts[name]]
    # Of what has left, certificate and name may have left too.
    there = [one for one in plan.facts["keys"] if one["key_id"] not in {source.key_id for source in gone}]
    if wanted != had or differs or any(one not in newest.facts["keys"] for one in there):
        raise KeyNotFound(
            f"{gone[0].item['key']}: the key was exported to {plan.wish.dest} before and is not on this host any more; "
            "what is wanted now is something else, so recover the key, or leave the export as it was"
        )
    same = plan.existing is not None and canonical.digest(plan.existing.content) == newest.digest
    warning = f"{plan.wish.dest}: it was taken away, or changed, since its key was exported and left this host"
    return replace(plan, action="delivered", facts=newest.facts, warnings=() if same else (warning,))


def _message_there(wish: Wish, known: tuple[Made, ...]) -> ExistingFile | None:
    """What lies where the message with the password goes.

    Raises:
        KeyExists: it is something else.
    """
    if not wish.handover or wish.handover.dest is None:
        return None
    existing = _files.read_existing(wish.handover.dest)
    mine = {one.password_digest for one in known}
    if existing is not None and canonical.digest(existing.content) not in mine and not wish.item["force"]:
        raise KeyExists(
            f"password_to.dest: {wish.handover.dest} is no message of this module for {wish.dest}; it stays: name "
            "another place, or give force: true"
        )
    return existing


def _facts_there(wish: Wish, existing: ExistingFile, known: tuple[Made, ...]) -> dict | None:
    """Public facts of the file that is there; None when it cannot be known and is to be replaced by force.

    Raises:
        KeyExists, WrongPassphrase, KeyUnreadable: it cannot be known.
    """
    if not wish.opens_here:
        digest = canonical.digest(existing.content)
        for one in known:
            if one.digest == digest:
                return one.facts
        if wish.item["force"]:
            return None
        raise KeyExists(
            f"{wish.dest}: there is another file than this host made, and it cannot be opened to compare it; it stays: "
            "move it away, or give force: true"
        )
    try:
        return _opened(wish, existing.content)
    except (WrongPassphrase, KeyUnreadable) as error:
        if wish.item["force"]:
            return None
        raise type(error)(
            f"{wish.dest}: {error}. It stays: give its password, move it away, or give force: true to replace it"
        ) from error


def _opened(wish: Wish, content: bytes) -> dict:
    password = wish.item["password"]
    nothing: dict = {"password_to": None, "encrypted_to": None, "form": None}
    if wish.format == "pkcs8":
        facts = key_file.facts_of(content, password)
        if facts.container != "encrypted-pkcs8":
            raise KeyUnreadable("it is no encrypted PKCS#8")
        found = pem.private_key_block(content).content if pem.looks_like_pem(content) else content
        scheme = profiles.scheme_of(der.read_sequence(found)[0].whole)
        key = {"key_id": facts.key_id, "certificate": None, "friendly_name": None}
        profile = profiles.profile_of([scheme], None)
        return {"format": "pkcs8", "profile": profile, "mac": None, "keys": [key], "chain": [], **nothing}
    opened = pkcs12_open.read(content, password)
    keys = [
        {"key_id": one.key_id, "certificate": one.certificate, "friendly_name": one.friendly_name}
        for one in opened.keys
    ]
    mac = f"{opened.mac.kind}-{opened.mac.hash}"
    profile = opened.profile
    if opened.mac.iterations != profiles.PROFILES.get(profile, wish.profile).iterations:
        profile = "other"
    return {"format": "pkcs12", "profile": profile, "mac": mac, "keys": keys, "chain": list(opened.chain), **nothing}


def _require_nothing_lost(wish: Wish, sources: Sequence[Source], before: dict | None) -> None:
    """Raise KeyExists when the file holds a key that would not be in the new one."""
    if before is None or wish.item["force"]:
        return
    wanted = {one.key_id for one in sources}
    lost = [one["key_id"] for one in before["keys"] if one["key_id"] not in wanted]
    if lost:
        raise KeyExists(
            f"{wish.dest}: it holds the key {lost[0][:16]}..., which is not among keys and would be lost; name it too, "
            "choose another file, or give force: true"
        )


# --- doing it ----------------------------------------------------------------------------------------------------


def _carried_out(plan: _Plan, state_dir: str, on_tokens: Any) -> tuple[_Plan, Made | None]:
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


def _made(plan: _Plan, digest: str) -> Made:
    keys = [{"key": one.item["key"], "key_id": str(one.key_id)} for one in plan.sources]
    return Made(digest, plan.facts, keys, created=times.text(times.now()))


def _protected(plan: _Plan, keys: Sequence[PrivateKey], password: str) -> bytes:
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


def _row(plan: _Plan, made: Made | None) -> dict:
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


def _digest_of(plan: _Plan, made: Made | None) -> str | None:
    if plan.writes or plan.existing is None:
        return (made.digest or None) if made else None
    return hashlib.sha256(plan.existing.content).hexdigest()


def _diff(plans: Sequence[_Plan]) -> list[dict]:
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


def _shown(plan: _Plan, facts: dict | None, existing: ExistingFile | None) -> dict:
    if facts is None:
        return {"unknown content": canonical.digest(existing.content)} if existing else {}
    mode = existing.mode if existing else plan.wish.mode
    return facts if plan.wish.format == "token" else {**facts, "mode": f"{mode:04o}"}
