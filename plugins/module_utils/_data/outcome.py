# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes of the items of a source: counted, listed, and none of their content kept.

An item is one message or file of a source. ``decrypted`` came out; ``kept`` has nothing to decrypt and is as it was;
``failed`` has the class of its error (``_errors.DataError`` and others) as its reason. A mailbox keeps failed items as
they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import HostError

DECRYPTED, KEPT, FAILED = "decrypted", "kept", "failed"
#: Failures that a result lists; the report has all of them.
MOST_FAILURES = 100


def _names(kind: type[HostError]) -> Iterator[str]:
    yield kind.__name__
    for one in kind.__subclasses__():
        yield from _names(one)


#: Reasons that lie in this host, a file or a token, and not in the data: mended, the same item may come out.
OBSTACLES = frozenset(_names(HostError))


@dataclass(frozen=True)
class Source:
    """One item of ``sources``: absolute paths, and what kind of source it is (``auto`` until it was looked at)."""

    src: str
    dest: str
    kind: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """What came of one item.

    Attributes:
        name: which one in its source: a file's path below it, or the number of a mail, from 1; "" when it is alone.
        status: DECRYPTED, KEPT or FAILED.
        reason, detail: class of the error, and one sentence.
        key_ids: of the keys that opened it or parts of it.
        message_id: of a mail, as its header says.
        offset: of a mail in its mailbox, in bytes; -1 elsewhere.
    """

    name: str
    status: str
    reason: str = ""
    detail: str = ""
    key_ids: tuple[str, ...] = ()
    message_id: str = ""
    offset: int = -1

    def public(self) -> dict:
        """As it is reported: without what says nothing."""
        # A file name may be no UTF-8.
        name = self.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        row: dict = {"item": name, "status": self.status}
        row.update({name: value for name in ("reason", "detail", "message_id") if (value := getattr(self, name))})
        if self.key_ids:
            row["key_ids"] = list(self.key_ids)
        if self.offset >= 0:
            row["offset"] = self.offset
        return row


def line_of(src: str, item: Item) -> bytes:
    """An item as a line of the report."""
    return json.dumps({"src": src, **item.public()}, ensure_ascii=True, sort_keys=True).encode() + b"\n"


@dataclass
class Tally:
    """The items of the source ``src``, counted. ``line`` gets every item as a line of the report, in their order.

    ``obstacles`` counts those that failed for a reason of ``OBSTACLES``; ``obstacle`` is the first, as people read it.
    """

    src: str = ""
    line: Callable[[bytes], object] | None = None
    counts: dict[str, int] = field(default_factory=lambda: {DECRYPTED: 0, KEPT: 0, FAILED: 0})
    failures: list[dict] = field(default_factory=list)
    key_ids: dict[str, int] = field(default_factory=dict)
    obstacles: int = 0
    obstacle: str = ""

    def add(self, item: Item) -> None:
        """Count one item."""
        self.counts[item.status] += 1
        for key_id in item.key_ids:
            self.key_ids[key_id] = self.key_ids.get(key_id, 0) + 1
        if item.reason in OBSTACLES:
            self.obstacles += 1
            name = item.public()["item"]
            self.obstacle = self.obstacle or f"{self.src}: {name + ': ' if name else ''}{item.detail}"
        if item.status == FAILED and len(self.failures) < MOST_FAILURES:
            self.failures.append(item.public())
        if self.line is not None:
            self.line(line_of(self.src, item))

    def facts(self) -> dict:
        """For the result: counts, the keys that were used, and the first failures."""
        return {
            **{"items": sum(self.counts.values()), **self.counts},
            **{"key_ids": dict(sorted(self.key_ids.items())), "failures": self.failures},
        }
