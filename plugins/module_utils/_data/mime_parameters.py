# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The value of a structured field of a mail, such as Content-Type: its word and its parameters.

Nearly all of them are read by one expression. The rest, which mail programs read as well and in which an encrypted part
could hide, are comments (RFC 5322), parameters in pieces or with a character set (RFC 2231), and names in encoded words
(RFC 2047). Python's email package takes time for the first two that grows with the square of the header. Here all of it
is linear, and where there are two ways to read a parameter both are kept.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Mapping

_PARAMETER = re.compile(rb";\s*([^\s=;\"]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]*))")
_ESCAPED = re.compile(rb"\\(.)")
_SPECIAL = re.compile(rb"[()\"\\]")
_PIECE = re.compile(rb"([^*]+)(?:\*([0-9]{1,6}))?(\*?)")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_ENCODED_WORD = re.compile(rb"=\?[^?\s]{1,60}\?([BbQq])\?([^?\s]{0,1000})\?=\s*")
#: In front of a parameter's name: how it reads when comments and pieces are taken literally.
_LITERAL = b"("
_SHORT = 256


def read(value: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
    """The word (a media type, say) in lower case, and the parameters, names in lower case."""
    return _read_short(value) if len(value) <= _SHORT else _read(value)


@functools.lru_cache(maxsize=256)  # a mail program writes the same few into all its mails
def _read_short(value: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
    return _read(value)


def _read(value: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
    kind, semicolon, rest = value.partition(b";")
    parameters = _parameters(semicolon + rest)
    if b"(" in value or b"*" in value:
        return _read_rare(value, parameters)
    return b"".join(kind.split()).lower(), parameters


def every(parameters: Mapping[bytes, bytes], name: bytes) -> list[bytes]:
    """What a parameter may be: once as it stands, or twice where it can be read in two ways, the likelier one first."""
    return [parameters[one] for one in (name, _LITERAL + name) if one in parameters]


def without_encoded_words(name: bytes) -> bytes:
    """A name in which encoded words are decoded."""
    return _ENCODED_WORD.sub(_decoded_word, name) if b"=?" in name else name


def without_comments(value: bytes) -> bytes:
    """A value without what is in parentheses and not in quotes; a comment without an end is none."""
    kept: list[bytes] = []
    begin = place = opened = depth = 0
    quoted = False
    for match in _SPECIAL.finditer(value):
        if match.start() < place:  # after a backslash
            continue
        char = match[0]
        if char == b"\\":
            place = match.end() + 1
        elif quoted:
            quoted = char != b'"'
        elif char == b'"':
            quoted = not depth
        elif char == b"(":
            opened = opened if depth else match.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                kept.append(value[begin:opened])
                begin = match.end()
    return b" ".join([*kept, value[begin:]])


def _parameters(text: bytes) -> dict[bytes, bytes]:
    parameters: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(text):
        quoted = match[3] if match[2] is None else match[2]
        if match[2] and b"\\" in match[2]:
            quoted = _ESCAPED.sub(rb"\1", match[2])
        parameters.setdefault(match[1].lower(), quoted)
    return parameters


def _read_rare(value: bytes, literal: dict[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    kind, semicolon, rest = without_comments(value).partition(b";")
    parameters = _put_together(_parameters(semicolon + rest))
    for name, one in literal.items():
        if parameters.setdefault(name, one) != one:
            parameters[_LITERAL + name] = one
    return b"".join(kind.split()).lower(), parameters


def _put_together(parameters: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The parameters with those of RFC 2231 under their own names; those win."""
    found: dict[bytes, bytes] = {}
    pieces: dict[bytes, dict[int, bytes]] = {}
    for name, value in parameters.items():
        match = _PIECE.fullmatch(name) if b"*" in name else None
        if match is None:
            found[name] = value
            continue
        number = int(match[2] or 0)
        pieces.setdefault(match[1], {})[number] = _without_percent(value, not number) if match[3] else value
    for name, ordered in pieces.items():
        found[name] = b"".join(ordered[number] for number in sorted(ordered))
    return found


def _without_percent(value: bytes, first: bool) -> bytes:
    """A piece without its character set; of UTF-16 and UTF-32 the zero bytes go, which leaves names as they read."""
    text = value.split(b"'", 2)[-1] if first else value
    return _PERCENT.sub(lambda match: bytes([int(match[1], 16)]), text).replace(b"\0", b"")


def _decoded_word(match: re.Match[bytes]) -> bytes:
    try:
        if match[1] in b"Bb":
            return binascii.a2b_base64(match[2]).replace(b"\0", b"")
        return binascii.a2b_qp(match[2], header=True)
    except ValueError:
        return match[0]
