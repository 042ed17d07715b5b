# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fact cache gets nothing of the controller's environment, where a vault's credential may be."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

WITH_ENV = Path(__file__).resolve().parents[2] / "tests/tools/with-env"


def test_no_credential_in_the_fact_cache(tmp_path: Path) -> None:
    """The roles that gather facts, in check mode, on a local connection; the cache is jsonfile's."""
    cache, sentinel = tmp_path / "cache", secrets.token_hex(16)
    given = {"keyops_packages": ["python3"], "keyops_schedule_packages": [], "ansible_become": False}
    roles = ["keyops.lifecycle.prepare", "keyops.lifecycle.schedule"]
    playbook = tmp_path / "play.json"
    playbook.write_text(json.dumps([{"hosts": "controller", "gather_facts": False, "roles": roles, "vars": given}]))
    inventory = tmp_path / "inventory"
    inventory.write_text(f"controller ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    settings = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache)}
    variables = [f"{key}={value}" for key, value in settings.items()]
    done = subprocess.run(
        [WITH_ENV, "env", *variables, "ansible-playbook", "--check", "-i", inventory, playbook],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "BAO_SECRET_ID": sentinel, "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    texts = [path.read_text() for path in cache.rglob("*") if path.is_file()]
    assert "ansible_pkg_mgr" in "".join(texts) and "ansible_service_mgr" in "".join(texts), "both roles gathered"
    assert [text for text in texts if sentinel in text or "ansible_env" in text] == []
