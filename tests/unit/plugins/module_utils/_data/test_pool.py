# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work in several processes: the order of the results, errors, processes that die, and how much is under way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import pool


def children() -> str:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(count: int) -> None:
    before = children()
    assert list(pool.ordered(lambda task: task * task, range(200), count)) == [task * task for task in range(200)]
    assert list(pool.ordered(str, [], count)) == []
    assert list(pool.ordered(str, [7], count)) == ["7"]
    large = list(pool.ordered(lambda task: bytes([task]) * 3_000_000, range(9), count))
    assert [(len(one), one[:1]) for one in large] == [(3_000_000, bytes([task])) for task in range(9)]
    assert children() == before


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(1, 1001):
            taken = number
            yield number

    results = pool.ordered(lambda task: task, tasks(), 2)
    assert next(results) == 1
    assert taken < 10
    results.close()  # type: ignore[attr-defined]


def test_errors_and_dead_processes_end_the_work() -> None:
    before = children()

    def refused(task: int) -> int:
        if task == 5:
            raise _errors.FileError("five")
        return task

    def killed(task: int) -> int:
        if task == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    found: list[int] = []
    with pytest.raises(_errors.FileError, match="five"):
        found.extend(pool.ordered(refused, range(50), 2))
    with pytest.raises(_errors.HostError, match=r"ZeroDivisionError at test_pool\.py"):
        found.extend(pool.ordered(lambda task: task // (task - 5), range(50), 2))
    with pytest.raises(_errors.HostError, match="ended unexpectedly"):
        found.extend(pool.ordered(killed, range(50), 2))
    assert children() == before
