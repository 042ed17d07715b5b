# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints the paths of all objects in a cluster's vault, seen with `bao` and `openssl`, not with the product.

A sealed key and a share must have their digests as names and be CMS AuthEnvelopedData. The parts of every record must
be there, whole. No object may hold a private key. Otherwise it fails. Usage: list_server.py CLUSTER-FOLDER
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(sys.argv[1])
NODE = json.loads((FOLDER / "cluster.json").read_text())[0]
ENVIRONMENT = {
    **os.environ,
    "BAO_ADDR": f"https://127.0.0.1:{NODE['port']}",
    "BAO_CACERT": str(FOLDER / "ca.pem"),
    "BAO_TOKEN": (FOLDER / "root-token").read_text(),
}


def bao(*arguments: str) -> object:
    """The answer of the server's command line."""
    command = ["bao", *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout)


def below(folder: str) -> list[str]:
    """All paths below a folder."""
    found = []
    for name in bao("kv", "list", "-format=json", f"keyops/{folder}"):
        found += below(folder + name) if name.endswith("/") else [folder + name]
    return found


def content(path: str) -> bytes:
    """What lies there, which must be its only version."""
    data = bao("kv", "get", "-format=json", f"keyops/{path}")["data"]
    assert data["metadata"]["version"] == 1, path
    return base64.b64decode(data["data"]["content"], validate=True)


def is_ciphertext(data: bytes) -> bool:
    """Whether OpenSSL takes it for CMS AuthEnvelopedData with AES-256-GCM."""
    command = ["openssl", "cms", "-cmsout", "-print", "-inform", "DER"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)  # noqa: S603
    return done.returncode == 0 and b"id-smime-ct-authEnvelopedData" in done.stdout and b"aes-256-gcm" in done.stdout


def is_sound(path: str) -> bool:
    """A sealed key or a share: named by its digest, and ciphertext."""
    data = OBJECTS[path]
    return path.endswith("/" + hashlib.sha256(data).hexdigest()) and is_ciphertext(data)


def parts(record: dict) -> set[str]:
    """The paths of what a record needs."""
    agents = [agent for group in record["groups"] for agent in group["agents"]]
    return {f"sealed/{record['sealed_key']}", *(f"shares/{agent['agent_id']}/{agent['share']}" for agent in agents)}


with ThreadPoolExecutor(4) as pool:
    PATHS = below("")
    OBJECTS = dict(zip(PATHS, pool.map(content, PATHS)))
    SEALED = [path for path in PATHS if path.startswith(("sealed/", "shares/"))]
    SOUND = {path for path, sound in zip(SEALED, pool.map(is_sound, SEALED)) if sound}

damaged = []
for path, data in OBJECTS.items():
    whole = path in SOUND if path in SEALED else not path.startswith("records/") or parts(json.loads(data)) <= SOUND
    damaged += [] if whole and b"PRIVATE KEY" not in data else [path]
    print(path)
sys.exit(f"damaged: {damaged}" if damaged else 0)
