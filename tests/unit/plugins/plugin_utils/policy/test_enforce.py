# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a policy forbids is refused before anything changes, and the vault's log says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PolicyError, PolicyRefused
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format, event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import enforce
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

STRICT = {
    "extends": "nist-sp800-57",
    "name": "example.com",
    "usages": {"key_agreement": {"archive": "required", "minimum_agents": 3}},
}


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> story.Scene:
    return story.make_scene(tmp_path_factory.mktemp("agents"))


@pytest.fixture
def scene(enrolled: story.Scene, tmp_path: Path) -> story.Scene:
    return story.Scene(tmp_path, list(enrolled.agents))


def key(host: story.Machine, **options: object) -> dict:
    return {"key": str(host.folder / "k"), "usage": "signature", "algorithm": "ec-p256", **options}


def last_event(scene: story.Scene) -> tuple[str, str, str]:
    vault = open_vault({"backend": "sqlite", "path": str(scene.vault_path)}, True, make=False)
    try:
        path = paths.event(event_log.head(vault).number)
        event = event_format.parse(vault.read([path])[path])
        return event.action, event.outcome, event.detail
    finally:
        vault.close()


@pytest.mark.parametrize(
    ("options", "rules", "rule"),
    [
        ({"algorithm": "rsa-2048"}, {"algorithms": ["rsa-3072+"]}, "algorithms"),
        ({}, {"protection": ["token"]}, "protection"),
        ({"mode": "0660"}, {"maximum_mode": "0640"}, "maximum_mode"),
        ({"owner": "daemon"}, {"owners": ["mail"]}, "owners"),
        ({"mode": "0640", "group": "daemon"}, {"groups": ["mail"]}, "groups"),
        ({}, {"encrypted_file": "required"}, "encrypted_file"),
        ({"passphrase": "made for this test"}, {"encrypted_file": "never"}, "encrypted_file"),
    ],
)
def test_a_key_that_breaks_a_rule_is_not_made(scene: story.Scene, options: dict, rules: dict, rule: str) -> None:
    host = scene.machine("mail1")
    policy = {"usages": {"signature": rules}}
    with pytest.raises(PolicyRefused, match=rf"usages\.signature\.{rule}: .*source: the given policy"):
        host.run("private_key", keys=[key(host, key=str(host.folder / "good")), key(host, **options)], policy=policy)
    assert host.calls == [], "the host was not called"
    assert not list(host.folder.iterdir())
    action, outcome, detail = last_event(scene)
    assert (action, outcome) == ("provision", "refused") and detail.startswith("PolicyRefused: ")


def test_every_violation_is_told_at_once(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    items = [key(host, algorithm="ed448"), key(host, key=str(host.folder / "l"), algorithm="rsa-2048", mode="0660")]
    with pytest.raises(PolicyRefused, match="3 times") as caught:
        host.run("private_key", keys=items, policy={"extends": "cnsa-2.0"})
    assert "ed448" in str(caught.value) and "rsa-2048" in str(caught.value) and "0660" in str(caught.value)


def test_a_policy_with_mistakes_stops_before_the_host(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    with pytest.raises(PolicyError, match="none of default"):
        host.run("private_key", keys=[key(host)], policy="nist")
    for module, options in (
        ("private_key", {"keys": [key(host)]}),
        ("key_archive", {"keys": [{"key": "/k"}], "key_owner": "o", "recovery_groups": scene.groups()}),
    ):
        with pytest.raises(PolicyError, match=r"policy\.extends"):
            host.run(module, **options, policy={"extends": "nist"})
    assert host.calls == []


def test_what_the_policy_allows_is_made_in_one_call_and_advice_is_a_warning(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    result = host.run("private_key", keys=[key(host, algorithm="rsa-2048")], policy=STRICT)
    assert result["changed"] and host.calls == [None]
    (warning,) = result["warnings"]
    assert "deprecated" in warning and "table 4" in warning
    assert not host.run("private_key", keys=[key(host, algorithm="rsa-2048")], policy="default")["changed"]


def test_a_rule_that_is_not_enforced_only_warns(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    policy = {"usages": {"signature": {"algorithms": {"value": ["ed25519"], "enforce": False}}}}
    result = host.run("private_key", keys=[key(host)], policy=policy)
    assert result["changed"] and len(result["warnings"]) == 1


def test_a_key_that_would_be_kept_is_judged_as_it_is(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    host.run("private_key", keys=[key(host, algorithm="rsa-2048")])
    wanted = [key(host, regenerate="never"), key(host, key=str(host.folder / "new"))]
    with pytest.raises(PolicyRefused, match="rsa-2048"):
        host.run("private_key", keys=wanted, policy={"usages": {"signature": {"algorithms": ["ec-p256"]}}})
    assert not (host.folder / "new").exists()


def test_a_replaced_key_is_judged_as_it_will_be(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    host.run("private_key", keys=[key(host, algorithm="rsa-2048")])
    policy = {"usages": {"signature": {"algorithms": ["ec-p256"]}}}
    wanted = [key(host, regenerate="partial_idempotence")]
    result = host.run("private_key", keys=wanted, policy=policy)
    assert result["results"][0]["algorithm"] == "ec-p256"


def test_a_key_that_goes_once_its_archive_is_confirmed_is_not_judged(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host, "mail.key", "key_transport", "rsa-2048")
    scene.archive(host)
    item = {"key": str(host.folder / "mail.key"), "usage": "key_transport", "algorithm": "rsa-3072"}
    wanted = [{**item, "regenerate": "partial_idempotence"}]
    result = host.run("private_key", keys=wanted, policy={"usages": {"key_transport": {"algorithms": ["rsa-3072+"]}}})
    assert result["results"][0]["algorithm"] == "rsa-3072"


def test_the_host_says_who_owns_a_new_file(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    me = host.run("private_key", check_mode=True, keys=[key(host)])["results"][0]["owner"]
    with pytest.raises(PolicyRefused, match=rf"owner is {me}"):
        host.run("private_key", keys=[key(host)], policy={"all_usages": {"owners": ["nobody-else"]}})
    assert not (host.folder / "k").exists()
    assert host.run("private_key", keys=[key(host)], policy={"all_usages": {"owners": [me]}})["changed"]


def test_keys_that_go_break_no_rule(scene: story.Scene) -> None:
    """Neither by their options nor, where the host is asked because of another key, by what they are."""
    host = scene.machine("mail1")
    host.run("private_key", keys=[key(host, algorithm="rsa-2048")])
    gone = {"key": str(host.folder / "k"), "state": "absent"}
    new = key(host, key=str(host.folder / "new"), passphrase="made for this test", regenerate="never")
    rules = {"encrypted_file": "required", "maximum_mode": "0600"}
    policy = {"all_usages": rules, "usages": {"signature": {"algorithms": ["ec-p256"]}}}
    result = host.run("private_key", keys=[gone, new], policy=policy)
    assert [row["action"] for row in result["results"]] == ["removed", "created"]


def test_a_key_that_keeps_its_protection_is_judged_as_it_is(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    host.run("private_key", keys=[key(host)])
    wanted = [key(host, regenerate="partial_idempotence", passphrase="made for this test")]
    with pytest.raises(PolicyRefused, match="not encrypted"):
        host.run("private_key", keys=wanted, policy={"all_usages": {"encrypted_file": "required"}})


def test_the_first_refusal_of_a_key_stays() -> None:
    task = ControllerTask(
        {}, None, False, "h", "tester", None, policy={"usages": {"key_transport": {"archive": "never"}}}
    )
    earlier = {"class": "SigningCertificateRefused", "message": "it signs"}
    rows = [{"usage": "key_transport", "refusal": earlier}, {"usage": "key_transport", "refusal": None}]
    refused = [row["refusal"]["class"] for row in enforce.refused_rows(task, rows)]
    assert refused == ["SigningCertificateRefused", "PolicyRefused"]


def test_no_key_is_lost_where_archives_are_required(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    item = {"key": str(host.folder / "mail.key"), "state": "absent", "destroy_unarchived": True}
    with pytest.raises(PolicyRefused, match="destroy_unarchived"):
        host.run("private_key", keys=[item], policy=STRICT)
    assert (host.folder / "mail.key").exists()
    assert host.run("private_key", keys=[item], policy={"extends": "nist-sp800-57"})["changed"]


TOKEN = {
    "key": "pkcs11:token=ops;object=mail?module-path=/usr/lib/p.so",
    **{"state": "present", "usage": "key_agreement", "algorithm": "ec-p256", "regenerate": "fail"},
    **{"destroy_unarchived": False, "archive": "possible", "request": None},
}


def check_on_token(policy: dict, **options: object) -> dict:
    """The item of a key on a token as the host gets it, once the policy has seen it. The host is not called."""
    items = [{**TOKEN, **options}]
    task = ControllerTask({"keys": items}, None, False, "mail1", "tester", None, policy=policy)
    assert enforce.check_private_key(task) == []
    return items[0]


def test_keys_on_tokens() -> None:
    assert check_on_token(STRICT)["archive"] == "required", "one that could never be archived is not made"
    assert check_on_token({"extends": "nist-sp800-57"})["archive"] == "possible"
    assert check_on_token(STRICT, state="absent")["archive"] == "possible"
    assert check_on_token({"all_usages": {"maximum_mode": "0600", "encrypted_file": "required", "owners": ["root"]}})
    for policy, options, rule in (
        (STRICT, {"archive": "never"}, "archive"),
        ({"all_usages": {"protection": ["file"]}}, {}, "protection"),
        ({"extends": "cabf-smime"}, {"request": {"extended_key_usage": []}}, "certificate_required_extended_key_usage"),
        ({"extends": "cnsa-2.0"}, {}, "algorithms"),
    ):
        with pytest.raises(PolicyRefused, match=rule):
            check_on_token(policy, **options)
    assert check_on_token({"extends": "cabf-smime"}, request={"extended_key_usage": ["emailProtection"]})


@pytest.mark.parametrize(
    ("rules", "groups", "rule"),
    [
        ({"minimum_threshold": 3}, 2, "minimum_threshold"),
        ({"minimum_agents": 4}, 2, "minimum_agents"),
        ({"required_recovery_groups": ["escrow"]}, 2, "required_recovery_groups"),
        ({"allowed_recovery_groups": ["escrow"]}, 2, "allowed_recovery_groups"),
    ],
)
@pytest.mark.parametrize("declared", [{}, {"usage": "key_agreement"}])
def test_archives_to_groups_that_break_a_rule(
    scene: story.Scene, rules: dict, groups: int, rule: str, declared: dict
) -> None:
    """Before the host is called when the options say the usage; after its first, reading step when the key does."""
    host = scene.machine("mail1")
    scene.generate(host)
    host.calls.clear()
    with pytest.raises(PolicyRefused, match=rf"key_agreement\.{rule}"):
        scene.archive(
            host,
            item=declared,
            recovery_groups=scene.groups(groups),
            policy={"usages": {"key_agreement": rules}},
        )
    assert host.calls == ([] if declared else ["facts"])
    assert last_event(scene)[:2] == ("archive", "refused")


def test_keys_that_are_not_to_be_archived_are_refused_one_by_one(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    scene.generate(host, "rsa.key", "key_transport", "rsa-2048")
    never = {"extends": "default", "usages": {"key_transport": {"archive": "never"}}}
    keys = [{"key": str(host.folder / name)} for name in ("mail.key", "rsa.key")]
    common = {"keys": keys, "key_owner": "mail1", "recovery_groups": scene.groups(), "policy": never}
    result = host.run("key_archive", **common)
    assert (result["failed"], result["error_class"]) == (True, "PolicyRefused")
    result = host.run("key_archive", **common, on_refusal="skip")
    assert [row["state"] for row in result["results"]] == ["archived", "refused"]
    assert result["results"][1]["refusal"]["class"] == "PolicyRefused"
    # One that was archived before is refused without an alarm: nothing shows that it signs.
    host.run("key_archive", **{**common, "policy": {"extends": "default"}})
    result = host.run("key_archive", **common, on_refusal="skip")
    assert "ALARM" not in result["results"][1]["refusal"]["message"]
    assert not host.run("key_archive", **{**common, "policy": {"extends": "default"}})["changed"]


def test_a_play_without_a_policy_loads_none_of_it() -> None:
    program = (
        "import sys; from ansible_collections.keyops.lifecycle.plugins.action import csr, key_archive, private_key; "
        "sys.exit([name for name in sys.modules if 'plugin_utils.policy' in name] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert done.returncode == 0


def test_no_host_gets_policy_code() -> None:
    """What AnsiballZ ships is what modules and module_utils import (test_layers): neither may import plugin_utils."""
    plugins = Path(__file__).resolve().parents[5] / "plugins"
    for path in [*(plugins / "modules").glob("*.py"), *(plugins / "module_utils").rglob("*.py")]:
        assert "plugin_utils.policy" not in path.read_text(), path
