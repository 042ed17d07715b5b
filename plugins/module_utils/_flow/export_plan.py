# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What key_export will do about each wish: what is there is compared with what is wanted, before anything is written.

A file that is there is opened, or known from this host's own notes. One that holds a key which would be lost, that does
not open, or that is not known is left alone, unless forced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import pkcs12_open, profiles
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.exported import Made
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    KeyNotFound,
    KeyUnreadable,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._files import ExistingFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_sources import Source, facts_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_wishes import Wish, require_writable
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file


@dataclass(frozen=True)
class Plan:
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


def plan(wish: Wish, sources: Sequence[Source], known: tuple[Made, ...], on_tokens: Any) -> Plan:
    """What will be done for one wish.

    Args:
        wish, sources: what is wanted, of which keys.
        known: this host's notes about the destination.
        on_tokens: what _flow/export_tokens.py opened; used for wishes of format ``token``.

    Raises:
        KeyExists, KeyNotFound, WrongPassphrase, KeyUnreadable, FileError: it cannot be done without a loss.
    """
    facts = facts_of(wish, sources)
    planned = Plan(wish, sources, "created", facts, known=known, warnings=_incomplete(wish, sources))
    if wish.format == "token":
        return replace(planned, **on_tokens.plan(wish, sources[0], known))
    existing = _files.read_existing(wish.dest)
    if existing is not None:
        _require_no_working_key(wish.dest, existing)
    gone = [one for one in sources if one.facts is None and one.key_id]
    if gone:
        return _remembered(replace(planned, existing=existing), gone)
    if existing is None:
        planned = replace(planned, message=_message_there(wish, known))
        require_writable(wish)
        return planned
    before = _facts_there(wish, existing, known)
    if before is not None and before == facts:
        differs = _files.needs_attributes(existing, wish.mode, wish.item["owner"], wish.item["group"])
        return replace(
            planned, action="adjusted" if differs else "kept", before=before, existing=existing, facts=before
        )
    _require_nothing_lost(wish, sources, before)
    require_writable(wish)
    message = _message_there(wish, known)
    return replace(planned, action="replaced", before=before, existing=existing, message=message)


def _incomplete(wish: Wish, sources: Sequence[Source]) -> tuple[str, ...]:
    bare = [one.item["key"] for one in sources if one.facts and one.certificate is None]
    if wish.format != "pkcs12" or not bare:
        return ()
    return (f"{wish.dest}: {', '.join(bare)} goes without a certificate, and most programs import no such key",)


def _remembered(plan: Plan, gone: Sequence[Source]) -> Plan:
    """A key that has left this host was delivered, if what is wanted is what was made.

    Raises:
        KeyNotFound: something else is wanted of it.
    """
    newest, wanted = plan.known[-1], {one.key_id for one in plan.sources}
    had = {key["key_id"] for key in newest.keys}
    differs = [name for name in ("format", "profile", "mac", "form") if newest.facts.get(name) != plan.facts[name]]
    # The owner's certificate may have been renewed since; nothing can be sealed to the new one any more.
    differs += [one for one in ("password_to", "encrypted_to") if bool(newest.facts.get(one)) != bool(plan.facts[one])]
    # Of what has left, certificate and name may have left too.
    there = [one for one in plan.facts["keys"] if one["key_id"] not in {source.key_id for source in gone}]
    if wanted != had or differs or any(one not in newest.facts["keys"] for one in there):
        raise KeyNotFound(
            f"{gone[0].item['key']}: the key was exported to {plan.wish.dest} before and is not on this host any more; "
            f"what is wanted now is something else ({', '.join(differs) or 'keys'}), so recover the key, or leave the "
            "export as it was"
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
    if existing is not None:
        _require_no_working_key(wish.handover.dest, existing)
    mine = {one.password_digest for one in known}
    if existing is not None and canonical.digest(existing.content) not in mine and not wish.item["force"]:
        raise KeyExists(
            f"password_to.dest: {wish.handover.dest} is no message of this module for {wish.dest}; it stays: name "
            "another place, or give force: true"
        )
    return existing


def _require_no_working_key(path: str, existing: ExistingFile) -> None:
    """Raise KeyExists when the file is a private key in a form that no export has: not even force replaces that."""
    content = existing.content
    labels = {line for line in content.splitlines() if line.startswith(b"-----BEGIN ")}
    working = any(b"PRIVATE KEY-----" in one and b"ENCRYPTED PRIVATE KEY" not in one for one in labels)
    if not working and not labels:
        with contextlib.suppress(WrongPassphrase, KeyUnreadable):
            working = key_file.facts_of(content, None) is not None
    if working:
        raise KeyExists(f"{path}: it is a private key and no export; it stays: name another place, or move it away")


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
        first = "give its password" if isinstance(error, WrongPassphrase) else "name another file"
        raise type(error)(
            f"dest: {wish.dest}: {error}. It stays: {first}, move it away, or give force: true to replace it"
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
