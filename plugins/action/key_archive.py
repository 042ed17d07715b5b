# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of key_archive."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.key_archive import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.archiving import archive


class ActionModule(LifecycleAction):
    """Archive keys; the process is in plugin_utils/process/archiving.py."""

    argument_spec = ARGUMENT_SPEC
    pkcs11_module = "keyops.lifecycle.key_archive_on_token"
    vault_required = True
    may_make_vault = True

    def process(self, task: ControllerTask) -> dict:
        """Archive."""
        return archive(task)
