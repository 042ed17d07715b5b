# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of lifecycle_log_info; there is no other."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.lifecycle_log_info import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.checking_log import check_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault_info_action import VaultInfoAction


class ActionModule(VaultInfoAction):
    """The process is in plugin_utils/process/checking_log.py."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Check it."""
        return check_log(task)
