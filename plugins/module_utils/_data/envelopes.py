# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An encrypted message taken apart, and which of several keys opens it.

What names a key may be wrong: nobody vouches for a certificate of a record, two issuers may bear one name, and keys
without certificates are only tried. So no key is the last word while there are others; tries are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import ciphers
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import (
    Decryptor,
    EncryptedKey,
    RecipientId,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataError,
    KeyopsError,
    NoKeyForData,
    TokenError,
)

#: Each costs an operation with the key, and decrypts the whole content: of large ones fewer are tried.
_MOST_TRIES, _FEWEST_TRIES, _MOST_BYTES_TRIED = 64, 16, 1 << 30


@dataclass(frozen=True)
class Envelope:
    """An encrypted message.

    Attributes:
        keys: the content key for every recipient that a key could serve.
        passed_over: what the other recipients are.
        content_type: DER of the object identifier of what is inside.
        cipher: of the content.
        pieces: the ciphertext.
        tag, bound: of an authenticated one: its tag and what else it protects.
    """

    keys: tuple[EncryptedKey, ...]
    passed_over: tuple[str, ...]
    content_type: bytes
    cipher: ciphers.ContentCipher
    pieces: Sequence[Any] = field(repr=False)
    tag: bytes = b""
    bound: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Opened:
    """A decrypted message: its content, what type that is, whose key opened it, and what ``read_as`` made of it."""

    content: bytes = field(repr=False)
    content_type: bytes
    by: Decryptor
    made: Any = field(default=None, repr=False)


class Attempt:
    """Decrypts a message with key after key, and keeps what is likeliest its content.

    Without authentication, one of 256 wrong keys gives noise that ends like a padding. So a key counts for more when
    it really came out of the message (``Decryptor.tried``), and then when the padding is longer, as that of noise is
    hardly ever. Only the best is kept: a message may be large, and written so that very many keys open it.
    """

    def __init__(self, envelope: Envelope, read_as: Callable[[bytes, bytes], Any] | None) -> None:
        self._envelope, self._read_as = envelope, read_as
        self._size = sum(len(piece) for piece in envelope.pieces)
        self._best: Opened | None = None
        self._rank = (False, 0)
        self._failure: KeyopsError | None = None
        self.is_sure = False

    def all(self, pairs: Sequence[tuple[EncryptedKey, Decryptor]], named: bool) -> None:
        """Try these; not further than needed."""
        cipher = self._envelope.cipher
        before = self._failure
        failure: KeyopsError | None = None
        most = max(_FEWEST_TRIES, min(_MOST_TRIES, _MOST_BYTES_TRIED // (self._size + 1)))
        for encrypted, key in pairs[:most]:
            try:
                self._one(encrypted, key)
            except (DataError, TokenError) as error:
                # Of named keys the first failure counts, and most of all that of a token; of tried ones the last.
                failure = error if failure is None or not named or isinstance(error, TokenError) else failure
            if self._best and (cipher.authenticated or (named and cipher.key_size and self._rank[0])):
                break
        self._failure = before or failure
        self.is_sure = self._best is not None and (cipher.authenticated or self._rank[0])

    def _one(self, encrypted: EncryptedKey, key: Decryptor) -> None:
        envelope = self._envelope
        content_key, came_out = key.tried(encrypted, envelope.cipher.key_size)
        content = ciphers.decrypt(envelope.cipher, content_key, envelope.pieces, envelope.tag, envelope.bound)
        made = self._read_as(content, envelope.content_type) if self._read_as else None
        rank = (came_out, self._size - len(content))
        if self._best is None or rank > self._rank:
            self._best, self._rank = Opened(content, envelope.content_type, key, made), rank

    def result(self) -> Opened:
        """The content.

        Raises:
            NoKeyForData, DataNotOpened, DataUnsupported, TokenError: see ``cms.decrypt``.
        """
        # When the token of the right key fails, noise of another key is no answer.
        if self._best is not None and (self.is_sure or not isinstance(self._failure, TokenError)):
            return self._best
        if self._failure is not None:
            raise self._failure
        raise NoKeyForData(_whom(self._envelope))


def _whom(envelope: Envelope) -> str:
    if not envelope.keys:
        others = ", ".join(sorted(set(envelope.passed_over))) or "nobody"
        return f"it is encrypted to {others}, and to no private key"
    named = "; ".join(sorted({_named(one.recipient) for one in envelope.keys})[:5])
    return f"it is encrypted to others than the given keys ({named}): another generation of the key may be needed"


def _named(recipient: RecipientId) -> str:
    if recipient.serial:
        return f"serial number {recipient.serial.hex().lstrip('0') or '0'}"
    return f"key identifier {recipient.key_identifier.hex()}"
