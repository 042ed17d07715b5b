# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of a job's playbook: its environment, its bounded time, its end, and the failure hook.

Secrets are in the environment of the playbook only: not in arguments, files, or the environment of the failure hook.
Nothing of a run outlives the moment when it had to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import signal
import subprocess
import time
from pathlib import Path
from typing import TextIO

from job_files import UNUSABLE, Job, Problem, say, secrets_of, write_whole

TIMED_OUT = 124

GRACE = 30  # seconds between asking a playbook to end and killing it
HOOK_TIME = 60  # seconds for the failure hook
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CALLBACK = "keyops.lifecycle.job_statistics"


def clean_environment(job: Job) -> dict[str, str]:
    """What every process of the job gets, and nothing that cron or a shell had."""
    user = pwd.getpwuid(os.geteuid())
    search = f"{Path(job.options['ansible_playbook']).parent}:{SEARCH}"
    return {"PATH": search, "HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "LANG": "C.UTF-8"}


def play(job: Job, head: dict | None, lock: int, log: TextIO) -> int:
    """Run the playbook to its end or to the job's; returns its status."""
    secrets = secrets_of(job)
    variables = {**job.options["variables"]}
    if head:
        variables["keyops_expected_heads"] = [*variables.get("keyops_expected_heads", []), head]
    write_whole(job.variables, json.dumps(variables))
    with contextlib.suppress(FileNotFoundError):
        job.statistics.unlink()
    environment = {**clean_environment(job), **job.options["environment"], **secrets}
    enabled = [name for name in [environment.get("ANSIBLE_CALLBACKS_ENABLED"), CALLBACK] if name]
    environment.update(ANSIBLE_CALLBACKS_ENABLED=",".join(enabled), KEYOPS_JOB_STATISTICS=str(job.statistics))
    command = [job.options["ansible_playbook"], "--extra-vars", f"@{job.variables}"]
    for inventory in job.options["inventory"]:
        command += ["--inventory", inventory]
    # What was daemonised stays below this process, so that nothing outlives a run that must end.
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        process = subprocess.Popen(  # noqa: S603
            [*command, *job.options["arguments"], job.options["playbook"]],
            env=environment,
            cwd=job.options["directory"] or "/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
    except OSError as error:
        raise Problem(UNUSABLE, "configuration", f"{command[0]} cannot be started: {error.strerror}") from None
    try:
        return process.wait(timeout=job.options["timeout"])
    except subprocess.TimeoutExpired:
        end(process)
        raise Problem(TIMED_OUT, "timeout", f"ended after {job.options['timeout']} seconds") from None
    except Problem:
        end(process)
        raise


def end(process: subprocess.Popen) -> None:
    """Ask the playbook to end, then kill everything below this process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE)
    for dummy in range(20):
        below = descendants(os.getpid())
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not below:
            return
        time.sleep(0.1)


def descendants(ancestor: int) -> list[int]:
    """Process IDs of the children, their children, and so on."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold anything; the fields behind the last one are numbers.
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = [ancestor]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found[1:]


def call_hook(job: Job, problem: Problem, log: TextIO) -> None:
    """Tell the user's command of a failure; it gets three variables, and no secret."""
    if not job.options["failure_hook"]:
        return
    told = {"KEYOPS_JOB": job.name, "KEYOPS_STATUS": str(problem.status), "KEYOPS_REASON": problem.reason}
    try:
        done = subprocess.run(  # noqa: S603
            job.options["failure_hook"],
            env={**clean_environment(job), **told},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=HOOK_TIME,
            check=False,
        )
        say(log, f"the failure hook ended with status {done.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        say(log, f"the failure hook failed: {type(error).__name__}")
