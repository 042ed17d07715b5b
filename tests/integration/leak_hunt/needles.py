# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a secret looks like when it leaks: every encoding in which it might be written somewhere.

A needle is a short piece of one encoding. Of a long value there are several (begin, middle, end), so that a part of it
is found too. No needle holds a line break: the haystack is searched as it is, and once more without white space.
"""

from __future__ import annotations

import base64
import json
import shlex
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Bytes of a window into a long value. By chance, 12 bytes occur nowhere.
_WINDOW = 24
_SHORTEST = 8


@dataclass(frozen=True)
class Secret:
    """Something that must not be found.

    Attributes:
        name: what it is, for the report: ``host1 /etc/keyops/a.key: RSA d``.
        value: its bytes; numbers in big-endian order.
        kind: ``number`` (a private number or key), ``text`` (a passphrase) or ``marker`` (searched as it stands).
    """

    name: str
    value: bytes = field(repr=False)
    kind: str = "number"


def needles(secret: Secret) -> Iterator[tuple[bytes, str]]:
    """Pairs of needle and the name of its encoding."""
    encodings = {"marker": _plain, "text": _text, "number": _number}[secret.kind]
    for encoding, value in encodings(secret.value):
        for window in _windows(value):
            yield window, encoding


def _windows(value: bytes) -> Iterator[bytes]:
    size = min(len(value), _WINDOW)
    starts = {0, (len(value) - size) // 2, len(value) - size} if len(value) > 32 else {0}
    for start in starts:
        window = value[start : start + size] if len(value) > 32 else value
        yield from _unbroken(window)


def _unbroken(window: bytes) -> Iterator[bytes]:
    """The longest part of the window without a line break, where it is long enough to mean something."""
    longest = max(window.split(b"\n"), key=len)
    if len(longest) >= min(_SHORTEST, len(window)):
        yield longest


def _plain(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "plain", value


def _number(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw", value
    yield "raw, reversed", value[::-1]
    yield "raw as UTF-8", value.decode("latin-1").encode("utf-8")
    yield "Python literal", repr(value)[2:-1].encode()
    yield "JSON string", json.dumps(value.decode("latin-1"))[1:-1].encode()
    yield "list of numbers", b",".join(str(byte).encode() for byte in value)
    for name, text in (("", value.hex()), (" of the reversed number", value[::-1].hex())):
        yield "hex" + name, text.encode()
        yield "upper-case hex" + name, text.upper().encode()
    yield "hex with colons", value.hex(":").encode()
    yield "upper-case hex with colons", value.hex(":").upper().encode()
    yield "decimal", str(int.from_bytes(value, "big")).encode()
    yield "decimal of the reversed number", str(int.from_bytes(value, "little")).encode()
    yield from _base64(value)


def _text(value: bytes) -> Iterator[tuple[str, bytes]]:
    text = value.decode("utf-8")
    yield "plain", value
    yield "UTF-16", text.encode("utf-16-le")
    yield "latin-1", text.encode("latin-1", "replace")
    yield "JSON", json.dumps(text)[1:-1].encode()
    yield "JSON in JSON", json.dumps(json.dumps(text))[3:-3].encode()
    yield "Python literal", repr(text)[1:-1].encode()
    yield "Python literal of bytes", repr(value)[2:-1].encode()
    yield "shell", shlex.quote(text).encode()[1:-1] if shlex.quote(text) != text else value
    yield "URL", urllib.parse.quote(text, safe="").encode()
    yield "YAML", text.replace("'", "''").encode()
    yield "hex", value.hex().encode()
    yield "upper-case hex", value.hex().upper().encode()
    # The search without white space sees the passphrase without it too.
    yield "without spaces", b"".join(value.split())
    yield from _base64(value)


def _base64(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Base64 wherever the value begins within its three-byte groups; also as a PEM file that was encoded once more."""
    for shift in range(3):
        text = _aligned(value, shift)
        yield f"base64 + {shift}", text
        yield f"base64url + {shift}", text.translate(bytes.maketrans(b"+/", b"-_"))
        for again in range(3):
            # Lines have 60 to 76 characters: at most one of two such pieces is broken.
            for start in (0, min(32, len(text) // 2)):
                piece = text[start : start + min(24, len(text) // 2)]
                yield f"base64 + {shift} in base64 + {again}", _aligned(piece, again)


def _aligned(value: bytes, shift: int) -> bytes:
    """Those characters of the base64 of ``value`` that depend on nothing before or after it."""
    text = base64.b64encode(b"\0" * shift + value)
    return text[(0, 2, 3)[shift] : (shift + len(value)) * 8 // 6]
