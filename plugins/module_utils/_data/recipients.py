# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recipients of a CMS message (RFC 5652 section 6.2, RFC 4055, RFC 5753, RFC 8418), and the small parts of one.

A recipient that no key here could serve (a password, a key-encryption key, a static key agreement) is passed over, and
named. Everything but the content of a message is small, and is read as DER whatever it was written in.
"""

from __future__ import annotations

import functools
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import agreement, ber
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import decryptor as decryptors
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import EncryptedKey, RecipientId
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataTooLarge,
    DataUnsupported,
    FormatError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import ber as small_ber
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

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
#: No mail goes to more; each costs a walk.
_MOST_RECIPIENTS = 5_000
#: Of a message and of a recipient; they have six at most.
_MOST_PARTS = 17
#: Everything in a message but its content.
_LARGEST_PART = 64 * 1024


def shown(name: bytes) -> str:
    """An object identifier as people write it."""
    try:
        return der.dotted(der.read(name))
    except FormatError:
        return "no object identifier"


def small(data: Any, start: int, end: int) -> der.Element:
    """A part of the message that is not its content, as DER."""
    if end - start > _LARGEST_PART:
        raise DataTooLarge("a part of the message is larger than any such part")
    return _as_der(bytes(data[start:end]))


def _as_der(part: bytes) -> der.Element:
    try:
        return der.read(part)
    except FormatError:
        return der.read(small_ber.to_der(part))


def with_starts(data: Any, start: int, stop: int) -> Any:
    """Children with the place at which each begins: tag, begin of content, end of content, behind, begin."""
    place, count = start, 0
    while place < stop:
        count += 1
        if count > _MOST_PARTS:
            raise DataDamaged("the message has more parts than any")
        found = ber.element(data, place, stop)
        yield (*found, place)
        place = found[3]


def read(data: Any, found: Any) -> tuple[list[EncryptedKey], list[str]]:
    """The content key for every recipient that a key could serve, and what the others are.

    Args:
        data: the message.
        found: the element with the recipients (``with_starts``).

    Raises:
        DataDamaged, FormatError: a recipient does not have its form.
        DataTooLarge: there are more than any message has.
    """
    keys: list[EncryptedKey] = []
    passed_over: list[str] = []
    place = found[1]
    for tag, begin, end, behind in ber.children(data, found[1], found[2]):
        if tag in (der.SEQUENCE, 0xA1):
            try:
                if tag == der.SEQUENCE:
                    keys.append(_transport(data, begin, end))
                else:
                    keys += _agreement(small(data, place, behind))
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
    version, recipient, method, encrypted = with_starts(data, start, stop)
    if version[0] != der.INTEGER or encrypted[0] & ~ber.CONSTRUCTED != der.OCTET_STRING:
        raise DataDamaged("a recipient of the message cannot be read")
    named = _recipient_of(bytes(data[recipient[4] : recipient[3]]))
    key = b"".join([bytes(piece) for piece in ber.octets(data, encrypted[:4])])
    fields = _fields_of(bytes(data[method[4] : method[3]]))
    if fields[0].whole == _RSA:
        return EncryptedKey(named, decryptors.RSA_PKCS1, key)
    if fields[0].whole != _OAEP:
        raise DataUnsupported(f"a recipient by a method that is not read ({shown(fields[0].whole)})")
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
        raise DataUnsupported(f"a recipient by RSA-OAEP with a hash function that is not read ({shown(name)})")
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
        raise DataUnsupported(f"a key agreement that is not read ({shown(fields[0].whole)})")
    wrap = fields[1]
    wrap_name = wrap.children()[0].whole
    if wrap_name not in agreement.WRAPS:
        raise DataUnsupported(f"a key agreement with a key wrap that is not read ({shown(wrap_name)})")
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
