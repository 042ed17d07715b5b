# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A token that becomes full while keys are recovered into it: a clear error, the old state, and a run that ends it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import story
import token_scene
import tokens

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import TokenError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

_PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def leave(disk: Path, pages: int) -> None:
    """Fill the disk, but for so many pages; of which each of SoftHSM's files takes one."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    status = os.statvfs(disk)
    filler.write_bytes(b"x" * (status.f_bavail * status.f_frsize - pages * _PAGE))
    assert os.statvfs(disk).f_bavail * status.f_frsize == pages * _PAGE


def test_a_full_token(disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "story"
    folder.mkdir()
    scene = story.Scene(folder, token_scene.agents(tmp_path / "agents"))
    host = token_scene.Host(scene, "mail1", ("ops",))
    full = tokens.softhsm(disk / "hsm")
    full.pins = host.store.pins
    made = host.make(
        {"algorithm": "ec-p256", "usage": "key_agreement", "label": "agrees"},
        {"algorithm": "rsa-2048", "usage": "key_transport", "label": "decrypts"},
    )
    groups = {"key_owner": "mail1", "recovery_groups": scene.groups()}
    host.machine.run("key_archive", keys=[host.key("agrees"), host.key("decrypts")], **groups)

    host.store = host.machine.store = full
    host.add_token("new")
    (old,) = host.make({"algorithm": "ec-p256", "usage": "key_agreement", "label": "old"}, token="new")
    keys = [{"key_id": canonical.digest(one), **host.key(None, "new")} for one in made]
    about = {"key_owner": "mail1", "reason": "the token was lost", **scene.requester(host.machine)}
    request_id = host.machine.run("recovery_request", keys=keys, **about)["request_id"]
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")

    ended = []
    for pages in (0, 1, 2, 8):
        leave(disk, pages)
        try:
            host.machine.run("key_recovery", request_id=request_id, keys=keys)
            ended.append("")
        except TokenError as error:
            ended.append(str(error))
        (disk / "filler").unlink()
        listed = host.objects("new")
        labels = {
            kind: re.findall(rf"{kind} Key Object[\s\S]*?label: *(\w+)", listed) for kind in ("Private", "Public")
        }
        assert "old" in labels["Private"] and sorted(labels["Private"]) == sorted(labels["Public"]), listed
    assert len(ended[0]) > 0 and ended[-1] == ""
    assert all("writing the" in one and "perhaps it is full" in one for one in ended if one), ended
    assert any("writing the public half" in one for one in ended) and any("writing the key" in one for one in ended)
    assert sorted(set(labels["Private"])) == ["agrees", "decrypts", "old"]
    assert all(token_scene.agreed(host, tmp_path, one, "new") for one in (old, made[0]))
