# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receipts: what the host keeps after archiving (docs/formats.md), one file per key ID below the state folder.

They hold public facts only, yet decide whether a key may be removed: so the folder is 0700, the files are 0600, and
a receipt that does not have its one form is an error and never "no receipt".
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt

_FORMAT = "keyops-receipt/1"
_FIELDS = {"key_id": str, "usage": str, "sealed_key": str, "log_number": int, "log_digest": str}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[0-9a-f]{64}\.json")


def default_state_dir() -> str:
    """Where the state lies unless ``state_dir`` says otherwise: root's is the host's, a user's is below the home."""
    if os.geteuid() == 0:
        return "/var/lib/keyops"
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "keyops")


def read_receipt(state_dir: str, key_id: str) -> Receipt | None:
    """This host's receipt of the key, or None when there is none.

    Raises:
        StateError: there is one and it is not valid.
        FileError: it cannot be read.
    """
    path = _path(state_dir, key_id)
    existing = _files.read_existing(path)
    if existing is None:
        return None
    try:
        value = canonical.load_object(existing.content, _FORMAT, _FIELDS)
        receipt = Receipt(**{name: value[name] for name in _FIELDS})
        _check(receipt)
    except FormatError as error:
        raise StateError(f"{path}: not a valid receipt ({error}); archive the key again") from error
    if receipt.key_id != key_id:
        raise StateError(f"{path}: this is the receipt of another key; archive the key again")
    return receipt


def read_all(state_dir: str) -> tuple[list[Receipt], list[str]]:
    """Every receipt of this host, also of keys that are gone; and one sentence for each that cannot be read."""
    folder = os.path.join(state_dir, "receipts")
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{folder}: not looked at, {error.strerror}"]
    found, problems = [], []
    for name in names:
        if not _NAME.fullmatch(name):
            continue
        try:
            receipt = read_receipt(state_dir, name[:-5])
        except (StateError, FileError) as error:
            problems.append(f"{folder}/{name}: not looked at, {error}")
            continue
        found += [receipt] if receipt else []
    return found, problems


def write_receipts(state_dir: str, receipts: Sequence[Receipt]) -> None:
    """Write the receipts durably, each in place of an older one of the same key.

    Raises:
        FileError: the state folder cannot be used.
        FormatError: a receipt has a value that its format does not allow.
    """
    if not receipts:
        return
    for receipt in receipts:
        _check(receipt)
    _files.make_private_folder(os.path.join(state_dir, "receipts"))
    _files.replace_all(
        [
            _files.NewFile(
                _path(state_dir, receipt.key_id), canonical.dumps({"format": _FORMAT, **dataclasses.asdict(receipt)})
            )
            for receipt in receipts
        ]
    )


def _check(receipt: Receipt) -> None:
    for value in (receipt.key_id, receipt.sealed_key, receipt.log_digest):
        if not _DIGEST.fullmatch(value):
            raise FormatError("a receipt names a key or digest that is not 64 hex digits")
    if receipt.log_number < 0:
        raise FormatError("a receipt's log number is negative")


def _path(state_dir: str, key_id: str) -> str:
    # The key ID becomes a file name: nothing else than a digest may.
    if not _DIGEST.fullmatch(key_id):
        raise StateError("a key ID is not 64 hex digits")
    return os.path.join(state_dir, "receipts", f"{key_id}.json")
