# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS's encryption of a file's content, for keys that ``ntfsdecrypt`` cannot be given because they never leave a token.

Every sector of 512 bytes is encrypted for itself, by cipher block chaining from a start that its place in the file
gives. DESX is DES between two whitenings, run backwards: EFS calls decryption what everybody calls encryption. The
tests compare what this makes with what ntfsdecrypt makes, for each cipher.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_metadata import FileKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import note_missing_library

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError as error:
    note_missing_library(error)

SECTOR = 512
_WORD = (1 << 64) - 1
_AES_START = (0x5816657BE9161312, 0x1989ADBE44918961)
_DES_START = (0x169119629891AD13,)


def decrypt(file_key: FileKey, data: bytes, place: int) -> bytes:
    """The content of whole sectors.

    Args:
        file_key: of the file.
        data: encrypted, a multiple of 512 bytes.
        place: where in the file it begins, a multiple of 512.
    """
    outer, inner = b"", b""
    start: tuple[int, ...] = _DES_START
    if file_key.cipher == "AES-256":
        algorithm, start = algorithms.AES(file_key.key), _AES_START
    elif file_key.cipher == "3DES":
        algorithm = _triple_des(file_key.key)
    else:
        key, outer, inner = _expanded(file_key.key)
        algorithm = _triple_des(key * 3)
    transform = Cipher(algorithm, modes.ECB())  # noqa: S305  # the chaining is done here: each sector begins anew
    if outer:
        opened = _mixed(transform.encryptor().update(_mixed(data, outer)), inner)
    else:
        opened = transform.decryptor().update(data)
    return _mixed(opened, _before(data, place, start))


def _before(data: bytes, place: int, start: tuple[int, ...]) -> bytes:
    """What each block is mixed with: the encrypted block before it, and at the begin of a sector the start."""
    rows = []
    for offset in range(0, len(data), SECTOR):
        vector = struct.pack(f"<{len(start)}Q", *((number + place + offset) & _WORD for number in start))
        rows += [vector, data[offset : offset + SECTOR - len(vector)]]
    return b"".join(rows)


def _mixed(left: bytes, right: bytes) -> bytes:
    """The exclusive or; ``right`` is repeated when it is shorter."""
    right = right if len(right) == len(left) else right * (len(left) // len(right))
    return (int.from_bytes(left, "little") ^ int.from_bytes(right, "little")).to_bytes(len(left), "little")


def _expanded(key: bytes) -> tuple[bytes, bytes, bytes]:
    """The DES key and the outer and inner whitening that a DESX key stands for."""
    words = struct.unpack("<4I", hashlib.md5(key + b"Dan Simon  \0", usedforsecurity=False).digest())
    whitenings = hashlib.md5(key + b"Scott Field\0", usedforsecurity=False).digest()
    return struct.pack("<II", words[0] ^ words[1], words[2] ^ words[3]), whitenings[:8], whitenings[8:]


def _triple_des(key: bytes) -> Any:
    # cryptography 43 moved it; here it only ever reads.
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    except ImportError:
        return algorithms.TripleDES(key)
    return TripleDES(key)
