# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A search of the module private_key_info in this process, and what openssl finds in the same folder in one process."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from asn1crypto import pem
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask
from ansible_collections.keyops.lifecycle.plugins.modules.private_key_info import ARGUMENT_SPEC

_DEFAULTS = {
    name: option.get("default") for name, option in ARGUMENT_SPEC["search"]["options"].items() if name != "paths"
}
_BLOCK = re.compile(rb"  [0-9]+: (Pkey|Certificate)\n(-----BEGIN .*?-----END [A-Z ]+-----)", re.S)


def look(*folders: object, state: object = "/nonexistent", **options: object) -> dict:
    """What the module returns for a search; its passphrases are texts here."""
    options["passphrases"] = [{"passphrase": one} for one in options.get("passphrases", ())]
    search = {**_DEFAULTS, **options, "paths": [str(folder) for folder in folders]}
    params = {"keys": [], "search": search, "state_dir": str(state), "authorized_keys": [], "tokens": []}
    result = inspect.run(HostTask(params))
    return {"results": result.results, **result.extra}


@dataclass
class Opened:
    """What openssl reads in one file: key IDs (None for keys that cryptography cannot name), and DER certificates."""

    keys: list[str | None] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)


def openssl_reads(folder: Path, passphrase: str) -> dict[str, Opened]:
    """By the name of each file in a folder without folders in it; one process for all."""
    command = ["openssl", "storeutl", "-r", "-passin", f"pass:{passphrase}", folder]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60).stdout
    found: dict[str, Opened] = {}
    for part in re.split(rb"^[0-9]+: Name: ", told, flags=re.M)[1:]:
        name, _line_end, rest = part.partition(b"\n")
        one = found.setdefault(Path(name.decode()).name, Opened())
        for kind, block in _BLOCK.findall(rest):
            if kind == b"Pkey":
                one.keys.append(_key_id(block + b"\n"))
            else:
                one.certificates.append(hashlib.sha256(pem.unarmor(block)[2]).hexdigest())
    return found


def _key_id(block: bytes) -> str | None:
    try:
        key = serialization.load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
