# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of private_key."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.private_key import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.provisioning import provision


class ActionModule(LifecycleAction):
    """Generate, keep or retire keys; the process is in plugin_utils/process/provisioning.py."""

    argument_spec = ARGUMENT_SPEC
    pkcs11_module = "keyops.lifecycle.private_key_on_token"
    may_make_vault = True

    def process(self, task: ControllerTask) -> dict:
        """Provision."""
        return provision(task)
