# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of every vault backend, here of the embedded ones; tests/integration has the vault servers."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault
from ansible_collections.keyops.lifecycle.tests.lib.vault_contract import VaultContract
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault


@pytest.fixture(params=["memory", "sqlite"])
def vault(request, tmp_path):
    if request.param == "memory":
        opened = MemoryVault()
    else:
        opened = open_vault({"backend": "sqlite", "path": str(tmp_path / "vault" / "vault.db")})
    with opened:
        yield opened


class TestEmbedded(VaultContract):
    pass
