# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of vault_settings; there is no other."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.modules.vault_settings import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.setting_up import set_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server import Server
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import server_options
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault_info_action import VaultInfoAction


class ActionModule(VaultInfoAction):
    """The process is in plugin_utils/process/setting_up.py; its vault is the server itself, not the archive in it."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Set it up."""
        return set_up(task)

    def _open_vault(self, options: dict | None) -> Server:
        if not options or options.get("backend") != "openbao":
            raise OptionError("vault.backend: settings are a vault server's; give vault: {backend: openbao, url: ...}")
        return Server(server_options(options, os.environ))

    def _masked(self, given: dict) -> dict:
        """Without the fields that the user calls secret."""
        masked = super()._masked(given)
        if isinstance(masked.get("settings"), list):
            masked["settings"] = [_without_secrets(item) for item in masked["settings"]]
        return masked


def _without_secrets(item: object) -> object:
    if not isinstance(item, dict) or not item.get("secret"):
        return item
    data, secret = item.get("data"), item["secret"]
    if not isinstance(data, Mapping) or not isinstance(secret, (list, tuple)):
        return {**item, "data": {}}
    return {**item, "data": {name: _options.MASK if name in secret else value for name, value in data.items()}}
