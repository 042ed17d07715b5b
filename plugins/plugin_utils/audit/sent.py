# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host sent, made harmless: rows without the form are left out, texts are escaped, and lists are bounded.

Everything of a host that the audit reads goes through here, so that one host that lies has neither the controller's
memory nor the eyes of whoever reads the outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text

#: Characters.
_LONGEST, _LONGEST_WORD = 8192, 64
#: In a list within a row. Hosts send fewer: 32 certificates and uses beside those that keyops_keys names.
IN_ROW = 200
_OID = r"[0-2](?:\.(?:0|[1-9][0-9]{0,9})){2,15}"
_ALGORITHM = re.compile(
    rf"rsa(?:ssa-pss)?(?:-[1-9][0-9]{{1,4}})?|dsa|(?:ec-)?{_OID}|"
    r"ec-(?:explicit|p[0-9]{3}|(?:sec[pt]|brainpoolp)[0-9]{3}[kr][12])"
)
_ALGORITHM_WORDS = frozenset(
    [*identity.PLAIN.values(), *identity.ML_DSA.values(), *(word for word, dummy in identity.CURVES.values())]
)
UNKNOWN = "unknown"


class Reader:
    """Reads the rows of one host's result, and counts those that have not the form of facts or are too many."""

    def __init__(self, result: Mapping) -> None:
        self._result = result
        self.unread = self.cut = 0

    def each(self, name: str, read: Callable[[Any], Any]) -> list:
        """What ``read`` makes of every row of this name that has the form, but for None."""
        return self._all(self._result.get(name), read)

    def of(self, row: Mapping, name: str) -> list[dict]:
        """The dictionaries in a row's list."""
        return self._all(row.get(name), dict, IN_ROW)

    def _all(self, rows: Any, read: Callable[[Any], Any], most: int | None = None) -> list:
        if not isinstance(rows, (list, tuple)):
            self.unread += rows is not None
            return []
        self.cut += len(rows[most:]) if most else 0
        return [one for one in (self.one(read, row) for row in rows[:most]) if one is not None]

    def one(self, read: Callable[[Any], Any], value: Any) -> Any:
        """What ``read`` makes of a value, or None when it has not the form."""
        try:
            return read(value)
        # What is raised where a value is of another type than the documented one, or out of every range.
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RecursionError):
            self.unread += 1
            return None

    @property
    def problem(self) -> str | None:
        """What could not be read, or None."""
        told = []
        if self.unread:
            told.append(f"{self.unread} rows of what it sent have not the form of facts, and are left out")
        if self.cut:
            told.append(f"{self.cut} rows are more than a host has, and are left out")
        return "; ".join([*told, "somebody may have changed the host's part"]) if told else None


def dicts(value: Any) -> list[Mapping]:
    """The dictionaries of a list; none of what is no list."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, (list, tuple)) else []


def text(value: Any) -> str | None:
    """A text that can be written and shown anywhere (``share_text.shown``), and no longer than a path may be."""
    return None if value is None else share_text.shown(str(value)[:_LONGEST])[:_LONGEST]


def pem(value: Any) -> str | None:
    """A PEM text or a part of one, line by line; None for none. It is decoded and never shown.

    Raises:
        TypeError: it is no text.
    """
    if value is None:
        return None
    return "\n".join(sentence(line) for line in _whole(value).splitlines())


def algorithm(value: Any) -> str | None:
    """An algorithm's word; what is none is ``unknown``."""
    if not isinstance(value, str):
        return None
    return value if value in _ALGORITHM_WORDS or _ALGORITHM.fullmatch(value) else UNKNOWN


def readable(value: Any) -> str | None:
    """A text for people, or None when it cannot be written (a number of very many digits)."""
    try:
        return text(value)
    except (ValueError, RecursionError):
        return None


def sentence(value: Any) -> str:
    """A text as ``text`` makes it.

    Raises:
        TypeError: it is no text.
    """
    return text(_whole(value)) or ""


def _whole(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value[:_LONGEST]


def sentences(value: Any) -> tuple[str, ...] | None:
    """The texts of a list; None for none.

    Raises:
        TypeError: it is no list of texts.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise TypeError("no list")
    return tuple(map(sentence, value[:IN_ROW]))


def word(value: Any) -> str | None:
    """A short text; None for what is none."""
    return (text(value) or "")[:_LONGEST_WORD] if isinstance(value, str) else None
