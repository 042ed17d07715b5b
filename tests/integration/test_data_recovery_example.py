# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example of docs/data-recovery.md, run as it stands there; and a task that fails after the rest came out."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "data-recovery.md"


def test_the_example(tmp_path: Path) -> None:
    found = re.search(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    script = found[1]
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Subject: lunch\nMIME-Version: 1.0\n" in done.stdout
    assert (tmp_path / "case/alice.mbox").read_bytes().count(b"See you at noon.\r\n") == 1
    again = run("ansible-playbook play.yml", tmp_path)
    assert "changed=0" in again.stdout
    # The rest comes out, and the task says by failing that something did not.
    (tmp_path / "case/entity").unlink()
    (tmp_path / "entity.p7m").write_bytes(b"0\x03\x02\x01\x00")
    (tmp_path / "case/alice.mbox").unlink()
    failed = run("ansible-playbook play.yml", tmp_path)
    assert failed.returncode != 0
    assert "1 of 2 items were not decrypted" in failed.stdout + failed.stderr
    assert (tmp_path / "case/alice.mbox").exists()
    assert not (tmp_path / "case/entity").exists()


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
