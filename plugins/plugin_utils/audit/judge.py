# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole judgement, as it reads: from what hosts and vault told to findings and inventory. It writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import fleet, keys, public_keys, usage, weak_keys
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.catalogue import ARCHIVED_KEY_SIGNS
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.evidence import Anchors, Evidence, of_key
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import (
    CertificateSeen,
    Finding,
    HostSeen,
    KeySeen,
    Moment,
    VaultSeen,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.usage import Usage
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import Policy


@dataclass(frozen=True)
class Wanted:
    """What the audit is asked for, beside what was gathered.

    Attributes:
        recovery_groups: as they are configured now.
        trust_anchors: PEM.
        weak_keys: ``auto``, ``required`` or ``off``.
        tokens: host to the result of hsm_info.
    """

    policy: Policy | None
    moment: Moment
    recovery_groups: Sequence[Mapping] = ()
    trust_anchors: Sequence[str] = ()
    weak_keys: str = "auto"
    tokens: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """What the audit found.

    Attributes:
        usages: by host and place of a key.
        signing: archived keys of which there is evidence that they sign, with all of it.
        notes: what could not be looked for.
        shown: host and place of keys whose public key shows their key ID; any host can say the ID of any key.
    """

    findings: tuple[Finding, ...]
    usages: dict[tuple[str, str], Usage]
    signing: dict[str, list[Evidence]]
    notes: tuple[str, ...]
    shown: frozenset[tuple[str, str]] = frozenset()


def judge(hosts: Sequence[HostSeen], vault: VaultSeen | None, wanted: Wanted) -> Judgement:
    """Everything that is wrong, the worst first.

    Raises:
        OptionError: when a trust anchor cannot be read, or a library that was required is not there.
    """
    all_keys = [key for host in hosts for key in host.keys]
    usages = {(key.host, key.place): usage.of_key(key, vault) for key in all_keys}
    signing = _signing(hosts, all_keys, vault, wanted.trust_anchors)
    public = public_keys.of_fleet(hosts)
    looked = weak_keys.look(public.known, wanted.weak_keys)
    known = keys.Known(wanted.policy, vault, wanted.moment, frozenset(signing))
    found: list[Finding] = [one for key in all_keys for one in keys.of_key(key, usages[key.host, key.place], known)]
    found += public.contradictions
    found += _weak_findings(hosts, all_keys, looked)
    found += fleet.copies(all_keys)
    found += fleet.lonely_certificates(hosts, fleet.agents_of(vault, wanted.recovery_groups), vault)
    found += fleet.unaudited(hosts)
    found += fleet.tokens(wanted.tokens, frozenset(host.name for host in hosts if host.problem))
    if vault:
        found += vault.findings
        found += fleet.receipts(hosts, vault)
        found += fleet.agents(vault, wanted.recovery_groups, wanted.moment)
        found += fleet.frozen(vault, frozenset(signing))
        found += _signing_findings(signing, all_keys, vault)
    notes = (looked.note,) if looked.note else ()
    return Judgement(tuple(found), usages, signing, notes, public.shown)


def _signing(
    hosts: Sequence[HostSeen], all_keys: Sequence[KeySeen], vault: VaultSeen | None, anchors: Sequence[str]
) -> dict[str, list[Evidence]]:
    """Evidence by key ID, of archived keys only."""
    loaded = Anchors(anchors, (one for host in hosts for one in host.certificates))
    archived = set(vault.records) if vault else set()
    places: dict[str, list[KeySeen]] = {}
    for key in all_keys:
        if key.key_id in archived:
            places.setdefault(key.key_id, []).append(key)  # type: ignore[arg-type]
    certificates: dict[str, list[CertificateSeen]] = {}
    for one in (one for host in hosts for one in host.certificates):
        if one.key_id in archived:
            certificates.setdefault(one.key_id, []).append(one)
    authorized: dict[str, list[Evidence]] = {}
    for host in hosts:
        for key_id, place in host.authorized:
            if key_id in archived:
                authorized.setdefault(key_id, []).append(Evidence(f"it stands for SSH in {host.name}:{place}"))
    found = {}
    for key_id in sorted(archived & ({*places, *certificates, *authorized} | (vault.registered if vault else set()))):
        evidence = [*_registered(key_id, vault), *of_key(places.get(key_id, ()), certificates.get(key_id, ()), loaded)]
        evidence += authorized.get(key_id, ()) if not any("for SSH" in one.text for one in evidence) else ()
        if evidence:
            found[key_id] = evidence
    return found


def _registered(key_id: str, vault: VaultSeen | None) -> Iterator[Evidence]:
    if vault and key_id in vault.registered:
        proof = "the entry holds the key's own proof" if key_id in vault.proven else None
        yield Evidence(f"the signing register has it (signing/{key_id})", proof)


def _signing_findings(
    signing: Mapping[str, list[Evidence]], all_keys: Sequence[KeySeen], vault: VaultSeen
) -> Iterator[Finding]:
    places: dict[str, KeySeen] = {}
    for key in all_keys:
        places.setdefault(key.key_id or "", key)
    for key_id, evidence in signing.items():
        last, there = vault.records[key_id][-1], places.get(key_id)
        host, place = (there.host, there.place) if there else (last.host, last.place)
        proven = [one for one in evidence if one.proof]
        told = "; ".join(f"{one.text} ({one.proof})" if one.proof else one.text for one in evidence[:5])
        ending = "" if proven else ". Anybody can have made this evidence, so it raises the alarm and freezes nothing"
        yield Finding(ARCHIVED_KEY_SIGNS, host, place, key_id, told + ending)


def _weak_findings(
    hosts: Sequence[HostSeen], all_keys: Sequence[KeySeen], looked: weak_keys.Looked
) -> Iterator[Finding]:
    """One per place of the private key; where there is none, one per certificate and entry for SSH."""
    there = set()
    for key in all_keys:
        if key.key_id in looked.found:
            there.add(key.key_id)
            kind, detail = looked.found[key.key_id]  # type: ignore[index]
            yield Finding(kind, key.host, key.place, key.key_id or "", detail)
    for host in hosts:
        public = [(one.key_id, one.source) for one in host.certificates] + list(host.authorized)
        for key_id, place in dict.fromkeys(public):
            if key_id in looked.found and key_id not in there:
                kind, detail = looked.found[key_id]
                yield Finding(kind, host.name, place, key_id, f"{detail}. Its private key was not found in the fleet")
