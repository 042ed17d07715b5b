# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of private_key_info."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.private_key_info import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import inspecting


class ActionModule(LifecycleAction):
    """Look at keys; all of it happens on the host. What it returns is bounded in process/inspecting.py."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Look, and bound what was returned."""
        return inspecting.look(task)
