# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tries passphrases on what a search has found encrypted, for its public facts.

Other people own these files and choose what a try costs. So the work of one try is bounded (see pkcs12.py), no
library gets to derive a key by itself, and the tries stop when the time of the search is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.found import Contents, FoundKey, read_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyUnreadable,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import pem, pkcs12


def opened(key: FoundKey, passphrases: Sequence[str], deadline: float) -> Contents:
    """What a closed key holds: itself, with facts when a passphrase fits; for PKCS#12 all its keys and certificates."""
    for passphrase in passphrases:
        if time.monotonic() >= deadline:
            break
        found = _bundle(key, passphrase, deadline) if key.container == "pkcs12" else _key(key, passphrase)
        if found is not None:
            return found
    return Contents((key,))


def _bundle(key: FoundKey, passphrase: str, deadline: float) -> Contents | None:
    try:
        closed = pkcs12.read(key.sealed)
        inside = pkcs12.read(key.sealed, passphrase, lambda: time.monotonic() < deadline)
    except FormatError:
        return None
    if inside.closed == closed.closed:
        return None
    # The keys that were never encrypted have their rows already.
    keys = [replace(read_key(one, "pkcs12"), encrypted=True) for one in inside.keys if one not in closed.keys]
    rest = [replace(key, sealed=b"")] if inside.closed else []
    return Contents((*keys, *rest), tuple(one for one in inside.certificates if one not in closed.certificates))


def _key(key: FoundKey, passphrase: str) -> Contents | None:
    try:
        if key.container == "encrypted-pkcs8":
            is_pem = pem.looks_like_pem(key.sealed)
            sealed = pem.private_key_block(key.sealed).content if is_pem else key.sealed
            facts = key_file.facts_of(pkcs12.decrypt(sealed, passphrase))
        else:
            # The old encryption of PEM derives its key by one round of MD5.
            facts = key_file.facts_of(key.sealed, passphrase)
    except (FormatError, WrongPassphrase, KeyUnreadable, ValueError, TypeError, LookupError):
        return None
    return Contents(
        (replace(key, facts=replace(facts, container=key.container or facts.container), error=None, sealed=b""),)
    )
