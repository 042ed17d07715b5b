# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``$EFS`` attribute of an encrypted file (MS-EFSR 2.2.2.1): who can open it, each with the file's key.

The file encryption key (FEK) stands there once per user (DDF) and once per data recovery agent (DRF), encrypted with
RSA PKCS#1 v1.5 to the certificate whose SHA-1 thumbprint stands beside it. What is read comes from a volume that may be
damaged or made up; an entry of another kind (an elliptic key, a smart card's derived key) is passed over and counted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import (
    RSA_PKCS1,
    EncryptedKey,
    RecipientId,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataNotOpened,
    DataUnsupported,
)

#: Windows keeps it below 256 KiB.
LONGEST = 1 << 18
USER, AGENT = "user", "data recovery agent"
_HEADER = 84
_NEWEST_VERSION = 3
_MOST_ENTRIES = 1000
_THUMBPRINT_KIND, _THUMBPRINT_SIZE = 3, 20
#: CryptoAPI's number: name, bytes of the key.
_CIPHERS = {0x6603: ("3DES", 24), 0x6604: ("DESX", 16), 0x6610: ("AES-256", 32)}
_OTHER_CIPHERS = {0x6601: "DES", 0x660E: "AES-128", 0x660F: "AES-192"}


@dataclass(frozen=True)
class Holder:
    """Somebody who can open the file.

    Attributes:
        role: ``USER`` or ``AGENT``.
        name: as Windows wrote it there, for people to read; anybody may have written anything.
        key: the encrypted file key, with the thumbprint of the certificate.
    """

    role: str
    name: str
    key: EncryptedKey

    def __str__(self) -> str:
        return f"{self.role} {self.name or '?'} (certificate with SHA-1 {self.key.recipient.thumbprint.hex()})"


@dataclass(frozen=True)
class FileKey:
    """An opened file key."""

    cipher: str
    key: bytes = field(repr=False)


def holders(content: bytes) -> list[Holder]:
    """Who can open the file, users first.

    Raises:
        DataDamaged: the attribute cannot be read.
        DataUnsupported: it has a newer form.
    """
    version, users, agents = _unpack("<I", content, 8)[0], *_unpack("<II", content, 64)
    if version > _NEWEST_VERSION:
        raise DataUnsupported(f"its EFS metadata has version {version}, which is not read")
    found: list[Holder] = []
    for role, place in ((USER, users), (AGENT, agents)):
        if place:
            found += _list(content, place, role)
    return found


def open_blob(blob: bytes) -> FileKey:
    """What was encrypted to a holder: length, strength and cipher of the key, and the key (MS-EFSR 2.2.2.1.5).

    Raises:
        DataNotOpened: it is no such thing: another key, or altered.
        DataUnsupported: a cipher that nothing here decrypts.
    """
    if len(blob) >= 16:
        size, cipher = struct.unpack_from("<I4xI", blob)
        name, wanted = _CIPHERS.get(cipher, ("", 0))
        if name and size == wanted and len(blob) >= 16 + size:
            return FileKey(name, blob[16 : 16 + size])
        if cipher in _OTHER_CIPHERS and len(blob) == 16 + size:
            raise DataUnsupported(f"it is encrypted with {_OTHER_CIPHERS[cipher]}, which is not decrypted here")
    raise DataNotOpened("the key does not open it, or it was altered")


def _list(content: bytes, place: int, role: str) -> list[Holder]:
    (count,) = _unpack("<I", content, place)
    if place < _HEADER or count > _MOST_ENTRIES:
        raise DataDamaged("its EFS metadata is damaged")
    found, place = [], place + 4
    for dummy in range(count):
        (size,) = _unpack("<I", content, place)
        if not 20 <= size <= len(content) - place:
            raise DataDamaged("its EFS metadata is damaged")
        holder = _holder(content[place : place + size], role)
        found += [holder] if holder else []
        place += size
    return found


def _holder(entry: bytes, role: str) -> Holder | None:
    credential, key_size, key_at = _unpack("<III", entry, 4)
    kind, dummy, facts = _unpack("<III", entry, credential + 8)
    if kind != _THUMBPRINT_KIND:
        return None
    facts += credential
    thumbprint_at, thumbprint_size = _unpack("<II", entry, facts)
    (name_at,) = _unpack("<I", entry, facts + 16)
    thumbprint = entry[facts + thumbprint_at : facts + thumbprint_at + thumbprint_size]
    encrypted = entry[key_at : key_at + key_size]
    if len(thumbprint) != _THUMBPRINT_SIZE or len(encrypted) != key_size or not key_size:
        return None
    # CryptoAPI's order of bytes is the reverse of everybody else's.
    key = EncryptedKey(RecipientId(thumbprint=thumbprint), RSA_PKCS1, encrypted[::-1])
    return Holder(role, _text(entry[facts + name_at :]) if name_at else "", key)


def _text(raw: bytes) -> str:
    """The UTF-16 text up to its end mark, as far as it can be shown."""
    text = raw[:512].decode("utf-16-le", "replace").partition("\0")[0]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _unpack(form: str, content: bytes, place: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, content, place)
    except struct.error as error:
        raise DataDamaged("its EFS metadata is damaged") from error
