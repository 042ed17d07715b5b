# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a token's probe said, kept in the state folder: a probe makes RSA keys, which takes seconds on real tokens.

It holds for one token (serial number, maker, model, firmware) behind one library file (path, size, time of change); a
change of any of them asks the token again.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import probe
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.probe import Finding

_FORMAT = "keyops-probe/1"
_FIELDS = {"asked": dict, "findings": list}


def findings(session: Any, library: str, facts: TokenFacts, state_dir: str, keep: bool) -> list[Finding]:
    """What the token enforces, asked now or on an earlier run.

    Args:
        session: writable, with the user logged in.
        library: path of the library.
        keep: whether to write down what is found.

    Raises:
        FileError: the state folder cannot be used.
    """
    asked = _asked(library, facts)
    folder = os.path.join(state_dir, "probes")
    path = os.path.join(folder, hashlib.sha256(f"{library} {facts.serial}".encode()).hexdigest()[:32] + ".json")
    known = _read(path, asked)
    if known is not None:
        return known
    found = probe.probe(session)
    if keep:
        for one in (state_dir, folder):
            _files.make_private_folder(one)
        content = {"format": _FORMAT, "asked": asked, "findings": [asdict(one) for one in found]}
        _files.replace(_files.NewFile(path, canonical.dumps(content)))
    return found


def _asked(library: str, facts: TokenFacts) -> dict:
    status = os.stat(library)
    names = ("serial", "manufacturer", "model", "hardware_version", "firmware_version")
    told = {name: getattr(facts, name) for name in names}
    return {**told, "library": library, "size": status.st_size, "changed": int(status.st_mtime)}


def _read(path: str, asked: dict) -> list[Finding] | None:
    existing = _files.read_existing(path)
    if existing is None:
        return None
    try:
        value = canonical.load_object(existing.content, _FORMAT, _FIELDS)
        if value["asked"] != asked or {one["name"] for one in value["findings"]} != set(probe.NAMES):
            return None
        return [Finding(**one) for one in value["findings"]]
    except (FormatError, TypeError, KeyError):
        return None  # then the token is asked, which is never wrong
