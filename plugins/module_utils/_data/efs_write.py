# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS files, decrypted to where they go.

- ``ntfsdecrypt`` decrypts a file. A key on a token, and one whose certificate is not known, cannot be given to it, and
  it opens no volume that was cut off: there ``efs_cipher`` does the work.
- What was never written (holes, and the end beyond the initialized size) becomes a hole, which reads as zeros, as with
  Windows; decrypted it would be noise. A file of a volume that is made up can claim any size, and takes no room.
- The output has the size that the volume says, mode 0600 and the time of the original before it gets its name. A file
  that is there with this size and time was made by an earlier run; anything else is an error, and stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs_cipher, ntfsdecrypt
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_files import EncryptedFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_keys import Opened
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import FileKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.ntfs import Volume
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import Draft, NewFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataDamaged, DataNotOpened, FileError

_CHUNK = 1 << 20


class Writer:
    """Writes files of one volume; each process that does has its own."""

    def __init__(self, volume: Volume, descriptor: int, check_mode: bool) -> None:
        """
        Args:
            volume: where the files are.
            descriptor: of the volume.
            check_mode: nothing is written.
        """
        self._volume, self._descriptor, self._check_mode = volume, descriptor, check_mode
        self._cleanup = contextlib.ExitStack()
        self._folder: tuple[str, int] | None = None
        self._folder_cleanup = self._cleanup.enter_context(contextlib.ExitStack())
        self._identities: dict[tuple[str, bytes, str], ntfsdecrypt.Identity] = {}

    def close(self) -> None:
        """Forget the keys, close the folders."""
        self._cleanup.close()

    def write(self, file: EncryptedFile, path: str, opened: Opened | None) -> bool:
        """Whether the file was written: False when it is there."""
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
        """Raise DataDamaged when not all of the content is in the image: it was cut off, or is made up."""
        self._volume.mapped(file.data)
        for place, length in self._volume.extents(file.data):
            if place is not None and place + length > self._volume.there:
                raise DataDamaged(f"the image ends at byte {self._volume.there}, before the end of this file's content")

    # --- content ---------------------------------------------------------------------------------------------------

    def _decrypt(self, file: EncryptedFile, opened: Opened, output: int) -> None:
        certificate = opened.certificate
        sparse = any(place is None for place, dummy in self._volume.extents(file.data))
        if opened.by.on_token or certificate is None or sparse or self._volume.there < self._volume.size:
            self._decrypt_here(file, opened.file_key, output)
        else:
            identity = self._identity(opened, certificate)
            ntfsdecrypt.run(self._descriptor, file.number, file.data.size, identity, output)
        if os.fstat(output).st_size != file.data.size:
            raise DataNotOpened("what came out has not the size of the file")
        if file.data.initialized < file.data.size:
            os.ftruncate(output, file.data.initialized)
            os.ftruncate(output, file.data.size)

    def _identity(self, opened: Opened, certificate: bytes) -> ntfsdecrypt.Identity:
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
        for offset, length in self._volume.extents(dataclasses.replace(file.data, size=whole)):
            if offset is not None:
                for start in range(0, length, _CHUNK):
                    piece = self._volume.at(offset + start, min(_CHUNK, length - start))
                    content = efs_cipher.decrypt(file_key, piece, place + start)[: size - place - start]
                    _write(output, content, place + start)
            place += length
        os.ftruncate(output, size)


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


def _write(output: int, content: bytes, place: int) -> None:
    left = memoryview(content)
    while left:
        count = os.pwrite(output, left, place)
        left, place = left[count:], place + count
