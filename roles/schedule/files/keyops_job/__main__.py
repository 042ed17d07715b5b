# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one scheduled job: python3 -IB .../keyops_job [--now] /etc/keyops/schedule/NAME.json

It takes the job's lock, runs the playbook for a bounded time with the environment file's variables, and leaves a log, a
metric for Prometheus' node exporter, and the head of the event log for the next run. The numbers come from the
callback keyops.lifecycle.job_statistics, never from what the playbook prints.

A head is kept only from a log that verified, and a log that became shorter is a failure even when the playbook did not
say so. The exit status is that of ansible-playbook, or one of the constants. Standard library only, Python 3.9.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn, TextIO

from job_files import Job, Problem, locked, opened_log, say, write_over, write_whole
from job_metric import metric_of
from job_run import CALLBACK, call_hook, play

LOG_CUT = 65  # the event log ended before the head that the last run saw
NO_STATISTICS = 70  # the callback plugin did not run
NOT_WRITTEN = 74  # state or metric could not be written
INTERRUPTED = 143


def judge(status: int, statistics: dict, head: dict | None) -> None:
    """Raise Problem unless the run was a success."""
    if status:
        raise Problem(status, "failed", f"ansible-playbook ended with status {status}")
    if not statistics:
        text = f"the callback plugin {CALLBACK} left no numbers: is the collection where ansible-playbook finds it?"
        raise Problem(NO_STATISTICS, "statistics", text)
    seen = (statistics.get("log") or {}).get("head")
    if head and seen and (seen["number"] < head["number"] or (seen["number"] == head["number"] and seen != head)):
        raise Problem(LOG_CUT, "log", f"the event log ended before event {head['number']}, which was there before")


def numbers_of(job: Job, log: TextIO) -> dict:
    """The callback's numbers; malformed ones count as none, and the log says so."""
    try:
        return job.numbers()
    except Problem as problem:
        say(log, f"{problem}; they count as none")
        return {}


def run_locked(job: Job, lock: int, log: TextIO) -> None:
    """One run, for the holder of the lock; raises Problem."""
    began, clock = time.time(), time.monotonic()
    state: dict = {}
    statistics: dict = {}
    problem = None
    say(log, f"{job.name} begins")
    try:
        state = job.state()
        head = state.get("head")
        try:
            status = play(job, head, lock, log)
        finally:
            statistics = numbers_of(job, log)
        judge(status, statistics, head)
        reached = {"last_success": round(began, 3), "head": (statistics.get("log") or {}).get("head") or head}
        write_whole(job.state_file, json.dumps(reached))
        state = reached
    except Problem as error:
        problem = error
    except OSError as error:
        problem = Problem(NOT_WRITTEN, "metric", f"{error.filename} cannot be written: {error.strerror}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left takes a moment
    took = round(time.monotonic() - clock, 3)
    run = {"last_run_timestamp_seconds": round(began, 3), "last_duration_seconds": took}
    run["last_exit_status"] = problem.status if problem else 0
    try:
        write_over(job.metric, metric_of(job, state, run, statistics))
    except OSError as error:
        unwritten = Problem(NOT_WRITTEN, "metric", f"{job.metric} cannot be written: {error.strerror}")
        say(log, str(unwritten))
        problem = problem or unwritten
    counts = ", ".join(f"{name} {count}" for name, count in (statistics.get("keys") or {}).items())
    say(log, f"{job.name} ends after {took} s, keys: {counts or 'none'}; {problem or 'success'}")
    if problem:
        call_hook(job, problem, log)
        raise problem


def interrupted(dummy_number: int, dummy_frame: object) -> NoReturn:
    """SIGTERM: from systemd, or a shutdown."""
    raise Problem(INTERRUPTED, "interrupted", "ended by SIGTERM")


def main(arguments: list[str]) -> int:
    """Silent when all is well; one line on standard error otherwise, which cron sends as mail."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        job = Job(Path(arguments[-1] if arguments else "missing"))
        if "--now" not in arguments:
            time.sleep(random.uniform(0, job.options["jitter"]))  # noqa: S311
        with locked(job) as lock, opened_log(job) as log:
            run_locked(job, lock, log)
    except Problem as problem:
        print(f"keyops-job: {arguments[-1:]}: {problem}", file=sys.stderr)
        return problem.status
    except OSError as error:
        print(f"keyops-job: {arguments[-1:]}: {error.filename}: {error.strerror}", file=sys.stderr)
        return NOT_WRITTEN
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
