# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a replaced key may have encrypted: then it is never destroyed by a rotation.

The other way round than _usage/eligibility.py: there everything that could let a key sign keeps it from the archive;
here everything that could have let others encrypt to it keeps it from being destroyed. A declared usage is believed
only where it keeps the key. Certificates are trusted for nothing, and need not be: they can only keep a key, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotation_files as names
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, usages
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import evidence as evidences
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence

_ENCRYPTION = (*usages.NONSIGNING_EXTENDED_KEY_USAGES, usages.ANY_EXTENDED_KEY_USAGE)


def may_have_encrypted(facts: KeyFacts, path: str, item: dict, state_dir: str) -> str | None:
    """Why losing the key could lose somebody's data; None for a key that is known to have signed only.

    Args:
        facts: of the predecessor.
        path: where it lies now.
        item: of ``keys``.
        state_dir: where this host's receipts are.

    Raises:
        FileError: the folders cannot be read.
    """
    if usages.can_only_sign(facts.algorithm):
        return None
    if facts.bound_usage not in usages.SIGNING:
        return "the key itself does not say that it signs, so it may have encrypted"
    if item["usage"] in usages.NONSIGNING:
        return f"the task says that its usage is {item['usage']}"
    try:
        named = evidences.read_named(list(_beside(facts, item)))
    except (FileError, FormatError) as error:
        return f"its certificate or request cannot be looked at, which may let it encrypt ({error})"
    subject = evidences.Subject(facts, path, named=named)
    return next(_reasons(evidences.gather([subject], state_dir).evidence[0]), None)


def _beside(facts: KeyFacts, item: dict) -> Iterator[str]:
    """Its own certificate and request, where there are any."""
    for path in (item["certificate"], item["request"]):
        if path and os.path.lexists(names.old_of(path, facts.key_id)):
            yield names.old_of(path, facts.key_id)


def _reasons(evidence: Evidence) -> Iterator[str]:
    if evidence.receipt_usage:
        yield f"this host has a receipt of its archive (usage {evidence.receipt_usage}), so it may have encrypted"
    for one in (*evidence.named, *evidence.found):
        if one.key_id == evidence.facts.key_id and _lets_encrypt(one):
            yield f"{one.source}: this {one.kind} lets it encrypt"


def _lets_encrypt(one: CertificateFacts) -> bool:
    """Whether others may have encrypted by it; without a key usage it allows everything (RFC 5280 section 4.2.1.3).

    Of one without a key usage an extended one tells: a server's or client's is not for anybody's stored data.
    """
    if one.key_usage is not None:
        return any(bit in usages.NONSIGNING_BITS for bit in one.key_usage)
    # A request says what was asked for, and what a CA made of that its certificate says.
    if one.extended_key_usage is None:
        return one.kind == certificates.CERTIFICATE
    return any(purpose in _ENCRYPTION for purpose in one.extended_key_usage)
