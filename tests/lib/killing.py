# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work in forked processes, which start at once because nothing is imported again, and their end by kill -9."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Work = Callable[[], object]


def run_in_child(work: Work, kill_after: float | None = None) -> tuple[bool, float]:
    """Run ``work`` in a forked process and kill -9 that, when it still runs, after so many seconds of work.

    Returns:
        Whether it was killed, and the seconds from the begin of its work to its end.
    """
    reading, writing = os.pipe()

    def begin_and_work() -> None:
        os.write(writing, b".")
        work()

    pid = fork(begin_and_work)
    os.close(writing)
    os.read(reading, 1)
    begin = time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)  # nobody has waited for it yet, so the number is still its own
    status = os.waitpid(pid, 0)[1]
    os.close(reading)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed before it was killed"
    return os.WIFSIGNALED(status), time.monotonic() - begin


def fork(work: Work) -> int:
    """Start the work in a forked process, whose exit status is 0 when it succeeds; returns its number."""
    loaded = sys.modules["pkcs11"]._loaded if "pkcs11" in sys.modules else {}
    assert not loaded, f"a forked process cannot use what this one has loaded; unload it where that is done: {loaded}"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - it is shown, and the parent sees the status
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)  # without any of the test runner's exits
    return pid


def kill_all_with(mark: str) -> int:
    """kill -9 every process whose environment holds this mark (``NAME=value``); returns how many there were.

    Ansible's workers leave their parent's process group and session, so the mark is what holds a run together.
    """
    killed: set[int] = set()
    while pids := processes_with(mark) - killed:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= pids
    return len(killed)


def processes_with(mark: str) -> set[int]:
    """The processes whose environment holds the mark, without those that are dead already."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found - {os.getpid()}
