# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources that are one file each: a mail (.eml), or a CMS or PKCS#7 file; and what kind a source is.

What is decrypted is handed back in memory: an item is bounded in size (``LARGEST``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import cms, maildir, mime, output, smime
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import DECRYPTED, FAILED, Item, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataDamaged, FileError, KeyopsError

#: Mail servers take no larger mails; several copies of one item are in memory at once.
LARGEST = 128 << 20
_LOOKED_AT = 64 * 1024
_USUAL_FIELDS = {b"from", b"to", b"subject", b"date", b"received", b"message-id", b"mime-version", b"content-type"}


@dataclass(frozen=True)
class Single:
    """What came of a source that is one file, and its state before; ``content`` is what is to be written, if any."""

    source: Source
    item: Item
    before: dict
    content: bytes | None = field(default=None, repr=False)


def with_kind(source: Source) -> Source:
    """The source with its kind, looked at when it is ``auto``.

    Raises:
        FileMissing, FileError: it cannot be read.
        DataDamaged: its content is of no kind that is known.
    """
    if source.kind != "auto":
        return source
    if os.path.isdir(source.src):
        if not maildir.is_one(source.src):
            raise FileError(f"{source.src}: it is a folder, and no Maildir (it has neither cur nor new); name a file")
        return replace(source, kind="maildir")
    with output.opened(source.src) as file:
        return replace(source, kind=_kind(os.pread(file, _LOOKED_AT, 0), source.src))


def _kind(data: bytes, path: str) -> str:
    if data.startswith(b"From "):
        return "mbox"
    if data[3:11] == b"NTFS    ":
        return "ntfs"
    if data[:1] == b"\x30" or data.lstrip().startswith(b"-----BEGIN"):
        return "cms"
    if {one.name for one in mime.read(data).fields} & _USUAL_FIELDS:
        return "message"
    if cms.looks_like_base64(data):
        return "cms"
    raise DataDamaged(f"{path}: it is no mail, mailbox or CMS file that is recognised; say what it is with kind")


def recover(source: Source, keys: Sequence[Decryptor]) -> Single:
    """Decrypt one file; what stands in the way becomes its reason."""
    before: dict = {}
    try:
        before = output.state_at(source.src) or {}
        data = _files.read_file(source.src, LARGEST)
        if source.kind == "message":
            mail = smime.recover(data, keys)
            item = mail.item("")
            kept = data if item.status != FAILED else None
            return Single(source, item, before, kept if mail.content is None else mail.content)
        opened = cms.decrypt(cms.unarmored(data), keys)
    except KeyopsError as error:
        return Single(source, Item("", FAILED, type(error).__name__, str(error)), before)
    content = cms.wrapped(opened.content, opened.content_type)
    return Single(source, Item("", DECRYPTED, key_ids=(opened.by.key_id,)), before, content)
