# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the audit does about an archived key that signs: freeze where the evidence cannot be forged, and the alarm.

The freeze comes before the event, as everywhere (process/alarm.py). Each alarm is written once: the log is asked
whether it has the same words for the same key already, so that a recurring audit does not fill it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.evidence import Evidence
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import VaultSeen
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.vault import ACTION
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import DETAIL_LIMIT, Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal

REASON = "archived, and evidence shows that it signs"
#: Pieces of evidence that a freeze keeps.
_KEPT = 3


def respond(
    task: ControllerTask, signing: Mapping[str, Sequence[Evidence]], seen: VaultSeen
) -> tuple[list[dict], Head | None]:
    """Freeze and alarm; per key what was done, or would be done in check mode, and the log's head after an alarm."""
    told, alarms, head = [], [], None
    for key_id, evidence in signing.items():
        proven = [one for one in evidence if one.proof]
        detail = _detail(proven, evidence)
        is_new = (key_id, detail) not in seen.told
        kept = [_kept(one) for one in proven[:_KEPT]]
        # The same evidence as before is a freeze that agents have lifted: only more of it freezes again.
        freezing = bool(kept) and key_id not in seen.frozen and not freezes.known(task.vault, key_id, REASON, kept)
        if freezing and not task.check_mode:
            freezes.freeze(task.vault, key_id, REASON, kept)
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


def _kept(one: Evidence) -> str:
    return f"{_shown(one)}: {one.attachment}" if one.attachment else _shown(one)
