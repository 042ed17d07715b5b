# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events tell what hosts say, without what a terminal would act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

_EVIL = "/etc/\x1b[2J\r\nmail\u202e.key"
_PLAIN = "/etc/\\u001b[2J\\u000d\\u000amail\\u202e.key"


def test_no_control_characters_of_hosts_in_events(tmp_path: Path) -> None:
    with open_vault({"backend": "sqlite", "path": str(tmp_path / "vault.db")}, make=True) as vault:
        task = ControllerTask({}, vault, False, "mail1", "ops", print)
        journal.write(task, "export", "success", [("ab" * 32, f"pkcs12 {_EVIL}")], f"key owner {_EVIL}")
        with pytest.raises(FileError), journal.refusals_recorded(task, "export", []):
            raise FileError(f"{_EVIL}: it cannot be read")
        names = ["events/000000000001", "events/000000000002"]
        there = vault.read(names)
    first, second = (event_format.parse(there[name]) for name in names)
    assert first.keys == (("ab" * 32, f"pkcs12 {_PLAIN}"),) and first.detail == f"key owner {_PLAIN}"
    assert second.detail == f"FileError: {_PLAIN}: it cannot be read"
