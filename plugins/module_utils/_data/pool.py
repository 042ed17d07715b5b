# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work on every core, in processes that have the keys in their memory from the fork on.

- Tasks are handed out and results come back in one order, in turn; so many are under way that no process waits, and so
  few that memory does not depend on how much there is to do.
- A private key is never sent anywhere: the processes are forked when the keys are open, and nothing is executed.
- Keys on a token are used by the one process that has logged in (C_Initialize does not survive a fork).
- A process that dies ends the work with an error: nothing of it got a name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import HostError, KeyopsError

#: An answer fits into its pipe nearly always, so that no process waits until others' answers have been read. As much as
#: Linux gives to anybody (pipe(7)).
_PIPE = 1 << 20
_SET_PIPE_SIZE = 1031  # fcntl.F_SETPIPE_SZ, which Python has since 3.10
#: Tasks under way for each process. A task is small and fits in a pipe; a result may be large, and is waited for.
_UNDER_WAY = 2


def processes() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def processes_for(keys: Sequence[Any]) -> int:
    """How many processes decrypt with these ``Decryptor``s."""
    return 1 if any(key.on_token for key in keys) else processes()


def ordered(work: Callable[[Any], Any], tasks: Iterable[Any], count: int) -> Iterator[Any]:
    """What ``work`` makes of each task, in the order of the tasks.

    Args:
        work: called in another process, unless ``count`` is 1; what it raises ends the work.
        tasks: small (some kilobytes each); taken as they are needed.
        count: processes.

    Raises:
        HostError: a process ended without an answer.
        KeyopsError: what ``work`` raised.
    """
    waiting = iter(tasks)
    first = next(waiting, None)
    if first is None:
        return
    second = next(waiting, None) if count > 1 else None
    if count <= 1 or second is None:
        yield work(first)
        yield from map(work, waiting)
        return
    with _started(work, count) as workers:
        under_way: deque[_Worker] = deque()
        more = _chained(first, second, waiting)
        for turn, task in enumerate(more):
            if len(under_way) == _UNDER_WAY * count:
                yield under_way.popleft().answer()
            workers[turn % count].send(task)
            under_way.append(workers[turn % count])
        while under_way:
            yield under_way.popleft().answer()


def _chained(first: Any, second: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield second
    yield from rest


class _Worker:
    """The parent's end of one process."""

    def __init__(self, process: int, tasks: int, answers: int) -> None:
        self.process, self._tasks, self._answers = process, tasks, answers

    def send(self, task: Any) -> None:
        try:
            _write(self._tasks, pickle.dumps(task, pickle.HIGHEST_PROTOCOL))
        except OSError as error:
            raise self._died() from error

    def answer(self) -> Any:
        content = _read(self._answers)
        if content is None:
            raise self._died()
        sound, found = pickle.loads(content)  # noqa: S301 - from a fork of this process
        if not sound:
            raise found
        return found

    def close(self) -> None:
        for descriptor in (self._tasks, self._answers):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _died(self) -> HostError:
        return HostError("a process that decrypts ended unexpectedly; there may not be enough memory. Run again")


@contextlib.contextmanager
def _started(work: Callable[[Any], Any], count: int) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        for dummy in range(count):
            workers.append(_fork(work, workers))
        yield workers
    finally:
        for worker in workers:
            worker.close()  # a process whose tasks end, ends
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)  # one that is still busy has nothing to finish
            os.waitpid(worker.process, 0)


def _fork(work: Callable[[Any], Any], others: list[_Worker]) -> _Worker:
    tasks_out, tasks_in = os.pipe()
    answers_out, answers_in = os.pipe()
    with contextlib.suppress(OSError):  # it is slower then, and no more
        fcntl.fcntl(answers_in, _SET_PIPE_SIZE, _PIPE)
    process = os.fork()
    if process:
        os.close(tasks_out)
        os.close(answers_in)
        return _Worker(process, tasks_in, answers_out)
    status = 1
    try:
        # Otherwise the others' pipes would stay open as long as this process, and none of them would end.
        for other in others:
            other.close()
        os.close(tasks_in)
        os.close(answers_out)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _serve(work, tasks_out, answers_in)
        status = 0
    finally:
        os._exit(status)  # nothing of the parent's is finished twice
    raise AssertionError("unreachable")


def _serve(work: Callable[[Any], Any], tasks: int, answers: int) -> None:
    while (content := _read(tasks)) is not None:
        try:
            answer: tuple[bool, Any] = (True, work(pickle.loads(content)))  # noqa: S301 - from this process's parent
        except KeyopsError as error:
            answer = (False, type(error)(str(error)))
        except Exception as error:  # noqa: BLE001 - a defect: told where; its message may hold content
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
            message = f"internal error {type(error).__name__} at {place}. This is a defect: please report it"
            answer = (False, HostError(message))
        _write(answers, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


def _write(descriptor: int, content: bytes) -> None:
    os.write(descriptor, len(content).to_bytes(8, "big"))
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read(descriptor: int) -> bytes | None:
    """The next content; None at the end."""
    head = _exactly(descriptor, 8)
    return None if head is None else _exactly(descriptor, int.from_bytes(head, "big"))


def _exactly(descriptor: int, size: int) -> bytes | None:
    found = bytearray(size)
    view, place = memoryview(found), 0
    while place < size:
        count = os.readv(descriptor, [view[place:]])
        if not count:
            return None
        place += count
    return bytes(found)
