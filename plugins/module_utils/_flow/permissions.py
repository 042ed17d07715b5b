# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give private key files that exist another mode, owner or group.

1. Each file is read by the safe way to it (_files.py): no link of another user leads there, and it has one name.
2. It must hold a private key, the one that is expected where a key ID is given: nothing else changes hands.
3. Only then mode and owner are set, on the file that was read.

What cannot be mended is told for its item, and the others are mended all the same.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileMissing,
    KeyopsError,
    KeyUnreadable,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT, read_mode
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    for item in task.params["keys"]:
        if item["mode"] is not None:
            read_mode(item["mode"])
    results = [_mended(item, task.check_mode) for item in task.params["keys"]]
    diff = [
        {"before_header": row["key"], "after_header": row["key"], "before": row["before"], "after": row["after"]}
        for row in results
        if row["changed"]
    ]
    return FlowResult(any(row["changed"] for row in results), results, diff)


def _mended(item: dict, check_mode: bool) -> dict:
    row = {"key": item["key"], "changed": False, "before": None, "after": None, "error": None}
    try:
        found = _files.read_existing(item["key"], KEY_FILE_LIMIT)
        if found is None:
            raise FileMissing(f"{item['key']}: it does not exist")
        row["before"] = row["after"] = _facts(found)
        _check_key(found, item["key_id"])
        mode = found.mode if item["mode"] is None else read_mode(item["mode"])
        if _files.needs_attributes(found, mode, item["owner"], item["group"]):
            if not check_mode:
                _files.set_attributes(found, mode, item["owner"], item["group"])
            row["changed"] = True
            row["after"] = {
                "mode": f"{mode:04o}",
                "owner": item["owner"] or found.owner,
                "group": item["group"] or found.group,
            }
    except KeyopsError as error:
        row["error"] = str(error)
    return row


def _facts(found: _files.ExistingFile) -> dict:
    return {"mode": f"{found.mode:04o}", "owner": found.owner, "group": found.group}


def _check_key(found: _files.ExistingFile, key_id: str | None) -> None:
    """Raise KeyUnreadable unless the file holds this private key, or any where no key ID is expected."""
    try:
        there = key_file.facts_of(found.content, None).key_id
    except WrongPassphrase:
        if key_id is not None:
            raise
        return
    if key_id not in (None, there):
        raise KeyUnreadable(f"{found.path}: it holds another private key than the one that was audited; audit again")
