# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""private_key_permissions: what the audit's repair may touch, and what it must not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import permissions
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask


def make(path: Path, passphrase: bool = False) -> str:
    """A key by openssl, open to everybody; returns its key ID, or an empty text when it is encrypted."""
    more = ["-aes256", "-pass", "pass:correct horse"] if passphrase else []
    subprocess.run(
        [
            "openssl",
            "genpkey",
            "-quiet",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            *more,
            "-out",
            path,
        ],
        check=True,
    )
    path.chmod(0o644)
    return "" if passphrase else key_file.facts_of(path.read_bytes(), None).key_id


def run(path: Path, check_mode: bool = False, **item: object) -> tuple[bool, dict]:
    given = {**dict.fromkeys(("key_id", "mode", "owner", "group")), "key": str(path), **item}
    found = permissions.run(HostTask({"keys": [given]}, check_mode, None, None))
    return found.changed, found.results[0]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_check_run_check_run(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key_id = make(path)
    for check_mode, changed, after in (
        (True, True, 0o644),
        (False, True, 0o600),
        (True, False, 0o600),
        (False, False, 0o600),
    ):
        told = run(path, check_mode, key_id=key_id, mode="0600")
        assert told[0] is changed and mode(path) == after and told[1]["error"] is None
        assert told[1]["after"]["mode"] == "0600"


def test_encrypted_key_without_key_id(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    make(path, passphrase=True)
    assert run(path, mode="0600")[0] and mode(path) == 0o600


@pytest.mark.parametrize("obstacle", ["missing", "other key", "no key", "link", "hard link", "encrypted", "owner"])
def test_what_is_left_alone(tmp_path: Path, obstacle: str) -> None:
    path, item = tmp_path / "a.key", {"mode": "0600"}
    if obstacle != "missing":
        make(path, passphrase=obstacle == "encrypted")
    if obstacle == "other key":
        item["key_id"] = make(tmp_path / "b.key")
    elif obstacle == "no key":
        path.write_text("root:x:0:0\n")
    elif obstacle == "link":
        path.rename(tmp_path / "target")
        path.symlink_to(tmp_path / "target")
    elif obstacle == "hard link":
        os.link(path, tmp_path / "second")
    elif obstacle == "encrypted":
        item["key_id"] = "0" * 64
    elif obstacle == "owner":
        item = {"owner": "no-such-user"}
    changed, row = run(path, **item)
    assert not changed and row["error"]
    assert not path.exists() or mode(path) == 0o644


@pytest.mark.parametrize("wrong", ["0644", "0", "rw", "0000"])
def test_no_mode_that_opens_a_key(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "a.key"
    make(path)
    with pytest.raises(OptionError):
        run(path, mode=wrong)
