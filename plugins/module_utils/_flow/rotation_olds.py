# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The predecessors of a key that is rotated: files beside it with the begin of their own key ID behind its name.

A file that is only called so, a backup with a date for example, is none: it is told, and left alone. So is a key that
no rotation on this host has noted (rotation_notes.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, KeyUnreadable, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotation_evidence, rotation_notes
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotation_files as names
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import read_facts
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts


def rows(path: str, item: dict, state_dir: str, warnings: list[str]) -> Iterator[dict]:
    """One per predecessor; ``replaced`` is None, and a warning says so, where no rotation on this host noted it."""
    noted = rotation_notes.read(state_dir, path)
    for old in names.olds_of(path):
        facts = _facts(old, item["passphrase"])
        if facts is None or old != names.old_of(path, facts.key_id):
            warnings.append(f"{old}: it is named like an old key of {path}, and {_what(facts)}; it is left alone")
            continue
        if facts.key_id not in noted:
            warnings.append(
                f"{old}: no rotation on this host noted that it was replaced, so it stays; remove it with private_key "
                "when nothing needs it"
            )
        yield {
            **{"key": old, "key_id": facts.key_id, "replaced": noted.get(facts.key_id)},
            "signs": rotation_evidence.may_have_encrypted(facts, old, item, state_dir) is None,
            **{"archived": sealed_key(facts, state_dir), "modified": names.modified(old)},
        }


def sealed_key(facts: KeyFacts | None, state_dir: str) -> str | None:
    """What this host's receipt of the key names, so that nobody else's record is taken for this host's."""
    try:
        receipt = _receipts.read_receipt(state_dir, facts.key_id) if facts else None
    except StateError:  # names nothing; what needs a receipt (a removal, a switch) reads it again and says so
        return None
    return receipt.sealed_key if receipt else None


def _facts(path: str, passphrase: str | None) -> KeyFacts | None:
    """Of what is no key, or has another passphrase, or is no file, there are none."""
    try:
        return read_facts(path, passphrase)
    except (KeyUnreadable, FileError):
        return None


def _what(facts: KeyFacts | None) -> str:
    return f"holds another key ({facts.key_id[:16]}...)" if facts else "no key can be read from it"
