# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a policy is once it is read: frozen, every rule with its value, its source and where it was set.

How to use it, in three lines::

    policy = load.load(task.policy)                      # PolicyError tells every mistake with its place
    found = judge.algorithm(policy, usage, "rsa-1024")   # a tuple of Violation: data for findings
    enforce.refuse(found, "/etc/keyops/tls.key")         # raises PolicyRefused for what is to be refused

``load`` and ``judge`` know nothing of tasks. A usage that is None or ``conflict`` has the rules of ``all_usages``.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

#: From harmless to bad.
SEVERITIES = ("info", "low", "medium", "high", "critical")

_PERIOD = re.compile(r"([0-9]+)([dy])")


@dataclass(frozen=True)
class Rule:
    """One rule of a policy.

    Attributes:
        name: for example ``algorithms`` (policy.schema.json has them all).
        value: a word, a number or a tuple of words.
        source: what the rule rests on: a document and its section, or a team's own policy.
        severity: one of SEVERITIES.
        enforced: whether modules refuse what breaks it; otherwise they warn.
        origin: name of the profile or policy that set it.
        note: what a reader should know about it, or empty.
    """

    name: str
    value: Any
    source: str
    severity: str
    enforced: bool
    origin: str
    note: str = ""


@dataclass(frozen=True)
class Policy:
    """A policy with all that it extends.

    Attributes:
        name: its own name, or that of the profile it extends; where it adds rules to that, it says so.
        origins: names of the profiles it is made of, the first one first, then its own.
        rules: by usage, the rules by name; under None those that hold for keys whose usage is unknown.
    """

    name: str
    origins: tuple[str, ...]
    rules: Mapping[str | None, Mapping[str, Rule]] = field(repr=False)

    def rule_for(self, usage: str | None) -> Mapping[str, Rule]:
        """The rules of a usage, by name; those that hold for every key when the usage is None or ``conflict``."""
        return self.rules.get(usage, self.rules[None])


@dataclass(frozen=True)
class Violation:
    """What breaks one rule; public facts only.

    Attributes:
        rule: the rule's place in a policy, for example ``usages.key_transport.algorithms``.
        allowed: what the rule allows, for people.
        text: what is wrong, one sentence without a full stop.
        source, severity, enforced: of the rule.
        remedy: what to do about it, one sentence without a full stop.
        origin: name of the profile or policy that set the rule.
    """

    rule: str
    allowed: str
    text: str
    source: str
    severity: str
    remedy: str
    enforced: bool
    origin: str

    def message(self) -> str:
        """Everything in one line."""
        rule = f"rule {self.rule}: {self.allowed}; set by {self.origin}; source: {self.source}"
        return f"{self.text} ({rule}); {self.remedy}"


def period_end(start: datetime, period: str) -> datetime:
    """The moment when a period (``90d``, ``2y``) that begins at ``start`` is over. Years are those of the calendar."""
    number, unit = _PERIOD.fullmatch(period).groups()  # type: ignore[union-attr]  # the schema has seen it
    try:
        if unit == "d":
            return start + timedelta(days=int(number))
        year = start.year + int(number)
        leap_day = (start.month, start.day) == (2, 29) and not calendar.isleap(year)
        return start.replace(year=year, month=3, day=1) if leap_day else start.replace(year=year)
    except (ValueError, OverflowError):  # the year 10000
        return datetime.max.replace(tzinfo=start.tzinfo)
