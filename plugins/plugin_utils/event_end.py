# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding the end of the event log with O(log n) names.

The end is the last number of the walk from 1. Numbers claimed far ahead can mislead a search that looks at single
numbers, so what lies right before the end that was found must be complete, or the search goes on below. Whoever claims
that many numbers in a row, far ahead, does mislead writers: ``verify`` reports that as a gap, and nothing is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: How many numbers right before the end must exist.
_COMPLETE = 16

#: Event numbers have 12 digits (docs/formats.md); no name beyond is ever asked for.
_LIMIT = 10**12


def end_of_log(vault: Vault, start: int) -> int:
    """The last number of the walk that goes on behind ``start``: gallop, then search between, 8 to 16 names at once."""
    low, high = _gallop(vault, start)
    while True:
        low, high = _search(vault, low, high)
        window = range(max(start + 1, low - _COMPLETE), low)
        present = _present(vault, window)
        gap = [number for number in window if number not in present]
        if not gap:
            return low
        # Something was claimed ahead, or removed: the walk ends below.
        low, high = start, gap[0]


def _gallop(vault: Vault, start: int) -> tuple[int, int]:
    """Two numbers: ``start`` or one that exists, and a higher one that does not."""
    low = start
    for power in itertools.count(step=8):
        probes = [start + 2**exponent for exponent in range(power, power + 8)]
        low, high = _narrowed(vault, low, probes)
        if high is not None:
            return low, high
    raise AssertionError("unreachable")


def _search(vault: Vault, low: int, high: int) -> tuple[int, int]:
    while high - low > 1:
        step = max(1, (high - low) // 16)
        low, missing = _narrowed(vault, low, list(range(low + step, high, step)))
        high = high if missing is None else missing
    return low, high


def _narrowed(vault: Vault, low: int, probes: list[int]) -> tuple[int, int | None]:
    """The last of ``low`` and ``probes`` before the first that does not exist, and that one or None."""
    present = _present(vault, probes)
    for number in probes:
        if number not in present:
            return low, number
        low = number
    return low, None


def _present(vault: Vault, numbers: Iterable[int]) -> frozenset[int]:
    asked = {paths.event(number): number for number in numbers if number < _LIMIT}
    return frozenset(asked[path] for path in vault.exists(asked))
