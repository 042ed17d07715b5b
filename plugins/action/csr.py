# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of csr."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.csr import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.requesting import request


class ActionModule(LifecycleAction):
    """Request certificates; the process is in plugin_utils/process/requesting.py."""

    argument_spec = ARGUMENT_SPEC
    pkcs11_module = "keyops.lifecycle.csr_on_token"

    def named_keys(self, params: dict) -> list[str]:
        """The keys, and those that vouch for them."""
        named = (one for item in params["keys"] for one in (item, item["possession"]) if one is not None)
        return [one["key"] for one in named]

    def process(self, task: ControllerTask) -> dict:
        """Request."""
        return request(task)
