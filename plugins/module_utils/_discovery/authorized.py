# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of authorized_keys files (sshd(8), AUTHORIZED_KEYS FILE FORMAT): which public keys may log in, and how.

Neither comments nor the values of options get out of here, since people keep secrets in both.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, openssh
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import ssh

#: sshd reads no longer line.
_LONGEST_LINE = 16 * 1024
_ENTRY = re.compile(rb"((?:ssh|ecdsa|sk|rsa|webauthn)-[a-z0-9@.-]{1,60})[ \t]+([A-Za-z0-9+/]{8,}={0,2})")
_OPTIONS = frozenset(
    (
        *("agent-forwarding", "cert-authority", "command", "environment", "expiry-time", "from", "no-agent-forwarding"),
        *(
            "no-port-forwarding",
            "no-pty",
            "no-user-rc",
            "no-x11-forwarding",
            "permitlisten",
            "permitopen",
            "principals",
        ),
        *("port-forwarding", "pty", "no-touch-required", "verify-required", "restrict", "tunnel", "user-rc"),
        "x11-forwarding",
    )
)


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        line: its number, from 1.
        kind: SSH's name of the type of key.
        public_key: canonical DER SubjectPublicKeyInfo; None for types that have none, and for a broken key.
        options: names of its options, of those that sshd knows.
    """

    line: int
    kind: str
    public_key: bytes | None = field(repr=False)
    options: tuple[str, ...]


def read(data: bytes) -> Iterator[Entry]:
    """The entries of a file; lines that sshd cannot read let nobody in and are passed over."""
    for number, line in enumerate(data.splitlines(), 1):
        line = line.strip(b" \t")
        if not line or line.startswith(b"#") or len(line) > _LONGEST_LINE:
            continue
        options: tuple[str, ...] = ()
        found = _ENTRY.match(line)
        if found is None:
            words, rest = _options(line)
            found, options = _ENTRY.match(rest), _names(words)
        if found is not None:
            yield Entry(number, found.group(1).decode("ascii"), _public_key(found.group(2)), options)


def _options(line: bytes) -> tuple[list[bytes], bytes]:
    """The options of a line, split at commas outside of quotes, and what follows them."""
    words, start, quoted, place = [], 0, False, 0
    while place < len(line):
        byte = line[place : place + 1]
        if byte == b"\\" and line[place + 1 : place + 2] == b'"':
            place += 1
        elif byte == b'"':
            quoted = not quoted
        elif not quoted and byte in (b",", b" ", b"\t"):
            words.append(line[start:place])
            start = place + 1
            if byte != b",":
                return words, line[place:].lstrip(b" \t")
        place += 1
    return words, b""


def _names(words: list[bytes]) -> tuple[str, ...]:
    names = (word.partition(b"=")[0].decode("ascii", "replace").lower() for word in words)
    return tuple(dict.fromkeys(name for name in names if name in _OPTIONS))


def _public_key(text: bytes) -> bytes | None:
    try:
        blob = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    for read_one in (ssh.public_key, openssh.public_key):
        try:
            public_key = read_one(blob)
            identity.key_id(public_key)
            return public_key
        except FormatError:
            continue
    return None
