# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judging facts: one rule at a time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import judge, load
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import period_end

MADE = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


def policy(usage: str = "key_transport", **rules: object) -> load.Policy:
    return load.load({"usages": {usage: rules}})


def names(found: judge.Violations) -> list[str]:
    return [one.rule.rpartition(".")[2] for one in found]


@pytest.mark.parametrize(
    ("allowed", "word", "fits"),
    [
        (["rsa-2048+"], "rsa-2048", True),
        (["rsa-2048+"], "rsa-16384", True),
        (["rsa-2048+"], "rsa-2047", False),
        (["rsa-3072"], "rsa-4096", False),
        (["rsa-2048+"], "rsassa-pss", False),
        (["rsa-2048+"], "rsa-", False),
        (["rsa-2048+", "ml-kem-768"], "ml-kem-768", True),
        ([], "rsa-4096", False),
    ],
)
def test_algorithms(allowed: list[str], word: str, fits: bool) -> None:
    assert names(judge.algorithm(policy(algorithms=allowed), "key_transport", word)) == ["algorithms"] * (not fits)


def test_a_deprecated_algorithm_is_told_and_never_refused() -> None:
    (found,) = judge.algorithm(load.profile("nist-sp800-57"), "signature", "rsa-2048")
    assert (found.rule, found.enforced, found.severity) == ("usages.signature.deprecated_algorithms", False, "low")
    assert "SP 800-57" in found.source


def test_protection() -> None:
    token = policy(protection=["token"])
    assert names(judge.protection(token, "key_transport", "file")) == ["protection"]
    assert not judge.protection(token, "key_transport", "token")
    assert not judge.protection(token, "signature", "file")


@pytest.mark.parametrize(
    ("facts", "broken"),
    [
        ({"mode": 0o600, "owner": "root", "group": "wheel", "encrypted": True}, []),
        ({"mode": 0o644}, ["maximum_mode"]),
        ({"mode": 0o4600}, ["maximum_mode"]),
        ({"mode": 0o100600}, []),
        ({"owner": "mail"}, ["owners"]),
        ({"mode": 0o640, "group": "users"}, ["groups"]),
        ({"mode": 0o600, "group": "users"}, []),
        ({"encrypted": False}, ["encrypted_file"]),
        ({}, []),
    ],
)
def test_files(facts: dict, broken: list[str]) -> None:
    rules = {"maximum_mode": "0640", "owners": ["root"], "groups": ["mail"], "encrypted_file": "required"}
    assert names(judge.file(policy(**rules), "key_transport", **facts)) == broken


def test_encryption_can_be_forbidden() -> None:
    never = policy(encrypted_file="never")
    assert names(judge.file(never, "key_transport", encrypted=True)) == ["encrypted_file"]
    assert not judge.file(never, "key_transport", encrypted=False)


@pytest.mark.parametrize(
    ("rule", "archived", "broken"),
    [
        *(("required", False, True), ("required", True, False), ("allowed", False, False), ("allowed", True, False)),
        *(("never", True, True), ("never", False, False), ("required", None, False)),
    ],
)
def test_archives(rule: str, archived: bool | None, broken: bool) -> None:
    assert bool(judge.archive(policy(archive=rule), "key_transport", archived)) is broken


def test_an_archived_signing_key_breaks_rule_1_of_every_policy() -> None:
    (found,) = judge.archive(policy(archive="required"), "signature", True)
    assert found.severity == "critical" and "revoke" in found.remedy


def test_recovery_groups() -> None:
    rules = {"required_recovery_groups": ["office"], "allowed_recovery_groups": ["office", "escrow"]}
    strict = policy(**rules, minimum_threshold=2, minimum_agents=3)
    assert not judge.recovery_groups(strict, "key_transport", [("office", 2, 3), ("escrow", 3, 5)])
    assert names(judge.recovery_groups(strict, "key_transport", [("friends", 1, 2)])) == [
        *("required_recovery_groups", "allowed_recovery_groups", "minimum_threshold", "minimum_agents")
    ]


@pytest.mark.parametrize(
    ("period", "end"),
    [
        ("1y", datetime(2025, 3, 1, 12, tzinfo=timezone.utc)),
        ("4y", datetime(2028, 2, 29, 12, tzinfo=timezone.utc)),
        ("365d", datetime(2025, 2, 28, 12, tzinfo=timezone.utc)),
        ("9999d", datetime(2051, 7, 16, 12, tzinfo=timezone.utc)),
        ("9999y", datetime.max.replace(tzinfo=timezone.utc)),
    ],
)
def test_periods(period: str, end: datetime) -> None:
    assert period_end(MADE, period) == end


def test_cryptoperiods() -> None:
    both = policy(originator_usage_period="1y", recipient_usage_period="2y")
    end = period_end(MADE, "1y")
    assert not judge.cryptoperiod(both, "key_transport", MADE, end - timedelta(seconds=1))
    assert names(judge.cryptoperiod(both, "key_transport", MADE, end)) == ["originator_usage_period"]
    late = judge.cryptoperiod(both, "key_transport", MADE, end + timedelta(days=400))
    assert names(late) == ["originator_usage_period", "recipient_usage_period"]
    assert not judge.cryptoperiod(both, "key_transport", None, end)


@pytest.mark.parametrize(("seconds", "fits"), [(0, True), (1, False), (-1, True)])
def test_both_ends_belong_to_the_validity(seconds: int, fits: bool) -> None:
    end = MADE + timedelta(days=825, seconds=seconds - 1)
    found = judge.certificate(load.profile("cabf-smime"), "signature", not_before=MADE, not_after=end)
    assert names(found) == ["certificate_max_validity"] * (not fits)


@pytest.mark.parametrize(
    ("usage", "key_usage", "purposes", "broken"),
    [
        ("signature", ["digitalSignature", "nonRepudiation"], ["emailProtection"], []),
        ("signature", ["digitalSignature"], ["1.3.6.1.5.5.7.3.4"], []),
        ("signature", ["digitalSignature", "keyEncipherment"], ["emailProtection"], ["forbidden_key_usage"]),
        ("signature", ["nonRepudiation"], ["emailProtection"], ["required_key_usage"]),
        ("key_transport", ["keyEncipherment", "dataEncipherment"], ["emailProtection"], []),
        ("key_transport", ["keyEncipherment"], (), ["required_extended_key_usage"]),
        ("key_agreement", (), ["emailProtection"], ["required_key_usage"]),
        (
            "key_agreement",
            ["keyAgreement"],
            ["emailProtection", "2.5.29.37.0", "serverAuth"],
            ["forbidden_extended_key_usage"] * 2,
        ),
        ("signature", None, None, []),
    ],
)
def test_purposes(usage: str, key_usage: list, purposes: list, broken: list[str]) -> None:
    found = judge.certificate(load.profile("cabf-smime"), usage, key_usage=key_usage, extended_key_usage=purposes)
    assert names(found) == [f"certificate_{name}" for name in broken]


def test_a_message_names_rule_value_source_and_remedy() -> None:
    (found,) = judge.algorithm(load.profile("cabf-smime"), "signature", "rsa-1024")
    for part in (found.rule, "rsa-2048+", "set by cabf-smime", "section 6.1.5", found.remedy):
        assert part in found.message()
