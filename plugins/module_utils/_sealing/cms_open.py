# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open sealed messages, and only those of exactly the form of docs/formats.md.

1. The message is taken apart and built again from its parts; it must be the same bytes. So no other cipher, no shorter
   tag, no attribute, no second recipient in a share and no second encoding of anything is ever worked on.
2. The recipient must be the one that the caller names: a message is never tried with a key that it is not for.
3. A content key that does not unwrap (RSA-OAEP or AES key wrap) is replaced by a random one, so that every kind of
   tampering ends in the same place, at the tag, with the same OpenError: a caller who reports it is no oracle
   (compare RFC 3218 section 2.3.2).

Agents' workstations and a recovering owner's host load this file; hosts that only archive never do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OpenError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
except ImportError as error:
    note_missing_library(error)


@dataclass(frozen=True)
class _Envelope:
    """The variable parts of a message: DER of every RecipientInfo, then nonce, ciphertext and tag."""

    recipients: tuple[bytes, ...] = field(repr=False)
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    tag: bytes = field(repr=False)


def open_with_kek(message: bytes, kek_id: str, kek: bytes, content_type: bytes = cms_parts.DATA) -> bytes:
    """The content of a sealed key.

    Args:
        message: DER ContentInfo, all of whose recipients are key-encryption keys.
        kek_id: hex of the 16-byte identifier of the KEK.
        kek: 32 bytes.
        content_type: the one that is expected: ``cms_parts.DATA`` or ``cms_parts.TOKEN_KEY``.

    Raises:
        OpenError: for any other form, an identifier that the message does not have, a wrong KEK, an altered message.
    """
    envelope = _take_apart(message, content_type)
    recipients = [_kek_parts(info) for info in envelope.recipients]
    wrapped = dict(recipients).get(kek_id)
    if len(dict(recipients)) != len(recipients) or wrapped is None:
        raise OpenError(f"the sealed key has no single recipient with the KEK identifier {kek_id}")
    return _decrypt(envelope, _unwrap(kek, wrapped))


def open_with_key(message: bytes, private_key: Any, recipient: bytes) -> bytes:
    """The content of a message to one agent or one-time key.

    Args:
        message: DER ContentInfo with exactly one recipient.
        private_key: cryptography private key object (or what has its ``public_key`` and ``decrypt`` or ``exchange``).
        recipient: DER of the agent's certificate, or of the one-time key's SubjectPublicKeyInfo.

    Raises:
        OpenError: for any other form, another recipient, another private key, an altered message.
    """
    to = _recipient(recipient, private_key)
    envelope = _take_apart(message)
    if len(envelope.recipients) != 1:
        raise OpenError("a sealed share has exactly one recipient")
    open_recipient = _open_transport if to.is_rsa else _open_agreement
    return _decrypt(envelope, open_recipient(envelope.recipients[0], private_key, to))


def kek_ids(message: bytes) -> tuple[str, ...]:
    """The KEK identifiers (hex) of a sealed key, in its order. Opens nothing.

    Raises:
        OpenError: when it is no sealed key of the one accepted form.
    """
    return tuple(_kek_parts(info)[0] for info in _take_apart(message).recipients)


# --- the form --------------------------------------------------------------------------------------------------------


def _take_apart(message: bytes, content_type: bytes = cms_parts.DATA) -> _Envelope:
    try:
        _kind, explicit = cms_parts.fields(der.read(message).expect(der.SEQUENCE), der.OID, 0xA0)
        (envelope,) = cms_parts.fields(explicit, der.SEQUENCE)
        # Only these four: originatorInfo would be a 0xA0, authAttrs a 0xA1, unauthAttrs a 0xA2.
        _version, infos, content, tag = cms_parts.fields(envelope, der.INTEGER, der.SET, der.SEQUENCE, der.OCTET_STRING)
        _type, cipher, ciphertext = cms_parts.fields(content, der.OID, der.SEQUENCE, 0x80)
        _oid, parameters = cms_parts.fields(cipher, der.OID, der.SEQUENCE)
        nonce, _size = cms_parts.fields(parameters, der.OCTET_STRING, der.INTEGER)
        recipients = tuple(info.whole for info in infos.children())
    except FormatError as error:
        raise _other_form() from error
    if len(nonce.body) != cms_parts.NONCE_SIZE or len(tag.body) != cms_parts.TAG_SIZE or not recipients:
        raise _other_form()
    if cms_parts.message(list(recipients), nonce.body, ciphertext.body, tag.body, content_type) != message:
        raise _other_form()
    return _Envelope(recipients, nonce.body, ciphertext.body, tag.body)


def _kek_parts(info: bytes) -> tuple[str, bytes]:
    try:
        _version, name, _method, wrapped = cms_parts.fields(
            der.read(info).expect(0xA2), der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.OCTET_STRING
        )
        (kek_id,) = cms_parts.fields(name, der.OCTET_STRING)
    except FormatError as error:
        raise _other_form() from error
    if len(kek_id.body) != cms_parts.KEK_ID_SIZE or cms_parts.kek_recipient(kek_id.body, wrapped.body) != info:
        raise _other_form()
    return kek_id.body.hex(), wrapped.body


def _other_form() -> OpenError:
    return OpenError(
        "the sealed message does not have the one accepted form: AES-256-GCM, 16-byte tag, no attributes, DER"
    )


def _recipient(data: bytes, private_key: Any) -> cms_parts.Recipient:
    try:
        to = cms_parts.recipient(data)
    except FormatError as error:
        raise OpenError(f"the recipient cannot be used: {error}") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private_key.public_key().public_bytes(*form) != to.spki:
        raise OpenError("the private key does not belong to the recipient's certificate or public key")
    return to


# --- the content key -------------------------------------------------------------------------------------------------


def _open_transport(info: bytes, private_key: Any, to: cms_parts.Recipient) -> bytes:
    try:
        encrypted = der.read_sequence(info)[-1].body
    except (FormatError, IndexError) as error:
        raise _other_form() from error
    accepted = [cms_parts.transport_recipient(to, encrypted, form) for form in cms_parts.OAEP_ALGORITHMS]
    if info not in accepted:
        raise _not_for(to)
    try:
        key = private_key.decrypt(encrypted, cms_parts.oaep())
    except ValueError:
        key = b""
    return _key_or_random(key)


def _open_agreement(info: bytes, private_key: Any, to: cms_parts.Recipient) -> bytes:
    try:
        _version, explicit, _method, keys = cms_parts.fields(
            der.read(info).expect(0xA1), der.INTEGER, 0xA0, der.SEQUENCE, der.SEQUENCE
        )
        _algorithm, bits = cms_parts.fields(explicit.children()[0], der.SEQUENCE, der.BIT_STRING)
        point, wrapped = bits.bits(), keys.children()[0].children()[-1].body
    except (FormatError, IndexError) as error:
        raise _other_form() from error
    accepted = [cms_parts.agreement_recipient(to, point, wrapped, a) for a in cms_parts.ORIGINATOR_ALGORITHMS]
    if info not in accepted:
        raise _not_for(to)
    return _unwrap(cms_parts.wrapping_key(_shared_secret(point, private_key, to)), wrapped)


def _shared_secret(point: bytes, private_key: Any, to: cms_parts.Recipient) -> bytes:
    try:
        # Refuses points that are not on the curve, or the answers would tell of the private key.
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(to.public_key.curve, point)
        if cms_parts.point_of(ephemeral) != point:
            raise _other_form()
        return private_key.exchange(ec.ECDH(), ephemeral)
    except ValueError as error:
        raise _other_form() from error


def _not_for(to: cms_parts.Recipient) -> OpenError:
    wanted = "RSA-OAEP with SHA-256" if to.is_rsa else "ECDH with SHA-256 KDF and AES-256 key wrap"
    return OpenError(f"the sealed message is not for this recipient, or not sealed with {wanted}")


def _unwrap(key: bytes, wrapped: bytes) -> bytes:
    try:
        return _key_or_random(aes_key_unwrap(key, wrapped))
    except (InvalidUnwrap, ValueError):
        return _key_or_random(b"")


def _key_or_random(key: bytes) -> bytes:
    return key if len(key) == cms_parts.KEY_SIZE else os.urandom(cms_parts.KEY_SIZE)


def _decrypt(envelope: _Envelope, key: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(envelope.nonce, envelope.ciphertext + envelope.tag, None)
    except InvalidTag as error:
        raise OpenError("the sealed message does not open with this key, or was altered") from error
