# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of fleet_audit; there is no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.modules.fleet_audit import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.keeping import judge

#: Large, and told already by the tasks that they come from; passphrases of ``keyops_keys`` may be among them.
_NOT_SHOWN = ("gathered", "declared", "tokens")


class ActionModule(LifecycleAction):
    """The process is in plugin_utils/process/keeping.py and auditing.py."""

    argument_spec = ARGUMENT_SPEC
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict:
        """As every action of the collection; the hosts' variables are kept for ``gathered_as``."""
        self._variables = task_vars or {}
        return super().run(tmp, task_vars)

    def process(self, task: ControllerTask) -> dict:
        """Judge."""
        return judge(replace(task, params={**task.params, "gathered": self._gathered(task.params)}))

    def _gathered(self, params: dict) -> Mapping:
        name = params["gathered_as"]
        if (name is None) == (params["gathered"] is None):
            raise OptionError("gathered: give either it or gathered_as")
        if name is None:
            return params["gathered"]
        # What modules returned is data. Raw, Ansible neither looks for templates in it nor copies it.
        raw_get = self._variables["hostvars"].raw_get
        return {host: raw_get(host).get(name, {}) for host in self._variables["ansible_play_hosts_all"]}

    def _require_pipelining(self) -> None:
        """Nothing is sent to a host, so nothing can be left there."""

    def _masked(self, given: dict) -> dict:
        masked = super()._masked(given)
        return {**masked, **{name: {} for name in _NOT_SHOWN if isinstance(given.get(name), dict)}}
