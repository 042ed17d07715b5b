# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ansible writes to the terminal of what a host returned, without what a terminal acts on.

A host's warnings, its message and its traceback are shown as they are. So none of them keeps control characters or
changes of the writing direction, and only a traceback has lines: nothing of a host looks like Ansible's own words.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text

#: Warnings of one task, and characters of one text.
_MOST, _LONGEST = 100, 20_000
_LONGEST_TRACE = 100_000
_LINE_ENDS = re.compile("[\r\n]+")
#: Members that are shown line by line.
_WITH_LINES = ("exception", "module_stdout", "module_stderr")


def shown_members(result: dict) -> dict:
    """The result, with plain texts in all members that Ansible shows by itself. A host deprecates nothing."""
    plain = {name: value for name, value in result.items() if name != "deprecations"}
    if "warnings" in plain:
        told = plain["warnings"]
        told = told if isinstance(told, (list, tuple)) else [told]
        plain["warnings"] = [_one_line(_message(one)) for one in told[:_MOST]]
    if "msg" in plain:
        plain["msg"] = _one_line(plain["msg"])
    for name in _WITH_LINES:
        if name in plain:
            plain[name] = "\n".join(_lines(_trace(plain[name])))[:_LONGEST_TRACE]
    return plain


def stdout(text: str) -> str:
    """What a module has printed. Its JSON is the same JSON; Ansible warns of what comes after it, which is one line."""
    found = _lines(text)
    end = max((place for place, line in enumerate(found, start=1) if line.rstrip().endswith("}")), default=len(found))
    return "\n".join([*found[:end], " ".join(found[end:])])


def _lines(text: str) -> list[str]:
    return [share_text.shown(line) for line in _LINE_ENDS.split(text)]


def _one_line(value: Any) -> str:
    return share_text.shown(" ".join(str(value).splitlines()))[:_LONGEST]


def _message(warning: Any) -> str:
    """ansible-core 2.19 makes objects of a module's warnings."""
    event = getattr(warning, "event", None)
    return str(event.msg if event else warning)


def _trace(value: Any) -> str:
    """And of its traceback."""
    event = getattr(value, "event", None)
    return str((event.formatted_traceback or "") if event else value)
