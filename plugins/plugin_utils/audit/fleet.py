# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings that take more than one key or one host: copies, certificates without keys, agents, receipts, tokens."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.discovery import NO_FOLDER
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue, gathered
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import (
    Finding,
    HostSeen,
    KeySeen,
    Moment,
    VaultSeen,
)

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)

#: Places that are named in one finding.
_NAMED = 20
_MISSING_SEVERITY = "medium"
_BOUND = re.compile(r"search\.max_(?:files|seconds|results)")


def copies(keys: Iterable[KeySeen]) -> Iterator[Finding]:
    """Private keys that lie in more than one place of the fleet, one finding per key."""
    places: dict[str, list[KeySeen]] = {}
    for key in keys:
        if key.key_id:
            places.setdefault(key.key_id, []).append(key)
    for key_id, same in places.items():
        if len(same) > 1:
            where = [f"{key.host}:{key.place}" for key in same]
            more = f" and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
            told = f"it lies in {len(where)} places: {', '.join(where[:_NAMED])}{more}"
            # Who accepts two places by their fingerprint has not accepted a third.
            yield Finding(
                catalogue.KEY_IN_TWO_PLACES, same[0].host, same[0].place, key_id, told, "\n".join(sorted(where))
            )


def lonely_certificates(
    hosts: Sequence[HostSeen], agents: frozenset[str], vault: VaultSeen | None
) -> Iterator[Finding]:
    """Certificates whose private key is nowhere in the fleet. Authorities' and recovery agents' are left out."""
    known = agents.union(key.key_id for host in hosts for key in host.keys if key.key_id)
    for host in hosts:
        for one in host.certificates:
            if one.kind == "certificate" and not one.ca and one.key_id and one.key_id not in known:
                archived = " Its key is archived and can be recovered." if vault and one.key_id in vault.records else ""
                told = f"no host has the key of the certificate of {one.subject or 'an unnamed subject'}.{archived}"
                yield Finding(
                    catalogue.CERTIFICATE_WITHOUT_KEY, host.name, one.source, one.key_id, told, one.not_after or ""
                )


def receipts(hosts: Sequence[HostSeen], vault: VaultSeen) -> Iterator[Finding]:
    """Receipts for which the vault has no sound record with the same sealed key."""
    for host in hosts:
        for one in host.receipts:
            recorded = {record.sealed_key for record in vault.records.get(one.key_id, ())}
            if one.sealed_key not in recorded:
                have = "other archives of this key" if recorded else "no archive of this key"
                told = f"the receipt names the sealed key {one.sealed_key[:16]}, and the vault has {have}"
                yield Finding(catalogue.RECEIPT_WITHOUT_RECORD, host.name, "", one.key_id, told, one.sealed_key)


def frozen(vault: VaultSeen, but: frozenset[str]) -> Iterator[Finding]:
    """Archived keys that are frozen, but for those of which the evidence is told already."""
    for key_id, reason in sorted(vault.frozen.items()):
        if key_id in vault.records and key_id not in but:
            last = vault.records[key_id][-1]
            yield Finding(catalogue.KEY_FROZEN, last.host, last.place, key_id, reason)


def unaudited(hosts: Sequence[HostSeen]) -> Iterator[Finding]:
    """Hosts and places that were not looked into."""
    for host in hosts:
        if host.problem:
            yield Finding(catalogue.HOST_NOT_AUDITED, host.name, detail=host.problem)
        if host.cut_short:
            named = dict.fromkeys(bound for text in host.not_looked_at for bound in _BOUND.findall(text))
            told = f"the search ended before everything was looked at, because of {', '.join(named) or 'a bound'}"
            # What lies behind the bound is as unknown as a host that nobody asked.
            severity = catalogue.HOST_NOT_AUDITED.severity
            yield Finding(catalogue.PLACE_NOT_AUDITED, host.name, detail=told, severity=severity)
        places: dict[str, list[str]] = {}
        for text in host.not_looked_at:
            place, colon, why = text.partition(": ")
            # The others are counts, such as of links that were not followed: no place, and nothing to look into.
            if colon and place[:1] == "/":
                places.setdefault(place, []).append(why)
        for place, reasons in places.items():
            # Somebody named it to be searched, so it is more than a remark.
            severity = _MISSING_SEVERITY if NO_FOLDER in reasons else ""
            told = "; ".join(dict.fromkeys(reasons))
            yield Finding(catalogue.PLACE_NOT_AUDITED, host.name, place, "", told, severity=severity)


def tokens(probed: Mapping[str, Any], but: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """What the probes of the hosts' tokens found not to hold, and hosts whose tokens could not be looked at.

    Args:
        probed: the result of hsm_info by host; a host without tokens has none, or a skipped one.
        but: hosts of which is told already that they were not audited.
    """
    for host, result in sorted(probed.items()):
        if not result or (isinstance(result, Mapping) and result.get("skipped")):
            continue
        seen = gathered.probed(result)
        if seen.problem and host not in but:
            yield Finding(catalogue.HOST_NOT_AUDITED, str(host), "", "", f"its tokens: {seen.problem}", "tokens")
        for label, name, detail in seen.failing:
            place = f"pkcs11:token={label}"
            yield Finding(catalogue.TOKEN_UNSOUND, str(host), place, "", f"{name}: {detail}", name)


def agents_of(vault: VaultSeen | None, current: Sequence[Mapping]) -> frozenset[str]:
    """Key IDs of the agents' encryption certificates, recorded and configured; and of their signing certificates."""
    found = set()
    for record in latest(vault):
        for group in record.groups:
            for agent in group.agents:
                found |= {agent.agent_id, _key_id(agent.signing_certificate)}
    for der in _current(current):
        found.add(_key_id(der))
    return frozenset(found)


def agents(vault: VaultSeen, current: Sequence[Mapping], moment: Moment) -> Iterator[Finding]:
    """Agents' certificates that end, and groups of which too few agents have valid ones.

    A certificate that is configured now stands for the recorded one of the same key, so that a renewed certificate
    counts. One finding per certificate and per group with the same agents, however many records name them.
    """
    ends = _Ends({_key_id(der): der for der in _current(current)})
    groups: dict[tuple, list[Record]] = {}
    named: dict[str, RecordedGroup] = {}
    for record in latest(vault):
        for group in record.groups:
            ids = tuple(sorted(agent.agent_id for agent in group.agents))
            groups.setdefault((group.name, group.threshold, ids), []).append(record)
            named[group.name, group.threshold, ids] = group  # type: ignore[index]
    told: set[bytes] = set()
    for identity, records in groups.items():
        group = named[identity]  # type: ignore[index]
        for agent in group.agents:
            yield from _ending(agent, ends, moment, told)
        able = [agent for agent in group.agents if all(end > moment.now for dummy, end, dummy2 in ends.of(agent))]
        if len(able) < group.threshold:
            yield _unreachable(group, len(able), records)


def latest(vault: VaultSeen | None) -> list[Record]:
    """The last revision of each key's record."""
    return [series[-1] for series in vault.records.values()] if vault else []


class _Ends:
    """When agents' certificates end, read once per certificate."""

    def __init__(self, current: Mapping[str, bytes]) -> None:
        self._current = current
        self._ends: dict[bytes, datetime.datetime] = {}

    def of(self, agent: RecordedAgent) -> list[tuple[str, datetime.datetime, bytes]]:
        """What for, until when, and the certificate: of encryption and signing."""
        pairs = (("encryption", agent.encryption_certificate), ("signing", agent.signing_certificate))
        return [(what, self._end(self._renewed(der)), self._renewed(der)) for what, der in pairs]

    def _renewed(self, der: bytes) -> bytes:
        new = self._current.get(_key_id(der))
        return new if new is not None and self._end(new) > self._end(der) else der

    def _end(self, der: bytes) -> datetime.datetime:
        if der not in self._ends:
            self._ends[der] = _not_after(der)
        return self._ends[der]


def _ending(agent: RecordedAgent, ends: _Ends, moment: Moment, told: set[bytes]) -> Iterator[Finding]:
    for what, end, der in ends.of(agent):
        if der in told or end > moment.now + moment.warn:
            continue
        told.add(der)
        verb, severity = ("ends", "") if end > moment.now else ("ended", "high")
        detail = f"the {what} certificate of the agent {agent.name} {verb} on {times.text(end)}"
        key_id = _key_id(der)
        yield Finding(catalogue.AGENT_CERTIFICATE_EXPIRING, "", agent.name, key_id, detail, what, severity)


def _unreachable(group: RecordedGroup, able: int, records: Sequence[Record]) -> Finding:
    names = ", ".join(agent.name for agent in group.agents)
    shown = ", ".join(f"{one.host}:{one.place}" for one in records[:5])
    told = (
        f"recovery takes {group.threshold} of the agents {names}, and {able} have valid certificates; "
        f"{len(records)} archived keys depend on them, such as {shown}"
    )
    subject = ",".join(agent.agent_id for agent in group.agents)
    return Finding(catalogue.QUORUM_UNREACHABLE, "", f"recovery group {group.name}", "", told, subject)


def _current(groups: Sequence[Mapping]) -> Iterator[bytes]:
    """DER of the certificates in ``recovery_groups``; what is no certificate has none."""
    for group in groups:
        for agent in group.get("agents") or ():
            for name in ("encryption_certificate", "signing_certificate"):
                try:
                    loaded = x509.load_pem_x509_certificate(str(agent.get(name)).encode())
                except (ValueError, x509.InvalidVersion):
                    continue
                yield loaded.public_bytes(serialization.Encoding.DER)


def _not_after(der: bytes) -> datetime.datetime:
    """The end of a certificate; one that cannot be read has ended long ago."""
    try:
        found = x509.load_der_x509_certificate(der)
        # cryptography 42 renamed it, and warns about the old name; both are UTC.
        if hasattr(found, "not_valid_after_utc"):
            return found.not_valid_after_utc
        return found.not_valid_after.replace(tzinfo=datetime.timezone.utc)
    except (ValueError, TypeError, x509.InvalidVersion):
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _key_id(der: bytes) -> str:
    try:
        return key_id_of_certificate(der)
    except FormatError:
        return ""
