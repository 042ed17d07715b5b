# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback that counts; what it counts is in plugins/plugin_utils/job_statistics.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: job_statistics
type: aggregate
short_description: Write how many keys a run archived, and what the event log's head is
version_added: 0.1.0
description:
  - Writes a JSON file with the number of keys that a run of C(ansible-playbook) archived, found in the vault already,
    was refused, or left pending, the number of hosts that failed or were not reached, and whether the event log
    verified, with its head. The runner of the role C(schedule) makes a metric of it.
  - It takes numbers and one digest from the results of M(keyops.lifecycle.key_archive) and
    M(keyops.lifecycle.lifecycle_log_info), and nothing else. Tasks with C(no_log) are not counted.
requirements:
  - Enable it with C(callbacks_enabled = keyops.lifecycle.job_statistics), and set O(path).
options:
  path:
    description: The file, which is replaced as a whole. Without a path nothing is written.
    type: path
    env:
      - name: KEYOPS_JOB_STATISTICS
    ini:
      - section: callback_keyops_job_statistics
        key: path
author:
  - keyops.lifecycle maintainers (@keyops)
"""

from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.job_statistics import Statistics


class CallbackModule(CallbackBase):
    """Counts what ended, and writes after each task that counted, so that a killed run has left its numbers."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "keyops.lifecycle.job_statistics"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._statistics = Statistics()

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well on a host."""
        self._take(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._take(result, {"failed": True})  # callbacks get results without it

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host was not reached."""
        self._take(result, {"unreachable": True})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The playbook ended."""
        self._statistics.hosts.update(failed=len(stats.failures), unreachable=len(stats.dark))
        self._write()

    def _take(self, result: Any, status: dict | None = None) -> None:
        # The names of ansible-core 2.17, which 2.19 still has.
        fields, task = result._task_fields, result._task
        found = {**result._result, **(status or {})}
        action = getattr(task, "resolved_action", None) or task.action
        if self._statistics.take(action, found, fields.get("args") or {}, bool(fields.get("check_mode"))):
            self._write()

    def _write(self) -> None:
        path = self.get_option("path")
        if path:
            self._statistics.write(Path(path))
