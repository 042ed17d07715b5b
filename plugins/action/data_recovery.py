# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of data_recovery."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.data_recovery import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.recovering_data import recover_data


class ActionModule(LifecycleAction):
    """Decrypt data on the host; with a request, the process is in plugin_utils/process/recovering_data.py."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Decrypt; fail afterwards when something did not open and the task wants that told."""
        result = recover_data(task)
        failed = sum(row["failed"] for row in result["results"])
        if failed and task.params["on_failure"] == "fail":
            items = sum(row["items"] for row in result["results"])
            message = f"{failed} of {items} items were not decrypted, the rest is: see failures in results"
            return {**result, "failed": True, "error_class": "DataError", "msg": message}
        return result
