# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PEM (RFC 7468), as key files hold it: text may surround the blocks, and exactly one of them is a private key."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----\s*?\n(.*?)-----END \1-----", re.DOTALL)
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


def private_key_block(data: bytes) -> Block:
    """The one private key in a PEM file.

    Raises:
        FormatError: there is none, or several, or it is cut off or damaged.
    """
    blocks = [(match.group(1).decode("ascii"), match) for match in _BLOCK.finditer(data)]
    if len(blocks) != data.count(b"-----BEGIN "):
        raise FormatError("a PEM block is cut off")
    keys = [(label, match) for label, match in blocks if label.endswith("PRIVATE KEY")]
    if len(keys) != 1:
        what = "several private keys" if keys else "no private key but " + ", ".join(label for label, dummy in blocks)
        raise FormatError(f"the file holds {what}")
    label, match = keys[0]
    headers, content = _body(match.group(2))
    return Block(label, match.group(), b"ENCRYPTED" in headers, content, tuple(o for o, dummy in blocks if o != label))


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
