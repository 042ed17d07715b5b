# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times as the formats write them: UTC, ``YYYY-MM-DDTHH:MM:SSZ``, and durations as options write them."""

from __future__ import annotations

import datetime
import re

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError

_FORM = "%Y-%m-%dT%H:%M:%SZ"
_SECONDS = {"m": 60, "h": 3600, "d": 86400}


def now() -> datetime.datetime:
    """The current time, UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def text(moment: datetime.datetime) -> str:
    """``moment`` (aware) as the formats write it."""
    return moment.astimezone(datetime.timezone.utc).strftime(_FORM)


def parse(value: str) -> datetime.datetime:
    """The moment that a format's text names.

    Raises:
        FormatError: for any other form.
    """
    try:
        moment = datetime.datetime.strptime(value, _FORM).replace(tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise FormatError("a time is not of the form YYYY-MM-DDTHH:MM:SSZ") from error
    if text(moment) != value:
        raise FormatError("a time is not of the form YYYY-MM-DDTHH:MM:SSZ")
    return moment


def duration(value: str, option: str) -> datetime.timedelta:
    """The duration of an option such as ``30m``, ``24h`` or ``7d``.

    Raises:
        OptionError: for any other form, and for more than 90 days.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", value)
    if not found:
        raise OptionError(f"{option}: give a number with m, h or d behind it, for example 24h")
    length = datetime.timedelta(seconds=int(found.group(1)) * _SECONDS[found.group(2)])
    if length > datetime.timedelta(days=90):
        raise OptionError(f"{option}: 90 days at most")
    return length
