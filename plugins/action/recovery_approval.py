# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of recovery_approval, which runs on the agent's own machine."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.recovery_approval import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.recovering import approve


class ActionModule(LifecycleAction):
    """Approve; the process is in plugin_utils/process/recovering.py."""

    argument_spec = ARGUMENT_SPEC
    vault_required = True

    def process(self, task: ControllerTask) -> dict:
        """Approve, when this is the agent's own machine."""
        return approve(task, self._connection.transport)
