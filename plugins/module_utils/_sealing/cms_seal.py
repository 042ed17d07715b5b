# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seal: to key-encryption keys, to an agent's certificate, or to a request's one-time public key (docs/formats.md).

Every message has its own random content key and nonce, so a nonce can never repeat under a key. Nothing here opens
a message, and nothing here imports what does: a host that only archives never gets opening code.
"""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts

try:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap
except ImportError as error:
    note_missing_library(error)


def seal_with_keks(content: bytes, keks: list[tuple[str, bytes]], content_type: bytes = cms_parts.DATA) -> bytes:
    """DER ContentInfo that any one of the key-encryption keys opens.

    Args:
        content: what is sealed.
        keks: hex of the 16-byte KEK identifier, and the 32-byte KEK, for every recipient. DER sorts the recipients by
            identifier.
        content_type: ``cms_parts.DATA`` or ``cms_parts.TOKEN_KEY``.

    Raises:
        FormatError: when there is no KEK, a size is wrong, or two identifiers are equal (OpenSSL would try one only).
    """
    names = [bytes.fromhex(kek_id) for kek_id, _kek in keks]
    if not keks or len(set(names)) != len(names):
        raise FormatError("a sealed key needs one or more key-encryption keys with different identifiers")
    if any(len(name) != cms_parts.KEK_ID_SIZE for name in names) or any(len(k) != cms_parts.KEY_SIZE for _n, k in keks):
        raise FormatError("a KEK has 32 bytes, and its identifier 16")
    key = os.urandom(cms_parts.KEY_SIZE)
    pairs = zip(names, (kek for _kek_id, kek in keks))
    recipients = [cms_parts.kek_recipient(name, aes_key_wrap(kek, key)) for name, kek in pairs]
    return _message(content, key, recipients, content_type)


def seal_to_certificate(content: bytes, certificate: bytes) -> bytes:
    """DER ContentInfo that the private key of a DER certificate opens.

    Raises:
        FormatError: when it is no certificate, or its key is no RSA >= 2048 bits and not on P-256, P-384 or P-521.
    """
    return _seal_to(content, cms_parts.certificate_recipient(certificate))


def seal_to_public_key(content: bytes, public_key: bytes) -> bytes:
    """DER ContentInfo that the private key of a DER SubjectPublicKeyInfo opens (one-time keys of requests).

    Raises:
        FormatError: as seal_to_certificate.
    """
    return _seal_to(content, cms_parts.key_recipient(public_key))


def seal_to(content: bytes, recipient: bytes) -> bytes:
    """As the two above, to whichever of the two ``recipient`` is.

    Raises:
        FormatError: as seal_to_certificate.
    """
    return _seal_to(content, cms_parts.recipient(recipient))


def _seal_to(content: bytes, to: cms_parts.Recipient) -> bytes:
    key = os.urandom(cms_parts.KEY_SIZE)
    info = _transport(key, to) if to.is_rsa else agreement(key, to)
    return _message(content, key, [info])


def _transport(key: bytes, to: cms_parts.Recipient) -> bytes:
    encrypted = to.public_key.encrypt(key, cms_parts.oaep())
    return cms_parts.transport_recipient(to, encrypted, cms_parts.OAEP_ALGORITHMS[0])


def agreement(key: bytes, to: cms_parts.Recipient) -> bytes:
    """DER KeyAgreeRecipientInfo with a content key for a key on a curve."""
    ephemeral = ec.generate_private_key(to.public_key.curve)
    wrapping_key = cms_parts.wrapping_key(ephemeral.exchange(ec.ECDH(), to.public_key))
    point = cms_parts.point_of(ephemeral.public_key())
    wrapped = aes_key_wrap(wrapping_key, key)
    return cms_parts.agreement_recipient(to, point, wrapped, cms_parts.ORIGINATOR_ALGORITHMS[0])


def _message(content: bytes, key: bytes, recipients: list[bytes], content_type: bytes = cms_parts.DATA) -> bytes:
    nonce = os.urandom(cms_parts.NONCE_SIZE)
    sealed = AESGCM(key).encrypt(nonce, content, None)
    ciphertext, tag = sealed[: -cms_parts.TAG_SIZE], sealed[-cms_parts.TAG_SIZE :]
    return cms_parts.message(recipients, nonce, ciphertext, tag, content_type)
