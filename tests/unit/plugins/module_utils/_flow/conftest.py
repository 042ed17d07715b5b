# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of provisioning share: a host's folder and the flow with the module's own defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask
from ansible_collections.keyops.lifecycle.plugins.modules.private_key import ARGUMENT_SPEC


class Host:
    """One host: a folder for keys, one for state, and the flow."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.state = folder / "keys", folder / "state"
        self.keys.mkdir()

    def key(self, name="a.key", **options):
        """One item of ``keys``: an EC key that signs, unless the options say otherwise."""
        return {"key": str(self.keys / name), "usage": "signature", "algorithm": "ec-p256", **options}

    def run(self, *keys, check=False, step=None, relay=None):
        """The flow's result."""
        validated = ArgumentSpecValidator(ARGUMENT_SPEC).validate({"keys": list(keys), "state_dir": str(self.state)})
        assert not validated.error_messages
        return provision.run(HostTask(validated.validated_parameters, check, step, relay))

    def snapshot(self):
        """Everything below the folder of keys: name to content, mode and inode."""
        return {
            path.name: (path.read_bytes() if path.is_file() else None, path.lstat().st_mode, path.lstat().st_ino)
            for path in self.keys.iterdir()
        }


@pytest.fixture
def host(tmp_path):
    """A host without any key."""
    return Host(tmp_path)
