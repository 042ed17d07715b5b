# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kill -9 at random moments of a departed owner's case: keys from the quorum, mail, files and EFS into a sealed folder.

In turn the host's work is killed, or its controller: then the work goes on, and the next run begins beside it. After a
kill of the work, seen from outside: every output is whole or absent, there is no summary of half a work, and no private
key is on the disk. Then it is asked whether the keys come back, as the role does when it waits for approvals; the same
work runs again and finishes the case, and a third run has nothing to do. KEYOPS_KILLS=50 kills more often.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import departed
import pytest
import sent_mail
import story
from killing import fork, run_in_child
from leak_hunt import key_numbers

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import sealed_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import StateError

KILLS = int(os.environ.get("KEYOPS_KILLS", "10"))
MAILS, BROKEN = 60, 6
_HIDDEN = re.compile(r"\.keyops-[0-9a-f]{16}\.tmp")


@dataclass
class Approved:
    """A case whose request is approved.

    Attributes:
        case: to be copied for each kill.
        request_id: of its request.
        expected: outputs of a run that nobody disturbed, by their place in the sealed folder.
        seconds: how long that took.
    """

    case: departed.Case
    request_id: str
    expected: dict[str, bytes]
    seconds: float


@pytest.fixture(name="quick_folder", scope="module")
def _quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where that can be: a killed process leaves the same there as on a disk, and nobody waits for fsync."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("rounds")
        return
    with tempfile.TemporaryDirectory(prefix="keyops-data-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(name="approved", scope="module")
def _approved(quick_folder: Path) -> Approved:
    agents = story.make_scene(quick_folder / "enrolled").agents
    (quick_folder / "past").mkdir()
    case = departed.work(quick_folder / "past", agents)
    sent_mail.make(case.certificates, case.worker.folder / "evidence", MAILS, "pc1.ntfs")
    request_id = case.ask()
    case.approve(request_id)
    made = Approved(case, request_id, {}, 0.0)
    times = []
    for number in range(3):
        one = case.copied(quick_folder / f"undisturbed-{number}")
        killed, seconds = run_in_child(lambda one=one: work(one, request_id))
        assert not killed
        times.append(seconds)
    made.expected, made.seconds = outputs(one), min(times)
    return made


def work(case: departed.Case, request_id: str) -> dict:
    """The work that is killed."""
    evidence, folder = case.worker.folder / "evidence", case.folder
    sources = [
        {"src": str(evidence / "mail/maildir"), "dest": str(folder / "maildir")},
        {"src": str(evidence / "mail/archive.mbox"), "dest": str(folder / "archive.mbox")},
        {"src": str(evidence / "pc1.ntfs"), "dest": str(folder / "disk")},
    ]
    sources += [
        {"src": str(path), "dest": str(folder / "files" / path.stem)} for path in sorted((evidence / "files").iterdir())
    ]
    return case.recover(request_id, sources=sources, report=str(folder / "report.jsonl"))


def outputs(case: departed.Case) -> dict[str, bytes]:
    """The files of the sealed folder that do not name this case's own paths and time."""
    named = ("report.jsonl", "sources.sha256", "outputs.sha256", "summary.json")
    found = {str(path.relative_to(case.folder)): path for path in case.folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in named}


def look(case: departed.Case, approved: Approved) -> None:
    """What a kill has left: whole outputs, hidden drafts, no half of a summary, and no private key."""
    found = outputs(case) if case.folder.exists() else {}
    for name, content in found.items():
        if not _HIDDEN.fullmatch(os.path.basename(name)):
            assert content == approved.expected[name], f"{name} is not whole"
    if sealed_folder.is_sealed(str(case.folder)):
        assert sealed_folder.verify(str(case.folder), None).problems == ()
        assert found.keys() == approved.expected.keys()
    needles = [
        secret
        for name, der in case.private.items()
        for secret in key_numbers.secrets_of(name, key_numbers.load(der, None))
    ]
    for path in case.scene.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [one.name for one in needles if one.value in content], path


def finish(case: departed.Case, approved: Approved) -> None:
    """The next run goes on to the end, and the one after it has nothing to do."""
    if not sealed_folder.is_sealed(str(case.folder)):
        # A work that goes on may seal it now: then there is nothing to ask.
        with contextlib.suppress(StateError):
            case.recover(approved.request_id, sources=[], check_mode=True)
    work(case, approved.request_id)
    look(case, approved)
    assert outputs(case) == approved.expected
    summary = sealed_folder.verify(str(case.folder), None).summary
    assert summary["request_id"] == approved.request_id
    assert summary["failed"] == BROKEN
    assert case.requests() == [], "the one-time key is still there"
    assert not list(case.worker.folder.glob("state/data/*")), "the host still knows what was in the mail"
    assert ("recover_data", "success") in case.events()
    assert not list(case.folder.rglob(".*")), "a draft was sealed"
    assert not work(case, approved.request_id)["changed"]


def without_controller(case: departed.Case, request_id: str) -> None:
    """The work of a host whose controller is gone: nobody hears of its end, and no event is written."""

    class Gone(Exception):
        pass

    def gone(*arguments: object) -> None:
        raise Gone

    case.worker.on_reply = gone
    with contextlib.suppress(Gone):
        work(case, request_id)


def test_a_kill_at_a_random_moment(approved: Approved, quick_folder: Path) -> None:
    hits = 0
    for number in range(KILLS * 3):
        one, moment = approved.case.copied(quick_folder / f"round-{number}"), random.uniform(0, approved.seconds)
        if number % 2:
            orphan = fork(lambda one=one: without_controller(one, approved.request_id))
            time.sleep(moment)
            at_work = os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            finish(one, approved)
            assert os.waitpid(orphan, 0)[1] == 0
            hits += at_work
        else:
            hits += run_in_child(lambda one=one: work(one, approved.request_id), moment)[0]
            look(one, approved)
            finish(one, approved)
        if hits == KILLS:
            return
    raise AssertionError(f"only {hits} kills met the work: the others came too late")
