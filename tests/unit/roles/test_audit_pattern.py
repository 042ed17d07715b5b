# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook audit fails when its pattern matches no host, instead of being skipped as if all were well."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

WITH_ENV = Path(__file__).resolve().parents[2] / "tools" / "with-env"


def test_a_pattern_that_matches_no_host_fails(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.write_text("web1 ansible_connection=local\n")
    done = subprocess.run(
        [WITH_ENV, "ansible-playbook", "-i", inventory, "keyops.lifecycle.audit", "-e", "keyops_hosts=wbe1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 2 and "No host of the inventory matches wbe1" in done.stdout + done.stderr
    assert not (tmp_path / "keyops-audit").exists()
