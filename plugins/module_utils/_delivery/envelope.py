# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file in an encrypted envelope for its owner: bare CMS, or a mail that has it as its attachment.

- ``cms``: AuthEnvelopedData, AES-256-GCM, as everything that this collection seals. ``openssl cms`` opens it.
- ``eml``: S/MIME (RFC 8551) with EnvelopedData, AES-256-CBC, and RSA PKCS#1 v1.5 or ECDH: what mail programs open. Most
  of them know neither GCM nor OAEP. What is inside has a password and a MAC of its own, so the envelope without
  authentication reveals nothing and can change nothing that would not be noticed.

The header of the mail is not encrypted: it names no key.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts, cms_seal

try:
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError as error:
    note_missing_library(error)

_ENVELOPED_DATA = der.oid("1.2.840.113549.1.7.3")
_AES256_CBC = der.oid("2.16.840.1.101.3.4.1.42")
_RSA = der.write(der.SEQUENCE, der.oid("1.2.840.113549.1.1.1"), der.write(der.NULL))
_PRINTABLE = re.compile(r"[ -~]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Mail:
    """The header of a mail: sender and recipient may be empty, ``name`` is the attachment's file name."""

    sender: str
    recipient: str
    subject: str
    name: str


def check_mail(mail: Mail) -> None:
    """Raise OptionError for what would not stay in its line of the header."""
    for option, text in (("from", mail.sender), ("to", mail.recipient), ("subject", mail.subject)):
        if not _PRINTABLE.fullmatch(text) or len(text) > 200:
            raise OptionError(f"encrypt_to.{option}: it may hold printable ASCII characters only, at most 200")


def as_cms(content: bytes, certificate: bytes) -> bytes:
    """DER of the content, sealed.

    Raises:
        FormatError: nothing can be sealed to the certificate.
    """
    return cms_seal.seal_to_certificate(content, certificate)


def as_mail(content: bytes, certificate: bytes, mail: Mail, media_type: str) -> bytes:
    """The mail: a MIME part with the content as its attachment, enveloped.

    Raises:
        FormatError: as ``as_cms``.
    """
    name = mail.name if _NAME.fullmatch(mail.name) else "key.p12"
    part = "\r\n".join(
        [
            f'Content-Type: {media_type}; name="{name}"',
            "Content-Transfer-Encoding: base64",
            f'Content-Disposition: attachment; filename="{name}"',
            *("", _lines(content), ""),
        ]
    )
    names = (("From", mail.sender), ("To", mail.recipient), ("Subject", mail.subject))
    header = [f"{name}: {text}" for name, text in names if text]
    lines = [
        *header,
        "MIME-Version: 1.0",
        'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"',
        "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="smime.p7m"',
        *("", _lines(_enveloped(part.encode("ascii"), certificate)), ""),
    ]
    return "\r\n".join(lines).encode("ascii")


def _enveloped(content: bytes, certificate: bytes) -> bytes:
    """DER ContentInfo with EnvelopedData (RFC 5652 section 6.1)."""
    to = cms_parts.certificate_recipient(certificate)
    key, start = os.urandom(32), os.urandom(16)
    if to.is_rsa:
        recipient = cms_parts.transport_recipient(to, to.public_key.encrypt(key, rsa_padding.PKCS1v15()), _RSA)
    else:
        recipient = cms_seal.agreement(key, to)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    cipher = der.write(der.SEQUENCE, _AES256_CBC, der.write(der.OCTET_STRING, start))
    inner = der.write(der.SEQUENCE, cms_parts.DATA, cipher, der.write(0x80, encrypted))
    # Version 0 with issuer and serial number alone, 2 with a key agreement.
    version = der.write_integer(0 if to.is_rsa else 2)
    envelope = der.write(der.SEQUENCE, version, der.write(der.SET, recipient), inner)
    return der.write(der.SEQUENCE, _ENVELOPED_DATA, der.write(0xA0, envelope))


def _lines(content: bytes) -> str:
    text = base64.b64encode(content).decode("ascii")
    return "\r\n".join(text[start : start + 64] for start in range(0, len(text), 64))
