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
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    SigningUsageRefused,
    UsageAlgorithmRefused,
    UsageConflictRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm, pkcs8
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import (
    cms_parts,
    cms_seal,
    share_text,
    shares_split,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import (
    RecoveryAgent,
    RecoveryGroup,
    SealedGroup,
    SealedKey,
    SealedShare,
    Share,
)

if TYPE_CHECKING:  # hosts whose keys are in files load nothing of tokens
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.wrapped_key import TokenKey


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
    # 1. A key from elsewhere gets its usage attribute here, so that what is recovered is bound to its usage.
    _check_options(key_owner, groups)
    info = _nonsigning(private_key, usage)
    content = pkcs8.compose(pkcs8.with_usage(info, usage)) if info.usage is None else private_key.pkcs8
    return _seal(content, private_key.facts.key_id, usage, key_owner, groups)


def seal_token_key(key: TokenKey, usage: str, key_owner: str, groups: tuple[RecoveryGroup, ...]) -> SealedKey:
    """The same for an eligible key that its token wrapped under a session key."""
    _check_options(key_owner, groups)
    _check_usage(f"key {key.facts.key_id}", key.facts.algorithm, key.facts.bound_usage, usage)
    sealed = _seal(key.blob, key.facts.key_id, usage, key_owner, groups, key.keys)
    return replace(sealed, wrapping=key.wrapping)


def _seal(
    content: bytes,
    key_id: str,
    usage: str,
    key_owner: str,
    groups: tuple[RecoveryGroup, ...],
    wrapped: Mapping[tuple[str, str], Any] | None = None,
) -> SealedKey:
    # 2. Ascending identifiers: DER sorts the recipients, and so they stand in the order of the groups.
    kek_ids = sorted(os.urandom(cms_parts.KEK_ID_SIZE).hex() for _group in groups)
    keks = [(kek_id, os.urandom(cms_parts.KEY_SIZE)) for kek_id in kek_ids]
    # 3.
    content_type = cms_parts.DATA if wrapped is None else cms_parts.TOKEN_KEY
    message = cms_seal.seal_with_keks(content, keks, content_type)
    digest = canonical.digest(message)
    # 4.
    about = {"key_id": key_id, "key_owner": key_owner, "usage": usage, "sealed_key": digest}
    sealed_groups = tuple(_seal_group(group, *kek, about, wrapped or {}) for group, kek in zip(groups, keks))
    return SealedKey(key_id, key_owner, usage, digest, sealed_groups, message)


def _nonsigning(private_key: PrivateKey, usage: str) -> pkcs8.PrivateKeyInfo:
    """The parts of the key; its bytes decide here, not what was noted about them."""
    info = pkcs8.parse(private_key.pkcs8)
    kind = pkcs8.algorithm_word(info, private_key.facts.public_key)
    _check_usage(f"key {private_key.facts.key_id}", kind, info.usage, usage)
    return info


def _check_usage(who: str, kind: str, bound: str | None, usage: str) -> None:
    if usage not in share_text.NONSIGNING:
        raise SigningUsageRefused(f"{who}: the usage {usage} is never archived")
    if bound not in (None, usage):
        raise UsageConflictRefused(f"{who}: it is bound to {bound}, not to {usage}")
    if usage not in algorithm.usages_of(kind):
        raise UsageAlgorithmRefused(f"{who}: a key of the type {kind} cannot have the usage {usage}")


def _check_options(key_owner: str, groups: tuple[RecoveryGroup, ...]) -> None:
    if not groups:
        raise OptionError("recovery_groups: name at least one group, or nobody could open the key again")
    try:
        share_text.check_name(key_owner, "key_owner")
    except FormatError as error:
        raise OptionError(str(error)) from error


def _seal_group(group: RecoveryGroup, kek_id: str, kek: bytes, about: dict, wrapped: Mapping) -> SealedGroup:
    values = shares_split.split(kek, group.threshold, len(group.agents))
    common = {
        **about,
        **{"group": group.name, "threshold": group.threshold, "agents": len(group.agents), "kek_id": kek_id},
        "share_digests": tuple(share_text.values_digest(lines) for lines in values),
    }
    shares = tuple(
        _seal_share(agent, lines, {**common, "wrapped": wrapped.get((group.name, agent.agent_id))})
        for agent, lines in zip(group.agents, values)
    )
    return SealedGroup(group.name, group.threshold, kek_id, shares)


def _seal_share(agent: RecoveryAgent, values: tuple[str, ...], common: dict) -> SealedShare:
    text = share_text.dump(Share(agent_id=agent.agent_id, values=values, **common))
    message = cms_seal.seal_to_certificate(text, agent.encryption_certificate)
    return SealedShare(agent, share_text.values_digest(values), message)
