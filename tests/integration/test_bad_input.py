# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table of what users get wrong. Each row: one clear message of its own class, no secret in it, and nothing changed.

Most rows run the modules' processes through tests/lib/story.py, where anything but a KeyopsError fails the test; the
last test runs some through ansible-playbook, to see the message as the user does.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
import story
import tokens
from bad_input.bench import SECRET, Bench
from bad_input.preparations import make_material, nothing
from bad_input.table import TABLE, Row
from local_play import Controller, task

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors

ROWS = [pytest.param(row, id=f"{name}: {row.title}") for name, rows in TABLE.items() for row in rows]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as it is before each row; rows work on a copy at the same place."""
    folder = tmp_path_factory.mktemp("made")
    scene = story.make_scene(folder / "scene")
    host = scene.machine("mail1")
    scene.generate(host)
    locked = {"key": str(host.folder / "locked.key"), "usage": "key_agreement", "algorithm": "ec-p256"}
    host.run("private_key", keys=[{**locked, "passphrase": SECRET}])
    key_id = scene.generate(host, "other.key")
    key_id = host.run("key_archive", **_archiving(scene, host))["results"][0]["key_id"]
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    (folder / "ids").write_text(f"{key_id} {request_id}")
    shutil.copytree(folder / "scene", folder / "kept")
    make_material(folder / "material")
    return folder


def _archiving(scene: story.Scene, host: story.Machine) -> dict:
    return {"keys": [{"key": str(host.folder / "mail.key")}], "key_owner": "mail1", "recovery_groups": scene.groups()}


@pytest.fixture
def bench(made: Path) -> Iterator[Bench]:
    shutil.rmtree(made / "scene")
    shutil.copytree(made / "kept", made / "scene")
    agents = [story.Agent(f"agent-{number}", made / "scene" / "agents" / f"agent-{number}") for number in (1, 2, 3)]
    scene = story.Scene(made / "scene", agents)
    bench = Bench(scene, scene.machine("mail1"), *(made / "ids").read_text().split(), [])
    try:
        yield bench
    finally:
        for mount in bench.mounts:
            subprocess.run(["umount", mount], check=True)
        pkcs11.unload(tokens.SOFTHSM)  # later tests fork processes, which could not use it


@pytest.mark.parametrize("row", ROWS)
def test_one_clear_message_and_nothing_changed(bench: Bench, row: Row) -> None:
    row.prepare(bench)
    bench.scene.requester(bench.host)
    before = bench.snapshot()
    with pytest.raises(_errors.KeyopsError) as caught:
        row.act(bench)
    check_message(str(caught.value), row)
    assert type(caught.value).__name__ == row.error, caught.value
    assert [name for name in changes(before, bench.snapshot()) if row.leaves not in name] == []


def check_message(text: str, row: Row) -> None:
    """One sentence that names what is wrong and what to do, and no secret."""
    for name in row.names:
        assert name in text, text
    assert "\n" not in text, text
    assert len(text) < 1000, text
    for never in ("Traceback", "Internal error", "PRIVATE KEY", SECRET, SECRET[1:], "0x7"):
        assert never not in text, text


def changes(before: dict, after: dict) -> list[str]:
    """What differs."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


# --- as the user sees it -----------------------------------------------------------------------------------------


def _shown(bench: Bench) -> list[tuple[dict, str, tuple[str, ...]]]:
    """Tasks with the class and the words that their message must have."""
    scene, state = bench.scene, {"state_dir": bench.path("state")}
    good = {"key": bench.path("new.key"), "usage": "key_agreement", "algorithm": "ec-p256", "passphrase": SECRET}
    group = scene.groups()[0]

    def provision(error: str, *names: str, **options: object) -> tuple:
        return task("private_key", keys=[{**good, **options}], **state), error, names

    def archive(error: str, *names: str, **options: object) -> tuple:
        common = {"keys": [{"key": bench.path("mail.key"), "passphrase": SECRET}], "key_owner": "another", **state}
        return task("key_archive", **{**common, "recovery_groups": [group], **options}), error, names

    def ask(error: str, *names: str, **options: object) -> tuple:
        common = {"keys": [{"key_id": bench.key_id}], "key_owner": "mail1", "reason": "another", **state}
        return task("recovery_request", **{**common, **scene.requester(bench.host), **options}), error, names

    def recover(error: str, *names: str, **options: object) -> tuple:
        item = {"key_id": bench.key_id, "key": bench.path("back.key"), "passphrase": SECRET, **options}
        return task("key_recovery", request_id=bench.request_id, keys=[item], **state), error, names

    return [
        provision("OptionError", "usage", "key_agreement", usage="decryption"),
        provision("OptionError", "colour", colour="red"),
        provision("KeyReferenceError", "key", "absolute", key="new.key"),
        provision("KeyReferenceError", "key", "PKCS#11 URI", key=f"pkcs11:token=x;pin-value={SECRET}"),
        provision("AlgorithmError", "algorithm", "choose", algorithm="ed25519"),
        provision("OptionError", "mode", "0600", mode="0644"),
        provision("WrongPassphrase", "locked.key", "passphrase", key=bench.path("locked.key"), passphrase=SECRET[1:]),
        provision("FileError", "directory", key=bench.path("state")),
        archive("OptionError", "backend", "sqlite", vault={"backend": "floppy"}),
        archive("NotAVault", "vault.path", vault={"path": bench.path("state")}),
        archive("OptionError", "key_owner", "missing", key_owner="{{ omit }}"),
        archive("RecoveryGroupError", "threshold", "lower", recovery_groups=[{**group, "threshold": 4}]),
        archive("OptionError", "threshold", recovery_groups=[{**group, "threshold": "two"}]),
        ask("OptionError", "key_id", "64", keys=[{"key_id": "1234"}]),
        ask("OptionError", "expires_in", "24h", expires_in="tomorrow"),
        recover("OptionError", "mode", "0600", mode="rw-------"),
        recover("KeyExists", "other.key", key=bench.path("other.key"), passphrase="{{ omit }}"),
    ]


def test_what_the_user_sees(bench: Bench, tmp_path: Path) -> None:
    """The same through ansible-playbook: a failed result with message and class, no traceback and no secret."""
    bench.scene.requester(bench.host)
    table = _shown(bench)
    before = bench.snapshot()
    output = Controller(tmp_path).run(bench.host, [{**one, "ignore_errors": True} for one, *dummy in table], "-vvv")
    found = re.findall(r"^fatal: \[mail1\]: FAILED! => (\{[^\n]*\}$|\{\n.*?^\})", output, re.MULTILINE | re.DOTALL)
    assert len(found) == len(table), output
    for text, (one, error, names) in zip(found, table):
        result = json.loads(text)
        check_message(result["msg"], Row(one["name"], error, names, nothing))
        assert result["error_class"] == error, result
        assert not result["changed"]
    for never in ("Traceback", "Internal error", "PRIVATE KEY", SECRET, SECRET[1:]):
        assert never not in output
    assert changes(before, bench.snapshot()) == []
