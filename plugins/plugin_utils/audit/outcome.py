# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit's outcome as data (docs/audit.md, ``keyops-audit/1``): what is returned, kept in files and reported."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import NONSIGNING
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import acceptance, catalogue, keys
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.acceptance import Acceptance, Accepted
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.judge import Judgement, Wanted
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import (
    Finding,
    HostSeen,
    KeySeen,
    VaultSeen,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import Policy, period_end

FORMAT = "keyops-audit/1"
_OWNER_ONLY = 0o700
_REPAIRED = (catalogue.READABLE_BY_OTHERS, catalogue.WRONG_OWNER)


def build(
    hosts: Sequence[HostSeen],
    vault: VaultSeen | None,
    wanted: Wanted,
    judgement: Judgement,
    acceptances: Sequence[Acceptance],
) -> dict:
    """The outcome; findings the worst first."""
    accepted, unused = acceptance.of(judgement.findings, acceptances, wanted.moment.now.date())
    rows = [_finding(one, told) for one, told in zip(judgement.findings, accepted)]
    rows.sort(key=lambda row: (-catalogue.SEVERITIES.index(row["severity"]), row["id"], row["host"], row["place"]))
    all_keys = [key for host in hosts for key in host.keys]
    inventory = _inventory(all_keys, vault, wanted, judgement, rows)
    return {
        "format": FORMAT,
        "time": times.text(wanted.moment.now),
        "policy": wanted.policy.name if wanted.policy else None,
        "summary": _summary(hosts, vault, rows, inventory, judgement),
        "findings": rows,
        "keys": inventory,
        "hosts": [_host(host) for host in hosts],
        "vault": _vault(vault),
        "notes": list(judgement.notes),
        "unused_acceptances": [f"{one.kind.id}: {one.reason}" for one in unused],
        "repairs": _repairs(all_keys, judgement.findings, wanted.policy, judgement),
    }


def reached(outcome: dict, fail_at: str) -> bool:
    """Whether there is a finding of this severity or a worse one that is not accepted."""
    limit = catalogue.SEVERITIES.index(fail_at)
    return any(outcome["summary"]["findings"][severity] for severity in catalogue.SEVERITIES[limit:])


def _finding(one: Finding, told: Accepted | None) -> dict:
    counts = told is not None and not told.is_over
    # What hosts sent is escaped already; records and freezes in the vault hold texts of hosts too.
    place, detail = share_text.shown(one.place), share_text.shown(one.detail[:1].upper() + one.detail[1:])
    if told and told.is_over:
        detail += f" (it was accepted until {told.acceptance.expires}: {told.acceptance.reason})"
    return {
        **{"id": one.kind.id, "slug": one.kind.slug, "severity": one.severity or one.kind.severity},
        **{"title": one.kind.title, "host": one.host, "place": place, "key_id": one.key_id},
        **{"detail": detail, "remedy": one.remedy or one.kind.remedy, "fingerprint": one.fingerprint},
        "accepted": {"reason": told.acceptance.reason, "expires": told.acceptance.expires.isoformat()}
        if told and counts
        else None,
    }


def _inventory(
    all_keys: Sequence[KeySeen], vault: VaultSeen | None, wanted: Wanted, judgement: Judgement, rows: Iterable[dict]
) -> list[dict]:
    worst: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["accepted"] is None:
            worst.setdefault((row["host"], row["place"]), []).append(row["severity"])
    return [_key(key, vault, wanted, judgement, worst.get((key.host, key.place), [])) for key in all_keys]


def _key(key: KeySeen, vault: VaultSeen | None, wanted: Wanted, judgement: Judgement, found: list[str]) -> dict:
    used = judgement.usages[key.host, key.place]
    since = keys.made(key, vault)
    return {
        **{"host": key.host, "place": key.place, "key_id": key.key_id, "algorithm": key.algorithm},
        **{"usage": "dual" if used.is_dual else used.name, "usage_from": ", ".join(used.stated) or None},
        **{"protection": "token" if key.on_token else "file", "container": key.container},
        **{"encrypted": key.encrypted, "mode": None if key.mode is None else f"{key.mode:04o}"},
        **{"owner": key.owner, "group": key.group},
        **{"archived": keys.is_archived(key.key_id, vault), "frozen": bool(vault and key.key_id in vault.frozen)},
        **{"since": times.text(since[0]) if since else None, "since_from": since[1] if since else None},
        **{"age_days": (wanted.moment.now - since[0]).days if since else None},
        "period_days": _period(wanted.policy, used.name, since[0] if since else None),
        "certificates": [
            {"kind": one.kind, "subject": one.subject, "not_after": one.not_after, "source": one.source}
            for one in key.certificates
        ],
        **{"findings": len(found), "worst": found[0] if found else None},
    }


def _period(policy: Policy | None, usage: str | None, since: datetime.datetime | None) -> int | None:
    """Days of the key's cryptoperiod: while it protects new data, or else while it may be used at all."""
    if policy is None or since is None:
        return None
    rules = policy.rule_for(usage)
    rule = rules.get("originator_usage_period") or rules.get("recipient_usage_period")
    return (period_end(since, str(rule.value)) - since).days if rule else None


def _summary(
    hosts: Sequence[HostSeen],
    vault: VaultSeen | None,
    rows: Sequence[dict],
    inventory: Sequence[dict],
    judgement: Judgement,
) -> dict:
    counted = Counter(row["severity"] for row in rows if row["accepted"] is None)
    # A key ID without its public key is a host's word, and may be any number of keys that are nowhere, or another's.
    shown = [row for row in inventory if (row["host"], row["place"]) in judgement.shown]
    distinct = {row["key_id"] for row in shown}
    needed = {row["key_id"]: row for row in shown if row["usage"] in NONSIGNING}.values()
    return {
        "hosts": len(hosts),
        "hosts_audited": sum(host.problem is None for host in hosts),
        "places": len(inventory),
        "keys": len(distinct),
        "certificates": sum(one.kind == "certificate" for host in hosts for one in host.certificates),
        "findings": {severity: counted[severity] for severity in catalogue.SEVERITIES},
        "accepted": sum(row["accepted"] is not None for row in rows),
        "encryption_keys": len(needed),
        "archived": sum(bool(row["archived"]) for row in needed) if vault else None,
        "by_id": dict(sorted(Counter(row["id"] for row in rows if row["accepted"] is None).items())),
    }


def _host(host: HostSeen) -> dict:
    return {
        **{"host": host.name, "audited": host.problem is None, "problem": host.problem, "keys": len(host.keys)},
        **{"certificates": sum(one.kind == "certificate" for one in host.certificates)},
        **{"ssh_entries": len(host.authorized), "receipts": len(host.receipts)},
        "not_looked_at": list(host.not_looked_at),
    }


def _vault(vault: VaultSeen | None) -> dict | None:
    if vault is None:
        return None
    return {
        **{
            "archived_keys": len(vault.records),
            "registered_keys": len(vault.registered),
            "frozen_keys": len(vault.frozen),
        },
        "head": {"number": vault.head[0], "digest": vault.head[1]},
    }


def _repairs(
    all_keys: Sequence[KeySeen], findings: Iterable[Finding], policy: Policy | None, judgement: Judgement
) -> dict[str, list[dict]]:
    """What can be mended without harm: modes that only lose bits, owners that somebody has named. One per file."""
    wrong = {(one.host, one.place) for one in findings if one.kind in _REPAIRED}
    found: dict[tuple[str, str], dict] = {}
    for key in all_keys:
        if (key.host, key.place) in wrong and key.mode is not None and key.path[:1] == "/":
            rules = policy.rule_for(judgement.usages[key.host, key.place].name) if policy else {}
            path, change = key.path, dict(_repair(key, key.mode, rules))
            if change:
                # Without its passphrase, the host cannot compare the key ID of an encrypted key.
                key_id = None if key.encrypted else key.key_id
                found[key.host, path] = {"key": path, "key_id": key_id, **change}
    by_host: dict[str, list[dict]] = {}
    for (host, dummy), item in found.items():
        by_host.setdefault(host, []).append(item)
    return by_host


def _repair(key: KeySeen, mode: int, rules: Any) -> Iterator[tuple[str, str]]:
    most = rules.get("maximum_mode")
    narrowed = mode & (
        int(str(most.value), 8) if most else int(str(key.declared.get("mode") or "0700"), 8) | _OWNER_ONLY
    )
    if narrowed != mode and narrowed & 0o400:
        yield "mode", f"{narrowed:04o}"
    for name, have, listed in (("owner", key.owner, rules.get("owners")), ("group", key.group, rules.get("groups"))):
        only = listed.value[0] if listed and len(listed.value) == 1 else None
        wanted = key.declared.get(name) or only
        if wanted and str(wanted) != have:
            yield name, str(wanted)
