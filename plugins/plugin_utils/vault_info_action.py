# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base of the modules that only look into the vault, on the controller: nothing reaches a host, nothing is made."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import LifecycleAction
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


class VaultInfoAction(LifecycleAction):
    """Opens the vault for reading only. Subclasses override ``process``."""

    _requires_connection = False
    vault_required = True

    def _require_pipelining(self) -> None:
        """Nothing is sent to a host, so nothing can be left there."""

    def _open_vault(self, options: dict | None) -> object:
        # In check mode nothing may be there yet: what comes before in the play would have made it.
        return open_vault(options, check_mode=True, make=bool(self._task.check_mode))
