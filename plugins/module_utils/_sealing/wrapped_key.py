# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The session key K of a key from a token, as it travels in one agent's share (docs/formats.md, "Keys from a token").

The token wraps the private key under K, and K to the agent's wrapping certificate (RSA-OAEP). Anybody can put any OAEP
value into a share. So beside it stands an AES-CMAC that the token made with K over whose key it is: only who knew K can
make it, and it fits no other key, owner, group or agent. Nothing here opens anything: hosts that archive load it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts

#: How K wraps the private key (DER PrivateKeyInfo, which some tokens fill up with zeros first).
#: ``aes-kwp``: RFC 5649. ``aes-kw``: RFC 3394. ``aes-kw-pkcs7``: PKCS#7 padding to 8 bytes, then RFC 3394.
#: ``aes-cbc-pad``: PKCS#7 padding, AES-CBC, 16 bytes of initialisation vector in front.
WRAPPINGS = ("aes-kwp", "aes-kw", "aes-kw-pkcs7", "aes-cbc-pad")
#: Of RSA-OAEP and its MGF1.
HASHES = ("sha256", "sha1")
#: K is an AES-256 key.
SIZE = 32

_STATEMENT = "keyops-wrapped-key/1"
_LINES = ("wrapping", "wrapping-key", "oaep-hash", "wrapped-key", "wrapped-key-mac")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class WrappedKey:
    """K for one agent.

    Attributes:
        wrapping: how K wraps the private key, one of WRAPPINGS.
        wrapping_key: key ID of the agent's wrapping certificate.
        oaep_hash: one of HASHES, whatever the token can do best.
        ciphertext: RSA-OAEP of K to that certificate.
        mac: AES-CMAC under K over ``statement``, lower-case hex.
    """

    wrapping: str
    wrapping_key: str
    oaep_hash: str
    ciphertext: bytes = field(repr=False)
    mac: str


@dataclass(frozen=True)
class TokenKey:
    """A private key as its token wrapped it; the wrapped private key opens with K only.

    Attributes:
        facts: public facts of the key.
        wrapping: one of WRAPPINGS.
        blob: the private key under K.
        keys: K for every agent, by group name and agent ID.
    """

    facts: KeyFacts
    wrapping: str
    blob: bytes = field(repr=False)
    keys: Mapping[tuple[str, str], WrappedKey] = field(repr=False)


def statement(key_id: str, key_owner: str, group: str, agent_id: str) -> bytes:
    """What the MAC is over. No two statements have the same text, because names have no line ends."""
    return "\n".join((_STATEMENT, key_id, key_owner, group, agent_id)).encode("utf-8")


def dump(wrapped: WrappedKey) -> list[str]:
    """The lines of a share text, in their order.

    Raises:
        FormatError: when a field cannot stand in one.
    """
    _check(wrapped)
    values = (
        *(wrapped.wrapping, wrapped.wrapping_key, wrapped.oaep_hash),
        *(canonical.encode(wrapped.ciphertext), wrapped.mac),
    )
    return [f"{name}: {value}" for name, value in zip(_LINES, values)]


def parse(lines: Sequence[str]) -> WrappedKey:
    """The same, read. Whether it is written in its one form is seen by writing it again (share_text.parse).

    Raises:
        FormatError: for anything else.
    """
    if len(lines) != len(_LINES):
        raise FormatError("share text: the lines of the wrapped key are not complete")
    for line, name in zip(lines, _LINES):
        if not line.startswith(f"{name}: "):
            raise FormatError(f"share text: a line must be {name}")
    values = [line.split(": ", 1)[1] for line in lines]
    return WrappedKey(values[0], values[1], values[2], canonical.decode(values[3]), values[4])


#: How many lines of a share text it takes.
LINES = len(_LINES)


def _check(wrapped: WrappedKey) -> None:
    if wrapped.wrapping not in WRAPPINGS or wrapped.oaep_hash not in HASHES:
        raise FormatError("share text: the key was wrapped in a way that is not known here")
    if not _DIGEST.fullmatch(wrapped.wrapping_key) or not _MAC.fullmatch(wrapped.mac):
        raise FormatError("share text: wrapping key or MAC is not lower-case hex of its length")
    if not 256 <= len(wrapped.ciphertext) <= 2048:
        raise FormatError("share text: the wrapped key has a size that no RSA key gives")
