# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of result is counted once, and nothing but numbers and one digest comes out."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.job_statistics import ARCHIVE, LOG, Statistics

SECRET = "s3cret-in-every-corner"
DIGEST = "9f" * 32


def row(state: str, changed: bool = False) -> dict:
    return {"state": state, "changed": changed, "key": SECRET, "refusal": {"message": SECRET}}


def counted(result: dict, options: dict | None = None, check_mode: bool = False) -> dict | None:
    statistics = Statistics()
    assert statistics.take(ARCHIVE, {"msg": SECRET, **result}, options or {}, check_mode)
    return {name: count for name, count in (statistics.keys or {}).items() if count}


TWO_KEYS = {"keys": [{"passphrase": SECRET}, {"passphrase": SECRET}]}


@pytest.mark.parametrize(
    ("result", "options", "check_mode", "expected"),
    [
        ({"results": [row("archived", True), row("archived")]}, {}, False, {"archived": 1, "present": 1}),
        ({"results": [row("archived", True), row("archived")]}, {}, True, {"pending": 1, "present": 1}),
        ({"results": [row("refused"), row("not archived")], "failed": True}, {}, False, {"refused": 1, "pending": 1}),
        ({"results": [row("unknown", True)]}, {}, True, {"pending": 1}),
        ({"failed": True}, TWO_KEYS, False, {"pending": 2}),
        ({"unreachable": True}, TWO_KEYS, False, {"pending": 2}),
        ({"failed": True}, {"keys": SECRET}, False, {}),
        ({"censored": "no_log"}, TWO_KEYS, False, {}),
        ({"results": SECRET}, TWO_KEYS, False, {}),
    ],
)
def test_keys(result: dict, options: dict, check_mode: bool, expected: dict) -> None:
    assert counted(result, options, check_mode) == expected


def test_a_loop_counts_its_items() -> None:
    good = {"ansible_loop_var": "item", "results": [row("archived", True)]}
    bad = {"ansible_loop_var": "item", "failed": True, "invocation": {"module_args": TWO_KEYS}}
    assert counted({"results": [good, bad]}) == {"archived": 1, "pending": 2}


@pytest.mark.parametrize("valid", [True, False])
def test_a_head_is_taken_from_a_log_that_verified(valid: bool) -> None:
    statistics = Statistics()
    result = {"valid": valid, "problems": [] if valid else [{"text": SECRET}], "head": {"number": 3, "digest": DIGEST}}
    assert statistics.take(LOG, result, {}, False)
    expected = {"number": 3, "digest": DIGEST} if valid else None
    assert statistics.log == {"valid": valid, "problems": int(not valid), "head": expected}


@pytest.mark.parametrize("head", [{"number": SECRET, "digest": DIGEST}, {"number": 1, "digest": SECRET}, {}])
def test_a_head_of_another_form_is_none(head: dict) -> None:
    statistics = Statistics()
    statistics.take(LOG, {"valid": True, "problems": [], "head": head}, {}, False)
    assert statistics.log == {"valid": True, "problems": 0, "head": None}


def test_other_tasks_and_a_log_that_was_not_read_count_nothing() -> None:
    statistics = Statistics()
    assert not statistics.take("ansible.builtin.debug", {"results": [row("archived", True)]}, {}, False)
    assert statistics.take(LOG, {"failed": True, "msg": SECRET}, {}, False)
    assert statistics.keys is None
    assert statistics.log is None


def test_the_file_is_whole_private_and_has_no_secret(tmp_path: Path) -> None:
    statistics = Statistics()
    statistics.take(ARCHIVE, {"results": [row("archived", True)], "msg": SECRET}, TWO_KEYS, False)
    statistics.take(LOG, {"valid": True, "problems": [], "head": {"number": 1, "digest": DIGEST}}, {}, False)
    path = tmp_path / "numbers.json"
    statistics.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET not in path.read_text()
    assert json.loads(path.read_text())["keys"]["archived"] == 1
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
