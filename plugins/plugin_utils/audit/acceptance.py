# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accepted findings: each acceptance has a reason and an end, and counts for nothing after that.

An acceptance names the kind (ID or slug) and narrows it by host, place, key ID or fingerprint; a place may have ``*``.
One that would take in a whole kind is refused, and so is one for longer than a year: both would also accept what
nobody has looked at yet.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Finding

_NARROWING = ("host", "place", "key_id", "fingerprint")
_LONGEST = datetime.timedelta(days=366)
#: What a place begins with that leaves everything open.
_WILD = re.compile(r"[*?\[]")
#: Before anything that stands for other text: a whole first folder, or the token.
_NARROW = re.compile(r"(?:/?[^/*?\[]+/|pkcs11:[^;*?\[]+;)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class Acceptance:
    """One item of the option ``accepted``; ``expires`` is the last day on which it counts."""

    kind: catalogue.Kind
    host: str | None
    place: str | None
    key_id: str | None
    fingerprint: str | None
    reason: str
    expires: datetime.date

    def fits(self, one: Finding) -> bool:
        """Whether this finding is what was accepted."""
        return (
            one.kind is self.kind
            and self.host in (None, one.host)
            and (self.place is None or fnmatch.fnmatchcase(one.place, self.place))
            and self.key_id in (None, one.key_id)
            and self.fingerprint in (None, one.fingerprint)
        )


@dataclass(frozen=True)
class Accepted:
    """What the acceptances say of one finding: the one that counts, or the last that is over."""

    acceptance: Acceptance
    is_over: bool


def read(options: Sequence[Mapping], today: datetime.date) -> list[Acceptance]:
    """The acceptances of the option.

    Raises:
        OptionError: naming the item and what is wrong with it.
    """
    return [_read(item, f"accepted[{number}]", today) for number, item in enumerate(options)]


def _read(item: Mapping, option: str, today: datetime.date) -> Acceptance:
    kind = catalogue.BY_NAME.get(str(item["id"]))
    if kind is None:
        raise OptionError(f"{option}.id: {str(item['id'])!r} is no kind of finding; docs/audit.md lists them")
    if not str(item["reason"]).strip():
        raise OptionError(f"{option}.reason: say why it is accepted")
    return Acceptance(
        kind=kind, reason=str(item["reason"]), expires=_end(item, option, today), **_narrowed(item, option)
    )


def _narrowed(item: Mapping, option: str) -> dict[str, str | None]:
    """What the acceptance is narrowed by."""
    narrow = {name: str(item[name]) if item.get(name) is not None else None for name in _NARROWING}
    if not any(narrow.values()):
        raise OptionError(f"{option}: name host, place, key_id or fingerprint; a whole kind cannot be accepted")
    place = narrow["place"] or ""
    alone = not any(narrow[name] for name in _NARROWING if name != "place")
    if alone and _WILD.search(place) and not _NARROW.match(place):
        raise OptionError(
            f"{option}.place: {place!r} fits places of every kind on every host; begin it with a whole folder, such as "
            "/srv/*, or name host, key_id or fingerprint beside it"
        )
    return narrow


def _end(item: Mapping, option: str, today: datetime.date) -> datetime.date:
    """The last day."""
    text = str(item["expires"])
    try:
        if not _DAY.fullmatch(text):
            raise ValueError(text)
        expires = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise OptionError(f"{option}.expires: give the last day as YYYY-MM-DD") from error
    if expires > today + _LONGEST:
        raise OptionError(f"{option}.expires: nothing is accepted for longer than a year; look at it again until then")
    return expires


def of(
    findings: Sequence[Finding], acceptances: Sequence[Acceptance], today: datetime.date
) -> tuple[list[Accepted | None], list[Acceptance]]:
    """Per finding what was accepted of it, and the acceptances that fit no finding."""
    by_kind: dict[str, list[Acceptance]] = {}
    for one in acceptances:
        by_kind.setdefault(one.kind.id, []).append(one)
    used: set[int] = set()
    told: list[Accepted | None] = []
    for finding in findings:
        fitting = [one for one in by_kind.get(finding.kind.id, ()) if one.fits(finding)]
        used |= {id(one) for one in fitting}
        best = max(fitting, key=lambda one: one.expires, default=None)
        told.append(Accepted(best, best.expires < today) if best else None)
    return told, [one for one in acceptances if id(one) not in used]
