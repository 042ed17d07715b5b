# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CMS and PKCS#7 messages (RFC 5652, RFC 5083) taken apart and decrypted.

1. Only what is needed to decrypt is read, with no copy of the content (``ber.py``); DER and BER.
2. A recipient that no key here could serve (a password, a key-encryption key, a static key agreement) is passed over,
   and named when nothing else is left.
3. Every failure after a key was found ends in ``DataNotOpened`` (see ``decryptor.py``).
4. Content of an authenticated cipher is handed out when its tag is right, and not before.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import agreement, ber, ciphers
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import decryptor as decryptors
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import (
    Decryptor,
    EncryptedKey,
    RecipientId,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataNotOpened,
    DataTooLarge,
    DataUnsupported,
    FormatError,
    NoKeyForData,
    NotEncrypted,
    TokenError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import ber as small_ber
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

_PKCS7 = "1.2.840.113549.1.7."
DATA, SIGNED_DATA, ENVELOPED_DATA = (der.oid(f"{_PKCS7}{number}") for number in (1, 2, 3))
AUTH_ENVELOPED_DATA = der.oid("1.2.840.113549.1.9.16.1.23")
_OTHERS = {
    SIGNED_DATA: "signed",
    DATA: "plain data",
    der.oid(f"{_PKCS7}4"): "signed and enveloped (PKCS#7 1.4)",
    der.oid(f"{_PKCS7}5"): "a digest",
    der.oid(f"{_PKCS7}6"): "encrypted with a key that is not in it",
    der.oid("1.2.840.113549.1.9.16.1.2"): "authenticated, not encrypted",
    der.oid("1.2.840.113549.1.9.16.1.9"): "compressed",
}
_UNREADABLE = (der.oid(f"{_PKCS7}4"), der.oid(f"{_PKCS7}6"))
_RSA, _OAEP = der.oid("1.2.840.113549.1.1.1"), der.oid("1.2.840.113549.1.1.7")
_MGF1, _P_SPECIFIED = der.oid("1.2.840.113549.1.1.8"), der.oid("1.2.840.113549.1.1.9")
_HASHES = {
    der.oid("1.3.14.3.2.26"): "sha1",
    **{
        der.oid(f"2.16.840.1.101.3.4.2.{number}"): f"sha{size}"
        for number, size in ((4, 224), (1, 256), (2, 384), (3, 512))
    },
}
_KINDS_OF_RECIPIENTS = {0xA2: "a key-encryption key", 0xA3: "a password", 0xA4: "another kind of recipient"}
#: No mail goes to more; each costs a walk, and a try with every key whose certificates are not known.
_MOST_RECIPIENTS = 5_000
_MOST_TRIES = 64
#: Everything in a message but its content.
_LARGEST_PART = 64 * 1024
_PEM_BEGIN = re.compile(rb"\s*-----BEGIN ([A-Z0-9 #]{1,40})-----")


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
    """A decrypted message: its content, what type that is, and whose key opened it."""

    content: bytes = field(repr=False)
    content_type: bytes
    by: Decryptor


def decrypt(message: Any, keys: Sequence[Decryptor]) -> Opened:
    """The content of a message in DER or BER.

    Raises:
        NotEncrypted, NoKeyForData, DataNotOpened, DataDamaged, DataUnsupported, DataTooLarge: see there.
        TokenError: a token fails.
    """
    return open_envelope(read(message), keys)


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


def wrapped(opened: Opened) -> bytes:
    """The content as a file: bytes as they are, and a ContentInfo around every other type, so that tools read it."""
    if opened.content_type == DATA:
        return opened.content
    return der.write(der.SEQUENCE, opened.content_type, der.write(0xA0, opened.content))


def content_type(message: Any) -> bytes:
    """DER of the object identifier that a message begins with.

    Raises:
        DataDamaged: it is no message.
    """
    return _content_info(message)[0]


def read(message: Any) -> Envelope:
    """An encrypted message taken apart.

    Raises:
        NotEncrypted, DataDamaged, DataUnsupported, DataTooLarge: as ``decrypt``.
    """
    name, content = _content_info(message)
    if name in _OTHERS and name not in _UNREADABLE:
        raise NotEncrypted(f"there is nothing to decrypt: it is {_OTHERS[name]}")
    if name in _UNREADABLE:
        raise DataUnsupported(f"it is {_OTHERS[name]}, which is not read")
    if name not in (ENVELOPED_DATA, AUTH_ENVELOPED_DATA):
        raise DataUnsupported(f"it is a message of a type that is not read ({_shown(name)})")
    if content is None:
        raise DataDamaged("the message has no content")
    try:
        return _envelope(message, content, name == AUTH_ENVELOPED_DATA)
    except FormatError as error:
        raise DataDamaged(f"the message cannot be read ({error})") from error
    except (IndexError, ValueError) as error:
        raise DataDamaged("the message cannot be read: something in it is missing") from error


def open_envelope(envelope: Envelope, keys: Sequence[Decryptor]) -> Opened:
    """Decrypt it with the key of one of its recipients; first those that it names, then those that may be tried.

    Raises:
        NoKeyForData, DataNotOpened, DataUnsupported, TokenError: as ``decrypt``.
    """
    tried: list[tuple[EncryptedKey, Decryptor]] = []
    failure: Exception | None = None
    for encrypted in envelope.keys:
        for key in keys:
            serves = key.serves(encrypted)
            if serves:
                return _with(envelope, encrypted, key)
            if serves is None:
                tried.append((encrypted, key))
    for encrypted, key in tried[:_MOST_TRIES]:
        try:
            return _with(envelope, encrypted, key)
        except (DataUnsupported, DataNotOpened, TokenError) as error:
            failure = error
    if failure is not None:
        raise failure
    raise NoKeyForData(_whom(envelope))


def _with(envelope: Envelope, encrypted: EncryptedKey, key: Decryptor) -> Opened:
    content_key = key.open(encrypted, envelope.cipher.key_size)
    content = ciphers.decrypt(envelope.cipher, content_key, envelope.pieces, envelope.tag, envelope.bound)
    return Opened(content, envelope.content_type, key)


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


def _shown(name: bytes) -> str:
    try:
        return der.dotted(der.read(name))
    except FormatError:
        return "no object identifier"


def _content_info(message: Any) -> tuple[bytes, tuple[int, int, int, int] | None]:
    """The type of a message, and its content."""
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


def _small(data: Any, start: int, end: int) -> der.Element:
    """A part of the message that is not its content, as DER."""
    if end - start > _LARGEST_PART:
        raise DataTooLarge("a part of the message is larger than any such part")
    return _as_der(bytes(data[start:end]))


def _as_der(part: bytes) -> der.Element:
    try:
        return der.read(part)
    except FormatError:
        return der.read(small_ber.to_der(part))


def _envelope(data: Any, content: tuple[int, int, int, int], authenticated: bool) -> Envelope:
    tag, start, stop, dummy = content
    parts = list(_with_starts(data, start, stop))
    if tag != der.SEQUENCE or not parts or parts.pop(0)[0] != der.INTEGER:
        raise DataDamaged("it is no encrypted message")
    if parts and parts[0][0] == 0xA0:  # originatorInfo
        parts.pop(0)
    if len(parts) < 2 or parts[0][0] != der.SET or parts[1][0] != der.SEQUENCE:
        raise DataDamaged("it is no encrypted message")
    recipients, encrypted, rest = parts[0], parts[1], parts[2:]
    keys, passed_over = _recipients(data, recipients)
    kind, cipher, pieces = _encrypted_content(data, encrypted)
    if cipher.authenticated != authenticated:
        raise DataDamaged("the cipher of the content is not one of such a message")
    tag_bytes, bound = _authentication(data, rest) if authenticated else (b"", b"")
    return Envelope(tuple(keys), tuple(passed_over), kind, cipher, pieces, tag_bytes, bound)


def _with_starts(data: Any, start: int, stop: int) -> Any:
    """Children with the place at which each begins: tag, begin of content, end of content, behind, begin."""
    place = start
    for count, found in enumerate(ber.children(data, start, stop)):
        if count > 16:
            raise DataDamaged("the message has more parts than any")
        yield (*found, place)
        place = found[3]


def _encrypted_content(data: Any, found: Any) -> tuple[bytes, ciphers.ContentCipher, Sequence[Any]]:
    parts = list(_with_starts(data, found[1], found[2]))
    if len(parts) < 2 or parts[0][0] != der.OID or parts[1][0] != der.SEQUENCE:
        raise DataDamaged("the encrypted content has no cipher")
    kind = bytes(data[parts[0][4] : parts[0][3]])
    fields = _small(data, parts[1][4], parts[1][3]).children()
    cipher = ciphers.read(fields[0].whole, fields[1] if len(fields) > 1 else None)
    if len(parts) < 3 or parts[2][0] & ~ber.CONSTRUCTED != 0x80:
        raise DataDamaged("the message has no encrypted content: it is kept elsewhere, or was cut off")
    return kind, cipher, ber.octets(data, parts[2][:4])


def _authentication(data: Any, rest: list[Any]) -> tuple[bytes, bytes]:
    """The tag, and the attributes that it protects, as they are protected (RFC 5083 section 2.2)."""
    bound = b""
    if rest and rest[0][0] == 0xA1:
        attributes = rest.pop(0)
        bound = der.write(der.SET, _small(data, attributes[4], attributes[3]).body)
    if not rest or rest[0][0] & ~ber.CONSTRUCTED != der.OCTET_STRING:
        raise DataDamaged("the message has no authentication tag")
    return b"".join(bytes(piece) for piece in ber.octets(data, rest[0][:4])), bound


# --- recipients ------------------------------------------------------------------------------------------------------


def _recipients(data: Any, found: Any) -> tuple[list[EncryptedKey], list[str]]:
    keys: list[EncryptedKey] = []
    passed_over: list[str] = []
    place = found[1]
    for tag, begin, end, behind in ber.children(data, found[1], found[2]):
        if tag in (der.SEQUENCE, 0xA1):
            try:
                if tag == der.SEQUENCE:
                    keys.append(_transport(data, begin, end))
                else:
                    keys += _agreement(_small(data, place, behind))
            except DataUnsupported as error:
                passed_over.append(str(error))
        else:
            passed_over.append(_KINDS_OF_RECIPIENTS.get(tag, "an unknown kind of recipient"))
        place = behind
        if len(keys) + len(passed_over) > _MOST_RECIPIENTS:
            raise DataTooLarge("the message has more recipients than any")
    return keys, passed_over


def _transport(data: Any, start: int, stop: int) -> EncryptedKey:
    if stop - start > _LARGEST_PART:
        raise DataTooLarge("a part of the message is larger than any such part")
    version, recipient, method, encrypted = _with_starts(data, start, stop)
    if version[0] != der.INTEGER or encrypted[0] & ~ber.CONSTRUCTED != der.OCTET_STRING:
        raise DataDamaged("a recipient of the message cannot be read")
    named = _recipient_of(bytes(data[recipient[4] : recipient[3]]))
    key = b"".join([bytes(piece) for piece in ber.octets(data, encrypted[:4])])
    fields = _fields_of(bytes(data[method[4] : method[3]]))
    if fields[0].whole == _RSA:
        return EncryptedKey(named, decryptors.RSA_PKCS1, key)
    if fields[0].whole != _OAEP:
        raise DataUnsupported(f"a recipient by a method that is not read ({_shown(fields[0].whole)})")
    return EncryptedKey(named, decryptors.RSA_OAEP, key, *_oaep(list(fields[1:])))


@functools.lru_cache(maxsize=256)  # the same few for all mails of an owner
def _recipient_of(whole: bytes) -> RecipientId:
    return _recipient(_as_der(whole))


@functools.lru_cache(maxsize=64)
def _fields_of(whole: bytes) -> tuple[der.Element, ...]:
    return tuple(_as_der(whole).children())


def _recipient(element: der.Element) -> RecipientId:
    if element.tag == der.SEQUENCE:
        issuer, serial = element.children()
        return RecipientId(issuer=issuer.whole, serial=serial.expect(der.INTEGER).body)
    return RecipientId(key_identifier=element.expect(0x80).body)


def _oaep(parameters: list[der.Element]) -> tuple[str, str, bytes]:
    """Hash, hash of the mask, and label (RFC 4055 section 4.1; all of them have defaults)."""
    chosen: dict[int, der.Element] = {}
    if parameters and parameters[0].tag == der.SEQUENCE:
        chosen = {one.tag: one.children()[0] for one in parameters[0].children()}
    hash_name, mask_name, label = "sha1", "sha1", b""
    if 0xA0 in chosen:
        hash_name = _hash(chosen[0xA0])
    if 0xA1 in chosen:
        fields = chosen[0xA1].children()
        if fields[0].whole != _MGF1:
            raise DataUnsupported("a recipient by RSA-OAEP with another mask function than MGF1")
        mask_name = _hash(fields[1]) if len(fields) > 1 else "sha1"
    if 0xA2 in chosen:
        fields = chosen[0xA2].children()
        if fields[0].whole != _P_SPECIFIED:
            raise DataUnsupported("a recipient by RSA-OAEP with another source of its label")
        label = fields[1].expect(der.OCTET_STRING).body if len(fields) > 1 else b""
    return hash_name, mask_name, label


def _hash(algorithm: der.Element) -> str:
    name = algorithm.children()[0].whole
    if name not in _HASHES:
        raise DataUnsupported(f"a recipient by RSA-OAEP with a hash function that is not read ({_shown(name)})")
    return _HASHES[name]


def _agreement(info: der.Element) -> list[EncryptedKey]:
    """One content key per recipient of a KeyAgreeRecipientInfo (RFC 5652 section 6.2.2, RFC 5753)."""
    parts = info.children()[1:]
    originator = parts.pop(0).children()[0]
    user_material = None
    if parts[0].tag == 0xA1:
        user_material = parts.pop(0).children()[0].expect(der.OCTET_STRING).body
    method, infos = parts
    if originator.tag != 0xA1:
        raise DataUnsupported("a key agreement with the sender's certified key, which is not in the message")
    fields = method.children()
    if fields[0].whole not in agreement.SCHEMES or len(fields) < 2:
        raise DataUnsupported(f"a key agreement that is not read ({_shown(fields[0].whole)})")
    wrap = fields[1]
    wrap_name = wrap.children()[0].whole
    if wrap_name not in agreement.WRAPS:
        raise DataUnsupported(f"a key agreement with a key wrap that is not read ({_shown(wrap_name)})")
    point = originator.children()[1].bits()
    agreed = agreement.Agreed(point, fields[0].whole, wrap.whole, wrap_name, user_material)
    return [_agreed_recipient(one, agreed) for one in infos.children()]


def _agreed_recipient(info: der.Element, agreed: agreement.Agreed) -> EncryptedKey:
    named, encrypted = info.children()
    if named.tag == 0xA0:
        recipient = RecipientId(key_identifier=named.children()[0].expect(der.OCTET_STRING).body)
    else:
        recipient = _recipient(named)
    key = encrypted.expect(der.OCTET_STRING).body
    return EncryptedKey(recipient, decryptors.ECDH, key, agreed=agreed)
