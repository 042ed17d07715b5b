# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of fleet_report; there is no other."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.fleet_report import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.reporting import report


class ActionModule(LifecycleAction):
    """The process is in plugin_utils/process/reporting.py."""

    argument_spec = ARGUMENT_SPEC
    _requires_connection = False

    def process(self, task: ControllerTask) -> dict:
        """Report."""
        return report(task)

    def _require_pipelining(self) -> None:
        """Nothing is sent to a host, so nothing can be left there."""
