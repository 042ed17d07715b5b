# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which parts of a mail are to be decrypted: by what they call themselves, and by how they begin.

What a part says of itself is its sender's word, or that of somebody who wants it to be overlooked. So what begins like
an encrypted message is one, whatever its type and name are, and what is called one is looked at. What then cannot be
decrypted has a reason: it is never told as a part that was not encrypted.
"""

from __future__ import annotations

import binascii
import re

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import mime
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataUnsupported

MESSAGE, MAIL = "message", "mail"
_MAILS = (b"message/rfc822", b"message/global", b"message/news")
_PKCS7 = (b"application/pkcs7-mime", b"application/x-pkcs7-mime")
#: Of these only an encrypted content counts: a detached signature, and what else stands for itself.
_SIGNATURES = (b"application/pkcs7-signature", b"application/x-pkcs7-signature")
_NAMES = (b".p7m", b".p7z")
_LOOKED_AT = 1024
_NOT_SPACE = re.compile(rb"\S")
#: How these begin: DER, base64 of it, PEM, quoted-printable; base64 of PEM, and of base64. In front of base64 may be
#: anything that is none.
_FIRST = frozenset((b"0", b"M", b"-", b"=", b"L", b"T"))
#: What a header has that names such a part.
_MAY_NAME = re.compile(rb"\.p7|\.eml|=\?|[*\\(]")
#: ContentInfo: signed (2), enveloped (3), both (4), encrypted (6); compressed, authenticated-enveloped.
_BEGIN = re.compile(
    rb"\x30(?:[\x00-\x80]|[\x81-\x88].{1,8}?)\x06"
    rb"(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07([\x02\x03\x04\x06])|\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01[\x09\x17])",
    re.DOTALL,
)


def found(data: bytes, end: int, entity: mime.Entity) -> str:
    """What a part without parts is: ``MESSAGE``, one that may be encrypted; ``MAIL``, a mail of its own; empty.

    Args:
        data: what the entity was read from.
        end: of the part in it.

    Raises:
        DataUnsupported: it is encrypted in a way that is not read.
    """
    if entity.kind in _PKCS7:
        return MESSAGE
    if entity.kind in _MAILS:
        return MAIL
    if entity.kind == b"message/partial":
        raise DataUnsupported("it is one piece of a mail that was sent in several; put them together first")
    first = _NOT_SPACE.search(data, entity.body, end)
    if first is not None and (first[0] in _FIRST or (b"64" in entity.header and not first[0].isalnum())):
        head = _beginning(data[first.start() : min(end, first.start() + _LOOKED_AT)], entity)
        if head.startswith(b"-----BEGIN PGP MESSAGE"):
            raise DataUnsupported("it is encrypted with OpenPGP")
        match = _BEGIN.match(head)
        if match is not None and (match[1] != b"\x02" or entity.kind not in _SIGNATURES):
            return MESSAGE
    header = entity.header.lower()
    for name in mime.file_names(entity) if b"name" in header and _MAY_NAME.search(header) else ():
        if name.endswith(_NAMES):
            return MESSAGE
        if name.endswith(b".eml"):
            return MAIL
    return ""


def is_message(content: bytes) -> bool:
    """Whether a content without a header begins like such a message in DER or BER."""
    return _BEGIN.match(content) is not None


def _beginning(head: bytes, entity: mime.Entity) -> bytes:
    """The first bytes of a part without its encodings."""
    encoding = mime.encoding_of(entity)
    if encoding == b"base64":
        head = mime.decoded_somehow(head, b"base64").lstrip()
    elif encoding == b"quoted-printable":
        head = binascii.a2b_qp(head).lstrip()
    if head.startswith(b"-----BEGIN ") and not head.startswith(b"-----BEGIN PGP"):
        head = head.partition(b"\n")[2]
    return mime.decoded_somehow(head[:256], b"base64") if head[:1] == b"M" else head
