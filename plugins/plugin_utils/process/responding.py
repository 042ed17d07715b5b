# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the audit does about an archived key that signs: freeze where the evidence cannot be forged, and the alarm.

The freeze comes before the event, as everywhere (process/alarm.py). Each alarm is written once: the log is asked
whether it has the same words for the same key already, so that a recurring audit does not fill it.

Whether to freeze is decided by the evidence alone: a key with proven evidence that no freeze of it names is frozen
again, held or lifted as it may be. A lift is given for the freezes as they stand, so agents who have not seen this
evidence have lifted nothing of it; and what revisions the record has, which others may write, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.evidence import Evidence
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import VaultSeen
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.vault import ACTION
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import DETAIL_LIMIT, Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal

REASON = "archived, and evidence shows that it signs"
#: Pieces of evidence that a freeze keeps whole, and those that it names.
_KEPT, _NAMED = 3, 100
#: Characters of certificates in one piece: whoever holds the key can make one that no object of the vault has room for.
_ROOM = 100_000


def respond(
    task: ControllerTask, signing: Mapping[str, Sequence[Evidence]], seen: VaultSeen
) -> tuple[list[dict], Head | None]:
    """Freeze and alarm; per key what was done, or would be done in check mode, and the log's head after an alarm."""
    told, alarms, head = [], [], None
    held = freezes.evidence(task.vault, [key_id for key_id in signing if any(one.proof for one in signing[key_id])])
    for key_id, evidence in signing.items():
        proven = [one for one in evidence if one.proof]
        detail = _detail(proven, evidence)
        is_new = (key_id, detail) not in seen.told
        new = _not_held(key_id, proven, held.get(key_id, ()))
        freezing = bool(new)
        if freezing and not task.check_mode:
            freezes.freeze(task.vault, key_id, REASON, _kept(key_id, new))
        if is_new:
            alarms.append((key_id, detail))
        if is_new or freezing:
            shown = [_shown(one) for one in evidence]
            told.append({"key_id": key_id, "frozen": freezing, "alarm": is_new, "evidence": shown})
    if alarms and not task.check_mode:
        head = journal.write(task, ACTION, "alarm", alarms, "archived keys that sign, found by the fleet audit")
    return told, head


def _detail(proven: Sequence[Evidence], evidence: Sequence[Evidence]) -> str:
    said = "proven" if proven else "not proven, so nothing is frozen"
    digests = canonical.digest("\0".join(sorted(_shown(one) for one in evidence)).encode())[:16]
    return f"{said}; {digests}; {_shown((proven or evidence)[0])}"[:DETAIL_LIMIT]


def _shown(one: Evidence) -> str:
    return f"{one.text} ({one.proof})" if one.proof else one.text


def _not_held(key_id: str, proven: Sequence[Evidence], held: Sequence[str]) -> list[Evidence]:
    """What no freeze names: what agents have lifted does not freeze again, and more of it does."""
    named = {text.split(": ")[0] for text in held}
    return [one for one in _first(key_id, proven) if _mark(key_id, one) not in named]


def _first(key_id: str, proven: Sequence[Evidence]) -> list[Evidence]:
    """As many as a freeze names, the same ones wherever they lie.

    Of what the key itself has signed, its holder makes as much as he likes, so that comes last.
    """
    return sorted(proven, key=lambda one: (len(one.attachments) == 1, _mark(key_id, one)))[:_NAMED]


def _kept(key_id: str, named: Sequence[Evidence]) -> list[str]:
    """The first pieces whole, for whoever looks into them later; the others by name."""
    return [_whole(key_id, one) if place < _KEPT else _mark(key_id, one) for place, one in enumerate(named)]


def _mark(key_id: str, one: Evidence) -> str:
    """Its name: that of the certificate or request, wherever it lies and whoever is above it; or the register's."""
    return f"SHA-256 {canonical.digest(one.attachments[0])}" if one.attachments else paths.signing_key(key_id)


def _whole(key_id: str, one: Evidence) -> str:
    encoded = " ".join(canonical.encode(der) for der in one.attachments)
    parts = (_mark(key_id, one), _shown(one))
    return ": ".join((*parts, encoded) if 0 < len(encoded) <= _ROOM else parts)
