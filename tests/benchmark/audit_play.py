# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the playbook ``audit`` takes over real key files, from the search to the page, and how much memory.

    tests/tools/with-env python tests/benchmark/audit_play.py [keys] [hosts]

The hosts are this machine (connection ``local``), each with its own folder of unencrypted EC keys, of which most break
no rule but that they lie unencrypted. What is told is the whole process tree's CPU time and its largest process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_FORM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def main(keys: int, hosts: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for number in range(hosts):
            _make_keys(folder / f"host{number}", keys // hosts)
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps(_inventory(folder, hosts)))
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["ansible-playbook", "-i", inventory, "keyops.lifecycle.audit", "-e", "keyops_audit_fail_at=never"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        )
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        rows = len(json.loads((folder / "keyops-audit" / "audit.json").read_text())["keys"])
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"{rows} rows of {hosts} hosts: {seconds:.1f} s, {cpu:.1f} s of CPU, "
            f"{after.ru_maxrss / 1024:.0f} MB in the largest process"
        )


def _make_keys(folder: Path, number: int) -> None:
    folder.mkdir()
    for one in range(number):
        (folder / f"{one}.key").write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*_FORM))


def _inventory(folder: Path, hosts: int) -> dict:
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    there = {f"host{number}": {"keyops_audit_paths": [str(folder / f"host{number}")]} for number in range(hosts)}
    limits = {"max_results": 1_000_000, "max_files": 2_000_000, "max_seconds": 3600}
    return {"all": {"hosts": there, "vars": {**local, "keyops_audit_search": limits}}}


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], *("5000", "10")[len(sys.argv) - 1 :]][:2]))
