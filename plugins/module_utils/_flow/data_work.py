# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources of a task of data_recovery, one after the other: what is done already, and what came of the rest.

Outputs appear whole, and what is known of a source is kept before its output gets its name (``_data/done.py``), so a
kill between the two costs the work, and no more. What is there and was not made here from this source is never
replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import done as finished
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs, maildir, mbox, output, pool, single
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.done import Done
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import FAILED, Item, Source, Tally, line_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.progress import Progress
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.sealed_outputs import Made
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, HostError, KeyopsError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_singles, data_sources
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_places import Places
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_report import Report
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

_SINGLES = ("message", "cms")
#: Sources that are one file each: so many are decrypted together, and so many bytes of them are written together.
_BATCH = 16
_MOST_WAITING = 64 << 20


@dataclass
class _Stream:
    """A source of many items while it is worked on: ``items`` takes the lines of the report, None in check mode."""

    number: int
    source: Source
    tally: Tally
    items: Any = None


class Work:
    """All sources of a task: what is done, and what came of them."""

    def __init__(self, task: HostTask, places: Places) -> None:
        """
        Raises:
            FileError: something else is at the place of the report.
        """
        self._task, self._state_dir, sources = task, places.state_dir, places.sources
        self._sources = sources
        self._report = Report(places.state_dir, places.report)
        self._report.require_ours()
        self._keys: Sequence[Decryptor] = ()
        self._offered: tuple[str, ...] = ()
        self._progress = Progress(None if task.check_mode else finished.folder(self._state_dir), len(sources))
        self._done: dict[int, Done] = {}
        self._changed: set[int] = set()
        self._lines: dict[int, output.Nowhere] = {}  # of what check mode did, and keeps nowhere
        self._kinds: dict[int, Source | KeyopsError] = {}
        self._obstacles: dict[int, Tally] = {}
        self._files: dict[int, set[str]] = {}  # of volumes
        for number, source in enumerate(sources):
            known = finished.read(self._state_dir, source)
            if known is not None and data_sources.is_as_left(known) and finished.has_lines(self._state_dir, known):
                self._done[number] = known

    def is_done(self) -> bool:
        """Whether all of it was decrypted by earlier runs."""
        return len(self._done) == len(self._sources) and not any(one.facts["failed"] for one in self._done.values())

    def look(self) -> None:
        """See that every source that is not done can be read, and what kind it is: before a key is opened.

        Raises:
            FileMissing, FileError: some cannot; the first is told, and how many more.
        """
        unreadable: list[FileError] = []
        for number, source in enumerate(self._sources):
            if number not in self._done or self._done[number].facts["failed"]:
                try:
                    self._kinds[number] = data_sources.looked_at(source)
                except FileError as error:
                    unreadable.append(error)
                except KeyopsError as error:
                    self._kinds[number] = error
        if unreadable:
            more = f" (and {len(unreadable) - 1} more sources)" if len(unreadable) > 1 else ""
            raise type(unreadable[0])(f"sources: {unreadable[0]}{more}; nothing was decrypted")

    def decrypt(self, keys: Sequence[Decryptor]) -> None:
        """Do what is not done, after ``look``."""
        self._keys, self._offered = keys, tuple(sorted(key.key_id for key in keys))
        known: dict[int, Source] = {}
        for number, kind in self._kinds.items():
            if isinstance(kind, KeyopsError):
                self._failed(number, self._sources[number], kind)
            elif not self._is_done_with(number):
                known[number] = kind
        with self._progress:
            for number, source in known.items():
                if source.kind not in _SINGLES:
                    self._stream(number, source)
            self._singles({number: source for number, source in known.items() if source.kind in _SINGLES})

    def require_no_obstacle(self) -> None:
        """Raise HostError when something failed that lies in this host, a file or a token, and not in the data."""
        count = sum(tally.obstacles for tally in self._obstacles.values())
        if count:
            first = next(iter(self._obstacles.values())).obstacle
            raise HostError(
                f"{count} item{'s' * (count > 1)} met an obstacle of this host, and nothing was sealed; the first: "
                f"{first}. Remove the obstacle, or leave that source out, and run again: what came out stays, and a "
                "request stays open"
            )

    def result(self) -> FlowResult:
        """What the module returns; the report is written here."""
        rows = [self._row(number) for number in range(len(self._sources))]
        warnings = [
            f"{row['src']}: {row['failed']} of {row['items']} were not decrypted; see failures"
            for row in rows
            if row["failed"]
        ]
        return FlowResult(self._write_report() or bool(self._changed), rows, warnings=warnings)

    def made(self) -> list[Made]:
        """What came of every source, for who seals the folder."""
        numbers = range(len(self._sources))
        done = [(self._done[number], frozenset(self._files.get(number, ()))) for number in numbers]
        return [Made(one.source, one.after, files) for one, files in done]

    def _is_done_with(self, number: int) -> bool:
        known = self._done.get(number)
        return known is not None and (not known.facts["failed"] or set(self._offered) <= set(known.key_ids))

    def _row(self, number: int) -> dict:
        known = self._done[number]
        source = known.source
        facts = {"src": source.src, "dest": source.dest, "kind": source.kind, "changed": number in self._changed}
        return {**facts, **known.facts}

    # --- sources that are one file each ---

    def _singles(self, sources: dict[int, Source]) -> None:
        numbers = list(sources)
        batches = [numbers[start : start + _BATCH] for start in range(0, len(numbers), _BATCH)]

        def work(batch: list[int]) -> list[single.Single]:
            return [single.recover(sources[number], self._keys) for number in batch]

        waiting: dict[int, single.Single] = {}
        for batch, found in zip(batches, pool.ordered(work, batches, pool.processes_for(self._keys))):
            waiting.update(zip(batch, found))
            if sum(len(one.content or b"") for one in waiting.values()) > _MOST_WAITING:
                self._write_singles(waiting)
                waiting = {}
            self._progress.items(len(batch))
        self._write_singles(waiting)

    def _write_singles(self, found: dict[int, single.Single]) -> None:
        items = {number: one.item for number, one in found.items()}
        fresh: dict[int, single.Single] = {}
        for number, one in found.items():
            try:
                if one.content is not None and data_singles.is_fresh(self._state_dir, one):
                    fresh[number] = one
            except KeyopsError as error:
                items[number] = _failure(error)
        for number, refusal in ({} if self._task.check_mode else data_singles.create(self._state_dir, fresh)).items():
            items[number] = _failure(refusal)
            del fresh[number]
        self._changed |= set(fresh)
        for number, one in found.items():
            tally = Tally(one.source.src)
            tally.add(items[number])
            there = one.content is not None and items[number] is one.item and not self._task.check_mode
            after = output.state_at(one.source.dest) if there else None
            if tally.obstacles:  # what an earlier run left is still there, and still ours
                known = finished.read(self._state_dir, one.source)
                after = known.after if known else None
            line = line_of(one.source.src, items[number]).decode().rstrip("\n")
            self._done[number] = self._came_of(number, one.source, one.before, after or {}, tally, (line,))
        if not self._task.check_mode:
            finished.write(self._state_dir, [self._done[number] for number in found])

    # --- sources of many items ---

    def _stream(self, number: int, source: Source) -> None:
        self._progress.begin(source.src)
        recover = {"mbox": self._mbox, "maildir": self._maildir, "ntfs": self._volume}[source.kind]
        try:
            if self._task.check_mode:
                lines = self._lines[number] = output.Nowhere()
                recover(_Stream(number, source, Tally(source.src, lines.write)))
                return
            with output.written(finished.items_path(self._state_dir, source)) as items:
                recover(_Stream(number, source, Tally(source.src, items.write), items))
        except KeyopsError as error:
            self._failed(number, source, error)

    def _mbox(self, stream: _Stream) -> None:
        source, there = stream.source, output.state_at(stream.source.dest)
        with output.opened(source.src) as file, output.written_or_not(source.dest, self._task.check_mode) as written:
            before = output.state_of(file)
            told = self._progress.bytes_of(before["size"], stream.tally)
            mbox.recover(file, before["size"], self._keys, written, stream.tally, told)
            data_sources.require_unchanged(source.src, before, output.state_of(file))
            if there is not None and written.is_at(source.dest):
                self._keep(stream, before, there)
                return
            if there is not None and not finished.is_ours(self._state_dir, source, there):
                raise FileError(
                    f"{source.dest}: it exists and holds something else; name another place, or move it away"
                )
            self._keep(stream, before, written.finish())
            written.name(replacing=there is not None)
            self._changed.add(stream.number)

    def _maildir(self, stream: _Stream) -> None:
        source, check_mode = stream.source, self._task.check_mode
        before = maildir.fingerprint(source.src, with_times=True)
        told = self._progress.bytes_of(0, stream.tally)
        if maildir.recover(source.src, source.dest, self._keys, check_mode, stream.tally, told):
            self._changed.add(stream.number)
        self._keep(stream, before, {} if check_mode else maildir.fingerprint(source.dest, with_times=True))

    def _volume(self, stream: _Stream) -> None:
        told = self._progress.bytes_of(0, stream.tally)
        before = efs.state_of(stream.source.src)
        notes = finished.made_path(self._state_dir, stream.source)
        for one in efs.recover(stream.source, self._keys, self._task.check_mode, notes, before):
            stream.tally.add(one.item)
            if one.path:
                self._files.setdefault(stream.number, set()).add(one.path)
            told(0)
            if one.changed:
                self._changed.add(stream.number)
        data_sources.require_unchanged(stream.source.src, before, efs.state_of(stream.source.src))
        self._keep(stream, before, {})

    def _keep(self, stream: _Stream, before: dict, after: dict) -> None:
        self._done[stream.number] = self._came_of(stream.number, stream.source, before, after, stream.tally)
        if stream.items is not None:
            stream.items.finish()
            stream.items.name(replacing=True)
            finished.write(self._state_dir, [self._done[stream.number]])

    def _failed(self, number: int, source: Source, error: KeyopsError) -> None:
        self._lines.pop(number, None)
        tally = Tally(source.src)
        tally.add(_failure(error))
        line = line_of(source.src, _failure(error)).decode().rstrip("\n")
        self._done[number] = self._came_of(number, source, {}, {}, tally, (line,))

    def _came_of(
        self, number: int, source: Source, before: dict, after: dict, tally: Tally, lines: tuple[str, ...] = ()
    ) -> Done:
        self._obstacles.pop(number, None)
        if tally.obstacles:
            self._obstacles[number] = tally
        return Done(source, before, after, () if tally.obstacles else self._offered, tally.facts(), lines)

    # --- the report ---

    def _write_report(self) -> bool:
        """Write the report where it is not as it should be; whether it was written, or would be."""
        numbers = range(len(self._sources))
        if not self._report.is_wanted or self._report.is_as([self._lines_of(number) for number in numbers]):
            return False
        if not self._task.check_mode:
            done = (self._done[number] for number in numbers)
            self._report.write(line for one in done for line in finished.lines(self._state_dir, one))
        return True

    def _lines_of(self, number: int) -> output.Nowhere:
        if number not in self._lines:
            found = self._lines[number] = output.Nowhere()
            for line in finished.lines(self._state_dir, self._done[number]):
                found.write(line)
        return self._lines[number]


def _failure(error: KeyopsError) -> Item:
    return Item("", FAILED, type(error).__name__, str(error))
