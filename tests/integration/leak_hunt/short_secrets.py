# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passphrases of 4 to 8 characters, taken from key IDs that modules return: Ansible's masking would destroy those."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from leak_hunt import key_numbers
from leak_hunt.world import World

#: The keys of host2 that get such a passphrase, and its length.
LENGTHS = {"short4": 4, "short6": 6, "short8": 8}


@dataclass
class ShortKeys:
    """Key IDs and passphrases by name, and the requester's passphrase."""

    key_ids: dict[str, str] = field(default_factory=dict)
    passphrases: dict[str, str] = field(default_factory=dict)
    requester: str = ""


def play(world: World, requester_passphrase: str) -> ShortKeys:
    """Encrypt the keys anew with parts of their IDs, behind Ansible's back, then do everything with them."""
    found = ShortKeys()
    folder = world.fleet.root("host2") / "etc/keyops"
    for name, length in LENGTHS.items():
        path = folder / f"{name}.key"
        found.key_ids[name] = key_id = key_numbers.key_id(key_numbers.load(path.read_bytes(), None))
        found.passphrases[name] = key_id[30 : 30 + length]
        _encrypt(path, None, found.passphrases[name])
        (world.fleet.root("host2") / "var/lib/keyops/receipts" / f"{key_id}.json").unlink()
    found.requester = found.key_ids["short4"][40:46]
    _encrypt(folder / "signature.key", requester_passphrase, found.requester)
    items = [{"key": f"/etc/keyops/{name}.key", "passphrase": text} for name, text in found.passphrases.items()]
    declared = {"usage": "key_agreement", "accept_declared_usage": True}
    variables = {
        "leak_short": [{**item, **declared} for item in items],
        "leak_short_back": [{**item, "key_id": key_id} for item, key_id in zip(items, found.key_ids.values())],
        "leak_short_wanted": [{"key_id": key_id} for key_id in found.key_ids.values()],
        "leak_short_requester": found.requester,
    }
    world.play("short", "-e", f"@{world.write('short.yml', variables)}", debug=True)
    return found


def _encrypt(path: Path, old: str | None, new: str) -> None:
    # A new process's arguments would be seen by the sampler, which is there to see that; so by descriptors.
    command = ["openssl", "pkcs8", "-topk8", "-in", path, "-passin", "fd:0", "-passout", "fd:0"]
    texts = f"{old or 'none'}\n{new}\n".encode()
    done = subprocess.run(command, input=texts, capture_output=True, check=True)
    path.write_bytes(done.stdout)
