# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS files of an NTFS image or volume, decrypted into a folder.

1. The volume is opened for reading, once; nothing writes to it and nothing mounts it. Its table says which files are
   encrypted and to whose certificates.
2. A file's key is opened first, with the key whose certificate has the thumbprint that stands at the file: a user's
   before a data recovery agent's. A key without certificates is tried. So the reason is clear where none opens it.
3. ``ntfsdecrypt`` decrypts the file. A key on a token, and one whose certificate is not known, cannot be given to it,
   and it opens no volume that was cut off: there ``efs_cipher`` does the rest.
4. What was never written (holes, and the end beyond the initialized size) becomes zeros, as Windows reads it; decrypted
   it would be noise.
5. The output has the size that the volume says, mode 0600 and the time of the original before it gets its name. A file
   that is there with this size and time was made by an earlier run; any other is an error and stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    efs_cipher,
    efs_files,
    efs_metadata,
    ntfs,
    ntfsdecrypt,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_files import EncryptedFile, Unreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import FileKey, Holder
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import DECRYPTED, FAILED, Item, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import Draft, NewFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataError,
    DataNotOpened,
    FileError,
    FormatError,
    KeyopsError,
    NoKeyForData,
    NotEncrypted,
)

_CHUNK = 1 << 20
_MOST_TOLD = 5


@dataclass(frozen=True)
class Outcome:
    """What came of one file; ``changed`` when it was not there before."""

    item: Item
    changed: bool = False


@dataclass(frozen=True)
class _Opened:
    """A file's key, and which key opened it for whom."""

    by: Decryptor
    holder: Holder
    file_key: FileKey = field(repr=False)

    @property
    def certificate(self) -> bytes | None:
        """The certificate that stands at the file, when the key has it."""
        wanted = self.holder.key.recipient.thumbprint
        own = self.by.certificates
        return next((one for one in own if hashlib.sha1(one, usedforsecurity=False).digest() == wanted), None)


def recover(source: Source, keys: Sequence[Decryptor], check_mode: bool = False) -> Iterator[Outcome]:
    """Decrypt the EFS files of a volume.

    Args:
        source: ``src`` is the image or block device, ``dest`` the folder, ``files`` what is wanted (all when empty).
        keys: what may open them.
        check_mode: nothing is written; keys are opened.

    Raises:
        FormatError: it is no NTFS volume.
        FileError: it cannot be read.
        HostError: ntfsdecrypt is missing, and a key needs it.
    """
    if any(not key.on_token for key in keys):
        ntfsdecrypt.require()
    wanted = efs_files.Wanted(source.files)
    with contextlib.closing(_Recovery(source, keys, check_mode)) as recovery:
        for file in efs_files.find(recovery.volume):
            if wanted.has(file):
                yield recovery.file(file)
    for name in wanted.missing():
        detail = "the volume has no EFS file of this name, and no folder of this name with any"
        yield Outcome(Item(name, FAILED, NotEncrypted.__name__, detail))


def is_volume(path: str) -> bool:
    """Whether the file or device begins like an NTFS volume; False as well when it cannot be read."""
    try:
        descriptor = _open_volume(path)
    except (KeyopsError, ValueError):
        return False
    try:
        return stat.S_IFMT(os.fstat(descriptor).st_mode) in (stat.S_IFREG, stat.S_IFBLK) and ntfs.is_ntfs(
            os.pread(descriptor, 16, 0)
        )
    except OSError:
        return False
    finally:
        os.close(descriptor)


class _Recovery:
    def __init__(self, source: Source, keys: Sequence[Decryptor], check_mode: bool) -> None:
        self._dest, self._keys, self._check_mode = source.dest, keys, check_mode
        self._cleanup = contextlib.ExitStack()
        self._folder: tuple[str, int] | None = None
        self._folder_cleanup = self._cleanup.enter_context(contextlib.ExitStack())
        self._taken: set[str] = set()
        self._identities: dict[tuple[str, bytes, str], ntfsdecrypt.Identity] = {}
        self._descriptor = _open_volume(source.src)
        self._cleanup.callback(os.close, self._descriptor)
        try:
            self.volume = ntfs.Volume(self._descriptor)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._cleanup.close()

    def file(self, file: EncryptedFile | Unreadable) -> Outcome:
        """One file; what stands in the way becomes its reason."""
        try:
            if isinstance(file, Unreadable):
                raise file.error
            opened = self._opened(file) if file.data.size else None
            changed = self._write(file, opened)
        except FormatError as error:
            return Outcome(Item(file.name, FAILED, DataDamaged.__name__, str(error)))
        except KeyopsError as error:
            return Outcome(Item(file.name, FAILED, type(error).__name__, str(error)))
        key_ids = (opened.by.key_id,) if opened else ()
        return Outcome(Item(file.name, DECRYPTED, detail=_beside(file), key_ids=key_ids), changed)

    # --- keys ------------------------------------------------------------------------------------------------------

    def _opened(self, file: EncryptedFile) -> _Opened:
        fitting = [(key.serves(holder.key), holder, key) for holder in file.holders for key in self._keys]
        # Those whose certificate it is come before those that may only be tried; users before agents.
        candidates = [one[1:] for answer in (True, None) for one in fitting if one[0] is answer]
        problem: DataError | None = None
        for holder, key in candidates:
            try:
                return _Opened(key, holder, efs_metadata.open_blob(key.open(holder.key, 0)))
            except DataError as error:
                problem = problem or error
        if problem is not None and any(answer for answer, dummy, dummy_key in fitting):
            raise problem
        told = _some([str(holder) for holder in file.holders]) or "nobody whose entry can be read"
        raise NoKeyForData(f"none of the keys opens it; it is for {told}")

    # --- output ----------------------------------------------------------------------------------------------------

    def _write(self, file: EncryptedFile, opened: _Opened | None) -> bool:
        """Whether the file was written: False when it is there."""
        name = efs_files.relative_path(file)
        if name in self._taken:
            name += f".record-{file.number}"
        self._taken.add(name)
        path = os.path.join(self._dest, name)
        if _is_there(path, file):
            return False
        self._check_reach(file)
        if self._check_mode:
            return True
        draft = Draft(NewFile(path, b""), self._folder_of(path), (-1, -1))
        try:
            if opened is not None:
                self._decrypt(file, opened, draft.descriptor)
            os.utime(draft.descriptor, ns=(file.modified, file.modified))
            os.fsync(draft.descriptor)
            if not draft.link():
                raise FileError(f"{path}: another process made it meanwhile; run again")
            os.fsync(draft.folder)
        except OSError as error:
            raise _folders.file_error(error, path) from error
        finally:
            draft.close()
        return True

    def _folder_of(self, path: str) -> int:
        """A descriptor of the file's folder, which is made; it is kept for the next file."""
        parent = os.path.dirname(path)
        if self._folder is None or self._folder[0] != parent:
            self._folder_cleanup.close()
            self._folder = None
            _files.make_private_folder(parent)
            descriptor = self._folder_cleanup.enter_context(_folders.opened(parent, to_write=True))
            _folders.sweep(descriptor)
            self._folder = (parent, descriptor)
        return self._folder[1]

    def _check_reach(self, file: EncryptedFile) -> None:
        """Raise DataDamaged when not all of the content is in the image: it was cut off."""
        for place, length in self.volume.extents(file.data):
            if place is not None and place + length > self.volume.there:
                raise DataDamaged(f"the image ends at byte {self.volume.there}, before the end of this file's content")

    # --- content ---------------------------------------------------------------------------------------------------

    def _decrypt(self, file: EncryptedFile, opened: _Opened, output: int) -> None:
        certificate = opened.certificate
        if opened.by.on_token or certificate is None or self.volume.there < self.volume.size:
            self._decrypt_here(file, opened.file_key, output)
        else:
            identity = self._identity(opened, certificate)
            ntfsdecrypt.run(self._descriptor, file.number, file.data.size, identity, output)
        for start, end in self._unwritten(file):
            _write_zeros(output, start, end)
        if os.fstat(output).st_size != file.data.size:
            raise DataNotOpened("what came out has not the size of the file")

    def _identity(self, opened: _Opened, certificate: bytes) -> ntfsdecrypt.Identity:
        named = (opened.by.key_id, certificate, opened.holder.role)
        if named not in self._identities:
            identity = ntfsdecrypt.Identity(opened.by.private_key, certificate, opened.holder.role)
            self._cleanup.callback(identity.close)
            self._identities[named] = identity
        return self._identities[named]

    def _decrypt_here(self, file: EncryptedFile, file_key: FileKey, output: int) -> None:
        size = file.data.size
        whole = -(-size // efs_cipher.SECTOR) * efs_cipher.SECTOR
        place = 0
        for piece in self.volume.stream(dataclasses.replace(file.data, size=whole)):
            content = memoryview(efs_cipher.decrypt(file_key, piece, place))[: size - place]
            place += len(piece)
            while content:
                content = content[os.write(output, content) :]

    def _unwritten(self, file: EncryptedFile) -> Iterator[tuple[int, int]]:
        """The parts (from, to) of the content that were never written."""
        place = 0
        for offset, length in self.volume.extents(file.data):
            if offset is None:
                yield place, place + length
            place += length
        if file.data.initialized < file.data.size:
            yield file.data.initialized, file.data.size


def _open_volume(path: str) -> int:
    # A folder on the way that another user owns could lead elsewhere: the same rules as for keys. A device is a link
    # more often than not (/dev/disk/by-id), and whoever can make one there is root.
    path = os.path.realpath(path)
    try:
        with _folders.opened(os.path.dirname(path)) as folder:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
            return os.open(os.path.basename(path), flags, dir_fd=folder)
    except OSError as error:
        raise _folders.file_error(error, path) from error


def _is_there(path: str, file: EncryptedFile) -> bool:
    """Whether an earlier run made this file.

    Raises:
        FileError: something else has its name.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _folders.file_error(error, path) from error
    # Not every file system keeps parts of a second.
    same_time = found.st_mtime_ns // 10**9 == file.modified // 10**9
    if stat.S_ISREG(found.st_mode) and found.st_size == file.data.size and same_time:
        return True
    raise FileError(f"{path}: something else is there, and stays: name another folder")


def _beside(file: EncryptedFile) -> str:
    """What is said beside its content: other names, and streams that ntfsdecrypt does not decrypt."""
    names = ["/".join(path) for path in file.others]
    told = [f"it is also called {_some(names)}"] if names else []
    return "; ".join(
        [*told, *([f"not decrypted are its further streams {_some(file.streams)}"] if file.streams else [])]
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(names[:_MOST_TOLD]) + more


def _write_zeros(output: int, start: int, end: int) -> None:
    for place in range(start, end, _CHUNK):
        os.pwrite(output, bytes(min(_CHUNK, end - place)), place)
