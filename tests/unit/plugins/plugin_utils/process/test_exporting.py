# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of key_export: what the vault and the policy refuse, events, and passwords for the vault."""

from __future__ import annotations

import base64
import dataclasses
import json

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import profiles
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export
from ansible_collections.keyops.lifecycle.plugins.modules import key_export
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import exporting
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

PASSWORD = "a password of tests"


@pytest.fixture
def host(scene: story.Scene, monkeypatch: pytest.MonkeyPatch) -> story.Machine:
    """A host with an archived key, where derivations cost nothing."""
    monkeypatch.setitem(story._MODULES, "key_export", (key_export, export.run, exporting.export))
    modern = dataclasses.replace(profiles.PROFILES["modern"], iterations=100)
    monkeypatch.setitem(profiles.PROFILES, "modern", modern)
    host = scene.machine("mail1")
    scene.generate(host)
    scene.archive(host)
    return host


def item(host: story.Machine, name: str = "mail.key", **options: object) -> dict:
    given = {"dest": str(host.folder / "a.p12"), "password": PASSWORD, "keys": [{"key": str(host.folder / name)}]}
    return {name: value for name, value in {**given, **options}.items() if value is not None}


def events(host: story.Machine) -> list[tuple[str, str, list[str]]]:
    with open_vault({"path": str(host.vault_path)}) as vault:
        found = event_log.verify(vault)
        assert not found.problems
        paths = vault.list("events/")
        told = [json.loads(content) for dummy, content in sorted(vault.read(paths).items())]
    return [(one["action"], one["outcome"], [key["detail"] for key in one["keys"]]) for one in told]


def test_an_export_is_an_event_also_when_the_run_ended_before_it(host: story.Machine) -> None:
    assert host.run("key_export", exports=[item(host)])["changed"]
    assert events(host)[-1] == ("export", "success", [f"pkcs12 {host.folder}/a.p12"])
    count = len(events(host))
    assert not host.run("key_export", exports=[item(host)])["changed"]
    assert len(events(host)) == count

    def ended(step: str, results: list, relay: object) -> tuple:
        if step == "export":
            raise KeyboardInterrupt
        return results, relay

    (host.folder / "a.p12").unlink()
    host.on_reply = ended
    with pytest.raises(KeyboardInterrupt):
        host.run("key_export", exports=[item(host)])
    assert (host.folder / "a.p12").exists()
    host.on_reply = None
    result = host.run("key_export", exports=[item(host)])
    assert [row["action"] for row in result["results"]] == ["kept"]
    assert len(events(host)) == count + 1


def test_every_export_that_was_not_told_is_told(host: story.Machine) -> None:
    def ended(step: str, results: list, relay: object) -> tuple:
        if step == "export":
            raise KeyboardInterrupt
        return results, relay

    count = len(events(host))
    host.on_reply = ended
    for number in range(3):
        forced = item(host, password=f"a password of tests {number}", force=True)
        with pytest.raises(KeyboardInterrupt):
            host.run("key_export", exports=[forced])
    host.on_reply = None
    host.run("key_export", exports=[forced])
    assert events(host)[count:] == [("export", "success", [f"pkcs12 {host.folder}/a.p12"] * 3)]
    assert not host.run("key_export", exports=[forced])["changed"]
    assert len(events(host)) == count + 1


def test_a_password_gets_into_the_vault_whenever_the_run_ends(host: story.Machine, scene: story.Scene) -> None:
    story.make_certificate(scene.folder / "o.key", scene.folder / "o.pem", "owner", "EC:P-256", "keyAgreement")
    to = {"certificate": (scene.folder / "o.pem").read_text(), "vault": True}
    wanted = item(host, password=None, password_to=to)
    with pytest.raises(_errors.OptionError, match="key_owner"):
        host.run("key_export", exports=[wanted])

    def ended(step: str, relay: object) -> object:
        if step == "close":
            raise KeyboardInterrupt
        return relay

    host.on_relay = ended
    with pytest.raises(KeyboardInterrupt):
        host.run("key_export", exports=[wanted], key_owner="alice")
    host.on_relay = None
    (row,) = host.run("key_export", exports=[wanted], key_owner="alice")["results"]
    assert not host.run("key_export", exports=[wanted], key_owner="alice")["changed"]
    with open_vault({"path": str(host.vault_path)}) as vault:
        assert vault.list("deliveries/") == [row["password_object"]]
        value = json.loads(vault.read([row["password_object"]])[row["password_object"]])
    message = scene.folder / "message"
    message.write_bytes(base64.b64decode(value["message"]))
    opened = story.openssl("cms", "-decrypt", "-inform", "DER", "-in", message, "-inkey", scene.folder / "o.key")
    password = opened.decode().splitlines()[0]
    story.openssl("pkcs12", "-in", row["dest"], "-passin", "stdin", "-nodes", stdin=password.encode())
    assert password not in json.dumps(events(host))


def test_what_the_vault_knows_to_sign_or_froze_goes_nowhere(host: story.Machine, scene: story.Scene) -> None:
    with open_vault({"path": str(host.vault_path)}) as vault:
        key_id = host.run("private_key", keys=[{"key": str(host.folder / "mail.key"), **ec()}])["results"][0]["key_id"]
        freezes.freeze(vault, key_id, "somebody said that it signs")
    with pytest.raises(_errors.FrozenRefused):
        host.run("key_export", exports=[item(host)])
    scene.generate(host, "sign.key", "signature")
    with pytest.raises(_errors.SigningUsageRefused):
        host.run("key_export", exports=[item(host, "sign.key")])
    assert not (host.folder / "a.p12").exists()
    assert [one[:2] for one in events(host)[-1:]] == [("export", "refused")]


@pytest.mark.parametrize("entry", ["certificate_signing", "spoiled"])
def test_the_signing_register_knows_the_usage_better(host: story.Machine, scene: story.Scene, entry: str) -> None:
    """A key that the register has as a CA's, and that the host says is for logging in."""
    key_id = scene.generate(host, "ca.key", "certificate_signing")
    card = "pkcs11:token=card;object=login?module-path=/usr/lib/p11.so"
    asked = {"dest": card, "format": "token", "keys": [{"key": str(host.folder / "ca.key")}]}
    policy = {"usages": {usage: {"export": "token"} for usage in ("authentication", "certificate_signing")}}

    def lie(step: str, results: list, relay: object) -> tuple:
        if step == "facts" and entry != "spoiled":
            results[0]["usage"] = "authentication"
        return results, relay

    host.on_reply = lie
    vault = {"path": str(host.vault_path)}
    if entry == "spoiled":
        vault = {"backend": "sqlite", "path": str(scene.folder / "other.db")}
        with open_vault(vault, False, make=True) as opened:
            opened.create({f"signing/{key_id}": b"spoiled"})
    with pytest.raises(_errors.UsageConflictRefused, match="register"):
        host.run("key_export", exports=[asked], policy=policy, vault=vault)
    assert host.calls[-1] == "facts"


def ec() -> dict:
    return {"usage": "key_agreement", "algorithm": "ec-p256"}


@pytest.mark.parametrize("rule", ["never", "token"])
def test_a_policy_keeps_keys_in(host: story.Machine, rule: str) -> None:
    policy = {"usages": {"key_agreement": {"export": rule}}}
    with pytest.raises(_errors.PolicyRefused, match="export"):
        host.run("key_export", exports=[item(host)], policy=policy)
    advised = {"usages": {"key_agreement": {"export": {"value": rule, "enforce": False}}}}
    result = host.run("key_export", exports=[item(host)], policy=advised)
    assert result["changed"]
    assert "export" in result["warnings"][-1]
    allowed = {"usages": {"key_agreement": {"export": "allowed"}}}
    assert len(host.run("key_export", exports=[item(host)], policy=allowed)["warnings"]) < len(result["warnings"])


@pytest.mark.parametrize(
    "change",
    [{"key_ids": ["x"]}, {"key_ids": [["x"]]}, {"dest": "a" * 5000}, {"message": 1}, {"message": "?"}, {"more": ""}],
)
def test_a_host_that_answers_what_it_likes_writes_no_event(host: story.Machine, change: dict) -> None:
    def lie(step: str, results: list, relay: dict) -> tuple:
        if step == "export":
            relay["untold"] = [{**one, **change} for one in relay["untold"]]
        return results, relay

    count = len(events(host))
    host.on_reply = lie
    with pytest.raises(_errors.FormatError):
        host.run("key_export", exports=[item(host)])
    assert len(events(host)) == count


@pytest.mark.parametrize("change", [{"key_id": ["x"]}, {"key_id": "x"}, {"usage": ["x"]}, {"usage": 5}, {"more": ""}])
def test_a_host_that_says_nonsense_of_its_keys_exports_nothing(host: story.Machine, change: dict) -> None:
    def lie(step: str, results: list, relay: object) -> tuple:
        return [{**one, **change} for one in results] if step == "facts" else results, relay

    host.on_reply = lie
    with pytest.raises(_errors.FormatError, match="run again"):
        host.run("key_export", exports=[item(host)])
    assert host.calls[-1] == "facts"


def test_a_lying_host_logs_exports_of_its_own_keys_only(host: story.Machine, scene: story.Scene) -> None:
    foreign = scene.generate(scene.machine("other"), "ca.key", "certificate_signing")

    def lie(step: str, results: list, relay: dict) -> tuple:
        if step == "export":
            relay["untold"][0]["key_ids"].append(foreign)
        return results, relay

    host.on_reply = lie
    host.run("key_export", exports=[item(host)])
    told = f"pkcs12 {host.folder}/a.p12"
    assert sorted(events(host)[-1][2]) == [told, f"the host says: {told}"]
