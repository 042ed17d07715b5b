# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One login for all workers of a play: vault tokens in memory that Ansible's process shares with the ones it forks.

The memory is made before Ansible forks (see open.py), and has no name that another user could open. It is a file in
memory only because file locks end with the process that holds them, so a killed worker locks nobody out. Where the
system has no such files (it is not Linux), every worker logs in by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors

#: Seconds before its end at which a token is used no more.
_MARGIN = 30.0

_LIMIT = 1 << 20

_memory: list[int] = []


def reserve() -> None:
    """Make the memory, once; before the fork, so that all workers share it."""
    if not _memory and hasattr(os, "memfd_create"):
        _memory.append(os.memfd_create("keyops-tokens"))


def shared_token(name: str, log_in: Callable[[], tuple[str, float]], refused: str = "") -> str:
    """The token that is kept under ``name``, or a new one from ``log_in``, which one worker does while others wait.

    Args:
        name: stands for server and credential, and tells nothing of them (a digest).
        log_in: returns a token and for how many seconds it is good.
        refused: a token that the server does not take any more.

    Raises:
        KeyopsError: what ``log_in`` raised, also for those who have waited for it meanwhile.
    """
    reserve()
    if not _memory:
        return log_in()[0]
    memory, asked = _memory[0], time.monotonic()
    with _locked(memory):
        # The monotonic clock is one for all processes of the machine.
        kept, now = _read(memory), time.monotonic()
        token, until = kept.get(name, ("", 0.0))
        if token and token != refused and now < until - _MARGIN:
            return str(token)
        failed = kept.get(f"{name} failed")
        if failed and failed[0] > asked:
            raise getattr(_errors, failed[1])(failed[2])
        try:
            token, seconds = log_in()
        except _errors.KeyopsError as error:
            _write(memory, {**kept, f"{name} failed": (time.monotonic(), type(error).__name__, str(error))})
            raise
        _write(memory, {**kept, name: (token, time.monotonic() + seconds)})
        return token


@contextlib.contextmanager
def _locked(memory: int) -> Iterator[None]:
    # POSIX locks belong to the process, not to the open file that a fork shares.
    fcntl.lockf(memory, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(memory, fcntl.LOCK_UN)


def _read(memory: int) -> dict:
    content = os.pread(memory, _LIMIT, 0)
    try:
        return dict(json.loads(content)) if content else {}
    except ValueError:  # its writer was killed
        return {}


def _write(memory: int, kept: dict) -> None:
    content = json.dumps(kept).encode()
    os.ftruncate(memory, 0)
    os.pwrite(memory, content, 0)
