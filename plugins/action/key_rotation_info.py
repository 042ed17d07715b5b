# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of key_rotation_info."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.key_rotation_info import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.rotating import plan


class ActionModule(LifecycleAction):
    """Tell what is due; the process is in plugin_utils/process/rotating.py."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Tell what is due."""
        return plan(task)
