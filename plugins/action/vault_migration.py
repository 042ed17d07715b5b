# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of vault_migration; there is no other."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.vault_migration import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.migrating import migrate
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.named import NamedVault, place_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault_info_action import VaultInfoAction


class ActionModule(VaultInfoAction):
    """The process is in plugin_utils/process/migrating.py. Nothing reaches a host."""

    argument_spec = ARGUMENT_SPEC

    def process(self, task: ControllerTask) -> dict:
        """Migrate."""
        return migrate(task, self._display.display)

    def _open_named(self, name: str, options: dict | None) -> NamedVault:
        # A mistyped source is no empty vault; a destination is new as a rule.
        vault = open_vault(options, bool(self._task.check_mode), make=name == "destination")
        return NamedVault(vault, name, place_of(options or {}))
