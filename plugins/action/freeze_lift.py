# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of freeze_lift, which runs on the agent's own machine."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.freeze_lift import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.lifting import lift


class ActionModule(LifecycleAction):
    """Lift; the process is in plugin_utils/process/lifting.py."""

    argument_spec = ARGUMENT_SPEC
    vault_required = True

    def process(self, task: ControllerTask) -> dict:
        """Lift, when this is the agent's own machine."""
        return lift(task, self._connection.transport)
