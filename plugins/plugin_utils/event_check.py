# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checking the event log: one walk over everything under ``events/``, in the order of the names.

Nothing in the log is fatal here: what does not verify is reported, and the next event must chain over its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, SignatureInvalid
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_format import ZEROS, Event, Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

PREFIX = paths.event(0).rsplit("/", 1)[0] + "/"
_PAGE = 1000


@dataclass(frozen=True)
class Problem:
    """Something in the log that does not verify.

    Attributes:
        kind: ``unparsable`` (edited, or never an event), ``misplaced`` (reordered, or no event's name), ``stranger``
            (no object's name at all), ``signature``, ``broken_chain``, ``removed`` (a gap with events behind it),
            ``claimed_ahead`` (a gap with something else behind it), ``cut_off`` (a head that was seen before is gone
            or another one).
        number: of the event, 0 where there is none.
        text: for the user.
        mark: SHA-256 hex of what it is about: the same for as long as the same bytes lie in the same place. None for
            what was cut off, which nothing can excuse.
    """

    kind: str
    number: int
    text: str
    mark: str | None = None


@dataclass(frozen=True)
class LogReport:
    """What ``verify`` found.

    Attributes:
        events: that parse, in the order of their numbers, also those beyond a gap.
        head: the last event of the walk from 1.
        problems: empty when the log verifies.
    """

    events: tuple[Event, ...]
    head: Head
    problems: tuple[Problem, ...]


def objects(vault: Vault) -> Iterator[tuple[str, bytes]]:
    page: Sequence[str] = vault.list(PREFIX, limit=_PAGE)
    while page:
        objects = vault.read(page)
        yield from ((path, objects[path]) for path in page if path in objects)
        page = vault.list(PREFIX, after=page[-1], limit=_PAGE)


class Check:
    """The state of one walk over everything under ``events/``, in the order of the names."""

    def __init__(self, signing_certificates: Sequence[bytes], since: int, wanted: set[int]) -> None:
        self.events: list[Event] = []
        self.problems: list[Problem] = []
        self.head = Head(0, ZEROS)
        self._last = Head(0, ZEROS)
        self._linked = True  # whether the bytes before the next event are known
        self._seen = {0: ZEROS}
        self._signing_certificates = signing_certificates
        self._since = since
        self._wanted = wanted
        self._about = ""  # what is looked at

    def take(self, path: str, content: bytes) -> None:
        self._about = f"{path} {canonical.digest(content)}"
        name = path[len(PREFIX) :]
        if not re.fullmatch("[0-9]{12}", name) or int(name) == 0:
            self._report("misplaced", 0, f"{path} is not the name of an event; somebody put it there")
            return
        number, digest = int(name), canonical.digest(content)
        event = self._parsed(number, content)
        self._check_gap(number, event)
        if event and self._linked and event.previous != self._last.digest:
            self._report(
                "broken_chain",
                number,
                f"event {number} does not follow from the bytes of event "
                f"{number - 1}: one of the two was altered or replaced",
                self._last.digest,
            )
        if event and number >= self._since:
            self.events.append(event)
        if self.head == self._last and number == self._last.number + 1:
            self.head = Head(number, digest)
        self._last, self._linked = Head(number, digest), True
        if number in self._wanted:
            self._seen[number] = digest

    def stranger(self, path: str) -> None:
        """Something that is no object of a vault lies among the events."""
        self._about = path
        self._report("stranger", 0, f"{path[:100]!r} is not the name of a vault object; somebody put it there")

    def cut_off(self, expected: Iterable[Head]) -> Iterator[Problem]:
        for one in expected:
            if one.number not in self._seen:
                yield Problem(
                    "cut_off",
                    one.number,
                    f"event {one.number} was the head once and is gone: the log was "
                    f"cut off and ends with {self._last.number}, or the event was removed (digest {one.digest})",
                )
            elif self._seen[one.number] != one.digest:
                yield Problem(
                    "cut_off",
                    one.number,
                    f"event {one.number} is another one than when it was the head: "
                    f"the log was cut off before it and written anew, or the event was altered (digest {one.digest})",
                )

    def _parsed(self, number: int, content: bytes) -> Event | None:
        try:
            event = event_format.parse(content, self._signing_certificates)
        except SignatureInvalid as error:
            self._report("signature", number, f"event {number}: {error}")
            return None
        except FormatError as error:
            self._report("unparsable", number, f"event {number} was edited or never was an event: {error}")
            return None
        if event.number != number:
            self._report("misplaced", number, f"event {number} says that it is {event.number}: events were reordered")
            return None
        return event

    def _check_gap(self, number: int, event: Event | None) -> None:
        first = self._last.number + 1
        if number == first:
            return
        missing = f"event {first} is" if number == first + 1 else f"events {first} to {number - 1} are"
        if event:
            self._report(
                "removed",
                first,
                f"{missing} missing although {number} is there: removed, or {number} was "
                "claimed ahead by a writer that is not this software",
                str(first),
            )
        else:
            self._report("claimed_ahead", number, f"event {number} was claimed ahead: {missing} missing before it")
        self._linked = False

    def _report(self, kind: str, number: int, text: str, also: str = "") -> None:
        mark = canonical.digest(f"{kind} {self._about} {also}".encode())
        self.problems.append(Problem(kind, number, text, mark))
