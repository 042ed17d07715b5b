# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares facts with a policy. Every function returns a tuple of ``Violation``: data, for refusals and findings alike.

Each takes the policy, the key's usage (None or ``conflict`` when it is not known, then the rules of ``all_usages``
count) and public facts. A fact that is None was not looked at and breaks nothing, and so does a rule that is not there.
Times are aware datetimes in UTC, owners and groups names, modes numbers. Extended key usages are names or dotted OIDs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import (
    ANY_EXTENDED_KEY_USAGE,
    EXTENDED_KEY_USAGES,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import Policy, Rule, Violation, period_end

Violations = tuple[Violation, ...]

_OIDS = {**EXTENDED_KEY_USAGES, "anyExtendedKeyUsage": ANY_EXTENDED_KEY_USAGE}
_NAMES = {oid: name for name, oid in _OIDS.items()}


def algorithm(policy: Policy, usage: str | None, word: str | None) -> Violations:
    """A key's algorithm, as one word like ``rsa-3072``: ``algorithms`` and ``deprecated_algorithms``."""
    rules = policy.rule_for(usage)
    allowed, deprecated = rules.get("algorithms"), rules.get("deprecated_algorithms")
    if word is None:
        return ()
    if allowed and not _fits(word, allowed):
        remedy = "make a new key of an allowed algorithm" if allowed.value else "no key may have this usage"
        return (_broken(allowed, usage, f"the algorithm {word} is not allowed", remedy),)
    if deprecated and _fits(word, deprecated):
        remedy = "plan the move to another algorithm"
        return (_broken(deprecated, usage, f"the algorithm {word} is deprecated", remedy, "deprecated are"),)
    return ()


def protection(policy: Policy, usage: str | None, place: str | None) -> Violations:
    """Where the key lives, ``file`` or ``token``: ``protection``."""
    rule = policy.rule_for(usage).get("protection")
    if rule is None or place is None or place in _words(rule):
        return ()
    remedy = f"make a new key on a {_words(rule)[0]}" if place == "file" else "make a new key in a file"
    return (_broken(rule, usage, f"the key lives {'on' if place == 'token' else 'in'} a {place}", remedy),)


def file(
    policy: Policy,
    usage: str | None,
    *,
    mode: int | None = None,
    owner: str | None = None,
    group: str | None = None,
    encrypted: bool | None = None,
) -> Violations:
    """A key's file: ``maximum_mode``, ``owners``, ``groups``, ``encrypted_file``.

    The group counts only when the mode is given and lets the group do anything.
    """
    rules = policy.rule_for(usage)
    found = []
    most = rules.get("maximum_mode")
    if most and mode is not None and mode & 0o7777 & ~int(most.value, 8):
        found.append(_broken(most, usage, f"the file's mode is {mode & 0o7777:04o}", f"chmod it to {most.value}"))
    given_group = group if mode is not None and mode & 0o070 else None
    for name, value in (("owners", owner), ("groups", given_group)):
        rule = rules.get(name)
        if rule and value is not None and value not in _words(rule):
            word, tool = (name[:-1], "chown" if name == "owners" else "chgrp")
            found.append(_broken(rule, usage, f"the file's {word} is {value}", f"{tool} it to one that is allowed"))
    rule = rules.get("encrypted_file")
    if rule and encrypted is not None:
        found += _encryption(rule, usage, encrypted)
    return tuple(found)


def _encryption(rule: Rule, usage: str | None, encrypted: bool) -> list[Violation]:
    if rule.value == "required" and not encrypted:
        return [_broken(rule, usage, "the file is not encrypted", "give the key a passphrase")]
    if rule.value == "never" and encrypted:
        return [_broken(rule, usage, "the file is encrypted", "write the key without a passphrase")]
    return []


def archive(policy: Policy, usage: str | None, archived: bool | None) -> Violations:
    """Whether a key is archived (or is to be): ``archive``."""
    rule = policy.rule_for(usage).get("archive")
    if rule is None or archived is None:
        return ()
    if rule.value == "never" and archived:
        remedy = "do not archive keys of this usage; if it is archived already, revoke its certificates and replace it"
        return (_broken(rule, usage, "keys of this usage are not archived", remedy),)
    if rule.value == "required" and not archived:
        return (_broken(rule, usage, "the key is not archived", "archive it with key_archive"),)
    return ()


def recovery_groups(policy: Policy, usage: str | None, groups: Iterable[tuple[str, int, int]]) -> Violations:
    """The recovery groups of an archive, as (name, threshold, number of agents).

    The rules ``required_recovery_groups``, ``allowed_recovery_groups``, ``minimum_threshold``, ``minimum_agents``.
    """
    rules, given, found = policy.rule_for(usage), list(groups), []
    names = [name for name, dummy, dummy2 in given]
    required, allowed = rules.get("required_recovery_groups"), rules.get("allowed_recovery_groups")
    for missing in [one for one in _words(required) if one not in names]:
        found.append(_broken(required, usage, f"the recovery group {missing} is missing", "add it to recovery_groups"))
    for surplus in [one for one in names if allowed and one not in _words(allowed)]:
        remedy = "take it out of recovery_groups"
        found.append(_broken(allowed, usage, f"the recovery group {surplus} is not allowed", remedy))
    for rule_name, index, what, remedy in (
        ("minimum_threshold", 1, "threshold", "raise it"),
        ("minimum_agents", 2, "number of agents", "add agents"),
    ):
        rule = rules.get(rule_name)
        for one in given if rule else ():
            if rule and int(one[index]) < rule.value:
                text = f"the {what} of the recovery group {one[0]} is {one[index]}"
                found.append(_broken(rule, usage, text, remedy, "at least"))
    return tuple(found)


def cryptoperiod(policy: Policy, usage: str | None, made: datetime | None, now: datetime) -> Violations:
    """A key's age: ``originator_usage_period`` and, for keys that do not sign, ``recipient_usage_period``.

    The first is over for a key that a new certificate or a renewal would still name; the second, when a host still
    has the private key.
    """
    found = []
    for name, what, remedy in (
        ("originator_usage_period", "protect new data", "replace it by a new key, and let its certificates end"),
        ("recipient_usage_period", "be used on this host", "archive it where that is allowed, and remove it from here"),
    ):
        rule = policy.rule_for(usage).get(name)
        if rule and made is not None and now >= period_end(made, rule.value):
            over = period_end(made, rule.value).date().isoformat()
            text = f"the key was made on {made.date().isoformat()} and may not {what} since {over}"
            found.append(_broken(rule, usage, text, remedy, "for"))
    return tuple(found)


def certificate(
    policy: Policy,
    usage: str | None,
    *,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    key_usage: Sequence[str] | None = None,
    extended_key_usage: Sequence[str] | None = None,
) -> Violations:
    """A certificate, or a request for one, of a key of this usage: the rules ``certificate_...``.

    A certificate without an extension has an empty one here, which lacks what is required: give ``()``, not None.
    """
    rules = policy.rule_for(usage)
    found = _validity(rules, usage, not_before, not_after)
    for kind, have in (("key_usage", key_usage), ("extended_key_usage", extended_key_usage)):
        if have is not None:
            found += _purposes(rules, usage, kind, have)
    return tuple(found)


def _validity(
    rules: Mapping[str, Rule], usage: str | None, not_before: datetime | None, not_after: datetime | None
) -> list[Violation]:
    rule = rules.get("certificate_max_validity")
    if rule is None or not_before is None or not_after is None:
        return []
    # Both ends belong to the validity period (RFC 5280 section 4.1.2.5).
    if not_after <= period_end(not_before, rule.value) - timedelta(seconds=1):
        return []
    days = (not_after - not_before).total_seconds() / 86400
    text = f"the certificate is valid for {days:.0f} days"
    return [_broken(rule, usage, text, "have a new one issued with a shorter validity", "at most")]


def _purposes(rules: Mapping[str, Rule], usage: str | None, kind: str, have: Sequence[str]) -> list[Violation]:
    there = {_OIDS.get(one, one) for one in have}
    required, forbidden = rules.get(f"certificate_required_{kind}"), rules.get(f"certificate_forbidden_{kind}")
    title = kind.replace("_", " ")
    return [
        _broken(required, usage, f"the {title} lacks {_NAMES.get(one, one)}", "have a certificate with it issued")
        for one in [_OIDS.get(one, one) for one in _words(required)]
        if one not in there
    ] + [
        _broken(forbidden, usage, f"the {title} has {_NAMES.get(one, one)}", "have one without it issued", "never")
        for one in [_OIDS.get(one, one) for one in _words(forbidden)]
        if one in there
    ]


def _fits(word: str, rule: Rule) -> bool:
    return any(_is_one(word, entry) for entry in _words(rule))


def _is_one(word: str, entry: str) -> bool:
    """Whether an algorithm is the one of an entry; ``rsa-3072+`` is RSA of that size or a larger one."""
    if not entry.endswith("+"):
        return word == entry
    size = word.removeprefix("rsa-")
    return word.startswith("rsa-") and size.isdecimal() and int(size) >= int(entry[4:-1])


def _words(rule: Rule | None) -> tuple[str, ...]:
    return rule.value if rule is not None and isinstance(rule.value, tuple) else ()


def _broken(rule: Rule | None, usage: str | None, text: str, remedy: str, verb: str = "allowed is") -> Violation:
    if rule is None:
        raise AssertionError("only a rule that is there can be broken")
    value = rule.value if not isinstance(rule.value, tuple) else ", ".join(rule.value) or "nothing"
    place = "all_usages" if usage in (None, "conflict") else f"usages.{usage}"
    return Violation(
        rule=f"{place}.{rule.name}",
        allowed=f"{verb} {value}",
        text=text,
        source=rule.source,
        severity=rule.severity,
        remedy=remedy,
        enforced=rule.enforced,
        origin=rule.origin,
    )
