# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook recover_data where molecule's scenario does not go: one run that waits, and the end of a killed one."""

from __future__ import annotations

import re
import time
from pathlib import Path

import departed
import story
from local_play import Controller, Play


def _request_id(play: Play) -> str:
    """What the play reads out, as soon as it does."""
    end = time.monotonic() + 120
    while not (found := re.search(r"Request ID: ([0-9a-f]{64})", play.text())):
        assert play.process.poll() is None and time.monotonic() < end, play.text()
        time.sleep(0.1)
    return found[1]


def test_one_run_waits_for_the_agents_and_the_next_ends_what_was_killed(tmp_path: Path) -> None:
    (tmp_path / "past").mkdir()
    case = departed.work(tmp_path / "past", story.make_scene(tmp_path / "enrolled").agents)
    content = b"what she left"
    recipient = ("-recip", case.certificates / "mid.pem")
    sealed = story.openssl("cms", "-encrypt", "-binary", "-outform", "DER", *recipient, stdin=content)
    (case.worker.folder / "left.p7m").write_bytes(sealed)
    case.folder.mkdir(mode=0o700)
    (case.folder / "left").write_bytes(content)  # as if an earlier run had been killed behind this output
    requester = case.scene.requester(case.worker)
    variables = {
        **{"keyops_data_owner": "alice", "keyops_reason": "a test", "keyops_data_folder": str(case.folder)},
        "keyops_requester_key": requester["signing_key"],
        "keyops_requester_certificate": requester["signing_certificate"],
        "keyops_data_sources": [{"src": f"{case.worker.folder}//left.p7m/", "dest": "left"}],
        **{"keyops_data_wait": "120", "keyops_state_dir": str(case.worker.folder / "state")},
    }
    controller = Controller(tmp_path)
    play = controller.start_playbook(case.worker, "recover_data", variables)
    request_id = _request_id(play)
    (one_time_key,) = case.worker.folder.glob("state/requests/*.json")
    kept = one_time_key.read_bytes()
    case.approve(request_id)
    assert "agent-1, agent-2" in play.finish()
    assert (case.folder / "left").read_bytes() == content
    assert case.requests() == []
    # Those that asked in vain while it waited are no events.
    assert [one for one in case.events() if one[0] == "recover_data"] == [("recover_data", "success")]

    one_time_key.write_bytes(kept)  # as if it had been killed before its last step
    one_time_key.chmod(0o600)
    assert "changed=0" in controller.playbook(case.worker, "recover_data", variables)
    assert case.requests() == []
    assert case.events().count(("recover_data", "success")) == 2
    assert case.events().count(("request", "success")) == 1
