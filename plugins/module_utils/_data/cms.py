# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CMS and PKCS#7 messages (RFC 5652, RFC 5083) taken apart and decrypted.

1. Only what is needed to decrypt is read, with no copy of the content (``ber.py``); DER and BER.
2. A recipient that no key here could serve is passed over, and named when nothing else is left (``recipients.py``).
3. A key that opens nothing gives way to the next, and of several that seem to open it the likeliest counts
   (``envelopes.py``).
4. Every failure after a key was found ends in ``DataNotOpened`` (see ``decryptor.py``).
5. Content of an authenticated cipher is handed out when its tag is right, and not before.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any, Optional

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import ber, ciphers, envelopes, recipients
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.envelopes import Envelope, Opened
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataUnsupported,
    FormatError,
    NotEncrypted,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

_PKCS7 = "1.2.840.113549.1.7."
DATA, SIGNED_DATA, ENVELOPED_DATA = (der.oid(f"{_PKCS7}{number}") for number in (1, 2, 3))
AUTH_ENVELOPED_DATA = der.oid("1.2.840.113549.1.9.16.1.23")
COMPRESSED_DATA = der.oid("1.2.840.113549.1.9.16.1.9")
_OTHERS = {
    SIGNED_DATA: "signed",
    DATA: "plain data",
    der.oid(f"{_PKCS7}4"): "signed and enveloped (PKCS#7 1.4)",
    der.oid(f"{_PKCS7}5"): "a digest",
    der.oid(f"{_PKCS7}6"): "encrypted with a key that is not in it",
    der.oid("1.2.840.113549.1.9.16.1.2"): "authenticated, not encrypted",
    COMPRESSED_DATA: "compressed",
}
_UNREADABLE = (der.oid(f"{_PKCS7}4"), der.oid(f"{_PKCS7}6"))
Info = tuple[bytes, Optional[tuple[int, int, int, int]]]
_PEM_BEGIN = re.compile(rb"\s*-----BEGIN ([A-Z0-9 #]{1,40})-----")


def decrypt(
    message: Any,
    keys: Sequence[Decryptor],
    read_as: Callable[[bytes, bytes], Any] | None = None,
    info: Info | None = None,
) -> Opened:
    """The content of a message in DER or BER.

    Args:
        message: bytes, or a view of them.
        keys: to decrypt with.
        read_as: makes something of the content and its type; raises DataNotOpened when it is noise, as a wrong key may
            give: then another key is tried.
        info: what ``content_info`` found, when it was looked at before.

    Raises:
        NotEncrypted, NoKeyForData, DataNotOpened, DataDamaged, DataUnsupported, DataTooLarge: see there.
        TokenError: a token fails.
    """
    return open_envelope(read(message, info), keys, read_as)


def unarmored(data: bytes) -> Any:
    """A message out of PEM or bare base64, or as it is.

    Raises:
        DataDamaged: it is none of these.
    """
    begin = data[:4096].lstrip()
    if begin.startswith(b"-----BEGIN"):
        return memoryview(_base64(_pem_body(data)))
    if data[:1] != b"\x30" and looks_like_base64(begin):
        return memoryview(_base64(data))
    return memoryview(data)


def looks_like_base64(data: bytes) -> bool:
    """Whether a file's first bytes are base64 of a message, which begins with ``M``."""
    return re.fullmatch(rb"\s*M[A-Za-z0-9+/=\s]+", data) is not None


def wrapped(content: bytes, kind: bytes) -> bytes:
    """The content as a file: bytes as they are, and a ContentInfo around every other type, so that tools read it."""
    if kind == DATA:
        return content
    return der.write(der.SEQUENCE, kind, der.write(0xA0, content))


def is_plain(kind: bytes) -> bool:
    """Whether a message of this type is known, and its content is not encrypted."""
    return kind in _OTHERS and kind not in _UNREADABLE


def read(message: Any, info: Info | None = None) -> Envelope:
    """An encrypted message taken apart; ``info`` as in ``decrypt``.

    Raises:
        NotEncrypted, DataDamaged, DataUnsupported, DataTooLarge: as ``decrypt``.
    """
    with ber.Bounded():
        return _read(message, info or content_info(message))


def _read(message: Any, info: Info) -> Envelope:
    name, content = info
    if name in _OTHERS and name not in _UNREADABLE:
        raise NotEncrypted(f"there is nothing to decrypt: it is {_OTHERS[name]}")
    if name in _UNREADABLE:
        raise DataUnsupported(f"it is {_OTHERS[name]}, which is not read")
    if name not in (ENVELOPED_DATA, AUTH_ENVELOPED_DATA):
        raise DataUnsupported(f"it is a message of a type that is not read ({recipients.shown(name)})")
    if content is None:
        raise DataDamaged("the message has no content")
    try:
        return _envelope(message, content, name == AUTH_ENVELOPED_DATA)
    except FormatError as error:
        raise DataDamaged(f"the message cannot be read ({error})") from error
    except (IndexError, ValueError) as error:
        raise DataDamaged("the message cannot be read: something in it is missing") from error


def open_envelope(
    envelope: Envelope, keys: Sequence[Decryptor], read_as: Callable[[bytes, bytes], Any] | None = None
) -> Opened:
    """Decrypt it with the key of one of its recipients; first those that it names, then those that may be tried.

    Raises:
        NoKeyForData, DataNotOpened, DataUnsupported, TokenError: as ``decrypt``.
    """
    fitting = [(key.serves(encrypted), encrypted, key) for encrypted in envelope.keys for key in keys]
    attempt = envelopes.Attempt(envelope, read_as)
    for answer in (True, None):
        pairs = [(encrypted, key) for serves, encrypted, key in fitting if serves is answer]
        attempt.all(pairs, named=answer is True)
        if attempt.is_sure:
            break
    return attempt.result()


# --- the structure ---------------------------------------------------------------------------------------------------


def _pem_body(data: bytes) -> bytes:
    """The base64 of the first block, without the headers that it may have."""
    begin = _PEM_BEGIN.match(data)
    end = -1 if begin is None else data.find(b"-----END " + begin[1] + b"-----", begin.end())
    if begin is None or end < 0:
        raise DataDamaged("the PEM block has no end")
    return data[begin.end() : end].replace(b"\r", b"").strip().rsplit(b"\n\n", 1)[-1]


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise DataDamaged("the base64 of the message is cut off or altered") from error


def content_info(message: Any) -> Info:
    """The type of a message (DER of an object identifier), and where its content is.

    Raises:
        DataDamaged: it is no message.
    """
    tag, start, stop, dummy = ber.element(message, 0, len(message))
    if tag != der.SEQUENCE:
        raise DataDamaged("it is no CMS or PKCS#7 message")
    inside = ber.children(message, start, stop)
    tag, begin, end, dummy = next(inside, (0, 0, 0, 0))
    if tag != der.OID or end - begin > 64:
        raise DataDamaged("it is no CMS or PKCS#7 message")
    name = bytes(message[begin - 2 : end])
    explicit = next(inside, None)
    if explicit is None or explicit[0] != 0xA0:
        return name, None
    return name, ber.element(message, explicit[1], explicit[2])


def _envelope(data: Any, content: tuple[int, int, int, int], authenticated: bool) -> Envelope:
    tag, start, stop, dummy = content
    parts = list(recipients.with_starts(data, start, stop))
    if tag != der.SEQUENCE or not parts or parts.pop(0)[0] != der.INTEGER:
        raise DataDamaged("it is no encrypted message")
    if parts and parts[0][0] == 0xA0:  # originatorInfo
        parts.pop(0)
    if len(parts) < 2 or parts[0][0] != der.SET or parts[1][0] != der.SEQUENCE:
        raise DataDamaged("it is no encrypted message")
    found, encrypted, rest = parts[0], parts[1], parts[2:]
    keys, passed_over = recipients.read(data, found)
    kind, cipher, pieces = _encrypted_content(data, encrypted)
    if cipher.authenticated != authenticated:
        raise DataDamaged("the cipher of the content is not one of such a message")
    tag_bytes, bound = _authentication(data, rest) if authenticated else (b"", b"")
    return Envelope(tuple(keys), tuple(passed_over), kind, cipher, pieces, tag_bytes, bound)


def _encrypted_content(data: Any, found: Any) -> tuple[bytes, ciphers.ContentCipher, Sequence[Any]]:
    parts = list(recipients.with_starts(data, found[1], found[2]))
    if len(parts) < 2 or parts[0][0] != der.OID or parts[1][0] != der.SEQUENCE:
        raise DataDamaged("the encrypted content has no cipher")
    kind = bytes(data[parts[0][4] : parts[0][3]])
    fields = recipients.small(data, parts[1][4], parts[1][3]).children()
    cipher = ciphers.read(fields[0].whole, fields[1] if len(fields) > 1 else None)
    if len(parts) < 3 or parts[2][0] & ~ber.CONSTRUCTED != 0x80:
        raise DataDamaged("the message has no encrypted content: it is kept elsewhere, or was cut off")
    return kind, cipher, ber.octets(data, parts[2][:4])


def _authentication(data: Any, rest: list[Any]) -> tuple[bytes, bytes]:
    """The tag, and the attributes that it protects, as they are protected (RFC 5083 section 2.2)."""
    bound = b""
    if rest and rest[0][0] == 0xA1:
        attributes = rest.pop(0)
        bound = der.write(der.SET, recipients.small(data, attributes[4], attributes[3]).body)
    if not rest or rest[0][0] & ~ber.CONSTRUCTED != der.OCTET_STRING:
        raise DataDamaged("the message has no authentication tag")
    return b"".join(bytes(piece) for piece in ber.octets(data, rest[0][:4])), bound
