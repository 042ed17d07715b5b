# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the roles audit and report write: beside the inventory, never where Ansible would read it as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
_HOST = f"ansible_connection=local ansible_python_interpreter={sys.executable}"


def play(folder: Path, inventory: object, *arguments: str) -> tuple[int, str]:
    """Audit a folder without keys; code and what was printed, in one line."""
    (folder / "searched").mkdir(exist_ok=True)
    words = ["ansible-playbook", "-i", str(inventory), "keyops.lifecycle.audit", *arguments]
    words += ["-e", '{"keyops_audit_paths": ["%s"], "keyops_audit_weak_keys": "off"}' % (folder / "searched")]
    done = subprocess.run(
        [CHECKOUT / "tests" / "tools" / "with-env", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    made = tmp_path / "inventory"
    (made / "site").mkdir(parents=True)
    (made / "site" / "hosts").write_text(f"web1 {_HOST}\n")
    return made


def test_beside_a_folder_of_inventories(tmp_path: Path, inventory: Path) -> None:
    """The second run reads the inventories again, and nothing that the first one wrote."""
    for dummy in range(2):
        code, text = play(tmp_path, f"{inventory}/")
        assert code == 0 and "Unable to parse" not in text and "Failed to parse" not in text, text
    assert {path.name for path in (tmp_path / "keyops-audit").iterdir()} == {
        *("audit.json", "audit.sarif", "history", "keyops_audit.prom", "report.html")
    }
    assert [path.name for path in inventory.rglob("*")] == ["site", "hosts"]


def test_inside_a_folder_of_inventories_is_refused(tmp_path: Path, inventory: Path) -> None:
    (tmp_path / "other").symlink_to(inventory / "site")
    code, text = play(tmp_path, inventory, "-e", f"keyops_audit_dir={tmp_path}/other/audits")
    assert code == 2 and "which is a folder of inventories" in text and "Set keyops_audit_dir" in text, text
    assert "Look at the keys" not in text and not (inventory / "site" / "audits").exists()


def test_a_hidden_folder_inside_is_none_that_ansible_reads(tmp_path: Path, inventory: Path) -> None:
    code, text = play(tmp_path, inventory, "-e", f"keyops_audit_dir={inventory}/.audits/site")
    assert code == 0 and (inventory / ".audits" / "site" / "report.html").exists(), text


def test_without_an_inventory_file_the_folder_must_be_given(tmp_path: Path) -> None:
    code, text = play(tmp_path, "web1,", "-e", "ansible_connection=local")
    assert code == 2 and "there is no folder beside it. Set keyops_audit_dir to the absolute path" in text, text
    assert "Look at the keys" not in text
    assert not (CHECKOUT / "playbooks" / "None").exists() and not (CHECKOUT / "playbooks" / "keyops-audit").exists()


def test_a_report_inside_a_folder_of_inventories_is_refused(tmp_path: Path, inventory: Path) -> None:
    code, text = play(tmp_path, inventory, "-e", f"keyops_report_dir={inventory}/report")
    assert code == 2 and "Set keyops_report_dir" in text and not (inventory / "report").exists(), text
