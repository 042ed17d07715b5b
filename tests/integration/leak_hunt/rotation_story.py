# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys of host1 are rotated: two that decrypt stay for reading, two that sign are destroyed; with kills on the way."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leak_hunt import data_story, key_numbers, story
from leak_hunt.world import HERE, World

#: Of host1. In clear are agreement and seal.
DECRYPT, SIGN = ("encryption", "agreement"), ("login", "seal")
KEYS = (*DECRYPT, *SIGN)
#: Where a destroyed key is laid as a live file after all, so that the hunt shows that it finds one.
PLANTED = "/var/backups/forgotten"


@dataclass(frozen=True)
class Rotation:
    """Key IDs by name, before and after."""

    old: dict[str, str]
    new: dict[str, str]


def play(world: World) -> Rotation:
    """From certified keys to rotated ones, of which the services know."""
    folder = world.fleet.root("host1") / "etc/keyops"
    for name in story.CERTIFIED:
        (folder / f"{name}.pem").write_bytes(data_story.issue(world, folder / f"{name}.csr"))
    old, seal = _key_ids(world), (folder / "seal.key").read_bytes()
    variables = {
        "keyops_hosts": "host1",
        "keyops_rotate_only": [f"/etc/keyops/{name}.key" for name in KEYS],
        "keyops_rotate_before": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "keyops_rotation_certify": str(HERE / "plays" / "rotation_certify.yml"),
        "keyops_rotation_notify": str(HERE / "plays" / "rotation_notify.yml"),
    }
    command = ("keyops.lifecycle.rotate", "-e", f"@{world.write('rotation.yml', variables)}")
    world.play(*command, "--check", "--diff", debug=True)
    state = world.fleet.root("host1") / "var/lib/keyops/rotations"
    _be_killed(world, lambda: list(folder.glob("*.key.next")), *command, debug=True)
    _be_killed(world, lambda: list(state.glob("*.json")), *command, "--diff", pipelining=True, debug=True)
    world.play(*command, "--diff", debug=True)
    rotation = Rotation(old, _key_ids(world))
    _check(world, rotation)
    _settle(world)
    (world.fleet.root("host1") / PLANTED[1:]).write_bytes(seal)
    world.belongs[f"host1 seal.key {old['seal'][:8]}:"] = {f"host1 {PLANTED}"}
    return rotation


def _be_killed(world: World, moment: Callable[[], list], *command: object, **how: bool) -> None:
    """The controller dies at that moment of the rotation; what runs on the host comes to its end."""
    started = world.start(*command, **how)
    end = time.monotonic() + 120
    while not moment():
        assert started.poll() is None, f"{world.runs[-1]} was over before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait(60)
    while story.modules(world, "host1"):
        assert time.monotonic() < end
        time.sleep(0.1)
    story.look_at_keys(world)


def _settle(world: World) -> None:
    """What is in clear belongs where it lies now: names have changed, and what is destroyed belongs nowhere."""
    for name in KEYS:
        for begin in [begin for begin in world.belongs if begin.startswith(f"host1 {name}.key ")]:
            world.belongs[begin] = set()
    story.look_at_keys(world)


def _check(world: World, rotation: Rotation) -> None:
    """Every key is another one, certified where the old one was; the services know; old keys stay only to decrypt."""
    folder = world.fleet.root("host1") / "etc/keyops"
    told = (world.fleet.root("host1") / "var/lib/told").read_text()
    for name in KEYS:
        old, new = rotation.old[name], rotation.new[name]
        assert new != old
        assert old in told
        assert new in told
        assert (folder / f"{name}.key.{old[:16]}").exists() == (name in DECRYPT)
        assert not (folder / f"{name}.key.next").exists()
    for name in story.CERTIFIED:
        public = _openssl("x509", "-in", folder / f"{name}.pem", "-noout", "-pubkey")
        digest = hashlib.sha256(_openssl("pkey", "-pubin", "-outform", "DER", stdin=public)).hexdigest()
        assert digest == rotation.new[name]


def _key_ids(world: World) -> dict[str, str]:
    folder, found = world.fleet.root("host1") / "etc/keyops", {}
    for name in KEYS:
        data = (folder / f"{name}.key").read_bytes()
        text = story.passphrase_of(world, f"host1 {name}") if b"ENCRYPTED" in data else None
        found[name] = key_numbers.key_id(key_numbers.load(data, text))
    return found


def _openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout
