# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seal a private key on its host, so that a quorum of any one of its recovery groups can open it.

1. Only nonsigning keys get here: _usage/eligibility.py has judged the evidence. What may never be sealed is refused
   again, from the key itself: another usage, another bound usage, a type that cannot have the usage.
2. Every group gets a key-encryption key of its own, and an identifier; both random.
3. The key with its usage inside is sealed to all of these; then the sealed key has its name, its digest.
4. Every KEK is split, and each share text, which names the sealed key, is sealed to its agent.

The plaintext and the KEKs live in this process's memory only and go nowhere else.
"""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    SigningUsageRefused,
    UsageAlgorithmRefused,
    UsageConflictRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm, der, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import (
    PrivateKey,
    RecoveryAgent,
    RecoveryGroup,
    SealedGroup,
    SealedKey,
    SealedShare,
    Share,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import (
    cms_parts,
    cms_seal,
    share_text,
    shares_split,
)

_ATTRIBUTES = 0xA0  # [0] IMPLICIT SET OF Attribute (RFC 5208 section 5)


def seal(private_key: PrivateKey, usage: str, key_owner: str, groups: tuple[RecoveryGroup, ...]) -> SealedKey:
    """The sealed key with a sealed share for every agent.

    Args:
        private_key: fully checked, eligible.
        usage: ``key_transport`` or ``key_agreement``.
        key_owner: a name as docs/formats.md allows it.
        groups: as groups.parse_groups returned them.

    Raises:
        ArchiveRefusal: one of its classes, for what may never be sealed.
        OptionError: when the key owner's name cannot stand in a share text, or there is no group.
        MissingLibrary: for m >= 2 without Cryptodome.
    """
    _check(private_key, usage, key_owner, groups)
    # 2. Ascending identifiers: DER sorts the recipients, and so they stand in the order of the groups.
    kek_ids = sorted(os.urandom(cms_parts.KEK_ID_SIZE).hex() for _group in groups)
    keks = [(kek_id, os.urandom(cms_parts.KEY_SIZE)) for kek_id in kek_ids]
    # 3.
    message = cms_seal.seal_with_keks(_with_usage(private_key, usage), keks)
    digest = canonical.digest(message)
    # 4.
    about = {"key_id": private_key.facts.key_id, "key_owner": key_owner, "usage": usage, "sealed_key": digest}
    sealed_groups = tuple(_seal_group(group, kek_id, kek, about) for group, (kek_id, kek) in zip(groups, keks))
    return SealedKey(private_key.facts.key_id, key_owner, usage, digest, sealed_groups, message)


def _check(private_key: PrivateKey, usage: str, key_owner: str, groups: tuple[RecoveryGroup, ...]) -> None:
    facts = private_key.facts
    if usage not in share_text.NONSIGNING:
        raise SigningUsageRefused(f"key {facts.key_id}: the usage {usage} is never archived")
    if facts.bound_usage not in (None, usage):
        raise UsageConflictRefused(f"key {facts.key_id}: it is bound to {facts.bound_usage}, not to {usage}")
    if usage not in algorithm.usages_of(facts.algorithm):
        raise UsageAlgorithmRefused(f"key {facts.key_id}: a key of the type {facts.algorithm} cannot have {usage}")
    if not groups:
        raise OptionError("recovery_groups: name at least one group, or nobody could open the key again")
    try:
        share_text.check_name(key_owner, "key_owner")
    except FormatError as error:
        raise OptionError(str(error)) from error


def _with_usage(private_key: PrivateKey, usage: str) -> bytes:
    """The PrivateKeyInfo with its usage attribute; a key from elsewhere gets it here, so that recovery binds it."""
    if private_key.facts.bound_usage == usage:
        return private_key.pkcs8
    fields = der.read_sequence(private_key.pkcs8)
    attributes = [attribute.whole for attribute in fields[3].children()] if len(fields) > 3 else []
    attributes = sorted([*attributes, usage_attribute.encode(usage)])
    return der.write(der.SEQUENCE, *(field.whole for field in fields[:3]), der.write(_ATTRIBUTES, *attributes))


def _seal_group(group: RecoveryGroup, kek_id: str, kek: bytes, about: dict) -> SealedGroup:
    values = shares_split.split(kek, group.threshold, len(group.agents))
    common = {
        **about,
        **{"group": group.name, "threshold": group.threshold, "agents": len(group.agents), "kek_id": kek_id},
        "share_digests": tuple(share_text.values_digest(lines) for lines in values),
    }
    shares = tuple(_seal_share(agent, lines, common) for agent, lines in zip(group.agents, values))
    return SealedGroup(group.name, group.threshold, kek_id, shares)


def _seal_share(agent: RecoveryAgent, values: tuple[str, ...], common: dict) -> SealedShare:
    text = share_text.dump(Share(agent_id=agent.agent_id, values=values, **common))
    message = cms_seal.seal_to_certificate(text, agent.encryption_certificate)
    return SealedShare(agent, share_text.values_digest(values), message)
