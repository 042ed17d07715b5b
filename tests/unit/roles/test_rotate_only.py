# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""keyops_rotate_only: a path that no host has in keyops_keys is a mistake, and said; one of another host is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def test_a_path_that_no_item_has_is_an_error(tmp_path: Path) -> None:
    hosts = {
        name: {
            **{"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
            "keyops_keys": [{"key": f"/{name}/tls.key", "usage": "authentication", "algorithm": "ec-p256"}, token],
        }
        for name in ("a", "b")
        for token in ({"key": "pkcs11:token=t;object=o?module-path=/p11.so", "usage": "signature"},)
    }
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    only = {"name": "keyops.lifecycle.rotate", "tasks_from": "only.yml"}
    asked = {"right": ["/a/tls.key"], "wrong": ["/a/tls.key", "/none/tls.key"]}
    tasks = [
        {"ansible.builtin.include_role": only, "vars": {"keyops_rotate_only": paths}, "name": name}
        for name, paths in asked.items()
    ]
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [CHECKOUT / "tests/tools/with-env", "ansible-playbook", "-i", "inventory.json", "play.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, text
    assert "is a key in the file /none/tls.key. Name paths" in text, text
    assert text.count("ok=3 ") == text.count("failed=1 ") == 2, text  # the right path was one on both hosts
