# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The numbers of one run of ansible-playbook, taken from the results of the collection's tasks.

Only counts, one event number and one digest leave it: whatever else is in a result has no way into the file, so no
secret has one. What does not look like a result of the collection counts as nothing, and never ends a play.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

FORMAT = "keyops-job-statistics/1"
ARCHIVE = "keyops.lifecycle.key_archive"
LOG = "keyops.lifecycle.lifecycle_log_info"


@dataclass
class Statistics:
    """What a run has done so far.

    Attributes:
        keys: what became of the keys that were to be archived, or None when there were none. ``pending`` should be in
            the vault and is not: the task failed, the host was not reached, or it was a run in check mode.
        hosts: how many failed or were not reached.
        log: ``valid``, ``problems`` (how many) and ``head`` (number and digest, of a log that verified), or None when
            the run did not look at the log.
    """

    keys: dict[str, int] | None = None
    hosts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("failed", "unreachable"), 0))
    log: dict | None = None

    def take(self, action: str, result: Mapping, options: Mapping, check_mode: bool) -> bool:
        """Count the result of a task that ended, one of a loop too; returns whether there was anything to count."""
        if action not in (ARCHIVE, LOG):
            return False
        rows = result.get("results")
        items = rows if isinstance(rows, list) else []
        if any(isinstance(row, Mapping) and "ansible_loop_var" in row for row in items):
            for row in items:
                self.take(action, row, (row.get("invocation") or {}).get("module_args") or {}, check_mode)
        elif action == LOG:
            self._take_log(result)
        elif items:
            for row in items:
                self._count(_fate(row, check_mode))
        elif result.get("failed") or result.get("unreachable"):
            wanted = options.get("keys")
            self._count("pending", len(wanted) if isinstance(wanted, list) else 0)
        return True

    def _count(self, fate: str, keys: int = 1) -> None:
        self.keys = self.keys or dict.fromkeys(("archived", "present", "refused", "pending"), 0)
        self.keys[fate] += keys

    def _take_log(self, result: Mapping) -> None:
        problems, head = result.get("problems"), result.get("head")
        if not isinstance(problems, list) or not isinstance(head, Mapping):
            return
        number, digest = head.get("number"), str(head.get("digest"))
        valid = result.get("valid") is True
        sound = valid and isinstance(number, int) and re.fullmatch("[0-9a-f]{64}", digest)
        seen = {"number": number, "digest": digest} if sound else None
        self.log = {"valid": valid, "problems": len(problems), "head": seen}

    def write(self, path: Path) -> None:
        """Replace the file as a whole, readable for its owner only."""
        between = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(between, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as to:
            json.dump({"format": FORMAT, **asdict(self)}, to)
        os.replace(between, path)


def _fate(row: Mapping, check_mode: bool) -> str:
    """What became of one key."""
    state, changed = row.get("state"), bool(row.get("changed"))
    if state == "archived" and not (changed and check_mode):
        return "archived" if changed else "present"
    return "refused" if state == "refused" else "pending"
