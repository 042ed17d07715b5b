# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a key is frozen: the format of ``freezes/<key ID>/<n>`` (docs/formats.md).

A freeze that cannot be read is one all the same: otherwise whoever can corrupt or misname an object could thaw a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times

VERSION = "keyops-freeze/1"
_ALL_VERSION = "keyops-frozen/1"
_FIELDS = {"key_id": str, "number": int, "state": str, "reason": str, "evidence": list, "created": str}


@dataclass(frozen=True)
class Freeze:
    """Why one key is frozen; the members are those of the format."""

    key_id: str
    number: int
    reason: str
    evidence: tuple[str, ...]
    created: str
    state: str = "frozen"


def dump(freeze: Freeze) -> bytes:
    """The object's canonical bytes."""
    return canonical.dumps({"format": VERSION, **asdict(freeze)})


def parse(key_id: str, number: int, content: bytes) -> Freeze:
    """The freeze of these bytes; for anything else a freeze that says what was found."""
    try:
        value = canonical.load_object(content, VERSION, _FIELDS)
        if (value["key_id"], value["number"], value["state"]) != (key_id, number, "frozen"):
            raise FormatError("it is about another key, number or state")
        if not all(isinstance(item, str) for item in value["evidence"]):
            raise FormatError("its evidence is not a list of texts")
        times.parse(value["created"])
    except FormatError as error:
        return Freeze(key_id, number, f"the freeze cannot be read and therefore holds: {error}", (), "")
    return Freeze(key_id, number, value["reason"], tuple(value["evidence"]), value["created"])


def freeze_id(key_id: str, contents: Sequence[bytes]) -> str:
    """The one name of all freezes of a key as they stand: one more, or another byte in one, and it is another name."""
    digests = [canonical.digest(content) for content in contents]
    return canonical.digest(canonical.dumps({"format": _ALL_VERSION, "key_id": key_id, "freezes": digests}))
