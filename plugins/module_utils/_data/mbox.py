# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mailbox in one file (mbox), decrypted into another: every mail in its place.

- The file is read once, in pieces; memory depends on the largest mail that is decrypted, never on the mailbox.
- A mail begins with a line ``From `` after a blank line, or with one that has the time of day where the blank line is
  missing. Mails that are not decrypted are copied byte for byte, with whatever quoting they have.
- In what was decrypted, lines that begin with ``From `` (after any number of ``>``) get a ``>`` in front, as in mboxrd:
  readers take it off again, and no line can begin a mail that is none.
- A mailbox that changes while it is read ends with an error and no output.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import pool, smime
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import FAILED, Item, Tally

_CHUNK = 4 << 20
#: A mail that is larger is copied and not looked at. Several copies of one mail are in memory at once.
LARGEST = 96 << 20
_BATCH_MAILS, _BATCH_BYTES = 32, 2 << 20
_BEGIN = b"\nFrom "
_TIME, _YEAR = re.compile(rb"\b\d{1,2}:\d\d\b"), re.compile(rb"\b\d{4}\b")
_QUOTED = re.compile(rb"^(>*From )", re.MULTILINE)
_LONGEST_LINE = 1024


@dataclass(frozen=True)
class Place:
    """Where a mail is in the file: its number, from 1, and its bytes with the From_ line."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class _Done:
    """What came of a mail; ``content`` stands in its place when there is some."""

    place: Place
    item: Item
    content: bytes | None = field(default=None, repr=False)


def recover(
    file: int, size: int, keys: Sequence[Decryptor], output: Any, tally: Tally, told: Callable[[int], object]
) -> None:
    """Decrypt the mails of an open mailbox.

    Args:
        file: descriptor of the mailbox.
        size: bytes of it that are read.
        keys: to decrypt with.
        output: gets the new mailbox (``output.Nowhere`` or ``output.Output``).
        tally: gets every mail.
        told: called with the bytes that are done.

    Raises:
        FileError: the disk is full, or the mailbox changed.
        HostError, TokenError: a process or a token failed.
    """
    count = pool.processes_for(keys)

    def work(batch: list[Place]) -> list[_Done]:
        return [_one(file, place, keys) for place in batch]

    start = 0  # of what is copied as it is
    for batch in pool.ordered(work, _batches(places(file, size)), count):
        for done in batch:
            tally.add(done.item)
            if done.content is not None:
                output.copy(file, start, done.place.offset - start)
                output.write(done.content)
                start = done.place.offset + done.place.size
        told(batch[-1].place.offset + batch[-1].place.size)
    output.copy(file, start, size - start)


def quoted(content: bytes) -> bytes:
    """Text in which no line begins a mail."""
    return _QUOTED.sub(rb">\1", content) if b"From " in content else content


def places(file: int, size: int) -> Iterator[Place]:
    """The mails of an open mailbox."""
    number, begin = 0, 0
    for offset in _beginnings(file, size):
        if number or offset:
            yield Place(number + 1, begin, offset - begin)
            number += 1
        begin = offset
    if size:
        yield Place(number + 1, begin, size - begin)


def _beginnings(file: int, size: int) -> Iterator[int]:
    """The offsets at which mails begin, but for the first byte of the file."""
    kept, base = b"", 0  # the end of what was read before, and the offset at which it begins
    place = 0
    while place < size:
        chunk = os.pread(file, min(_CHUNK, size - place), place)
        if not chunk:
            return
        place += len(chunk)
        data = kept + chunk
        last = place >= size
        # A line is looked at when it is whole; one at the end of what was read waits for the next piece.
        limit = len(data) if last else max(0, len(data) - _LONGEST_LINE)
        found = data.find(_BEGIN, 2 if base else 0, limit)
        while found >= 0:
            if _begins(data, found):
                yield base + found + 1
            found = data.find(_BEGIN, found + 1, limit)
        # Two bytes before the limit show whether a blank line comes before.
        cut = max(0, limit - len(_BEGIN) + 1 - 2)
        kept, base = data[cut:], base + cut


def _begins(data: bytes, found: int) -> bool:
    before = data[max(0, found - 2) : found]
    if before[-1:] == b"\n" or before == b"\n\r" or not before:
        return True
    start, limit = found + len(_BEGIN), found + _LONGEST_LINE
    end = data.find(b"\n", start, limit)
    end = min(limit, len(data)) if end < 0 else end
    # One after the other, and the first of each: a line of many times costs no more than another.
    time = _TIME.search(data, start, end)
    return time is not None and _YEAR.search(data, time.end(), end) is not None


def _batches(found: Iterator[Place]) -> Iterator[list[Place]]:
    batch: list[Place] = []
    size = 0
    for place in found:
        batch.append(place)
        size += place.size
        if len(batch) >= _BATCH_MAILS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _one(file: int, place: Place, keys: Sequence[Decryptor]) -> _Done:
    if place.size > LARGEST:
        detail = f"the mail has more than {LARGEST >> 20} MiB and was not looked at"
        return _Done(place, Item(str(place.number), FAILED, "DataTooLarge", detail, offset=place.offset))
    data = _read(file, place)
    begin = data.find(b"\n") + 1 if data.startswith(b"From ") else 0
    end = len(data) - _blank_line(data)
    mail = smime.recover(data[begin:end], keys, quoted)
    item = mail.item(str(place.number), place.offset)
    if mail.content is None:
        return _Done(place, item)
    line_end = b"" if mail.content.endswith(b"\n") else b"\n"
    return _Done(place, item, b"".join((data[:begin], mail.content, line_end, data[end:] or b"\n")))


def _read(file: int, place: Place) -> bytes:
    data = os.pread(file, place.size, place.offset)
    while len(data) < place.size:  # a read gives at most 2 GiB
        more = os.pread(file, place.size - len(data), place.offset + len(data))
        if not more:
            break
        data += more
    return data


def _blank_line(data: bytes) -> int:
    """Bytes of the blank line that ends a mail; it is the mailbox's."""
    if data.endswith(b"\n\r\n"):
        return 2
    return 1 if data.endswith(b"\n\n") else 0
