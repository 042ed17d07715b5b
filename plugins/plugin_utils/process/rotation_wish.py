# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a key is to be rotated, and when a predecessor goes: what the options of key_rotation_info say."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_id
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import period_end

_PERIOD = re.compile(r"[0-9]{1,6}[dy]")
#: Whoever gave the moment ``before`` may have another clock; so long it is waited for.
_CLOCKS_DIFFER = datetime.timedelta(seconds=5)


@dataclass(frozen=True)
class Wish:
    """The options, read.

    Attributes:
        key_ids: keys that are to go.
        before: keys that were made before this moment are to go; None: none for that.
        ahead: how long before the end of its certificate or its period a key is due, but at most for the last third of
            either: certificates that are never valid for longer than this would be replaced on every run.
        keep: how long a predecessor stays after it was replaced; empty: the policy alone decides.
        policy: plugin_utils/policy/model.Policy, or None.
    """

    key_ids: frozenset[str]
    before: datetime.datetime | None
    ahead: datetime.timedelta
    now: datetime.datetime
    keep: str
    policy: Any = field(default=None, repr=False)

    def is_near(self, begin: datetime.datetime, end: datetime.datetime) -> bool:
        """Whether what began and ends at these moments is to be replaced."""
        return end - min(self.ahead, (end - begin) / 3) <= self.now


def read(task: ControllerTask) -> Wish:
    """The wish of a task of key_rotation_info.

    Raises:
        OptionError, PolicyError: an option, or the policy, is not as it must be.
    """
    params = task.params
    before = _before(params["before"]) if params["before"] else None
    now = times.now()
    for option in ("ahead", "keep"):
        if params[option] and not _PERIOD.fullmatch(params[option]):
            raise OptionError(f"{option}: give a number of days or years, for example 30d or 2y")
    key_ids = frozenset(check_id(one, "key_ids") for one in params["key_ids"])
    return Wish(key_ids, before, period_end(now, params["ahead"]) - now, now, params["keep"] or "", _policy(task))


def _before(text: str) -> datetime.datetime:
    """The moment, which has passed: a key that is made before it would be due again, on every run until it comes."""
    try:
        before = times.parse(text)
    except FormatError as error:
        raise OptionError(f"before: {error}") from error
    ahead = before - times.now()
    if ahead > _CLOCKS_DIFFER:
        raise OptionError(
            f"before: {text} has not come yet (it is {times.text(times.now())} here), and a key made until then "
            "would be rotated again on every run; give a moment that has passed"
        )
    time.sleep(max(ahead.total_seconds(), 0))
    return before


def _policy(task: ControllerTask) -> Any:
    if task.policy is None:
        return None
    # Here, so that a play without a policy loads none of it.
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import load

    return load.load(task.policy)
