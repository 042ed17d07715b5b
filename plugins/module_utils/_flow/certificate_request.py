# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request certificates: one PKCS#10 file per key.

1. Read every key and check its usage, its receipt and all options; nothing is changed before that is done for all.
2. Keep a request that says what is asked for and verifies; sign anew where it does not.
3. Write: each file whole or not at all. Only a request is ever replaced; anything else in its place is an error.

The request of a nonsigning key on a token was made with the key (kept_requests.py), and is handed out here.
A nonsigning key is certified only when this host's receipt shows that it is archived: otherwise messages would be
encrypted to a key that can still be lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    FormatError,
    KeyopsError,
    OptionError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import certificate_request_keys as keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import profiles

#: A request with thousands of names has less.
_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class _Planned:
    """One item of ``keys``, checked.

    Attributes:
        item: the options.
        path, mode: of the request's file.
        key: a PrivateKey, or a TokenKey; None when there is none yet, in check mode.
        usage, content: None as well.
        existing: the request's file, or None.
        before: what the existing request says, or None.
        warning: for the user, or None.
        statement: what signs the request of a key that cannot sign, or None.
    """

    item: dict = field(repr=False)
    path: str
    mode: int
    key: Any = None
    usage: str | None = None
    content: profiles.Content | None = None
    existing: _files.ExistingFile | None = field(default=None, repr=False)
    before: profiles.Content | None = None
    warning: str | None = None
    statement: Any = field(default=None, repr=False)

    @property
    def rewrites(self) -> bool:
        """Whether the request is signed anew."""
        return self.content is None or self.before != self.content

    @property
    def adjusts(self) -> bool:
        """Whether an existing request gets another mode or owner."""
        if self.rewrites or self.existing is None:
            return False
        return _files.needs_attributes(self.existing, self.mode, self.item["owner"], self.item["group"])


def run(task: HostTask, tokens: Any = None) -> FlowResult:
    """See the module's docstring.

    Where keys may be on tokens, ``tokens`` is certificate_request_tokens.py, as in certificate_request_anywhere.py.
    Nothing here imports it, so that plays on key files neither ship nor load anything of tokens.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    _check_paths(task.params["keys"])
    with contextlib.ExitStack() as stack:
        opened = _opened(task, state_dir, tokens, stack)
        return _requested(task, [_plan(item, state_dir, task.check_mode, opened) for item in task.params["keys"]])  # 1


def _opened(task: HostTask, state_dir: str, tokens: Any, stack: contextlib.ExitStack) -> Any:
    """The keys on tokens, open until the end of the task; None without any."""
    named = [one for item in task.params["keys"] for one in (item, item.get("possession")) if one is not None]
    items = [one for one in named if reference.is_token(one["key"])]
    for one in named:
        if one.get("pin") is not None and one not in items:
            raise OptionError(f"{one['key']}: pin: a key file has a passphrase, not a PIN: give passphrase")
    if not items:
        return None
    return stack.enter_context(tokens.TokenKeys(items, state_dir, task.check_mode))


def _requested(task: HostTask, planned: Sequence[_Planned]) -> FlowResult:
    changed = [one.rewrites or one.adjusts for one in planned]
    written: dict[str, bytes] = {}
    if not task.check_mode:
        written = _carry_out(planned)
    return FlowResult(
        any(changed),
        [_row(one, is_changed, written.get(one.path)) for one, is_changed in zip(planned, changed)],
        diff=[_difference(one) for one, is_changed in zip(planned, changed) if is_changed],
        warnings=[one.warning for one in planned if one.warning],
    )


def _check_paths(items: Sequence[dict]) -> None:
    """Raise OptionError unless every request has an absolute path of its own, which is no key's."""
    files = [item["key"] for item in items if not reference.is_token(item["key"])]
    taken = {os.path.realpath(reference.parse_path(key).path): "is the file of a key" for key in files}
    for item in items:
        if not os.path.isabs(item["path"]):
            raise OptionError(f"path: {item['path']!r} is not an absolute path")
        place = os.path.realpath(item["path"])
        if place in taken:
            raise OptionError(f"path: {item['path']} {taken[place]}; give each request a file of its own")
        taken[place] = "is named twice"


def _plan(item: dict, state_dir: str, check_mode: bool, tokens: Any) -> _Planned:
    try:
        return _planned(item, state_dir, check_mode, tokens)
    except KeyopsError as error:
        raise type(error)(f"{item['key']}: {error}") from error


def _planned(item: dict, state_dir: str, check_mode: bool, tokens: Any) -> _Planned:
    place = {"item": item, "path": os.path.normpath(item["path"]), "mode": _mode(item["mode"])}
    key = keys.read_key(item, check_mode, tokens)
    if key is None:
        return _Planned(**place)
    usage = keys.usage_of(item, key)
    warning = keys.check_archived(item, key, usage, state_dir, check_mode)
    statement = keys.statement_of(item, key, tokens)
    content = keys.content_of(item, key, usage, statement)
    existing, before = _existing(place["path"], statement.read if statement else profiles.read)
    if before != content:
        _files.check_target(place["path"], item["owner"], item["group"])
    found = {"content": content, "existing": existing, "before": before, "statement": statement}
    return _Planned(**place, key=key, usage=usage, warning=warning, **found)


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError as error:
        raise OptionError("mode: is not octal; write it in quotes, like '0644'") from error
    # Whoever can write a request can have another key certified under this name.
    if mode & ~0o644 or not mode & 0o400:
        raise OptionError("mode: a request is read by its owner and written by nobody else; use '0644' or '0640'")
    return mode


def _existing(
    path: str, read: Callable[[bytes], profiles.Content | None]
) -> tuple[_files.ExistingFile | None, profiles.Content | None]:
    existing = _files.read_existing(path, _LIMIT)
    if existing is None:
        return None, None
    try:
        return existing, read(existing.content)
    except FormatError as error:
        raise FileError(f"{path}: {error}; it is not overwritten, so remove it or give another path") from error


def _carry_out(planned: Sequence[_Planned]) -> dict[str, bytes]:
    """Sign, then write; the contents that were written by path."""
    signed = [one for one in planned if one.rewrites]
    contents = [_signed(one) for one in signed]  # 2
    files = [
        _files.NewFile(one.path, content, one.mode, one.item["owner"], one.item["group"])
        for one, content in zip(signed, contents)
    ]
    if files:
        _files.replace_all(files, [one.existing for one in signed])  # 3
    for one in planned:
        if one.adjusts and one.existing is not None:
            _files.set_attributes(one.existing, one.mode, one.item["owner"], one.item["group"])
    return {one.path: content for one, content in zip(signed, contents)}


def _signed(one: _Planned) -> bytes:
    if one.key is None or one.content is None:
        raise AssertionError("only items that are signed come here")
    if one.statement is not None:
        return bytes(one.statement.write(one.content, one.key.facts.public_key))
    if not isinstance(one.key, PrivateKey):
        return bytes(one.key.request(one.content))
    return profiles.write(one.content, key_file.check_fully(one.key))


def _row(one: _Planned, changed: bool, written: bytes | None) -> dict:
    kept = one.existing.content if one.existing and not one.rewrites else None
    request = written or kept
    facts = one.content.facts() if one.content else {}
    return {
        **{"key": one.item["key"], "path": one.path, "usage": one.usage or one.item["usage"], "changed": changed},
        "algorithm": one.key.facts.algorithm if one.key else None,
        **{name: facts.get(name) for name in ("key_id", "subject", "subject_alt_name", "key_usage")},
        **{name: facts.get(name) for name in ("extended_key_usage", "certificate_authority")},
        "request": request.decode("ascii", "replace") if request else None,
    }


def _difference(one: _Planned) -> dict:
    after = one.content.facts() if one.content else {"key_id": "of a key that is not made yet"}
    before = one.before.facts() if one.before else {}
    if one.existing:
        before = {
            **before,
            "mode": f"{one.existing.mode:04o}",
            "owner": one.existing.owner,
            "group": one.existing.group,
        }
    owner, group = one.item["owner"], one.item["group"]
    after = {
        **after,
        "mode": f"{one.mode:04o}",
        "owner": before.get("owner") if owner is None else owner,
        "group": before.get("group") if group is None else group,
    }
    after = {name: value for name, value in after.items() if value is not None}
    return {"before_header": one.path, "after_header": one.path, "before": before, "after": after}
