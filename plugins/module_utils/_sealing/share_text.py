# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The share text (docs/formats.md): one share, one text, byte for byte. ``keyops-share/1`` for a key from a file;
``keyops-share/2`` for a key from a token, with the lines of its wrapped session key before the value lines.

The text of a share is secret. ``parse`` reads the fields and then writes them again: whatever would not come out
as the same bytes is refused. So there is no second spelling, no reordering and no additional line.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, UnknownVersion
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share

VERSION = "keyops-share/1"
SECOND_VERSION = "keyops-share/2"
MAXIMUM_AGENTS = 255
NONSIGNING = ("key_transport", "key_agreement")

_FIELDS = ("key-id", "key-owner", "usage", "group", "threshold", "agents", "agent", "sealed-key", "kek-id")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEK_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[1-9][0-9]{0,2}")
_SHAMIR_VALUE = re.compile(r"([1-9][0-9]{0,2})-[0-9a-f]{32}")
# C0, DEL, C1, the two Unicode line ends, marks and overrides of the writing direction (a name must look like what it
# is to the agent who compares it), lone surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def check_name(text: object, what: str, longest: int = 200) -> None:
    """Raise FormatError unless ``text`` may be a key owner's or a group's name (docs/formats.md)."""
    if not isinstance(text, str) or not 1 <= len(text) <= longest or text != text.strip() or _CONTROL.search(text):
        raise FormatError(
            f"{what} must have 1 to {longest} characters, no control characters and no space at its beginning or end"
        )


def shown(text: str) -> str:
    """``text`` as a person may be shown it: what ``check_name`` refuses in it is written as its number."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def values_digest(values: tuple[str, ...]) -> str:
    """SHA-256 hex of a share's value lines: its public name. They hold 256 random bits, so it tells nothing of them."""
    return canonical.digest("\n".join(values).encode("ascii"))


def dump(share: Share) -> bytes:
    """The one text of ``share``, UTF-8.

    Raises:
        FormatError: when a field cannot stand in a share text. The message never shows a value line.
    """
    _check(share)
    return _write(share)


def parse(data: bytes) -> Share:
    """The share of a text. Whether its values have the digest that it names is said elsewhere (open_key).

    Raises:
        UnknownVersion: when the first line is another version.
        FormatError: for anything but the one text of a share.
    """
    lines = _lines(data)
    if lines[0] not in (VERSION, SECOND_VERSION):
        raise UnknownVersion(f"{VERSION} or {SECOND_VERSION} was expected in the first line of a share text")
    rest = lines[1:]
    fields = {name: _field(rest, place, name) for place, name in enumerate(_FIELDS)}
    threshold, agents = (_number(fields[name], name) for name in ("threshold", "agents"))
    first = len(_FIELDS)
    wrapped, behind = _read_wrapped(lines[0], rest[first + agents :])
    share = Share(
        key_id=fields["key-id"],
        key_owner=fields["key-owner"],
        usage=fields["usage"],
        group=fields["group"],
        threshold=threshold,
        agents=agents,
        agent_id=fields["agent"],
        sealed_key=fields["sealed-key"],
        kek_id=fields["kek-id"],
        share_digests=tuple(_field(rest, place, "share-digest") for place in range(first, first + agents)),
        values=tuple(behind),
        wrapped=wrapped,
    )
    if dump(share) != data:
        raise FormatError("share text: not written in the one accepted form")
    return share


def _write(share: Share) -> bytes:
    values = (
        *(share.key_id, share.key_owner, share.usage, share.group, str(share.threshold), str(share.agents)),
        *(share.agent_id, share.sealed_key, share.kek_id),
    )
    version = SECOND_VERSION if share.wrapped else VERSION
    lines = [version, *(f"{name}: {value}" for name, value in zip(_FIELDS, values))]
    lines += [f"share-digest: {digest}" for digest in share.share_digests]
    if share.wrapped:
        from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key

        lines += wrapped_key.dump(share.wrapped)
    return "".join(f"{line}\n" for line in (*lines, *share.values)).encode("utf-8")


def _read_wrapped(version: str, lines: list[str]) -> tuple[Any, list[str]]:
    """The wrapped key in front of the value lines, or None; and the value lines."""
    if version == VERSION:
        return None, lines
    # Not at the top: keys from files are most keys, and their hosts load nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key

    return wrapped_key.parse(lines[: wrapped_key.LINES]), lines[wrapped_key.LINES :]


def _lines(data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # The decoder's error would carry the bytes of the share.
        raise FormatError("share text: not UTF-8") from None
    return text.split("\n")[:-1] or [""]


def _field(lines: list[str], place: int, name: str) -> str:
    label = f"{name}: "
    if place >= len(lines) or not lines[place].startswith(label):
        raise FormatError(f"share text: line {place + 2} must be {name}")
    return lines[place][len(label) :]


def _number(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise FormatError(f"share text: {name} must be a number from 1 to {MAXIMUM_AGENTS}")
    return int(text)


def _check(share: Share) -> None:
    check_name(share.key_owner, "the key owner")
    check_name(share.group, "the recovery group's name")
    if share.usage not in NONSIGNING:
        raise FormatError(f"share text: usage must be one of {', '.join(NONSIGNING)}")
    if not 1 <= share.threshold <= share.agents <= MAXIMUM_AGENTS:
        raise FormatError(f"share text: threshold and agents must be m <= n <= {MAXIMUM_AGENTS}")
    digests = (share.key_id, share.agent_id, share.sealed_key, *share.share_digests)
    if not all(_DIGEST.fullmatch(text) for text in digests) or not _KEK_ID.fullmatch(share.kek_id):
        raise FormatError("share text: an ID or digest is not lower-case hex of its length")
    if len(share.share_digests) != share.agents:
        raise FormatError("share text: there must be one share-digest for every agent")
    _check_values(share)


def _check_values(share: Share) -> None:
    if share.threshold == 1:
        fits = len(share.values) == 1 and bool(_DIGEST.fullmatch(share.values[0]))
    else:
        found = [_SHAMIR_VALUE.fullmatch(value) for value in share.values]
        places = {int(match.group(1)) for match in found if match}
        fits = len(found) == 2 and all(found) and len(places) == 1 and max(places) <= share.agents
    if not fits:
        raise FormatError("share text: the value lines do not have their form")
