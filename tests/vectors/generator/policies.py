# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vectors of policies: documents, with the places of their mistakes."""

from __future__ import annotations

from collections.abc import Iterator

TEAM = {
    "version": 1,
    "name": "example.com",
    "description": "Two agents of three, tokens for whoever signs certificates.",
    "extends": "nist-sp800-57",
    "source": "example.com, key policy of 2026, section 4",
    "all_usages": {
        "maximum_mode": "0600",
        "owners": ["root", "mail"],
        "groups": ["mail"],
        "encrypted_file": "required",
    },
    "usages": {
        "certificate_signing": {"protection": ["token"], "originator_usage_period": None},
        "signature": {"archive": "never", "deprecated_algorithms": ["rsa-2048+"]},
        "key_transport": {
            "algorithms": {"value": ["rsa-3072+", "ml-kem-768"], "source": "section 4.2", "severity": "critical"},
            "archive": {"value": "required", "enforce": False, "note": "until all agents are enrolled"},
            "required_recovery_groups": ["security-office"],
            "allowed_recovery_groups": ["security-office", "escrow"],
            "minimum_threshold": 2,
            "minimum_agents": 3,
            "recipient_usage_period": "7y",
            "certificate_max_validity": "825d",
            "certificate_required_key_usage": ["keyEncipherment"],
            "certificate_forbidden_extended_key_usage": ["anyExtendedKeyUsage", "1.3.6.1.4.1.311.10.3.4"],
        },
    },
}


def _transport(**rules: object) -> dict:
    return {"usages": {"key_transport": rules}}


_OK = {
    "ok-extends": ("a profile as it is", {"extends": "cabf-smime"}),
    "ok-team": ("everything that a team may say", TEAM),
    "ok-alone": ("no profile", _transport(archive="required")),
    "ok-null": ("rules that are lifted", {"extends": "default", **_transport(archive=None, minimum_threshold=None)}),
    "ok-no-algorithm": ("a usage that no key may have", _transport(algorithms=[])),
    "ok-all-usages": ("rules for every key", {"all_usages": {"archive": "never", "algorithms": ["ed25519", "x25519"]}}),
    "ok-whole-number": ("2.0 is an integer in JSON Schema", _transport(minimum_threshold=2.0)),
    "ok-export": ("keys for smart cards", {"usages": {"authentication": {"export": "token"}}}),
}

_ARCHIVE = {
    "signature-archive-allowed": {"signature": {"archive": "allowed"}},
    "certificate-signing-archive-required": {"certificate_signing": {"archive": "required"}},
    "authentication-archive-null": {"authentication": {"archive": None}},
}

_TRANSPORT = {
    "rule-unknown": ("a rule that is not known", {"recovery": True}, "recovery"),
    "rule-misspelt": ("a misspelt rule", {"algorythms": ["rsa-3072"]}, "algorythms"),
    "cited-no-value": ("a source without a value", {"archive": {"source": "section 4"}}, "archive"),
    "cited-member": ("a member that is not known", {"archive": {"value": "never", "why": ""}}, "archive.why"),
    "severity-unknown": ("severity: bad", {"archive": {"value": "never", "severity": "bad"}}, "archive.severity"),
    "enforce-text": ("enforce: 'no'", {"archive": {"value": "never", "enforce": "no"}}, "archive.enforce"),
    "source-of-rule-empty": ("an empty source", {"archive": {"value": "never", "source": ""}}, "archive.source"),
    "algorithm-unknown": ("no algorithm", {"algorithms": ["rsa-3072", "aes-256"]}, "algorithms[1]"),
    "algorithm-cannot-transport": ("EC", {"algorithms": ["ec-p256"]}, "algorithms[0]"),
    "algorithm-twice": ("the same one twice", {"algorithms": ["rsa-3072", "rsa-3072"]}, "algorithms[1]"),
    "algorithm-line-break": ("a line break behind", {"algorithms": ["rsa-3072\n"]}, "algorithms[0]"),
    "algorithm-cited-unknown": ("cited", {"algorithms": {"value": ["rsa"]}}, "algorithms.value[0]"),
    "algorithms-text": ("a text in the place of a list", {"algorithms": "rsa-3072"}, "algorithms"),
    "deprecated-unknown": ("no algorithm", {"deprecated_algorithms": ["3des"]}, "deprecated_algorithms[0]"),
    "protection-empty": ("nowhere", {"protection": []}, "protection"),
    "protection-unknown": ("a smart card", {"protection": ["file", "card"]}, "protection[1]"),
    "archive-yes": ("YAML's yes", {"archive": True}, "archive"),
    "archive-unknown": ("archive: always", {"archive": "always"}, "archive"),
    "threshold-0": ("no agent", {"minimum_threshold": 0}, "minimum_threshold"),
    "threshold-text": ("a number in quotes", {"minimum_threshold": "2"}, "minimum_threshold"),
    "threshold-true": ("true is not 1", {"minimum_threshold": True}, "minimum_threshold"),
    "threshold-fraction": ("2.5", {"minimum_threshold": 2.5}, "minimum_threshold"),
    "agents-list": ("names in the place of a number", {"minimum_agents": ["a"]}, "minimum_agents"),
    "groups-empty-name": ("an empty name", {"allowed_recovery_groups": [""]}, "allowed_recovery_groups[0]"),
    "mode-number": ("YAML's 0640 without quotes", {"maximum_mode": 416}, "maximum_mode"),
    "mode-three-digits": ("three digits", {"maximum_mode": "640"}, "maximum_mode"),
    "mode-decimal": ("no octal digits", {"maximum_mode": "0690"}, "maximum_mode"),
    "owner-number": ("a user's number", {"owners": [0]}, "owners[0]"),
    "encrypted-yes": ("YAML's yes", {"encrypted_file": True}, "encrypted_file"),
    "period-number": ("days without a unit", {"recipient_usage_period": 730}, "recipient_usage_period"),
    "period-months": ("months", {"recipient_usage_period": "18m"}, "recipient_usage_period"),
    "period-0": ("no time at all", {"recipient_usage_period": "0d"}, "recipient_usage_period"),
    "validity-text": ("two years", {"certificate_max_validity": "two years"}, "certificate_max_validity"),
    "key-usage-unknown": (
        "a name that RFC 5280 does not have",
        {"certificate_required_key_usage": ["keyEncryption"]},
        "certificate_required_key_usage[0]",
    ),
    "extended-key-usage-unknown": (
        "a name that is not known",
        {"certificate_forbidden_extended_key_usage": ["email"]},
        "certificate_forbidden_extended_key_usage[0]",
    ),
}

_WHOLE = {
    "list": ("a list", [], ""),
    "null": ("null", None, ""),
    "empty": ("no rule and no profile", {}, ""),
    "name-only": ("a name alone", {"name": "example.com"}, ""),
    "version-2": ("a version that is not known", {"version": 2, "extends": "default"}, "version"),
    "version-true": ("YAML's yes", {"version": True, "extends": "default"}, "version"),
    "version-text": ("a version in quotes", {"version": "1", "extends": "default"}, "version"),
    "extends-unknown": ("a profile that is not known", {"extends": "nist"}, "extends"),
    "extends-list": ("two profiles", {"extends": ["default", "cnsa-2.0"]}, "extends"),
    "name-empty": ("an empty name", {"name": "", "extends": "default"}, "name"),
    "name-line-break": ("a line break in the name", {"name": "a\nb", "extends": "default"}, "name"),
    "source-empty": ("an empty source", {"source": "", "extends": "default"}, "source"),
    "member-unknown": ("a member that is not known", {"extends": "default", "rules": {}}, "rules"),
    "usages-list": ("a list of usages", {"usages": ["signature"]}, "usages"),
    "usage-unknown": ("a usage that is not known", {"usages": {"encryption": {}}}, "usages.encryption"),
    "usage-null": ("a usage without rules, as YAML reads it", {"usages": {"signature": None}}, "usages.signature"),
    "all-usages-archive": ("archives for all", {"all_usages": {"archive": "allowed"}}, "all_usages.archive"),
    "all-usages-export": ("all keys may go", {"all_usages": {"export": "token"}}, "all_usages.export"),
    "signature-export-allowed": (
        "a signing key in a file",
        {"usages": {"signature": {"export": "allowed"}}},
        "usages.signature.export",
    ),
    "all-usages-algorithm": ("no algorithm", {"all_usages": {"algorithms": ["x"]}}, "all_usages.algorithms[0]"),
    "algorithm-cannot-sign": (
        "X25519 for keys that sign",
        {"usages": {"signature": {"algorithms": ["ed25519", "x25519"]}}},
        "usages.signature.algorithms[1]",
    ),
    "algorithm-cannot-agree": (
        "RSA for keys that agree",
        {"usages": {"key_agreement": {"algorithms": ["rsa-3072"]}}},
        "usages.key_agreement.algorithms[0]",
    ),
    "signature-archive-cited": (
        "a signing key that is to be archived, with a source",
        {"usages": {"signature": {"archive": {"value": "required", "source": "section 4"}}}},
        "usages.signature.archive.value",
    ),
}


def policies() -> Iterator[tuple]:
    """Name, description, expected outcome, document, and the places of the mistakes."""
    for name, (description, document) in _OK.items():
        yield name, description, "ok", document, {}
    for name, usages in _ARCHIVE.items():
        place = f"usages.{min(usages)}.archive"
        description = "a signing key is never archived, and no policy can allow it"
        yield name, description, "PolicyError", {"usages": usages}, {"places": [place]}
    for name, (description, rules, place) in _TRANSPORT.items():
        more = {"places": [f"usages.key_transport.{place}"]}
        yield name, description, "PolicyError", _transport(**rules), more
    for name, (description, document, place) in _WHOLE.items():
        yield name, description, "PolicyError", document, {"places": [place]}
    several = {"name": "", "extends": "nist", **_transport(archive="yes", maximum_mode="640")}
    places = ["name", "extends", "usages.key_transport.archive", "usages.key_transport.maximum_mode"]
    yield "several", "four mistakes, told at once", "PolicyError", several, {"places": places}


FORMATS = {"policy": policies}
