# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A departed owner's case: what is encrypted to host1's keys is decrypted on host2, which has them in memory only."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from pathlib import Path

from leak_hunt import story
from leak_hunt.needles import Secret
from leak_hunt.world import AGENTS, World

#: On host2.
FOLDER = "/srv/cases/leak"
#: Of host1, each with a certificate request beside it.
KEYS = ("encryption", "agreement")


def play(world: World) -> None:
    """From the request to the sealed folder, with a kill on the way."""
    contents = {name: _send(world, name) for name in KEYS}
    case = {
        **{"keyops_host": "host2", "keyops_data_owner": "host1", "keyops_reason": "left", "keyops_data_folder": FOLDER},
        "keyops_data_sources": [{"src": f"/srv/evidence/{name}.p7m", "dest": f"mail/{name}"} for name in KEYS],
    }
    command = ("keyops.lifecycle.recover_data", "-e", f"@{world.write('case.yml', case)}")
    said = world.play(*command, "--diff", debug=True)
    story.look_at_keys(world)  # the request's one-time key
    found = re.search(r"Request ID: +([0-9a-f]{64})", said)
    assert found
    for agent in AGENTS[:2]:
        options = story.approve_options(world, agent, found[1], "host1")
        world.play("keyops.lifecycle.approve", "-e", f"@{options}")
    world.play(*command, "--check", "--diff", debug=True)
    _be_killed(world, *command)
    world.play(*command, "--diff", pipelining=True, debug=True)
    for name, content in contents.items():
        recovered = world.fleet.root("host2") / FOLDER[1:] / "mail" / name
        assert recovered.read_bytes() == content


def _send(world: World, name: str) -> bytes:
    """Something secret, which openssl encrypts to a key of host1 and lays on host2."""
    content = f"The owner's secret is {secrets.token_hex(16)}.".encode()
    world.secrets.append(Secret(f"recovered {name}", content, "text"))
    world.belongs[f"recovered {name}"] = {f"host2 {FOLDER}/mail/{name}"}
    certificate = issue(world, world.fleet.root("host1") / f"etc/keyops/{name}.csr")
    (world.base / "search" / f"{name}.pem").write_bytes(certificate)
    recipient = ("-recip", world.base / "search" / f"{name}.pem")
    folder = world.fleet.root("host2") / "srv/evidence"
    folder.mkdir(mode=0o700, exist_ok=True)
    sealed = _openssl("cms", "-encrypt", "-binary", "-aes-256-gcm", "-outform", "DER", *recipient, stdin=content)
    (folder / f"{name}.p7m").write_bytes(sealed)
    return content


def issue(world: World, request: Path) -> bytes:
    """A certificate as requested, by a CA that openssl plays in a folder that is not searched."""
    ca = world.base / "search" / "ca.pem"
    if not ca.exists():
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=CA", "-keyout", ca, "-out", f"{ca}.crt")
    return _openssl("x509", "-req", "-in", request, "-CA", f"{ca}.crt", "-CAkey", ca, "-copy_extensions", "copy")


def _be_killed(world: World, *command: object) -> None:
    """The controller dies while the host works, and so does what runs on the host."""
    started = world.start(*command, debug=True)
    story.module_process(world, "host2")
    time.sleep(secrets.randbelow(3000) / 1000)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait(60)
    end = time.monotonic() + 60
    while story.modules(world, "host2"):
        assert time.monotonic() < end
        time.sleep(0.1)


def _openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout
