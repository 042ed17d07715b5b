# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shamir's shares: any m of n give the KEK back, also with ssss-combine; fewer do not; m = 1 needs no Cryptodome."""

from __future__ import annotations

import itertools
import os
import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    MissingLibrary,
    QuorumNotReached,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import shares_combine, shares_split

#: KEKs with zeros where a careless printer of numbers loses digits.
AWKWARD = [
    b"\x00" * 32,
    b"\x00" * 16 + b"k" * 16,
    b"k" * 16 + b"\x00" * 15 + b"\x01",
    b"\x00\x0f" + b"k" * 30,
    b"\xff" * 32,
]
KEKS = st.one_of(st.sampled_from(AWKWARD), st.binary(min_size=32, max_size=32))
NUMBERS = st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


@settings(max_examples=60, deadline=None)
@given(kek=KEKS, numbers=NUMBERS)
def test_any_quorum_gives_the_kek_back(kek: bytes, numbers: tuple[int, int]) -> None:
    threshold, agents = numbers
    values = shares_split.split(kek, threshold, agents)
    assert len(values) == agents
    for chosen in itertools.combinations(values, threshold):
        assert shares_combine.combine(threshold, random.sample(chosen, threshold)) == kek


@settings(max_examples=40, deadline=None)
@given(kek=KEKS, numbers=NUMBERS.filter(lambda pair: pair[0] >= 2))
def test_fewer_do_not(kek: bytes, numbers: tuple[int, int]) -> None:
    threshold, agents = numbers
    values = shares_split.split(kek, threshold, agents)[: threshold - 1]
    with pytest.raises(QuorumNotReached):
        shares_combine.combine(threshold, list(values))
    with pytest.raises(QuorumNotReached):
        shares_combine.combine(threshold, [*values, values[0]])  # one share twice is one
    if threshold > 2:
        assert shares_combine.combine(threshold - 1, list(values)) != kek  # what a cheat gets: another value


@settings(max_examples=25, deadline=None)
@given(kek=KEKS, numbers=NUMBERS.filter(lambda pair: pair[0] >= 2))
def test_ssss_combine_agrees(kek: bytes, numbers: tuple[int, int]) -> None:
    threshold, agents = numbers
    chosen = random.sample(shares_split.split(kek, threshold, agents), threshold)
    halves = [_ssss_combine(threshold, [values[half] for values in chosen]) for half in (0, 1)]
    assert "".join(halves) == kek.hex()


def _ssss_combine(threshold: int, lines: list[str]) -> str:
    command = ["ssss-combine", "-t", str(threshold), "-x", "-D", "-q"]
    given_lines = "".join(f"{line}\n" for line in lines)
    result = subprocess.run(command, input=given_lines, capture_output=True, check=True, text=True)
    return result.stderr.splitlines()[-1]  # before it may stand a warning that memory cannot be locked


def test_the_largest_group() -> None:
    kek = os.urandom(32)
    values = shares_split.split(kek, 3, 255)
    assert shares_combine.combine(3, [values[254], values[0], values[127]]) == kek


def test_both_halves_and_every_split_are_independent() -> None:
    kek = b"h" * 32  # equal halves
    values = [shares_split.split(kek, 2, 3) for dummy in range(10)]
    lines = {line.split("-")[1] for split in values for agent in split for line in agent}
    assert len(lines) == 10 * 3 * 2


def test_m_1_needs_no_cryptodome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares_split, "Shamir", None)
    monkeypatch.setattr(shares_combine, "Shamir", None)
    kek = os.urandom(32)
    values = shares_split.split(kek, 1, 3)
    assert values == ((kek.hex(),),) * 3
    assert shares_combine.combine(1, [values[2]]) == kek
    with pytest.raises(MissingLibrary, match="python3-pycryptodome"):
        shares_split.split(kek, 2, 3)
    with pytest.raises(MissingLibrary):
        shares_combine.combine(2, [("1-" + "0" * 32,) * 2, ("2-" + "0" * 32,) * 2])


@pytest.mark.parametrize(
    ("size", "threshold", "agents"), [(31, 2, 3), (32, 0, 3), (32, 4, 3), (32, 2, 256), (32, 1, 0)]
)
def test_wrong_numbers_are_refused(size: int, threshold: int, agents: int) -> None:
    with pytest.raises(FormatError):
        shares_split.split(b"k" * size, threshold, agents)


@pytest.mark.parametrize(
    "lines", [("1-zz", "1-zz"), ("1-" + "0" * 30, "1-" + "0" * 30), ("x-" + "0" * 32, "x-" + "0" * 32), ("", "")]
)
def test_broken_lines_are_refused(lines: tuple[str, str]) -> None:
    good = ("2-" + "0" * 32, "2-" + "0" * 32)
    with pytest.raises(FormatError):
        shares_combine.combine(2, [lines, good])


def test_nobody_is_no_quorum() -> None:
    for threshold in (1, 2):
        with pytest.raises(QuorumNotReached):
            shares_combine.combine(threshold, [])
