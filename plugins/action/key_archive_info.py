# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of key_archive_info; there is no other."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.key_archive_info import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.looking_up import look_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault_info_action import VaultInfoAction


class ActionModule(VaultInfoAction):
    """The process is in plugin_utils/process/looking_up.py."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Look it up."""
        return look_up(task)
