# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which key opens an EFS file: matched by the thumbprint of a certificate, else tried."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs_metadata
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_files import EncryptedFile, told
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import FileKey, Holder
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataError, NoKeyForData

#: A volume may be made up, and name one certificate very often; a token takes its time for each.
_MOST_TRIED = 64


@dataclass(frozen=True)
class Opened:
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


def opened(file: EncryptedFile, keys: Sequence[Decryptor]) -> Opened:
    """The file's key, by a user's key before an agent's, and by one whose certificate it is before one that is tried.

    Raises:
        NoKeyForData: none of the keys is for it; with who can open it.
        DataNotOpened, DataUnsupported: one is, and what comes out is no key that can be used.
    """
    fitting = [(key.serves(holder.key), holder, key) for holder in file.holders for key in keys]
    candidates = [one[1:] for answer in (True, None) for one in fitting if one[0] is answer]
    problem: DataError | None = None
    for holder, key in candidates[:_MOST_TRIED]:
        try:
            return Opened(key, holder, efs_metadata.open_blob(key.open(holder.key, 0)))
        except DataError as error:
            problem = problem or error
    if problem is not None and any(answer for answer, dummy, dummy_key in fitting):
        raise problem
    names = told([str(holder) for holder in file.holders]) or "nobody whose entry can be read"
    raise NoKeyForData(f"none of the keys opens it; it is for {names}")
