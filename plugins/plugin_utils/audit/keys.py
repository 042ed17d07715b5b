# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings about single keys: file, usage, certificates, archive, age, policy.

Where the policy has a rule, the rule decides and gives severity and source; where it has none, the audit's own defaults
do. A key of which something more serious is told is not told of twice: an archived key that signs is not also one with
two usages.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import NONSIGNING
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue, usage
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.catalogue import Kind
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import (
    CertificateSeen,
    Finding,
    KeySeen,
    Moment,
    VaultSeen,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.usage import Usage
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import judge as policy_judge
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import Policy, Violation

_OPEN_TO_OTHERS = 0o077
_LAST = datetime.datetime(9000, 1, 1, tzinfo=datetime.timezone.utc)
#: What a policy's rule is called, and the kind of finding that tells of it; other rules are KL023.
_KINDS = {
    "maximum_mode": catalogue.READABLE_BY_OTHERS,
    "owners": catalogue.WRONG_OWNER,
    "groups": catalogue.WRONG_OWNER,
    "encrypted_file": catalogue.NOT_ENCRYPTED,
    "originator_usage_period": catalogue.CRYPTOPERIOD_OVER,
    "recipient_usage_period": catalogue.CRYPTOPERIOD_OVER,
}


@dataclass(frozen=True)
class Known:
    """What the judgement of a key takes beside the key.

    Attributes:
        vault: None without one: then nothing is said about archives.
        signing: key IDs of archived keys of which there is evidence that they sign.
    """

    policy: Policy | None
    vault: VaultSeen | None
    moment: Moment
    signing: frozenset[str] = frozenset()


def of_key(key: KeySeen, used: Usage, known: Known) -> Iterator[Finding]:
    """Everything that is wrong with one key at one place."""
    yield from _of_file(key, used, known)
    if key.key_id is None:
        yield _about(key, catalogue.KEY_UNREADABLE, key.error or "its public half cannot be read without a passphrase")
        return
    if key.key_id not in known.signing:
        yield from _of_usage(key, used)
    yield from _of_certificates(key, used, known)
    yield from _of_archive(key, used, known)
    yield from _of_policy(key, used, known)


def made(key: KeySeen, vault: VaultSeen | None) -> tuple[datetime.datetime, str] | None:
    """Since when the key has been there at least, and what shows it; None when nothing does."""
    told = [(one.not_before, f"certificate {one.source}") for one in key.certificates if one.kind == "certificate"]
    if vault and key.key_id:
        told += [(one.created, "archive record") for one in vault.records.get(key.key_id, ())[:1]]
        told.append((vault.created.get(key.key_id), "signing register"))
    # A copied or restored file is newer than its key, so the file's time only counts when nothing else tells.
    for times_told in (told, [(key.modified, "the file's last change")]):
        moments = [(moment, what) for text, what in times_told if (moment := moment_of(text))]
        if moments:
            return min(moments)
    return None


def moment_of(text: str | None) -> datetime.datetime | None:
    """The moment of a text that a host sent, or None."""
    try:
        moment = times.parse(text) if text else None
    except FormatError:
        return None
    # 9999-12-31 means "no end" (RFC 5280 section 4.1.2.5), and leaves no room for any reckoning.
    return min(moment, _LAST) if moment else None


def is_archived(key_id: str | None, vault: VaultSeen | None) -> bool | None:
    """Whether the vault has a whole archive of the key; None without a vault."""
    if vault is None or key_id is None:
        return None
    return any((one.key_id, one.number) not in vault.incomplete for one in vault.records.get(key_id, ()))


def _about(key: KeySeen, kind: Kind, detail: str, subject: str = "", severity: str = "") -> Finding:
    return Finding(kind, key.host, key.place, key.key_id or "", detail, subject, severity)


def _of_file(key: KeySeen, used: Usage, known: Known) -> Iterator[Finding]:
    rules = known.policy.rule_for(used.name) if known.policy else {}
    if key.mode is not None and key.mode & _OPEN_TO_OTHERS and "maximum_mode" not in rules:
        wanted = key.declared.get("mode")
        if not (wanted and str(wanted).isdigit() and not key.mode & ~int(str(wanted), 8)):
            told = f"its mode is {key.mode:04o}, owner {key.owner}:{key.group}"
            # With another mode or owner it is another finding than the one that somebody accepted.
            yield _about(key, catalogue.READABLE_BY_OTHERS, told, f"{key.mode:04o} {key.owner}:{key.group}")
    for name, have in (("owner", key.owner), ("group", key.group)):
        wanted = key.declared.get(name)
        if wanted is not None and have is not None and str(wanted) != have:
            told = f"its {name} is {have}, and keyops_keys says {wanted}"
            yield _about(key, catalogue.WRONG_OWNER, told, f"{name} {have}")
    if key.owner is not None and key.owner.isdigit() and key.declared.get("owner") is None and "owners" not in rules:
        told = f"it belongs to the number {key.owner}, which is no user of the host"
        yield _about(key, catalogue.WRONG_OWNER, told, f"owner {key.owner}")


def _of_usage(key: KeySeen, used: Usage) -> Iterator[Finding]:
    if used.is_dual:
        said = [f"{who}: {name}" for who, name in used.stated.items()]
        others = ", ".join(dict.fromkeys(f"{one.host}:{one.source}" for one in key.elsewhere))
        where = f", also of {others}" if others else ""
        told = "; ".join(said) or f"certificates{where}: {', '.join(sorted(used.derived))}"
        yield _about(key, catalogue.DUAL_USAGE, told)
    elif used.name is None:
        yield _about(key, catalogue.UNKNOWN_USAGE, "neither the key, nor a certificate, nor a declaration says it")
    elif used.stated:
        for one in (*key.certificates, *key.elsewhere):
            if beyond := usage.beyond(one, used.name):
                source = one.source if one.host == key.host else f"{one.host}:{one.source}"
                told = f"the {one.kind} {source} allows {', '.join(beyond)}, and the key's usage is {used.name}"
                yield _about(key, catalogue.USAGE_AGAINST_CERTIFICATE, told, f"{source} {one.kind}")


def _of_certificates(key: KeySeen, used: Usage, known: Known) -> Iterator[Finding]:
    certified = [one for one in key.certificates if one.kind == "certificate"]
    if known.policy:
        for one in certified:
            for broken in _certificate_violations(known.policy, used.name, one):
                yield _violation(key, broken, f"{one.source}: ")
    is_ssh = bool(key.ssh_uses) or key.container == "openssh"
    # Whoever declares a key without a request wants no certificate for it.
    is_wanted = not key.declared or "request" in key.declared
    if not certified and not is_ssh and is_wanted and not key.on_token:
        requested = " A request for one is there." if key.certificates else ""
        yield _about(key, catalogue.KEY_WITHOUT_CERTIFICATE, f"no certificate on this host is for it.{requested}")


def _certificate_violations(policy: Policy, name: str | None, one: CertificateSeen) -> tuple[Violation, ...]:
    return policy_judge.certificate(
        policy,
        name,
        not_before=moment_of(one.not_before),
        not_after=moment_of(one.not_after),
        key_usage=one.key_usage or (),
        extended_key_usage=one.extended_key_usage or (),
    )


def _of_archive(key: KeySeen, used: Usage, known: Known) -> Iterator[Finding]:
    archived = is_archived(key.key_id, known.vault)
    if archived is not False or used.name not in NONSIGNING:
        return
    rule = known.policy.rule_for(used.name).get("archive") if known.policy else None
    why = f" It may not be: {key.refusal}" if key.refusal else ""
    if rule is None and key.declared.get("archive", True):
        yield _about(key, catalogue.NOT_ARCHIVED, f"its usage is {used.name}.{why}")
    elif rule is not None and rule.value == "required":
        told = f"its usage is {used.name}, and the policy wants it archived (source: {rule.source}).{why}"
        yield _about(key, catalogue.NOT_ARCHIVED, told, severity=rule.severity)
    elif rule is not None and rule.value == "allowed" and key.declared.get("archive", True):
        told = f"its usage is {used.name}; the policy allows an archive and does not demand it.{why}"
        yield _about(key, catalogue.NOT_ARCHIVED, told, severity="low")


def _of_policy(key: KeySeen, used: Usage, known: Known) -> Iterator[Finding]:
    policy = known.policy
    if policy is None:
        return
    told = made(key, known.vault)
    found: list[Violation] = [
        *policy_judge.algorithm(policy, used.name, key.algorithm),
        *policy_judge.protection(policy, used.name, "token" if key.on_token else "file"),
        *policy_judge.file(policy, used.name, mode=key.mode, owner=key.owner, group=key.group, encrypted=key.encrypted),
        *policy_judge.cryptoperiod(policy, used.name, told[0] if told else None, known.moment.now),
    ]
    records = known.vault.records.get(key.key_id or "", ()) if known.vault else ()
    if records:
        if key.key_id not in known.signing:
            found += policy_judge.archive(policy, used.name, True)
        groups = [(group.name, group.threshold, len(group.agents)) for group in records[-1].groups]
        found += policy_judge.recovery_groups(policy, used.name, groups)
    for broken in found:
        yield _violation(key, broken, told=f" (known since: {told[1]})" if told and "period" in broken.rule else "")


def _violation(key: KeySeen, broken: Violation, prefix: str = "", told: str = "") -> Finding:
    kind = _KINDS.get(broken.rule.rsplit(".", 1)[-1], catalogue.POLICY_VIOLATION)
    detail = f"{prefix}{broken.text}{told}. Rule {broken.rule}: {broken.allowed} (source: {broken.source})"
    subject = f"{prefix}{broken.rule} {broken.text}"
    remedy = f"{broken.remedy[:1].upper()}{broken.remedy[1:]}."
    return Finding(kind, key.host, key.place, key.key_id or "", detail, subject, broken.severity, remedy)


def certificates_of(keys: Iterable[KeySeen]) -> list[CertificateSeen]:
    """Those of many keys, each once."""
    return list(dict.fromkeys(one for key in keys for one in key.certificates))
