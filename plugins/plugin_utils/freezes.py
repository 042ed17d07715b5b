# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Freezes: keys whose archive must not be used, because the vault holds evidence that they signed.

A key is frozen when there is any object under its name. One that cannot be read counts too: otherwise whoever can
corrupt or misname an object could thaw a key, while a wrong freeze only delays until a quorum lifts it. In this release
nothing lifts a freeze. Against the vault itself freezes are advisory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import numbered
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

VERSION = "keyops-freeze/1"
_FIELDS = {"key_id": str, "number": int, "state": str, "reason": str, "evidence": list, "created": str}


@dataclass(frozen=True)
class Freeze:
    """Why one key is frozen; the members are those of the format (docs/formats.md, ``freezes/<key ID>/<n>``)."""

    key_id: str
    number: int
    reason: str
    evidence: tuple[str, ...]
    created: str
    state: str = "frozen"


def freeze(vault: Vault, key_id: str, reason: str, evidence: Iterable[str] = ()) -> Freeze:
    """Freeze a key; the same reason and evidence are not stored twice."""
    new = Freeze(check_digest(key_id), 1, reason, tuple(evidence), times.text(times.now()))
    for number, content in enumerate(numbered.read(vault, paths.freeze, [key_id])[key_id], start=1):
        old = _parse(key_id, number, content)
        if (old.reason, old.evidence) == (new.reason, new.evidence):
            return old

    def content_of(number: int) -> bytes:
        return canonical.dumps({"format": VERSION, **asdict(replace(new, number=number))})

    return replace(new, number=numbered.add(vault, paths.freeze, {key_id: content_of})[key_id])


def frozen(vault: Vault, key_ids: Iterable[str]) -> dict[str, Freeze]:
    """The first freeze of each of ``key_ids`` that is frozen."""
    series = numbered.read(vault, paths.freeze, key_ids)
    return {key_id: _parse(key_id, 1, contents[0]) for key_id, contents in series.items() if contents}


def _parse(key_id: str, number: int, content: bytes) -> Freeze:
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
