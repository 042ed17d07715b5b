# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PEM (RFC 7468), as key files hold it: text may surround the blocks, and exactly one of them is a private key."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----")
_LINE_END = re.compile(rb"\s*?\n")
_HEADER = re.compile(rb"[A-Za-z-]+:[^\n]*\n(?:[ \t][^\n]*\n)*")


@dataclass(frozen=True)
class Block:
    """The block with the private key.

    Attributes:
        label: of the block, for example ``PRIVATE KEY``.
        text: the block as it stands in the file.
        encrypted: it has a header that says so (RFC 1421; traditional keys only).
        content: decoded.
        others: labels of the other blocks in the file.
    """

    label: str
    text: bytes = field(repr=False)
    encrypted: bool
    content: bytes = field(repr=False)
    others: tuple[str, ...]


def looks_like_pem(data: bytes) -> bool:
    """Whether the bytes are to be read as PEM and not as DER."""
    return b"-----BEGIN " in data


@dataclass(frozen=True)
class Piece:
    """One block of any label.

    Attributes:
        label: of the block.
        text: the block as it stands in the file.
        body: what is between its first and its last line.
        whole: False when it has no last line; then it goes up to the next block or the end.
    """

    label: str
    text: bytes = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool = True


def split(data: bytes) -> Iterator[Piece]:
    """The blocks in the order of the file; in one pass, whatever the bytes are."""
    begin = _BEGIN.search(data)
    while begin:
        following = _BEGIN.search(data, begin.end())
        stop = following.start() if following else len(data)
        mark = b"-----END " + begin.group(1) + b"-----"
        end = data.find(mark, begin.end(), stop)
        whole = end >= 0
        label, end = begin.group(1).decode("ascii"), end if whole else stop
        text = data[begin.start() : end + len(mark) if whole else end]
        yield Piece(label, text, data[begin.end() : end], whole)
        begin = following


def private_key_block(data: bytes) -> Block:
    """The one private key in a PEM file.

    Raises:
        FormatError: there is none, or several, or it is cut off or damaged.
    """
    blocks = [piece for piece in split(data) if piece.whole and _LINE_END.match(piece.body)]
    if len(blocks) != data.count(b"-----BEGIN "):
        raise FormatError("a PEM block is cut off")
    keys = [piece for piece in blocks if piece.label.endswith("PRIVATE KEY")]
    if len(keys) != 1:
        what = "several private keys" if keys else "no private key but " + ", ".join(one.label for one in blocks[:9])
        raise FormatError(f"the file holds {what}")
    key = keys[0]
    headers, content = _body(key.body.lstrip())
    others = tuple(piece.label for piece in blocks if piece.label != key.label)
    return Block(key.label, key.text, b"ENCRYPTED" in headers, content, others)


def write(label: str, content: bytes) -> bytes:
    """One PEM block."""
    text = base64.b64encode(content)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    name = label.encode("ascii")
    return b"\n".join((b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""))


def _body(text: bytes) -> tuple[bytes, bytes]:
    text, headers = text.replace(b"\r", b""), b""
    while match := _HEADER.match(text):
        headers += match.group()
        text = text[match.end() :]
    try:
        return headers, base64.b64decode(b"".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise FormatError("the PEM block is not base64") from error
