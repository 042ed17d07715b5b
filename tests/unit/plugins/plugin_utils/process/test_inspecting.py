# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many rows of a host come to the controller: as many as were asked for, whatever the host does."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import inspecting

_ASKED = {"search": {"max_results": 10}, "keys": [{"key": "/k"}], "tokens": []}


def _look(params: dict, **sent: object) -> dict:
    reply = HostReply(False, [], None, {"results": [], **sent})
    return inspecting.look(ControllerTask(params, None, False, "h", "ops", lambda *_more: reply))


@pytest.mark.parametrize(
    ("name", "most"),
    [("results", 11), ("certificates", 10), ("certificate_requests", 10), ("authorized_keys", 10), ("receipts", 40)],
)
def test_more_rows_than_were_asked_for_are_left_out_and_told(name: str, most: int) -> None:
    sent = {name: [{"row": number} for number in range(most + 5)], "searched": {"files": 3, "complete": True}}
    found = _look(_ASKED, **sent, not_looked_at=["/x: no"])
    assert found[name] == sent[name][:most] and found["searched"] == {"files": 3, "complete": False}
    told = f"5 more rows of {name}: left out, because of search.max_results"
    assert found["not_looked_at"] == [told, "/x: no"]


def test_public_keys_are_rows_too() -> None:
    found = _look(_ASKED, public_keys={str(number): "x" for number in range(31)})
    assert len(found["public_keys"]) == 30 and not found["searched"]["complete"]


def test_keys_on_tokens_and_named_ones_have_room_of_their_own() -> None:
    params = {"search": None, "keys": [{}] * 3, "tokens": [{}] * 2}
    rows = [{}] * 15_003
    assert _look(params, results=rows)["results"] == rows and "searched" not in _look(params, results=rows)
    assert len(_look(params, results=[*rows, {}])["results"]) == 15_003


@pytest.mark.parametrize("rubbish", [None, 5, "x", {"a": 1}])
def test_what_is_no_list_is_left_to_whoever_reads_it(rubbish: object) -> None:
    sent = {"certificates": rubbish, "not_looked_at": rubbish, "searched": rubbish}
    assert {name: _look(_ASKED, **sent)[name] for name in sent} == sent
    found = _look(_ASKED, **sent, receipts=[{}] * 41)
    assert len(found["not_looked_at"]) == 1 and found["searched"]["complete"] is False
