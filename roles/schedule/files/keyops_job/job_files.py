# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of a job, its files, its lock and its log.

A configuration, state or environment file that cannot be used is a Problem before anything runs. The environment file
is refused when others can read it, and no message has any of its content.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

SKIPPED = 75  # the run before has not ended
UNUSABLE = 78  # the configuration, the environment file or the state


class Problem(Exception):
    """Why a run failed: an exit status, a word for the hook, a sentence for the log. None of them secret."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status, self.reason = status, reason


def read_json(path: Path, what: str) -> dict:
    """A JSON object; raises Problem."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Problem(UNUSABLE, "configuration", f"{what} {path} cannot be read: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise Problem(UNUSABLE, "configuration", f"{what} {path} is no JSON object")
    return found


def write_whole(path: Path, content: str, mode: int = 0o600) -> None:
    """Replace a file as a whole. Only the holder of the job's lock writes, so the name for the time between is free."""
    between = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(between, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as to:
        os.fchmod(descriptor, mode)
        to.write(content)
        to.flush()
        os.fsync(descriptor)
    os.replace(between, path)


def write_over(path: Path, content: str) -> None:
    """Replace the content of a file that everybody may read, in a folder where this user may make none.

    One write, and blank lines over the rest of what was there, so that whoever reads it meanwhile gets whole lines.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        facts, given = os.fstat(descriptor), content.encode()
        if not stat.S_ISREG(facts.st_mode):
            raise FileExistsError(errno.EEXIST, "it is no file", str(path))
        if stat.S_IMODE(facts.st_mode) != 0o644:  # as made just now, under the runner's mask
            os.fchmod(descriptor, 0o644)
        if os.pwrite(descriptor, given.ljust(facts.st_size, b"\n"), 0) < len(given):
            os.ftruncate(descriptor, 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(descriptor, len(given))
    finally:
        os.close(descriptor)


class Job:
    """A job's configuration and its files."""

    def __init__(self, path: Path) -> None:
        self.options: dict[str, Any] = read_json(path, "the configuration")
        try:
            self.name: str = self.options["name"]
            self.folder = Path(self.options["state_dir"]) / self.name
            self.log = Path(self.options["log_dir"]) / self.name / f"{self.name}.log"
            self.metric = Path(self.options["metrics_dir"]) / f"keyops_{self.name}.prom"
        except KeyError as error:
            raise Problem(UNUSABLE, "configuration", f"the configuration {path} has no {error}") from error
        self.state_file, self.statistics = self.folder / "state.json", self.folder / "statistics.json"
        self.variables, self.skipped = self.folder / "variables.json", self.folder / "skipped"

    def state(self) -> dict:
        """What the runs before left: last_success, head; raises Problem."""
        if not self.state_file.exists():
            return {}
        state = read_json(self.state_file, "the state")
        if not (isinstance(state.get("last_success", 0), (int, float)) and is_head(state.get("head"))):
            raise Problem(UNUSABLE, "configuration", f"the state {self.state_file} is none that a run left")
        return state

    def numbers(self) -> dict:
        """What the callback plugin left of this run; empty without any. Raises Problem when they are malformed."""
        if not self.statistics.exists():
            return {}
        found = read_json(self.statistics, "the numbers")
        groups = [found.get("keys") or {}, found.get("hosts") or {}]
        counted = all(isinstance(group, dict) and all(map(is_count, group.values())) for group in groups)
        if not counted or not is_log(found.get("log") or None):
            raise Problem(UNUSABLE, "statistics", f"the numbers {self.statistics} are malformed")
        return found


def is_count(found: object) -> bool:
    """Whether it can be a number of keys, hosts, problems or events."""
    return isinstance(found, int) and not isinstance(found, bool) and found >= 0


def is_log(found: object) -> bool:
    """Whether it can be what a run saw of the event log, or None."""
    return found is None or (
        isinstance(found, dict)
        and isinstance(found.get("valid"), bool)
        and is_count(found.get("problems"))
        and is_head(found.get("head"))
    )


def is_head(found: object) -> bool:
    """Whether it can be a head of the event log, number and digest, or None."""
    return found is None or (
        isinstance(found, dict)
        and set(found) == {"number", "digest"}
        and is_count(found["number"])
        and bool(re.fullmatch("[0-9a-f]{64}", str(found["digest"])))
    )


@contextlib.contextmanager
def locked(job: Job) -> Iterator[int]:
    """Hold the job's lock and give its descriptor, or raise Problem.

    The kernel lets go of it when this process and the playbook, which inherits it, have ended, however they do.
    """
    with (job.folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with job.skipped.open("ab") as skipped:
                skipped.write(b".")  # the file's size is the count: appending needs no lock
            raise Problem(SKIPPED, "skipped", "skipped, because the run before has not ended") from error
        yield lock.fileno()


@contextlib.contextmanager
def opened_log(job: Job) -> Iterator[TextIO]:
    """The log, after older ones were moved on where it has become too long."""
    keep = [job.log.with_name(f"{job.log.name}.{number}") for number in range(1, job.options["log_keep"] + 1)]
    if job.log.exists() and job.log.stat().st_size > job.options["log_bytes"]:
        for older, newer in zip(reversed(keep), reversed([job.log, *keep[:-1]])):
            if newer.exists():
                newer.replace(older)
        if not keep:
            job.log.unlink()
    with job.log.open("a", encoding="utf-8") as log:
        yield log


def say(log: TextIO, text: str) -> None:
    """One line of the log with its time."""
    log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} keyops-job: {text}\n")
    log.flush()


def secrets_of(job: Job) -> dict[str, str]:
    """The variables of the environment file, or of the credential that systemd made of it."""
    given = job.options["environment_file"]
    if not given:
        return {}
    if job.options["credential"]:
        # systemd read the file as root, and lets this unit's user alone read its copy.
        return parsed(Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), "environment"), False)
    return parsed(Path(given), True)


def parsed(path: Path, check: bool) -> dict[str, str]:
    """Lines NAME=value, the value as it is or in quotes. No message has any of the content."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            facts = os.fstat(file.fileno())
            safe = stat.S_ISREG(facts.st_mode) and facts.st_uid in (0, os.geteuid()) and not facts.st_mode & 0o077
            if check and not safe:
                raise Problem(
                    UNUSABLE, "configuration", f"{path} must be a file of the job's user or root with mode 0600"
                )
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        raise Problem(UNUSABLE, "configuration", f"{path} cannot be read: {type(error).__name__}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise Problem(UNUSABLE, "configuration", f"{path}: line {number} is not NAME=value")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        found[name] = value[1:-1] if quoted else value
    return found
