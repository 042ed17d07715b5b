# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A walk over the BER (X.690) of messages, which may be large: nothing is copied, rewritten or kept.

Mail programs write messages with indefinite lengths and octet strings in pieces. ``_keys/ber.py`` rewrites as DER what
is small; here only places are told, and the pieces of the content are views of the message. The work is in proportion
to the message, whatever its lengths claim, and the depth is bounded. So is the number of elements (``Bounded``): one
without a length is walked for its end, again for each that it lies in, and may hold millions of empty ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataDamaged, DataTooLarge

CONSTRUCTED = 0x20
OCTETS = 0x04
_DEEPEST = 32
#: OpenSSL reads octet strings in pieces of pieces no deeper.
_DEEPEST_PIECES = 5
#: Pieces are 1,000 bytes and more where programs make them.
_MOST_PIECES = 1_000_000

#: Steps over elements in one message. The largest that is read, streamed in pieces of 1,000 bytes, takes a sixth.
_MOST_STEPS = 5_000_000
_SPENT_AT_ONCE = 1024
_TOO_MANY = "the message is made of more pieces than any program makes"
_LEFT: ContextVar[list[int] | None] = ContextVar("elements_left", default=None)

#: Tag, place of the content, end of the content, place behind the element.
Found = "tuple[int, int, int, int]"


class Bounded:
    """Within it, a message, or a mail with all messages in it, is walked no further than any needs.

    What goes further raises DataTooLarge. Of several the outermost counts.
    """

    _token: Any = None

    def __enter__(self) -> None:
        if _LEFT.get() is None:
            self._token = _LEFT.set([_MOST_STEPS])

    def __exit__(self, *_exception: object) -> None:
        if self._token is not None:
            _LEFT.reset(self._token)


def _spend(steps: int) -> None:
    left = _LEFT.get()
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise DataTooLarge(_TOO_MANY)


def element(data: Any, place: int, end: int) -> tuple[int, int, int, int]:
    """The element at a place: its tag, where its content begins and ends, and what is behind it.

    Raises:
        DataDamaged: it is cut off, or no BER.
    """
    left = _LEFT.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise DataTooLarge(_TOO_MANY)
    # Most elements are small; this is what ``_header`` says of them.
    if end >= place + 2 and data[place + 1] < 0x80 and data[place] & 0x1F != 0x1F:
        stop = place + 2 + data[place + 1]
        if stop <= end:
            return data[place], place + 2, stop, stop
    tag, start, stop = _header(data, place, end)
    if stop is not None:
        return tag, start, stop, stop
    stop = _end_mark(data, start, end)
    return tag, start, stop, stop + 2


def children(data: Any, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The elements in a content, in their order.

    Raises:
        DataDamaged: as ``element``.
    """
    place = start
    while place < stop:
        found = element(data, place, stop)
        yield found
        place = found[3]


def octets(data: Any, found: tuple[int, int, int, int]) -> list[Any]:
    """The pieces of an octet string (whatever its tag), as views when ``data`` is one.

    Raises:
        DataDamaged: it is not made of octet strings.
        DataTooLarge: it has more pieces than any program makes.
    """
    tag, start, stop, dummy = found
    if not tag & CONSTRUCTED:
        return [data[start:stop]]
    pieces: list[Any] = []
    _gather(data, start, stop, pieces, 1)
    return pieces


def _gather(data: Any, start: int, stop: int, pieces: list[Any], depth: int) -> None:
    for found in children(data, start, stop):
        tag, begin, end, dummy = found
        if tag == OCTETS:
            pieces.append(data[begin:end])
        elif tag == OCTETS | CONSTRUCTED and depth < _DEEPEST_PIECES:
            _gather(data, begin, end, pieces, depth + 1)
        else:
            raise DataDamaged("an octet string in pieces holds something else")
        if len(pieces) > _MOST_PIECES:
            raise DataTooLarge("the content is in more pieces than any program makes")


def _header(data: Any, place: int, end: int) -> tuple[int, int, int | None]:
    """Tag, place of the content, and its end (None: at an end mark)."""
    if end < place + 2:
        raise DataDamaged("the message is cut off")
    tag, size, start = data[place], data[place + 1], place + 2
    if tag & 0x1F == 0x1F:
        raise DataDamaged("the message has a tag that no message has")
    if size < 0x80:
        stop = start + size
    elif size == 0x80:
        if not tag & CONSTRUCTED:
            raise DataDamaged("a primitive element has no length")
        return tag, start, None
    else:
        count = size & 0x7F
        if count > 8 or end < start + count:
            raise DataDamaged("the message is cut off, or a length is longer than any")
        stop = start + count + int.from_bytes(data[start : start + count], "big")
        start += count
    if stop > end:
        raise DataDamaged("the message is cut off, or an element is longer than what it lies in")
    return tag, start, stop


def _end_mark(data: Any, place: int, end: int) -> int:
    """Where the end mark is of the element without a length whose content begins at the place."""
    depth, steps = 1, 0
    while True:
        steps += 1
        if steps == _SPENT_AT_ONCE:
            _spend(steps)
            steps = 0
        if end >= place + 2 and data[place] == 0 and data[place + 1] == 0:
            depth -= 1
            if not depth:
                _spend(steps)
                return place
            place += 2
            continue
        dummy, start, stop = _header(data, place, end)
        if stop is None:
            depth += 1
            if depth > _DEEPEST:
                raise DataDamaged("the message is nested deeper than any")
        place = start if stop is None else stop
