# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies and their profiles: what is inherited, what replaces it, and rule 1 above all."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PolicyError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.algorithm import usages_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import ALGORITHMS, USAGES
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import SIGNING
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import document, judge, load


def value(policy: load.Policy, usage: str | None, rule: str) -> object:
    found = policy.rule_for(usage).get(rule)
    return found.value if found else None


@pytest.mark.parametrize("name", load.PROFILES)
def test_profiles_cite_a_source_with_every_rule(name: str) -> None:
    written = load.profile_document(name)
    assert written["name"] == name and written["description"] and not document.mistakes(written)
    for rules in [written.get("all_usages", {}), *written["usages"].values()]:
        for rule_name, rule in rules.items():
            assert isinstance(rule, dict) and len(rule["source"]) > 8, rule_name


@pytest.mark.parametrize("name", load.PROFILES)
def test_every_usage_has_an_algorithm_that_can_be_made(name: str) -> None:
    policy = load.profile(name)
    for usage in USAGES:
        made = [word for word in ALGORITHMS if usage in usages_of(word)]
        assert any(not any(one.enforced for one in judge.algorithm(policy, usage, word)) for word in made), usage
        assert policy.rule_for(usage)["archive"].value in (("never",) if usage in SIGNING else ("allowed", "required"))


def test_profiles_are_the_files_that_are_there() -> None:
    assert set(load.PROFILES) == {path.stem for path in load._FOLDER.iterdir()}
    assert set(load.PROFILES) == set(document.schema()["properties"]["extends"]["enum"])


def test_single_values_replace_those_of_the_profile() -> None:
    policy = load.load(
        {
            "extends": "cabf-smime",
            "name": "example.com",
            "source": "key policy, section 4",
            "usages": {"key_transport": {"algorithms": ["rsa-3072+"], "minimum_threshold": None}},
        }
    )
    rule = policy.rule_for("key_transport")["algorithms"]
    assert (rule.value, rule.source, rule.origin) == (("rsa-3072+",), "key policy, section 4", "example.com")
    assert policy.origins == ("default", "cabf-smime", "example.com")
    assert value(policy, "key_transport", "minimum_threshold") is None
    assert value(policy, "key_transport", "certificate_max_validity") == "825d"
    assert policy.rule_for("key_transport")["certificate_max_validity"].origin == "cabf-smime"
    assert value(policy, "key_agreement", "minimum_threshold") == 2
    assert value(load.profile("cabf-smime"), "key_transport", "minimum_threshold") == 2, "the profile stays as it is"


def test_rules_for_all_usages_come_before_those_of_a_usage_and_after_the_profile() -> None:
    own = {"all_usages": {"maximum_mode": "0600"}, "usages": {"signature": {"maximum_mode": "0400"}}}
    policy = load.load({"extends": "default", **own})
    assert [value(policy, usage, "maximum_mode") for usage in ("signature", "key_agreement", None, "conflict")] == [
        *("0400", "0600", "0600", "0600")
    ]


def test_a_policy_without_a_profile_has_its_own_rules_and_rule_1() -> None:
    policy = load.load({"usages": {"key_agreement": {"archive": "required"}}})
    assert [value(policy, usage, "archive") for usage in (*USAGES, None)] == [*["never"] * 3, None, "required", None]
    assert policy.rule_for("authentication")["archive"].source.startswith("keyops.lifecycle, rule 1")


def test_rules_of_a_document_without_a_name_are_not_the_profiles() -> None:
    policy = load.load({"extends": "default", "all_usages": {"algorithms": ["rsa-4096"]}})
    (broken,) = judge.algorithm(policy, "signature", "ed25519")
    assert broken.origin == broken.source == "the given policy, which has no name"
    assert policy.name == "default, with rules of its own"
    assert policy.origins == ("default", "the given policy, which has no name")
    assert policy.rule_for("signature")["archive"].origin != "the given policy, which has no name"
    sourced = load.load({"usages": {"signature": {"algorithms": ["rsa-4096"]}}, "source": "key policy, 4"})
    assert sourced.rule_for("signature")["algorithms"].source == "key policy, 4"
    assert load.load("default").name == load.load({"extends": "default"}).name == "default"


@pytest.mark.parametrize("path", ["/etc/keyops/policy.yml", "policy.yaml", "files/policy", "policy.json"])
def test_a_path_is_told_how_a_file_is_given(path: str) -> None:
    with pytest.raises(PolicyError) as told:
        load.load(path, "keyops_policy")
    assert str(told.value).startswith("keyops_policy: give a dictionary")
    assert f"\"{{{{ lookup('file', '{path}') | from_yaml }}}}\"" in str(told.value)


def test_nothing_can_change_a_policy() -> None:
    policy = load.profile("default")
    with pytest.raises(TypeError):
        policy.rule_for("signature")["archive"] = None
    with pytest.raises(TypeError):
        policy.rules["signature"] = {}
    with pytest.raises(FrozenInstanceError):
        policy.rule_for("signature")["archive"].value = "allowed"


def test_the_page_has_every_rule_and_every_profile() -> None:
    page = (Path(__file__).resolve().parents[5] / "docs" / "policy.md").read_text()
    for name in [*document.schema()["$defs"]["rules"]["properties"], *load.PROFILES]:
        assert f"`{name}`" in page, name
