# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event log: append-only, hash-chained, one object per event.

- A number is claimed by creating it, so the chain cannot fork, whoever writes at the same time and wherever.
- Every event holds the digest of the bytes of the one before, whatever those are: an entry that does not verify is
  reported by ``verify`` and chained over. Nothing that anybody puts under ``events/`` stops the others from writing.
- A vault that cuts off the tail is found out by heads that were kept elsewhere (receipts, approvals, exports).
"""

from __future__ import annotations

import itertools
import random
import time as clock
from collections.abc import Callable, Iterable, Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultUnavailable
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, times
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_check import (
    PREFIX,
    Check,
    LogReport,
    Problem,
    objects,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_end import end_of_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_format import ZEROS, Event, Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

__all__ = ["Event", "Head", "LogReport", "Problem", "append", "head", "lost", "verify"]

#: Seconds to try for a number before giving up.
PATIENCE = 120.0

#: Keys in one event, characters of a key's detail and of the event's own: an event then fits any vault. More keys make
#: more events.
KEYS_PER_EVENT = 500
DETAIL_LIMIT = 300
TEXT_LIMIT = 2000


def append(
    vault: Vault,
    *,
    action: str,
    outcome: str,
    actor: str,
    host: str,
    keys: Iterable[tuple[str, str]] = (),
    detail: str = "",
    time: str | None = None,
    signing_key: object = None,
) -> Head:
    """Append what happened, durably; returns the head that then holds it.

    Args:
        outcome: ``success``, ``refused``, ``failed`` or ``alarm``.
        actor, host: who did it, and the host it was done for.
        keys: pairs of key ID and detail; details are cut after DETAIL_LIMIT characters.
        detail: cut after TEXT_LIMIT characters.
        time: as the formats write it; now without it.
        signing_key: a cryptography private key object that signs the event.

    Raises:
        FormatError: when it would be no event.
        VaultError: when the vault cannot take it.
    """
    pairs = [(key_id, text[:DETAIL_LIMIT]) for key_id, text in keys]
    moment = time or times.text(times.now())
    last = Head(0, ZEROS)
    for start in range(0, max(len(pairs), 1), KEYS_PER_EVENT):
        chunk = tuple(pairs[start : start + KEYS_PER_EVENT])

        def content(before: Head, chunk: tuple = chunk) -> bytes:
            text = detail[:TEXT_LIMIT]
            event = Event(before.number + 1, before.digest, moment, actor, host, action, outcome, chunk, text)
            data = event_format.dump(event, signing_key)
            event_format.parse(data)
            return data

        last = _claim(vault, content)
    return last


def head(vault: Vault) -> Head:
    """The head of the log, as a writer sees it."""
    return _head_from(vault, Head(0, ZEROS))


def lost(vault: Vault, heads: Iterable[Head]) -> list[Head]:
    """Those of the heads, seen before, that the log does not have any more; one question to the vault for all."""
    wanted = {paths.event(one.number): one for one in heads}
    there = vault.read(wanted)
    return [one for path, one in sorted(wanted.items()) if canonical.digest(there.get(path, b"")) != one.digest]


def verify(
    vault: Vault,
    expected_heads: Iterable[Head] = (),
    signing_certificates: Sequence[bytes] = (),
    since: int = 1,
) -> LogReport:
    """Read and check the whole log.

    Args:
        expected_heads: heads that were seen before (receipts, approvals, exports); the log must hold each of them.
        signing_certificates: DER; signed events must verify with one of them.
        since: return events from this number on; all are checked.
    """
    expected = tuple(expected_heads)
    check = Check(signing_certificates, since, {one.number for one in expected})
    for path, content in objects(vault):
        check.take(path, content)
    for path in vault.strangers(PREFIX):
        check.stranger(path)
    return LogReport(tuple(check.events), check.head, (*check.problems, *check.cut_off(expected)))


def _claim(vault: Vault, content: Callable[[Head], bytes]) -> Head:
    deadline = clock.monotonic() + PATIENCE
    before = head(vault)
    for attempt in itertools.count():
        data = content(before)
        claimed = Head(before.number + 1, canonical.digest(data))
        if vault.create({paths.event(claimed.number): data}):
            return claimed
        if clock.monotonic() > deadline:
            raise VaultUnavailable(f"the event log was too busy for {PATIENCE:.0f} seconds; run again")
        # Jitter, so that those who lost together do not come back together.
        clock.sleep(random.uniform(0, 0.001 * 2 ** min(attempt, 5)))  # noqa: S311
        before = _behind(vault, Head(claimed.number, before.digest), attempt)
    raise AssertionError("unreachable")


def _behind(vault: Vault, taken: Head, attempt: int) -> Head:
    """The head to follow when the number of ``taken`` was claimed by another writer; its digest is of the one before.

    Mostly that writer's event is the last one, so it is followed at once; whoever loses again and again looks for the
    end. If the object was destroyed, the chain goes over it.
    """
    path = paths.event(taken.number)
    content = vault.read([path]).get(path) if attempt % 4 != 3 else None
    return _head_from(vault, taken) if content is None else Head(taken.number, canonical.digest(content))


def _head_from(vault: Vault, start: Head) -> Head:
    """The head of the walk that goes on behind ``start``, whose digest holds unless the vault has its bytes."""
    last = end_of_log(vault, start.number)
    content = vault.read([paths.event(last)]).get(paths.event(last)) if last else None
    return Head(last, start.digest if content is None else canonical.digest(content))
