# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of scheduled jobs with a program of the test in ansible-playbook's place: what it makes of bad numbers.

Whole runs are in tests/integration/test_schedule.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[3] / "roles" / "schedule" / "files" / "keyops_job"
NO_STATISTICS, NOT_WRITTEN, UNUSABLE = 70, 74, 78
DIGEST = "0" * 64
GOOD = {"keys": {"archived": 2, "present": 1}, "hosts": {"failed": 0}, "log": None}


class Place:
    """A job whose playbook leaves the given numbers and ends with the given status."""

    def __init__(self, folder: Path, numbers: str, status: int = 0) -> None:
        self.folder = folder
        for name in ("state/job", "log/job", "metrics"):
            (folder / name).mkdir(parents=True)
        (folder / "numbers").write_text(numbers)
        playbook = folder / "playbook"
        playbook.write_text(f'#!/bin/sh\ncat {folder}/numbers > "$KEYOPS_JOB_STATISTICS"\nexit {status}\n')
        hook = folder / "hook"
        hook.write_text(f'#!/bin/sh\necho "$KEYOPS_REASON $KEYOPS_STATUS" > {folder}/told\n')
        for path in (playbook, hook):
            path.chmod(0o700)
        options = {
            **{"name": "job", "playbook": "p", "inventory": [], "directory": "", "arguments": [], "variables": {}},
            **{"environment": {}, "environment_file": "", "credential": False, "jitter": 0, "timeout": 20},
            **{"failure_hook": [str(hook)], "log_bytes": 1000, "log_keep": 1, "ansible_playbook": str(playbook)},
            **{f"{name}_dir": str(folder / name) for name in ("state", "log")},
            "metrics_dir": str(folder / "metrics"),
        }
        (folder / "job.json").write_text(json.dumps(options))

    def run(self) -> tuple[int, str]:
        """The exit status, and what it printed; never a traceback."""
        done = subprocess.run(
            [sys.executable, "-IB", RUNNER, "--now", self.folder / "job.json"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stderr

    def read(self, name: str) -> str:
        """One of its files."""
        return (self.folder / name).read_text()


MALFORMED = [
    *('{"keys": {"archived": "x"}}', '{"keys": {"archived": true}}', '{"keys": {"archived": 1.5}}', '{"keys": [1]}'),
    *('{"hosts": 1}', '{"log": 1}', '{"log": {"valid": 1, "problems": 0}}', '{"log": {"valid": true}}'),
    *('{"log": {"valid": true, "problems": 0, "head": 3}}', '{"keys": {"archived": null}}', "[" * 100_000),
    *(json.dumps({"log": {"valid": True, "problems": 0, "head": {"number": 1, "digest": '"'}}}), "[]", "{", "\0"),
]


@pytest.mark.parametrize("numbers", MALFORMED, ids=lambda numbers: numbers[:40])
def test_malformed_numbers_count_as_none(tmp_path: Path, numbers: str) -> None:
    place = Place(tmp_path, numbers)
    assert place.run()[0] == NO_STATISTICS
    assert "they count as none" in place.read("log/job/job.log")
    assert place.read("told") == f"statistics {NO_STATISTICS}\n"
    metric = place.read("metrics/keyops_job.prom")
    assert f'keyops_job_last_exit_status{{name="job"}} {NO_STATISTICS}\n' in metric and "keys_" not in metric


def test_a_failed_run_with_malformed_numbers_keeps_its_status(tmp_path: Path) -> None:
    place = Place(tmp_path, MALFORMED[0], status=2)
    assert place.run()[0] == 2
    assert place.read("told") == "failed 2\n" and "they count as none" in place.read("log/job/job.log")


@pytest.mark.parametrize(
    "state", ['{"head": "x"}', '{"last_success": "x"}', '{"head": {"number": "1", "digest": ""}}', "["]
)
def test_a_malformed_state_is_told(tmp_path: Path, state: str) -> None:
    place = Place(tmp_path, json.dumps(GOOD))
    (tmp_path / "state/job/state.json").write_text(state)
    assert place.run()[0] == UNUSABLE
    assert place.read("told") == f"configuration {UNUSABLE}\n" and str(UNUSABLE) in place.read(
        "metrics/keyops_job.prom"
    )


def test_good_numbers_and_a_shorter_metric(tmp_path: Path) -> None:
    head = {"number": 7, "digest": DIGEST}
    place = Place(tmp_path, json.dumps({**GOOD, "log": {"valid": True, "problems": 0, "head": head}}))
    metric = tmp_path / "metrics/keyops_job.prom"
    metric.write_text("x" * 9000)
    metric.chmod(0o644)
    before = metric.stat().st_ino
    assert place.run() == (0, "")
    assert 'keys_archived{name="job"} 2\n' in metric.read_text() and "x" * 99 not in metric.read_text()
    assert metric.stat().st_ino == before, "it may be in a folder where the job's user makes no files"
    assert json.loads(place.read("state/job/state.json"))["head"] == head


@pytest.mark.parametrize(("status", "expected"), [(0, NOT_WRITTEN), (4, 4)])
def test_a_metric_that_cannot_be_written_is_always_logged(tmp_path: Path, status: int, expected: int) -> None:
    """Also when the run has failed already."""
    place = Place(tmp_path, json.dumps(GOOD), status)
    (tmp_path / "metrics").rmdir()
    assert place.run()[0] == expected
    assert "keyops_job.prom cannot be written: No such file" in place.read("log/job/job.log")
    assert place.read("told").endswith(f" {expected}\n")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_metric_that_is_no_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = Place(tmp_path, json.dumps(GOOD))
    metric, other = tmp_path / "metrics/keyops_job.prom", tmp_path / "other"
    other.write_text("kept")
    {"link": lambda: metric.symlink_to(other), "folder": metric.mkdir, "pipe": lambda: os.mkfifo(metric)}[kind]()
    assert place.run()[0] == NOT_WRITTEN
    assert other.read_text() == "kept" and "cannot be written" in place.read("log/job/job.log")


def test_a_state_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    place = Place(tmp_path, json.dumps(GOOD))
    (tmp_path / "state/job/.state.json.tmp").mkdir()
    assert place.run()[0] == NOT_WRITTEN
    assert 'last_success_timestamp_seconds{name="job"} 0\n' in place.read("metrics/keyops_job.prom")
    assert place.read("told") == f"metric {NOT_WRITTEN}\n"
