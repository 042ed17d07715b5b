# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that key_export is asked for, judged before any is used, and the public facts of what they are to become.

- A key that may not be archived is not exported either, for the same reasons (_usage/eligibility.py), but a signing key
  whose usage the policy names, into a token.
- A certificate that is not the key's is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import exported
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    ArchiveRefusal,
    ForeignCertificateRefused,
    KeyNotFound,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.export_wishes import Wish
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import read_facts
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import (
    certificates,
    eligibility,
    signing_evidence,
    usages,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import evidence as evidences
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence

try:
    from cryptography import x509
except ImportError as error:
    note_missing_library(error)

_NAME_LIMIT = 128


@dataclass(frozen=True)
class Source:
    """A key that is to be exported.

    Attributes:
        item: its options.
        facts: None for one that is not there (any more).
        key_id: of the key, known or remembered; None in check mode for one that the same run would have made.
        usage: that it was judged to have.
        certificate: DER, or None.
        chain: DER of the certificates above it.
        friendly_name: given, or made of the certificate's subject.
    """

    item: dict = field(repr=False)
    facts: KeyFacts | None
    key_id: str | None
    usage: str | None = None
    certificate: bytes | None = field(default=None, repr=False)
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    friendly_name: str = ""


def read_sources(
    wishes: Sequence[Wish],
    known: Sequence[tuple[exported.Made, ...]],
    state_dir: str,
    allowed: Sequence[str],
    check: bool,
) -> tuple[list[list[Source]], list[str]]:
    """The keys of every wish, judged; and warnings about what could not be looked at.

    Args:
        wishes: in their order.
        known: what was exported to each destination.
        state_dir: where this host's receipts are.
        allowed: signing usages that the policy lets go into tokens.
        check: whether a key that is not there may be one that the same check run would have made.

    Raises:
        ArchiveRefusal: of the class that archiving would raise.
        KeyNotFound, KeyUnreadable, WrongPassphrase, FileError, FormatError: a key or certificate cannot be used.
    """
    found: dict[tuple[str, str | None], KeyFacts | None] = {}
    for wish in wishes:
        for item in wish.item["keys"]:
            if _place(item) not in found:
                found[_place(item)] = read_facts(*_place(item))
    pairs = [(wish, item) for wish in wishes for item in wish.item["keys"]]
    subjects = [_subject(item, found) for dummy, item in pairs]
    gathered = evidences.gather([one for one in subjects if one], state_dir)
    evidence = iter(gathered.evidence)
    judged = iter(
        [_judged(wish, item, next(evidence), allowed) if one else None for (wish, item), one in zip(pairs, subjects)]
    )
    sources = []
    for wish, made in zip(wishes, known):
        of_wish = [next(judged) or _absent(item, made, check) for item in wish.item["keys"]]
        sources.append(_named(of_wish))
    return sources, [f"not looked at for evidence: {text}" for text in gathered.not_looked_at]


def _place(item: dict) -> tuple[str, str | None]:
    return reference.parse_path(item["key"]).path, item["passphrase"]


def _subject(item: dict, found: dict[tuple[str, str | None], KeyFacts | None]) -> evidences.Subject | None:
    facts = found[_place(item)]
    if facts is None:
        return None
    named = evidences.read_named([item["certificate"]] if item["certificate"] else [])
    return evidences.Subject(facts, _place(item)[0], item["usage"], named, item["accept_declared_usage"])


def _judged(wish: Wish, item: dict, evidence: Evidence, allowed: Sequence[str]) -> Source:
    facts = evidence.facts
    if wish.format == "pkcs12" and facts.algorithm in ("x25519", "x448"):
        raise AlgorithmError(
            f"{item['key']}: hardly any program takes {facts.algorithm} from PKCS#12; give format: pkcs8"
        )
    try:
        usage = eligibility.judge(evidence)
    except ArchiveRefusal as refusal:
        signing = _signing_usage(wish, item, evidence, allowed)
        if signing is None:
            raise type(refusal)(
                f"{item['key']}: it is not exported. {refusal} (What may not be archived is not exported; a signing "
                "key goes into a token only, where the policy says so with export: token.)"
            ) from refusal
        usage = signing
    own = [one for one in evidence.named if one.kind == certificates.CERTIFICATE]
    mine = [one.der for one in own if one.key_id == facts.key_id]
    if item["certificate"] and not mine:
        raise ForeignCertificateRefused(f"certificate: {item['certificate']} holds no certificate of {item['key']}")
    chain = [one.der for one in (*own, *_chain(item)) if one.der not in mine]
    return Source(item, facts, facts.key_id, usage, mine[0] if mine else None, tuple(dict.fromkeys(chain)))


def _signing_usage(wish: Wish, item: dict, evidence: Evidence, allowed: Sequence[str]) -> str | None:
    """The usage of a signing key that may go into a token, or None.

    Raises:
        ArchiveRefusal: of the class that _usage/signing_evidence.py tells.
    """
    usage = evidence.facts.bound_usage or item["usage"]
    if wish.format != "token" or usage not in allowed or usage not in usages.SIGNING:
        return None
    usages.check_algorithm(usage, evidence.facts.algorithm)
    signing_evidence.check(evidence, usage, item["key"])
    return str(usage)


def _chain(item: dict) -> tuple[CertificateFacts, ...]:
    return tuple(one for one in evidences.read_named(item["chain"]) if one.kind == certificates.CERTIFICATE)


def _absent(item: dict, made: tuple[exported.Made, ...], check: bool) -> Source:
    """A key that is not there: exported before, or to be made by the same check run."""
    for one in made[-1:]:
        for key in one.keys:
            if key["key"] == item["key"]:
                return Source(item, None, key["key_id"])
    if not check:
        raise KeyNotFound(f"there is no key at {item['key']}, and it was not exported from there before")
    return Source(item, None, None)


def _named(sources: Sequence[Source]) -> list[Source]:
    """With friendly names, each only once: some tools keep one key per name."""
    known = [one.key_id for one in sources if one.key_id]
    if len(set(known)) != len(known):
        raise OptionError("keys: the same key stands there twice")
    for one in sources:
        given = one.item["friendly_name"]
        if given is not None and not (given.isprintable() and 1 <= len(given) <= _NAME_LIMIT):
            raise OptionError(f"friendly_name: it has 1 to {_NAME_LIMIT} printable characters")
    names = [one.item["friendly_name"] or _default_name(one) for one in sources]
    named = []
    for source, name in zip(sources, names):
        # Java compares without case, so the number of the key goes behind names that are alike.
        alike = [other for other in names if other.lower() == name.lower()]
        if len(alike) > 1 and source.item["friendly_name"]:
            raise OptionError(f"friendly_name: {name!r} stands there twice; some tools would keep one of the keys")
        named.append(replace(source, friendly_name=f"{name} {(source.key_id or '')[:8]}" if len(alike) > 1 else name))
    return named


def _default_name(source: Source) -> str:
    name = os.path.splitext(os.path.basename(source.item["key"]))[0]
    if source.certificate:
        subject = x509.load_der_x509_certificate(source.certificate).subject
        common = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        name = str(common[0].value) if common else name
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:_NAME_LIMIT]


def facts_of(wish: Wish, sources: Sequence[Source]) -> dict[str, Any]:
    """The public facts by which what is there is compared with what is wanted; JSON."""
    chain = {_digest(one) for source in sources for one in source.chain} - {
        _digest(source.certificate) for source in sources if source.certificate
    }
    keys = [
        {
            "key_id": source.key_id,
            "certificate": _digest(source.certificate) if source.certificate and wish.format != "pkcs8" else None,
            "friendly_name": source.friendly_name if wish.format != "pkcs8" else None,
        }
        for source in sources
    ]
    return {
        "format": wish.format,
        "profile": None if wish.format == "token" else wish.profile.name,
        "mac": mac_word(wish),
        "keys": sorted(keys, key=lambda one: str(one["key_id"])),
        "chain": sorted(chain) if wish.format == "pkcs12" else [],
        "password_to": _digest(wish.handover.recipient) if wish.handover else None,
        "encrypted_to": _digest(wish.sealed_to) if wish.sealed_to else None,
        "form": wish.item["encrypt_to"]["form"] if wish.sealed_to else None,
    }


def mac_word(wish: Wish) -> str | None:
    """The MAC as results say it: ``hmac-sha256``, ``hmac-sha1``, ``pbmac1-sha256``; None for other formats."""
    return f"{wish.mac}-{wish.profile.mac_hash}" if wish.format == "pkcs12" else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
