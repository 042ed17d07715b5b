# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Maildir (with its subfolders, Maildir++) decrypted into another: every mail under its own name.

- Names stay as they are, flags and all, and so does the time of a file, which is when the mail was received. The lists
  of folders and of keywords come along; a reader's indexes do not.
- Every mail appears whole, for itself, so a run that was killed goes on where it was. A mail that is there with another
  content is never replaced.
- A mail that was decrypted by an earlier run is found again when a reader gave it other flags (``maildir_there``).
- Links and special files are not mails.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import output, pool, smime
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.maildir_there import There
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import FAILED, Item, Tally
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FileMissing, KeyopsError

#: As in ``mbox``.
LARGEST = 96 << 20
_BATCH_MAILS, _BATCH_BYTES = 32, 2 << 20
MAILS = ("cur", "new")
COPIED = ("maildirfolder", "subscriptions", "dovecot-keywords")
_DEEPEST = 12


@dataclass(frozen=True)
class Mail:
    """One file: its folder below the Maildir, ``cur`` or ``new``, its name, size and time."""

    folder: str
    part: str
    name: str
    size: int
    mtime: int

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.part, self.name)

    @property
    def base(self) -> str:
        """What names the mail whatever flags it has."""
        return os.path.join(self.folder, self.name.partition(":2,")[0])


@dataclass(frozen=True)
class _Job:
    """What the processes know."""

    src: str
    dest: str
    keys: Sequence[Decryptor]
    check_mode: bool
    there: There


def is_one(path: str) -> bool:
    """Whether a folder is a Maildir."""
    return any(os.path.isdir(os.path.join(path, part)) for part in MAILS)


def recover(
    src: str, dest: str, keys: Sequence[Decryptor], check_mode: bool, tally: Tally, told: Callable[[int], object]
) -> bool:
    """Decrypt the mails of a Maildir; whether something was written, or would be.

    Raises:
        FileError: a folder cannot be used.
        HostError: a process failed.
    """
    folders = list(_folders_of(src))
    written = ((mail.base, mail.path) for mail in mails(dest)) if os.path.isdir(dest) else ()
    there = There(src, written, (mail.base for mail in mails(src)))
    if not check_mode:
        _make(dest, folders)
    changed = False
    for folder in folders:
        changed |= _copy_lists(src, dest, folder, check_mode)
    job = _Job(src, dest, keys, check_mode, there)
    count = pool.processes_for(keys)
    done = 0
    for batch in pool.ordered(lambda found: _batch(job, found), _batches(_mails_of(src, folders)), count):
        for item, written, size in batch:
            tally.add(item)
            changed |= written
            done += size
        told(done)
    return changed


def mails(path: str) -> Iterator[Mail]:
    """The mails of a Maildir, in no order.

    Raises:
        FileError: a folder cannot be read.
    """
    return _mails_of(path, _folders_of(path))


def fingerprint(path: str, with_times: bool) -> dict:
    """What tells one state of a Maildir from another without reading mails; flags and cur or new do not count.

    Raises:
        FileError: a folder cannot be read.
    """
    total = count = 0
    for mail in mails(path):
        text = f"{mail.base}\0{mail.size}\0{mail.mtime if with_times else ''}"
        total += int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest(), "big")
        count += 1
    return {"size": count, "mtime": f"{total % 2**256:064x}"}


# --- what there is ---------------------------------------------------------------------------------------------------


def _folders_of(path: str, below: str = "", depth: int = 0) -> Iterator[str]:
    """Folders with mails, as paths below the Maildir; "" is the Maildir itself."""
    if depth > _DEEPEST:
        raise FileError(f"{path}: its folders are nested deeper than those of a Maildir")
    with _listed(os.path.join(path, below)) as found:
        names = sorted(one.name for one in found if one.is_dir(follow_symlinks=False))
    if any(part in names for part in MAILS):
        yield below
    for name in names:
        if name not in (*MAILS, "tmp"):
            yield from _folders_of(path, os.path.join(below, name), depth + 1)


def _mails_of(path: str, folders: Iterable[str]) -> Iterator[Mail]:
    for folder in folders:
        for part in MAILS:
            with contextlib.suppress(FileMissing), _listed(os.path.join(path, folder, part)) as found:
                for one in found:
                    if not one.name.startswith(".") and one.is_file(follow_symlinks=False):
                        status = one.stat(follow_symlinks=False)
                        yield Mail(folder, part, one.name, status.st_size, status.st_mtime_ns)


@contextlib.contextmanager
def _listed(path: str) -> Iterator[Iterator[os.DirEntry]]:
    with _folders.opened(path) as folder:
        try:
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise _folders.file_error(error, path) from error
        try:
            with os.scandir(descriptor) as found:
                yield found
        finally:
            os.close(descriptor)


def _batches(found: Iterable[Mail]) -> Iterator[list[Mail]]:
    """Mails of one folder each."""
    batch: list[Mail] = []
    size = 0
    for mail in found:
        apart = batch and (batch[0].folder, batch[0].part) != (mail.folder, mail.part)
        if apart or len(batch) >= _BATCH_MAILS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(mail)
        size += mail.size
    if batch:
        yield batch


# --- what comes out --------------------------------------------------------------------------------------------------


def _make(dest: str, folders: Sequence[str]) -> None:
    for folder in folders:
        for part in (*MAILS, "tmp"):
            _files.make_private_folder(os.path.join(dest, folder, part))


def _copy_lists(src: str, dest: str, folder: str, check_mode: bool) -> bool:
    changed = False
    for name in COPIED:
        existing = _files.read_existing(os.path.join(src, folder, name))
        path = os.path.join(dest, folder, name)
        if existing is not None and not os.path.lexists(path):
            changed = True
            if not check_mode:
                _files.write_new([_files.NewFile(path, existing.content)])
    return changed


@dataclass(frozen=True)
class _Result:
    """A mail with what came of it, and what it was."""

    mail: Mail
    item: Item
    content: bytes = field(repr=False)
    before: bytes = field(repr=False)


def _batch(job: _Job, found: list[Mail]) -> list[tuple[Item, bool, int]]:
    """What came of some mails: the item, whether it was written, and its size in the source."""
    done: list[tuple[Item, bool, int]] = []
    waiting: list[_Result] = []
    for mail in found:
        try:
            if mail.size > LARGEST:
                done.append(_copied(job, mail))
                continue
            data = _files.read_file(os.path.join(job.src, mail.path), LARGEST)
        except KeyopsError as error:
            done.append((Item(mail.path, FAILED, type(error).__name__, str(error)), False, mail.size))
            continue
        opened = smime.recover(data, job.keys)
        waiting.append(_Result(mail, opened.item(mail.path), data if opened.content is None else opened.content, data))
    compared = [(one, _compared(job, one, job.there.places_of(one.mail.base, one.mail.path))) for one in waiting]
    done += [(*came_out, one.mail.size) for one, came_out in compared if came_out is not None]
    return done + _written(job, [one for one, came_out in compared if came_out is None])


def _written(job: _Job, fresh: list[_Result]) -> list[tuple[Item, bool, int]]:
    if not job.check_mode:
        try:
            _files.write_new([_files.NewFile(os.path.join(job.dest, one.mail.path), one.content) for one in fresh])
        except FileError as error:
            return [(_failed(one.item, error), False, one.mail.size) for one in fresh]
        for one in fresh:
            _give_time(job, one.mail, one.mail.path)
    return [(one.item, True, one.mail.size) for one in fresh]


def _compared(job: _Job, one: _Result, places: Sequence[str]) -> tuple[Item, bool] | None:
    """A mail that is there: as it should be, or as an earlier run kept it that had no key for it. None: it is not."""
    if any(_holds(job, place, one.content) for place in places):
        return one.item, False
    kept = next((place for place in places if _holds(job, place, one.before)), None)
    try:
        if kept is not None:
            if not job.check_mode:
                _files.replace(_files.NewFile(os.path.join(job.dest, kept), one.content))
                _give_time(job, one.mail, kept)
            return one.item, True
        if places and not job.there.may_be_another(one.mail.base, one.mail.path, places):
            output.require_same(os.path.join(job.dest, places[0]), one.content)
    except FileError as error:
        return _failed(one.item, error), False
    return None


def _holds(job: _Job, place: str, content: bytes) -> bool:
    try:
        output.require_same(os.path.join(job.dest, place), content)
    except FileError:
        return False
    return True


def _failed(item: Item, error: KeyopsError) -> Item:
    return Item(item.name, FAILED, type(error).__name__, str(error), message_id=item.message_id)


def _give_time(job: _Job, mail: Mail, there: str) -> None:
    parent, name = os.path.split(os.path.join(job.dest, there))
    with _folders.opened(parent) as folder, contextlib.suppress(OSError):
        os.utime(name, ns=(mail.mtime, mail.mtime), dir_fd=folder, follow_symlinks=False)


def _copied(job: _Job, mail: Mail) -> tuple[Item, bool, int]:
    """A mail that is too large to be looked at, copied."""
    item = Item(mail.path, FAILED, "DataTooLarge", f"the mail has more than {LARGEST >> 20} MiB and was not looked at")
    places = job.there.places_of(mail.base, mail.path)
    path, whole = os.path.join(job.dest, mail.path), output.Nowhere()
    try:
        with output.opened(os.path.join(job.src, mail.path)) as file:
            whole.copy(file, 0, os.fstat(file).st_size if places else 0)
            if any(whole.is_at(os.path.join(job.dest, place)) for place in places):
                return item, False, mail.size
            if places and not job.there.may_be_another(mail.base, mail.path, places):
                raise FileError(f"{path}: it exists and holds something else; name another place, or move it away")
            if job.check_mode:
                return item, True, mail.size
            with output.written(path) as copy:
                copy.copy(file, 0, os.fstat(file).st_size)
                copy.finish()
                copy.name(replacing=False)
        _give_time(job, mail, mail.path)
    except FileError as error:
        return _failed(item, error), False, mail.size
    return item, True, mail.size
