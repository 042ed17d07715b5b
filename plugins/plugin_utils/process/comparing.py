# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a value as a user writes it is the value that a vault server returns.

The server returns durations in seconds, lists without an order, and networks in their short form.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]+[smhd])+")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False, "none": False}


def same_value(wanted: object, there: object) -> bool:
    """Whether the server's value is the wanted one. Of a dictionary, only the wanted members count."""
    if isinstance(wanted, Mapping):
        known = there if isinstance(there, Mapping) else {}
        return all(same_value(value, known.get(name)) for name, value in wanted.items())
    if isinstance(wanted, (list, tuple)) or isinstance(there, (list, tuple)):
        return _members(wanted) == _members(there)
    if isinstance(wanted, bool) or isinstance(there, bool):
        return _TRUTH.get(str(wanted).lower()) is _TRUTH.get(str(there).lower())
    if isinstance(wanted, (int, float)) or isinstance(there, (int, float)):
        return _seconds(wanted) == _seconds(there)
    return _text(wanted) == _text(there)


def _members(value: object) -> list[str]:
    if value is None or value == "":
        return []
    listed = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return sorted(_network(str(item).strip()) for item in listed)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def _seconds(value: object) -> object:
    """A number, or a duration like ``1h30m`` as one; anything else as it is."""
    text = _text(value)
    if _DURATION.fullmatch(text):
        return float(sum(int(number) * _UNITS[unit] for number, unit in re.findall("([0-9]+)([smhd])", text)))
    try:
        return float(text or 0)
    except ValueError:
        return text


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
