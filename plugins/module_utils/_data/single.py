# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources that are one file each: a CMS or PKCS#7 file, or a message (.eml).

What is decrypted is handed back in memory: an item is bounded in size (``LARGEST``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import cms
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import DECRYPTED, FAILED, Item, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError

#: Mail servers take no larger mails; several copies of one item are in memory at once.
LARGEST = 128 * 1024 * 1024


@dataclass(frozen=True)
class Single:
    """What came of a source that is one file: ``content`` when it was decrypted."""

    source: Source
    item: Item
    content: bytes = field(default=b"", repr=False)


def recover(source: Source, keys: Sequence[Decryptor]) -> Single:
    """Decrypt one file; what stands in the way becomes its reason."""
    try:
        opened = cms.decrypt(cms.unarmored(_files.read_file(source.src, LARGEST)), keys)
    except KeyopsError as error:
        return Single(source, Item("", FAILED, type(error).__name__, str(error)))
    return Single(source, Item("", DECRYPTED, key_ids=(opened.by.key_id,)), cms.wrapped(opened))
