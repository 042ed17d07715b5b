# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving a vault, in five steps:

1. Compare. Before anything is written: the destination must hold nothing but objects of the source.
2. Copy what it lacks; sealed keys and shares come before records, events last.
3. Verify: the contents of all objects in both vaults, once more. What came into the source meanwhile is copied.
4. Close the source: its next event says where the vault goes on. The event claims its number in the source, so it
   stands behind everything that was done there before, and whatever is done there later can be seen to be later.
5. Copy what came until then, that event too, and verify the destination's log against the source's head.

Both logs then end with the same event, so the log goes on in the destination without a break, and the vault can move
back later to where it was. A killed run is run again: it compares what is there and goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    EventLogError,
    FormatError,
    OptionError,
    VaultStillUsed,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format, event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Event, Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.named import NamedVault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault_copy import Copier, Count

_ACTION = "migrate"

#: Seconds between two words about the progress.
_PAUSE = 10.0

#: What was found or copied in each folder.
_Counts = Mapping[str, Count]


def migrate(task: ControllerTask, say: Callable[[str], None]) -> dict:
    """The result of vault_migration.

    Args:
        task: its vaults ``source`` and ``destination`` are NamedVaults.
        say: shows a line to the user.

    Raises:
        OptionError: when both are one vault.
        VaultsDiffer: when the destination has anything that the source has not; nothing was overwritten.
        VaultStillUsed: when the source was written to after it was closed.
        EventLogError: when the destination's log does not verify as the source's does.
    """
    source, destination = task.vaults["source"], task.vaults["destination"]
    if source.place == destination.place:
        raise OptionError("destination: it is the same vault as the source; give another one")
    walk = _Walks(source, destination, say)
    found = walk.all("comparing", Copier.compare)
    missing = _copied(found)
    if task.check_mode:
        closed = _closing(source, destination)
        return _result(found, missing, closed or event_log.head(source), bool(missing or not closed))
    if missing:
        missing = _copied(walk.all("copying", Copier.copy))
        found = walk.all("verifying", Copier.verify)
        missing += _copied(found)
    head = _closing(source, destination) or _close(task, found)
    last = walk.all("completing", Copier.complete)
    missing += _copied(last)
    _check_closed(source, head)
    warnings = [*_checked_log(source, destination, head), *_strangers(source)]
    found = {folder: Count(last[folder].objects, 0, found[folder].destroyed) for folder in last}
    return {**_result(found, missing, head, bool(missing)), "warnings": warnings}


class _Walks:
    """Walks through all folders of both vaults, with a word to the user now and then."""

    def __init__(self, source: Vault, destination: Vault, say: Callable[[str], None]) -> None:
        self._copier = Copier(source, destination, self._tell)
        self._say, self._doing, self._last = say, "", time.monotonic()

    def all(self, doing: str, work: Callable[[Copier, str], Count]) -> dict[str, Count]:
        self._doing = doing
        return {folder: work(self._copier, folder) for folder in paths.FOLDERS}

    def _tell(self, folder: str, number: int) -> None:
        if time.monotonic() > self._last + _PAUSE:
            self._last = time.monotonic()
            self._say(f"vault_migration: {self._doing}, {number} objects of {folder}/ so far")


def _copied(counts: _Counts) -> Counter:
    """How many objects were, or are to be, copied; only folders with any."""
    return Counter({folder: count.missing for folder, count in counts.items() if count.missing})


def _closing(source: NamedVault, destination: NamedVault) -> Head | None:
    """The head of the source, when its last event says that the vault goes on in this destination."""
    head = event_log.head(source)
    event = _event(source, head.number)
    said = event and event.action == _ACTION and event.detail.startswith(f"to {destination.place}: ")
    return head if said else None


def _close(task: ControllerTask, found: _Counts) -> Head:
    source, destination = task.vaults["source"], task.vaults["destination"]
    number = sum(count.objects for count in found.values())
    return event_log.append(
        source,
        action=_ACTION,
        outcome="success",
        actor=task.actor,
        host=task.host,
        detail=f"to {destination.place}: {number} objects, compared; from {source.place}",
        signing_key=task.log_signing_key,
    )


def _check_closed(source: NamedVault, closed: Head) -> None:
    last = event_log.head(source).number
    if last == closed.number:
        return
    event = _event(source, last)
    who = f" ({event.action} by {event.actor} for {event.host})" if event else ""
    raise VaultStillUsed(
        f"source: event {last}{who} was written after event {closed.number}, which says that the vault goes on "
        "elsewhere. Stop all plays, timers and agents that use the source, then run again"
    )


def _event(vault: Vault, number: int) -> Event | None:
    content = vault.read([paths.event(number)]).get(paths.event(number))
    try:
        return event_format.parse(content) if content else None
    except FormatError:
        return None


def _checked_log(source: Vault, destination: Vault, head: Head) -> list[str]:
    """Warnings: problems of the log that came along from the source."""
    problems = _problems(destination, head)
    if problems and problems != _problems(source, head):
        raise EventLogError(f"destination: the log does not verify: {problems[0].text}; see lifecycle_log_info")
    return [f"the log of the source has a problem that came along: {problem.text}" for problem in problems[:10]]


def _problems(vault: Vault, head: Head) -> list[event_log.Problem]:
    """What does not verify, but for strangers, which stay where they are."""
    return [one for one in event_log.verify(vault, [head], since=head.number).problems if one.kind != "stranger"]


def _strangers(source: Vault) -> list[str]:
    """A warning when something in the source is no object of a vault."""
    names = [path for folder in paths.FOLDERS for path in source.strangers(f"{folder}/", 10)]
    told = ", ".join(repr(name[:100]) for name in names[:10])
    return [f"the source holds what is no object of a vault; it was left there: {told}"] if names else []


def _result(found: _Counts, copied: Counter, head: Head, changed: bool) -> dict:
    rows = [
        {"prefix": f"{folder}/", "objects": count.objects, "copied": copied[folder], "destroyed": count.destroyed}
        for folder, count in found.items()
    ]
    return {"changed": changed, "results": rows, "head": asdict(head)}
