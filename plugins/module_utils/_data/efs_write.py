# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS files, decrypted to where they go.

- ``ntfsdecrypt`` decrypts a file. A key on a token, and one whose certificate is not known, cannot be given to it, and
  it opens no volume that was cut off: there ``efs_cipher`` does the work.
- What was never written (holes, and the end beyond the initialized size) becomes a hole, which reads as zeros, as with
  Windows; decrypted it would be noise. A file of a volume that is made up can claim any size, and takes no room.
- The output has the size that the volume says, mode 0600 and the time of the original before it gets its name.
- What is there is right when an earlier run made it from the image as it is now (``efs_made``). Otherwise the file is
  decrypted again and compared: what we made of another state of the image is replaced, and anything else stays and is
  an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs_cipher, ntfsdecrypt, output
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_files import EncryptedFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_keys import Opened
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_made import Made
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import FileKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.ntfs import Volume
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import Draft, NewFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataDamaged, DataNotOpened, FileError

_CHUNK = 1 << 20


class Writer:
    """Writes files of one volume; each process that does has its own."""

    def __init__(self, volume: Volume, descriptor: int, made: Made, check_mode: bool) -> None:
        """
        Args:
            volume: where the files are.
            descriptor: of the volume.
            made: what earlier runs made.
            check_mode: nothing gets a name.
        """
        self._volume, self._descriptor, self._made, self._check_mode = volume, descriptor, made, check_mode
        self._cleanup = contextlib.ExitStack()
        self._folder: tuple[str, int] | None = None
        self._folder_cleanup = self._cleanup.enter_context(contextlib.ExitStack())
        self._identities: dict[tuple[str, bytes, str], ntfsdecrypt.Identity] = {}

    def close(self) -> None:
        """Forget the keys, close the folders."""
        self._cleanup.close()

    def write(self, file: EncryptedFile, path: str, opened: Opened | None) -> bool:
        """Whether the file was written: False when it is there."""
        there = output.state_at(path)
        if there is not None and self._made.is_right(path, there):
            return False
        ours = there is not None and self._made.is_ours(path, there)
        if there is not None and not ours and not _may_be(there, file):
            raise _something_else(path)
        self._check_reach(file)
        if self._check_mode and there is None:
            return True
        draft = Draft(NewFile(path, b""), self._folder_of(path), (-1, -1))
        try:
            if opened is not None:
                self._decrypt(file, opened, draft.descriptor)
            os.utime(draft.descriptor, ns=(file.modified, file.modified))
            return self._finish(draft, there, ours, file)
        except OSError as error:
            raise _folders.file_error(error, path) from error
        finally:
            draft.close()

    def _finish(self, draft: Draft, there: dict | None, ours: bool, file: EncryptedFile) -> bool:
        """Give the output its name, unless the same is there."""
        path = draft.file.path
        if there is not None:
            if _may_be(there, file) and _is_same(draft, path):
                if not self._check_mode:
                    self._made.note(path, there)
                return False
            if not ours:
                raise _something_else(path)
            if self._check_mode:
                return True
        os.fsync(draft.descriptor)
        self._made.note(path, output.state_of(draft.descriptor))
        if there is not None:
            draft.rename()
        elif not draft.link():
            raise FileError(f"{path}: another process made it meanwhile; run again")
        os.fsync(draft.folder)
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
        """Raise DataDamaged when not all of the content is in the image: it was cut off, or is made up."""
        self._volume.mapped(file.data)
        for place, length in self._volume.extents(file.data):
            if place is not None and place + length > self._volume.there:
                raise DataDamaged(f"the image ends at byte {self._volume.there}, before the end of this file's content")

    # --- content ---------------------------------------------------------------------------------------------------

    def _decrypt(self, file: EncryptedFile, opened: Opened, to: int) -> None:
        certificate = opened.certificate
        sparse = any(place is None for place, dummy in self._volume.extents(file.data))
        if opened.by.on_token or certificate is None or sparse or self._volume.there < self._volume.size:
            self._decrypt_here(file, opened.file_key, to)
        else:
            identity = self._identity(opened, certificate)
            ntfsdecrypt.run(self._descriptor, file.number, file.data.size, identity, to)
        if os.fstat(to).st_size != file.data.size:
            raise DataNotOpened("what came out has not the size of the file")
        if file.data.initialized < file.data.size:
            os.ftruncate(to, file.data.initialized)
            os.ftruncate(to, file.data.size)

    def _identity(self, opened: Opened, certificate: bytes) -> ntfsdecrypt.Identity:
        named = (opened.by.key_id, certificate, opened.holder.role)
        if named not in self._identities:
            identity = ntfsdecrypt.Identity(opened.by.private_key, certificate, opened.holder.role)
            self._cleanup.callback(identity.close)
            self._identities[named] = identity
        return self._identities[named]

    def _decrypt_here(self, file: EncryptedFile, file_key: FileKey, to: int) -> None:
        size = file.data.size
        whole = -(-size // efs_cipher.SECTOR) * efs_cipher.SECTOR
        place = 0
        for offset, length in self._volume.extents(dataclasses.replace(file.data, size=whole)):
            if offset is not None:
                for start in range(0, length, _CHUNK):
                    piece = self._volume.at(offset + start, min(_CHUNK, length - start))
                    content = efs_cipher.decrypt(file_key, piece, place + start)[: size - place - start]
                    _write(to, content, place + start)
            place += length
        os.ftruncate(to, size)


def _may_be(there: dict, file: EncryptedFile) -> bool:
    """Whether an output with this state may be what comes of the file."""
    # Not every file system keeps parts of a second.
    return there["size"] == file.data.size and int(there["mtime"]) // 10**9 == file.modified // 10**9


def _something_else(path: str) -> FileError:
    return FileError(f"{path}: something else is there, and stays: name another folder, or move it away")


def _is_same(draft: Draft, path: str) -> bool:
    """Whether a file has the content of a draft, which has the same size."""
    # The draft can only be written to; it has no name, so it is opened by its descriptor.
    mine = os.open(f"/proc/self/fd/{draft.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with output.opened(path) as other:
            while piece := os.read(mine, _CHUNK):
                if os.read(other, len(piece)) != piece:
                    return False
            return not os.read(other, 1)
    finally:
        os.close(mine)


def _write(to: int, content: bytes, place: int) -> None:
    left = memoryview(content)
    while left:
        count = os.pwrite(to, left, place)
        left, place = left[count:], place + count
