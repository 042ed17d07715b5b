# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public keys of the fleet, with key ID and algorithm as they are and not as a host says.

One host must not hide the weak key of another by saying something better of the same key ID. So what a public key shows
goes before what is said of it, and where no host sent one, the weakest that any host says counts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue, sent, weak_keys
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Finding, HostSeen


@dataclass(frozen=True)
class _Said:
    """What one row says of a key; the public key is PEM."""

    host: str
    place: str
    key_id: str
    algorithm: str | None
    public_key: str | None


@dataclass(frozen=True)
class PublicKeys:
    """What is known of them.

    Attributes:
        known: key ID to algorithm and PEM, each None where nobody told.
        contradictions: rows that say something else than their public key.
        shown: host and place of private keys whose row has a public key of its key ID.
    """

    known: dict[str, tuple[str | None, str | None]]
    contradictions: tuple[Finding, ...]
    shown: frozenset[tuple[str, str]] = frozenset()


def of_fleet(hosts: Sequence[HostSeen]) -> PublicKeys:
    """Every public key once, wherever it lies."""
    shown: dict[str, tuple[str | None, str | None]] = {}
    claimed: dict[str, tuple[str | None, str | None]] = {}
    found: list[Finding] = []
    proven: set[tuple[str, str]] = set()
    read: dict[str, tuple[str, str] | None] = {}
    for one in _said(hosts):
        if one.public_key and one.public_key not in read:
            read[one.public_key] = _identity(one.public_key)
        true = read[one.public_key] if one.public_key else None
        if one.public_key and (told := _contradiction(one, true)):
            found.append(Finding(catalogue.FACTS_CONTRADICT, one.host, one.place, one.key_id, told))
        if true and true[0] == one.key_id:
            shown[one.key_id] = (true[1], one.public_key)
            proven.add((one.host, one.place))
        elif one.key_id not in claimed or weak_keys.by_size(one.algorithm):
            claimed[one.key_id] = (one.algorithm, None)
    return PublicKeys({**claimed, **shown}, tuple(found), frozenset(proven))


def _said(hosts: Sequence[HostSeen]) -> Iterator[_Said]:
    for host in hosts:
        for key in host.keys:
            if key.key_id:
                yield _Said(host.name, key.place, key.key_id, key.algorithm, key.public_key)
        for key_id, pem in host.public_keys.items():
            yield _Said(host.name, "", key_id, None, pem)


def _identity(pem: str) -> tuple[str, str] | None:
    """Key ID and algorithm of a public key, or None when it is none."""
    text = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    try:
        content = base64.b64decode(text, validate=True)
        return identity.key_id(content), identity.algorithm_of(content)
    except (ValueError, FormatError, IndexError, OverflowError):
        return None


def _contradiction(said: _Said, true: tuple[str, str] | None) -> str | None:
    if true is None:
        return "what it sends as its public key cannot be read"
    if true[0] != said.key_id:
        return f"its public key has the key ID {true[0]}"
    # The numbers of an RSASSA-PSS key are those of an RSA key, and its public key is written as one.
    is_pss = said.algorithm == "rsassa-pss" and true[1].startswith("rsa-")
    if said.algorithm in (None, sent.UNKNOWN, true[1]) or is_pss:
        return None
    return f"its public key is {true[1]}, and the host says {said.algorithm}"
