# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The signing register: every key that was made to sign. What stands in it is never archived.

Registering is write first; the archive looks second (and once more after its record), so that whichever comes later
sees the other. Entries are never removed, and any object under a key's name counts, readable or not: nobody can hide a
signing key by spoiling its entry. A writer registers only what the key itself has proven, and only a proven entry
freezes anything: nobody can strand somebody else's key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, PossessionNotProven
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import signing_proof
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

VERSION = "keyops-signing-key/1"
_FIELDS = ("key_id", "usage", "algorithm", "host", "place", "created", "public_key", "proof")
SIGNING_USAGES = ("signature", "certificate_signing", "authentication")


@dataclass(frozen=True)
class SigningKey:
    """One entry; the members are those of the format (docs/formats.md, ``signing/<key ID>``)."""

    key_id: str
    usage: str
    algorithm: str
    host: str
    place: str
    created: str
    public_key: bytes = field(repr=False)
    proof: bytes = field(repr=False)


def register(vault: Vault, entries: Iterable[SigningKey]) -> frozenset[str]:
    """Register keys; returns the key IDs that were new. An earlier entry stays as it is.

    Raises:
        FormatError: when an entry is not of the format; nothing was registered.
        PossessionNotProven: when the key itself did not make an entry's proof; nothing was registered.
    """
    objects = {paths.signing_key(entry.key_id): _dump(entry) for entry in entries}
    return frozenset(path.split("/")[1] for path in vault.create(objects))


def registered(vault: Vault, key_ids: Iterable[str]) -> frozenset[str]:
    """Those of ``key_ids`` that were made to sign."""
    return frozenset(path.split("/")[1] for path in vault.exists(paths.signing_key(key_id) for key_id in key_ids))


def usages_of(vault: Vault, key_ids: Iterable[str]) -> dict[str, str | None]:
    """Of those of ``key_ids`` that were made to sign, the usage; None where the entry lacks the key's own proof."""
    objects = vault.read(paths.signing_key(key_id) for key_id in key_ids)
    entries = {path.split("/")[1]: content for path, content in objects.items()}
    return {
        key_id: str(canonical.loads(content)["usage"]) if _is_proven(key_id, content) else None
        for key_id, content in entries.items()
    }


def proven(vault: Vault, key_ids: Iterable[str]) -> frozenset[str]:
    """Those of ``key_ids`` whose entry holds the key's own proof."""
    objects = vault.read(paths.signing_key(key_id) for key_id in key_ids)
    entries = {path.split("/")[1]: content for path, content in objects.items()}
    return frozenset(key_id for key_id, content in entries.items() if _is_proven(key_id, content))


def hosts_of(vault: Vault, key_ids: Iterable[str]) -> dict[str, str]:
    """Of those of ``key_ids`` whose entry holds the key's own proof, the host that registered it."""
    objects = vault.read(paths.signing_key(key_id) for key_id in key_ids)
    entries = {path.split("/")[1]: content for path, content in objects.items()}
    return {
        key_id: str(canonical.loads(content)["host"])
        for key_id, content in entries.items()
        if _is_proven(key_id, content)
    }


def _is_proven(key_id: str, content: bytes) -> bool:
    try:
        value = canonical.load_object(content, VERSION, dict.fromkeys(_FIELDS, str))
        signing_proof.verify(canonical.decode(value["proof"]), canonical.decode(value["public_key"]), key_id)
    except (FormatError, PossessionNotProven):
        return False
    return True


def _dump(entry: SigningKey) -> bytes:
    check_digest(entry.key_id)
    times.parse(entry.created)
    if entry.usage not in SIGNING_USAGES:
        raise FormatError(f"the signing register takes signing usages only, not {entry.usage}")
    signing_proof.verify(entry.proof, entry.public_key, entry.key_id)
    encoded = {name: canonical.encode(getattr(entry, name)) for name in ("public_key", "proof")}
    return canonical.dumps({"format": VERSION, **asdict(entry), **encoded})
