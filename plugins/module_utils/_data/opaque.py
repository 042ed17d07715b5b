# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is inside of a signed or compressed message (RFC 5652 section 5.1, RFC 3274), where mails may be encrypted."""

from __future__ import annotations

import zlib
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import ber, cms
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataDamaged, DataTooLarge, FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

#: Mail servers take no larger mails.
_MOST = 128 << 20


def content_of(message: Any, kind: bytes) -> bytes | None:
    """The content, as a message again where it is one; None when it is elsewhere.

    Args:
        message: a message.
        kind: its type, signed or compressed.

    Raises:
        DataDamaged, DataTooLarge: what is compressed cannot be read.
    """
    found = _encapsulated(message)
    if found is None:
        return None
    inner, content = found
    if kind == cms.COMPRESSED_DATA:
        content = _decompressed(content)
    return cms.wrapped(content, inner)


def _encapsulated(message: Any) -> tuple[bytes, bytes] | None:
    """The type of the content, and the content: those of the last SEQUENCE in either message."""
    dummy, start, stop, dummy = ber.element(message, 0, len(message))
    explicit = list(ber.children(message, start, stop))[1]
    inside = ber.element(message, explicit[1], explicit[2])
    try:
        content_info = [one for one in ber.children(message, inside[1], inside[2]) if one[0] == der.SEQUENCE][-1]
        kind, content = list(ber.children(message, content_info[1], content_info[2]))[:2]
        octets = ber.octets(message, ber.element(message, content[1], content[2]))
        return bytes(message[kind[1] - 2 : kind[2]]), b"".join(octets)
    except (IndexError, ValueError, FormatError):
        return None


def _decompressed(content: bytes) -> bytes:
    work = zlib.decompressobj()
    try:
        found = work.decompress(content, _MOST)
    except zlib.error as error:
        raise DataDamaged("what is compressed in the mail is cut off or altered") from error
    if work.unconsumed_tail:
        raise DataTooLarge("what is compressed in the mail is larger than any mail")
    if not work.eof:
        raise DataDamaged("what is compressed in the mail is cut off")
    return found
