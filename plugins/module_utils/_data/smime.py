# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""S/MIME messages (RFC 8551) decrypted in place: the mail around what was encrypted stays, and so does all within.

1. Every encrypted part of a mail, however deep it lies (a mailing list's footer, a forwarded mail), is replaced by the
   entity that was encrypted, byte for byte. Signatures inside are kept as they are.
2. What was signed outside of the encryption cannot stay: that signature is of the ciphertext. The source has it.
3. The mail's own header stays, but for the fields that describe the body, and those that the entity has itself: what
   was encrypted is worth more than what everybody on the way could alter.
4. A part that cannot be decrypted stays as it was, and the mail counts as failed, with that reason; the other parts
   come out.
5. What may be encrypted is found by how it begins, and not only by what it calls itself (``encrypted_parts``). What of
   it does not open has a reason, and is never told as kept.
6. Depth, parts, layers of encryption and the sum of what is decrypted are bounded.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    ber,
    ciphers,
    cms,
    encrypted_parts,
    mime,
    opaque,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import DECRYPTED, FAILED, KEPT, Item
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataError,
    DataNotOpened,
    DataTooLarge,
    DataUnsupported,
    KeyopsError,
    TokenError,
)

_DEEPEST, _MOST_PARTS, _MOST_LAYERS = 24, 10_000, 8
_MOST_DECRYPTED = 512 << 20
#: What is made of parts is decoded and walked again: as often as mails are nested, and not 2^depth times.
_MOST_DECODED, _MOST_TIMES = 256 << 20, 16
_LOOKED_AT = 64
#: Messages below this many bytes are faster to walk as bytes than as views, whatever is copied.
_SMALL = 1 << 20


@dataclass
class Mail:
    """What came of a mail.

    Attributes:
        status, error: as in ``outcome.Item``; the first error of several.
        content: the decrypted mail, or None when nothing was decrypted and it stays as it was.
        key_ids: of the keys that opened something in it.
        message_id: as its header says.
    """

    status: str = KEPT
    error: KeyopsError | None = None
    content: bytes | None = field(default=None, repr=False)
    key_ids: tuple[str, ...] = ()
    message_id: str = ""

    def item(self, name: str, offset: int = -1) -> Item:
        """As an item of a source."""
        reason, detail = (type(self.error).__name__, str(self.error)) if self.error else ("", "")
        return Item(name, self.status, reason, detail, self.key_ids, self.message_id, offset)


def recover(data: bytes, keys: Sequence[Decryptor], quote: Callable[[bytes], bytes] | None = None) -> Mail:
    """Decrypt a mail.

    Args:
        data: the mail.
        keys: to decrypt with.
        quote: done to everything that was decrypted (From_ lines, in an mbox).
    """
    work = _Work(keys, len(data))
    mail = Mail()
    try:
        entity = mime.read(data)
        mail.message_id = entity.value(b"message-id")[:250].decode("ascii", "replace")
        with ber.Bounded():
            mail.content = work.entity(data, 0, len(data), entity, 0, quote)
    except DataError as error:
        work.errors.append(error)
    mail.error = work.errors[0] if work.errors else None
    mail.key_ids = tuple(dict.fromkeys(work.key_ids))
    if work.errors:
        mail.status = FAILED
    elif mail.content is not None:
        mail.status = DECRYPTED
    return mail


class _Work:
    """One mail's decryption: what was used and what went wrong."""

    def __init__(self, keys: Sequence[Decryptor], size: int) -> None:
        self._keys = keys
        self.errors: list[KeyopsError] = []
        self.key_ids: list[str] = []
        self._parts = self._layers = self._decrypted = 0
        self._to_decode = min(_MOST_DECODED, _MOST_TIMES * size)

    def entity(
        self,
        data: bytes,
        start: int,
        end: int,
        entity: mime.Entity,
        depth: int,
        quote: Callable[[bytes], bytes] | None = None,
    ) -> bytes | None:
        """The entity with everything decrypted; None when nothing in it was."""
        self._parts += 1
        if depth > _DEEPEST or self._parts > _MOST_PARTS:
            raise DataTooLarge("the mail is nested deeper, or has more parts, than any; not all of it was looked at")
        try:
            if entity.kind.startswith(b"multipart/"):
                return self._composite(self._multipart, data, start, end, entity, depth, quote)
            found = encrypted_parts.found(data, end, entity)
            if found == encrypted_parts.MAIL:
                return self._composite(self._mail, data, start, end, entity, depth, quote)
            return self._pkcs7(data[entity.body : end], entity, depth, quote) if found else None
        except DataTooLarge:
            raise
        except (DataError, TokenError) as error:
            self.errors.append(error)
            return None

    def _composite(
        self,
        walk: Callable[..., bytes | None],
        data: bytes,
        start: int,
        end: int,
        entity: mime.Entity,
        depth: int,
        quote: Callable[[bytes], bytes] | None,
    ) -> bytes | None:
        """What is made of parts, as it stands or in a transfer encoding, which RFC 2045 forbids and programs read."""
        found = walk(data, start, end, entity, depth, quote)
        encoding = mime.encoding_of(entity)
        if found is not None or encoding not in (b"base64", b"quoted-printable"):
            return found
        self._to_decode -= end - entity.body
        if self._to_decode < 0:
            raise DataTooLarge("what is encoded in the mail again and again is larger than any mail")
        content = mime.decoded_somehow(data[entity.body : end], encoding)
        found = walk(content, 0, len(content), entity._replace(header=b"", body=0), depth, None)
        if found is None or entity.kind == b"multipart/signed":  # 2
            return found
        found = mime.encoded(found, encoding, b"\r\n" if entity.header.endswith(b"\r\n") else b"\n")
        return data[start : entity.body] + (quote(found) if quote else found)

    def _mail(
        self,
        data: bytes,
        start: int,
        end: int,
        entity: mime.Entity,
        depth: int,
        quote: Callable[[bytes], bytes] | None,
    ) -> bytes | None:
        inner = mime.read(data, entity.body, end)
        found = self.entity(data, entity.body, end, inner, depth + 1, quote)
        return None if found is None else data[start : entity.body] + found

    def _multipart(
        self,
        data: bytes,
        start: int,
        end: int,
        entity: mime.Entity,
        depth: int,
        quote: Callable[[bytes], bytes] | None,
    ) -> bytes | None:
        if entity.kind == b"multipart/encrypted":
            self.errors.append(DataUnsupported("it is encrypted with OpenPGP or another way that is not S/MIME"))
            return None
        boundary = mime.boundary_of(data, end, entity)
        pieces, place = [], start
        for begin, stop in mime.parts(data, entity.body, end, boundary) if boundary else ():
            part = mime.read(data, begin, stop)
            found = self.entity(data, begin, stop, part, depth + 1, quote)
            if found is not None and entity.kind == b"multipart/signed":
                return _joined(entity, found, mime.read(found))  # 2
            if found is not None:
                pieces += [data[place:begin], found]
                place = stop
        return b"".join([*pieces, data[place:end]]) if pieces else None

    def _pkcs7(
        self, body: bytes, entity: mime.Entity, depth: int, quote: Callable[[bytes], bytes] | None
    ) -> bytes | None:
        message = _message(body, entity)
        info = cms.content_info(message)
        kind = info[0]  # what the part calls it does not count
        if kind in (cms.SIGNED_DATA, cms.COMPRESSED_DATA):
            return self._opaque(message, kind, entity, depth, quote)
        if cms.is_plain(kind):
            return None
        self._layers += 1
        if self._layers > _MOST_LAYERS:
            raise DataTooLarge("the mail is encrypted in more layers than any")
        opened = cms.decrypt(message, self._keys, _entity_of, info)
        self._count(opened.content)
        content, inside = opened.made
        self.key_ids.append(opened.by.key_id)
        found = self.entity(content, 0, len(content), inside, depth + 1)
        if found is not None:
            content, inside = found, mime.read(found)
        return _joined(entity, quote(content) if quote else content, inside)

    def _count(self, content: bytes) -> None:
        self._decrypted += len(content)
        if self._decrypted > _MOST_DECRYPTED:
            raise DataTooLarge("what is encrypted in the mail is larger than any mail")

    def _opaque(
        self, message: Any, kind: bytes, entity: mime.Entity, depth: int, quote: Callable[[bytes], bytes] | None
    ) -> bytes | None:
        """What is encrypted inside of an opaque signature, or compressed; None leaves it as it is."""
        content = opaque.content_of(message, kind)
        if content is None:
            return None
        self._count(content)
        if encrypted_parts.is_message(content):
            content = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n" + content
        elif not mime.looks_like_one(content):
            return None
        found = self.entity(content, 0, len(content), mime.read(content), depth + 1)
        if found is None:
            return None
        return _joined(entity, quote(found) if quote else found, mime.read(found))  # 2


def _message(body: bytes, entity: mime.Entity) -> Any:
    try:
        found = mime.decoded(body, mime.encoding_of(entity))
    except ValueError as error:
        raise DataDamaged("the base64 of the message is cut off or altered") from error
    if found[:1] != b"\x30":  # base64 without a field that says so, or PEM
        return cms.unarmored(found)
    return found if len(found) < _SMALL else memoryview(found)


def _entity_of(content: bytes, kind: bytes) -> tuple[bytes, mime.Entity]:
    """What was encrypted, as a MIME entity.

    Raises:
        DataNotOpened: it is noise, as one of 256 wrong keys gives.
    """
    if kind != cms.DATA:  # a signature without a MIME entity around it
        encoded = _base64_lines(cms.wrapped(content, kind))
        head = b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
        content = head + b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded
    entity = mime.read(content)
    if mime.describes(entity, content):
        return content, entity
    if not mime.is_text(content[:_LOOKED_AT]):
        raise DataNotOpened(ciphers.NOT_OPENED)
    if not mime.looks_like_one(content):
        content = (b"\r\n" if b"\r\n" in content[:1000] else b"\n") + content
    return content, mime.read(content)


def _base64_lines(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def _joined(outer: mime.Entity, inner: bytes, inside: mime.Entity) -> bytes:
    """The decrypted entity, below those fields of the outer one that still hold (step 3)."""
    own = {one.name for one in inside.fields}
    line_end = b"\r\n" if inner[: len(inside.header) + 2].endswith(b"\r\n") else b"\n"
    kept = [
        one.lines
        for one in outer.fields
        if not one.name.startswith(b"content-") and (one.name not in own or one.name == b"received")
    ]
    lines = b"".join(kept)
    if lines and not lines.endswith(b"\n"):
        lines += line_end
    if line_end == b"\r\n":
        lines = lines.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    else:
        lines = lines.replace(b"\r\n", b"\n")
    return lines + inner
