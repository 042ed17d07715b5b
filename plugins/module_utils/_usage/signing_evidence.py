# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a key that signs has the one signing usage that is said of it, where a policy lets that usage go further.

Nobody gets a CA's key out of its host by calling it one for logging in. Everything that was found must allow this
usage and no other: what it says itself, the task, this host's receipt, SSH, and every certificate and request for the
key, by key usage and extended key usage (usages.py, allow-lists). Without a word of the key's own or a certificate
there is only the task's, which the user must vouch for.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DeclaredUsageOnlyRefused,
    EvidenceNotReadable,
    UsageConflictRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import USAGE_BITS
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence


def check(evidence: Evidence, usage: str, name: str) -> None:
    """Raise unless everything known of the key fits the signing usage.

    Args:
        evidence: of the key.
        usage: one that signs.
        name: of the key, for messages.

    Raises:
        UsageConflictRefused: something says or allows another usage.
        EvidenceNotReadable: something in the key's own folder may be such a certificate.
        DeclaredUsageOnlyRefused: the declared usage is all there is.
    """
    conflict = next(_conflicts(evidence, usage), None)
    if conflict:
        raise UsageConflictRefused(f"{name}: it does not go out as a key of the usage {usage}: {conflict}")
    if evidence.not_readable:
        raise EvidenceNotReadable(
            f"{name}: in the key's own folder something may be a certificate that lets it do more, and cannot be "
            f"looked at: {evidence.not_readable[0]}. Mend the file, or move what is not this key's to another folder"
        )
    if not (evidence.facts.bound_usage or _own(evidence) or evidence.accept_declared_usage):
        raise DeclaredUsageOnlyRefused(
            f"{name}: nothing but the task says that its usage is {usage}. Name a certificate of it that allows "
            "nothing else, or vouch for it with accept_declared_usage: true"
        )


def _own(evidence: Evidence) -> tuple[CertificateFacts, ...]:
    return tuple(one for one in (*evidence.named, *evidence.found) if one.key_id == evidence.facts.key_id)


def _conflicts(evidence: Evidence, usage: str) -> Iterator[str]:
    said = {
        "the key itself": evidence.facts.bound_usage,
        "the task": evidence.declared_usage,
        "this host's receipt": evidence.receipt_usage,
    }
    yield from (f"{who} says {other}" for who, other in said.items() if other not in (None, usage))
    if evidence.ssh_uses and usage != "authentication":
        yield f"it stands in {evidence.ssh_uses[0]}, so it authenticates"
    for one in _own(evidence):
        yield from (f"{one.source}: this {one.kind} for it {text}" for text in _beyond(one, usage))


def _beyond(one: CertificateFacts, usage: str) -> Iterator[str]:
    if not one.key_usage:
        yield "has no readable key usage, which allows everything"
        return
    bits = [bit for bit in one.key_usage if bit not in USAGE_BITS[usage]]
    if bits:
        yield f"allows {', '.join(bits[:3])}"
    if one.extended_key_usage is None:
        return
    allowed = {usages.EXTENDED_KEY_USAGES[name] for name in usages.ALLOWED_EXTENDED_KEY_USAGES[usage]}
    purposes = [usages.extended_key_usage_name(oid) for oid in one.extended_key_usage if oid not in allowed]
    if purposes or not one.extended_key_usage:
        yield f"has the extended key usage {', '.join(purposes[:3]) or 'none'}"
