# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of csr."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.csr import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction


class ActionModule(LifecycleAction):
    """Request certificates; all of it happens on the host, unless a policy forbids it."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Request."""
        if task.policy is None:
            return super().process(task)
        # Here, so that a play without a policy loads none of it.
        from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import enforce

        return enforce.request(task)
