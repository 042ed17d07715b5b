# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet audit whose outcome is kept: the heads of the log that past audits saw, the judgement, the files.

A head that the log lost is asked for in every audit from then on, until the log holds it again or somebody
acknowledges the loss: a rollback that was told once and never again would be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.auditing import audit
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report import files

#: Findings that the result has where everything is in the file: Ansible takes minutes to pass on many.
_SHOWN = 100


def judge(task: ControllerTask) -> dict:
    """The result of fleet_audit.

    Raises:
        FileError: what the last audit kept is broken, or nothing can be written there. All is read before it is judged.
        KeyopsError: as ``auditing.audit``.
    """
    lost = known_lost(task.params["known_lost_heads"])
    folder = task.params["outcome_dir"]
    if folder is None:
        return _limited(task, audit(task))
    folder = files.check_path(folder, "outcome_dir")
    kept = files.read_heads(folder) if task.vault else files.KeptHeads(None)
    expected = [head for head in kept.expected if head.digest not in lost]
    given = [*task.params["expected_heads"], *({"number": head.number, "digest": head.digest} for head in expected)]
    result = _limited(task, audit(replace(task, params={**task.params, "expected_heads": given})))
    if not task.check_mode:
        _keep(task, folder, result["audit"], expected)
    return {**result, "changed": True, "audit": _shown(result["audit"])}


def known_lost(digests: Iterable[str]) -> frozenset[str]:
    """The digests of heads whose loss was looked into.

    Raises:
        OptionError: one of them is no digest.
    """
    try:
        return frozenset(check_digest(digest.lower()) for digest in digests)
    except FormatError as error:
        raise OptionError("known_lost_heads: an item is not 64 hexadecimal digits; give digests of heads") from error


def _keep(task: ControllerTask, folder: str, outcome: dict, expected: list[Head]) -> None:
    heads = None
    if outcome["vault"] is not None:
        last = Head(**outcome["vault"]["head"])
        # One by one: two heads may have the same number.
        missed = {head for head in expected if event_log.lost(task.vault, [head])}
        heads = files.KeptHeads(last, tuple(sorted(missed, key=lambda head: (head.number, head.digest))))
    for path in (folder, f"{folder}/{files.HISTORY}"):
        files.make_folder(path)
    files.write(files.outcome_files(folder, outcome, heads))


def _limited(task: ControllerTask, result: dict) -> dict:
    """An audit of a part of the fleet says so, also in the history."""
    limit = task.params["limit"]
    if not limit:
        return result
    built = result["audit"]
    return {
        **result,
        "audit": {**built, "limit": limit, "notes": [*built["notes"], f"hosts beside those of --limit {limit}"]},
    }


def _shown(outcome: dict) -> dict:
    counting = (row for row in outcome["findings"] if row["accepted"] is None)
    return {**outcome, "keys": [], "findings": [row for row, dummy in zip(counting, range(_SHOWN))]}
