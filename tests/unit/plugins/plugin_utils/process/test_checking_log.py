# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Problems of the log that were looked into stay known, and hide no new ones."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.checking_log import check_log
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault


@pytest.fixture
def vault():
    made = MemoryVault()
    for _number in range(5):
        append(made)
    return made


def append(vault):
    return event_log.append(vault, action="test", outcome="success", actor="a", host="h")


def checked(vault, known=(), heads=()):
    params = {"since": 1, "signing_certificates": [], "fail_on_problems": True}
    params |= {"known_problems": list(known), "expected_heads": list(heads)}
    return check_log(ControllerTask(params, vault, False, "h", "a", None))


def marks(result):
    return [problem["mark"] for problem in result["problems"]]


def test_junk_ahead_of_the_log_can_be_known(vault):
    """Whoever may write events can put it there, and nobody can remove it."""
    vault.create({paths.event(999_999_999_999): b"junk"})
    first = checked(vault)
    assert first["failed"] and [one["kind"] for one in first["problems"]] == ["unparsable", "claimed_ahead"]
    known = marks(first)
    append(vault)
    again = checked(vault, known)
    assert again["valid"] and "failed" not in again
    assert [problem["known"] for problem in again["problems"]] == [True, True]
    vault.tamper(paths.event(999_999_999_999), b"other junk")
    assert checked(vault, known)["failed"]


@pytest.mark.parametrize("number", [2, 5])
def test_an_edit_that_is_known_hides_no_other(vault, number):
    vault.tamper(paths.event(number), b"edited")
    known = marks(checked(vault))
    assert checked(vault, known)["valid"]
    vault.tamper(paths.event(number), b"edited again")
    assert not checked(vault, known)["valid"]
    vault.tamper(paths.event(number), b"edited")
    vault.tamper(paths.event(3), b"edited too")
    assert not checked(vault, known)["valid"]


def test_a_gap_that_is_known_hides_no_larger_one(vault):
    vault.tamper(paths.event(3), None)
    known = marks(checked(vault))
    assert checked(vault, known)["valid"]
    vault.tamper(paths.event(2), None)
    assert not checked(vault, known)["valid"]


def test_what_was_cut_off_is_never_known(vault):
    result = checked(vault, heads=[{"number": 9, "digest": "0" * 64}])
    assert marks(result) == [None]
    assert not checked(vault, ["", "None"], [{"number": 9, "digest": "0" * 64}])["valid"]
