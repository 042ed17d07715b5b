# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action base does to its own process while Ansible builds a module."""

from __future__ import annotations

import gc

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import LifecycleAction


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_collection_is_off_while_a_module_is_built_and_then_as_before(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, fails: bool
) -> None:
    seen = []

    def build(*_arguments: object) -> str:
        seen.append(gc.isenabled())
        if fails:
            raise ValueError("not built")
        return "built"

    monkeypatch.setattr(ActionBase, "_configure_module", build)
    action = object.__new__(LifecycleAction)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        if fails:
            with pytest.raises(ValueError, match="not built"):
                action._configure_module("name", {}, {})
        else:
            assert action._configure_module("name", {}, {}) == "built"
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if before else gc.disable)()
