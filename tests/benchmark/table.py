# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The times that were measured, and the table of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

HEAD = f"{'what':<50}{'runs':>5}{'min':>8}{'median':>8}{'max':>8}{'x ping':>8}{'loop/ours':>11}{'ms/key':>8}"


@dataclass
class Row:
    """One kind of play.

    Attributes:
        name: what it does.
        keys: how many keys per host, or 0.
        seconds: of each run.
        to_ping: of each run, its time by that of the ping play right before it.
        stopped: it was stopped before its end, so its time is a lower bound.
        loop: the row of the loop that does the same.
    """

    name: str
    keys: int = 0
    seconds: list[float] = field(default_factory=list)
    to_ping: list[float] = field(default_factory=list)
    stopped: bool = False
    loop: Row | None = None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def pinged(self) -> float:
        """The median of the ratios to the ping play."""
        return statistics.median(self.to_ping)

    def faster(self) -> float:
        """How many times as long the loop takes: medians of the rounds that both were in.

        One of the loop's runs is as long as ten of ours, so what else the machine does hits a single pair unevenly.
        """
        theirs = self.loop.seconds if self.loop else []
        return statistics.median(theirs) / statistics.median(self.seconds[: len(theirs)])

    def __str__(self) -> str:
        more = ">" if self.stopped else ""
        times = "".join(f"{more}{value:.2f}".rjust(8) for value in (min(self.seconds), self.median, max(self.seconds)))
        ping = f"{self.pinged():.2f}" if self.to_ping else ""
        loop = f"{'>' if self.loop.stopped else ''}{self.faster():.1f}" if self.loop and self.loop.seconds else ""
        each = f"{self.median / self.keys * 1000:.0f}" if self.keys and not self.stopped else ""
        return f"{self.name:<50}{len(self.seconds):>5}{times}{ping:>8}{loop:>11}{each:>8}"
