# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rotation: what is due and what is not, what a successor must have, what stays of the old key and for how long."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

import pytest
import story
from outside import key_id, look_at_vault
from rotating import Rotated, make_authority

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    FrozenRefused,
    KeyExists,
    KeyReferenceError,
    NotArchivedRefused,
    OptionError,
    PolicyError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


@pytest.fixture
def one(scene: story.Scene) -> Rotated:
    return Rotated(scene, scene.machine("mail1"), make_authority(scene.folder))


def states(one: Rotated, **order: object) -> dict[str, str]:
    return {name: row["state"] for name, row in one.plan(**order).items()}


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """The clock of host and controller."""
    moment = times.now() + datetime.timedelta(days=days)
    monkeypatch.setattr(times, "now", lambda: moment)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_rotation_changes_the_keys_once(one: Rotated) -> None:
    assert set(states(one).values()) == {"current"}
    before = files(one.scene.folder)
    assert set(states(one, **one.asked()).values()) == {"due"}
    assert files(one.scene.folder) == before
    assert one.rotate()
    now = one.check_finished()
    assert not one.rotate()
    assert one.check_finished() == now
    assert sorted(one.told) == sorted(now.values())
    events = look_at_vault(one.scene.vault_path).events()
    told = {
        (key["key_id"], key["detail"].split()[0])
        for event in events
        if event["action"] == "rotate"
        for key in event["keys"]
    }
    assert told == {*((key_id, "replaces") for key_id in now.values()), (one.made["tls"][1], "destroyed:")}


def test_records_name_the_place_that_the_key_has_in_the_end(one: Rotated) -> None:
    one.rotate()
    now = one.check_finished()
    vault = look_at_vault(one.scene.vault_path)
    for name in ("mail", "plain"):
        places = [
            json.loads(text)["place"]
            for path, text in vault.objects.items()
            if path.startswith(f"records/{now[name]}/")
        ]
        assert set(places) == {str(one.host.folder / f"{name}.key")}
    certified = [
        json.loads(text)["certificates"]
        for path, text in vault.objects.items()
        if path.startswith(f"records/{now['mail']}/")
    ]
    assert max(map(len, certified)) == 1, "the record does not have the new certificate"


def test_what_is_due(one: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = times.now()
    assert states(one, key_ids=[one.made["mail"][1]]) == {"mail": "due", "plain": "current", "tls": "current"}
    assert set(states(one, before=times.text(begin - datetime.timedelta(minutes=10))).values()) == {"current"}
    later(monkeypatch, 0.01)
    assert set(states(one, before=times.text(begin + datetime.timedelta(minutes=10))).values()) == {"due"}
    policy = {"usages": {"key_agreement": {"originator_usage_period": "90d"}}, "source": "a test"}
    assert set(states(one, policy=policy).values()) == {"current"}
    later(monkeypatch, 61)
    assert states(one, policy=policy, ahead="20d") == {"mail": "current", "plain": "current", "tls": "current"}
    assert states(one, policy=policy, ahead="60d") == {"mail": "due", "plain": "due", "tls": "current"}
    later(monkeypatch, 220)
    assert states(one) == {"mail": "due", "plain": "current", "tls": "due"}
    (row,) = [row for name, row in one.plan().items() if name == "mail"]
    assert "certificate" in row["reasons"][0]


def test_what_others_write_makes_no_key_old(one: Rotated) -> None:
    """A record of somebody else's, one that takes up this host's, and a spoiled register: none is from 1970."""
    begin, past = times.now(), "1970-01-01T00:00:00Z"
    wanted = {name: one.plan()[name]["made"] for name in ("mail", "plain", "tls")}
    with open_vault({"path": str(one.scene.vault_path)}, False) as vault:
        mail, plain = (records.walk(vault, [known])[known][0] for known in (one.made[n][1] for n in ("mail", "plain")))
        records.add(vault, dataclasses.replace(mail, host="stranger", created=past))
        records.add(vault, dataclasses.replace(mail, sealed_key="0" * 64, created=past))
        records.add(vault, dataclasses.replace(plain, created=past))
    before = times.text(begin - datetime.timedelta(hours=1))
    assert set(states(one, before=before).values()) == {"current"}
    assert one.plan()["mail"]["made"] == wanted["mail"]
    # The file's own time is the earliest that anything can say.
    assert one.plan()["plain"]["made"] >= times.text(begin - datetime.timedelta(minutes=10))


def test_a_short_certificate_is_not_replaced_on_every_run(one: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = ("-CA", one.authority, "-CAkey", one.authority, "-copy_extensions", "copy", "-days", 9)
    folder = one.host.folder
    story.openssl("x509", "-req", "-in", folder / "tls.csr", *signer, "-out", folder / "tls.pem")
    assert states(one)["tls"] == "current"
    later(monkeypatch, 5)
    assert states(one)["tls"] == "current"
    later(monkeypatch, 1.5)
    assert states(one)["tls"] == "due"


def test_another_algorithm_is_due(one: Rotated) -> None:
    keys = [{"key": str(one.host.folder / "tls.key"), "algorithm": algorithm} for algorithm in ("ec-p384", "ec-p256")]
    found = [one.host.run("key_rotation_info", keys=[item])["results"][0]["state"] for item in keys]
    assert found == ["due", "current"]


def staged(one: Rotated, archive: bool = True) -> dict:
    """The successor of the mail key, as an item of key_rotation."""
    path = one.host.folder / "mail"
    one.host.run("private_key", keys=[{"key": f"{path}.key.next", "usage": "key_agreement", "algorithm": "ec-p256"}])
    if archive:
        one.scene.archive(one.host, "mail.key.next")
    return {"key": f"{path}.key", "certificate": f"{path}.pem", "request": f"{path}.csr"}


def request(one: Rotated) -> None:
    path = one.host.folder / "mail"
    one.host.run("csr", keys=[{"key": f"{path}.key.next", "path": f"{path}.csr.next", "subject": "CN=mail"}])


def test_a_successor_waits_for_its_certificate(one: Rotated) -> None:
    item, folder = staged(one), one.host.folder
    request(one)
    beside = folder / "mail.pem.next"
    good = folder / "good.pem"
    one.certify(str(folder / "mail.csr.next"), str(good))
    before = (folder / "mail.key").read_bytes()
    for bad in (
        None,
        b"",
        good.read_bytes()[:300],
        (folder / "tls.pem").read_bytes(),
        (folder / "mail.csr.next").read_bytes(),
    ):
        beside.unlink(missing_ok=True)
        if bad is not None:
            beside.write_bytes(bad)
        found = one.host.run("key_rotation", keys=[item])
        assert (found["changed"], found["results"][0]["state"]) == (False, "waiting")
        assert str(beside) in found["results"][0]["problem"]
        assert (folder / "mail.key").read_bytes() == before
    beside.write_bytes(good.read_bytes())
    predicted = one.host.run("key_rotation", check_mode=True, keys=[item])
    assert (predicted["changed"], (folder / "mail.key").read_bytes()) == (True, before)
    (diff,) = predicted["diff"]
    assert (diff["before"]["key_id"], diff["before_header"]) == (one.made["mail"][1], item["key"])
    assert one.host.run("key_rotation", keys=[item])["results"][0]["state"] == "switched"
    # Until the services know, it is told again; then no more.
    assert one.host.run("key_rotation", keys=[item])["changed"]
    assert one.host.run("key_rotation", keys=[item], state="announced")["changed"]
    assert not one.host.run("key_rotation", keys=[item], state="announced")["changed"]
    assert not one.host.run("key_rotation", keys=[item])["changed"]


def test_an_expired_certificate_is_none(one: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    item, folder = staged(one), one.host.folder
    request(one)
    one.certify(str(folder / "mail.csr.next"), str(folder / "mail.pem.next"))
    later(monkeypatch, 301)
    assert one.host.run("key_rotation", keys=[item])["results"][0]["state"] == "waiting"


def test_no_successor_takes_over_before_it_is_archived(one: Rotated) -> None:
    item = {"key": staged(one, archive=False)["key"]}
    with pytest.raises(NotArchivedRefused):
        one.host.run("key_rotation", keys=[item])
    one.scene.archive(one.host, "mail.key.next")
    with open_vault({"path": str(one.scene.vault_path)}, False) as vault:
        freezes.freeze(vault, one.plan()["mail"]["next_key_id"], "it signed")
    with pytest.raises(FrozenRefused):
        one.host.run("key_rotation", keys=[item])
    one.check_nothing_lost()
    # Who says that nobody archives the key may rotate it.
    assert one.host.run("key_rotation", keys=[{**item, "archive": False}])["changed"]


def test_a_receipt_alone_is_no_archive(one: Rotated, tmp_path: Path) -> None:
    item = {"key": staged(one)["key"]}
    other = story.Scene(tmp_path / "other", one.scene.agents)
    other.folder.mkdir()
    stranger = other.machine("stranger")
    other.generate(stranger)
    other.archive(stranger)
    with pytest.raises(NotArchivedRefused):
        one.host.run("key_rotation", keys=[item], vault={"backend": "sqlite", "path": str(other.vault_path)})
    with pytest.raises(NotArchivedRefused):
        receipts = one.host.folder / "state" / "receipts"
        for path in receipts.iterdir():
            path.unlink()
        one.host.run("key_rotation", keys=[item])


def test_old_keys_stay_for_reading_until_their_time_is_over(one: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    one.rotate()

    def retired(**options: object) -> list[str]:
        return [old["key"] for row in one.plan(**options).values() for old in row["old"] if old["retire"]]

    old = [f"{one.host.folder / name}.key.{one.made[name][1][:16]}" for name in ("mail", "plain")]
    policy = {"usages": {"key_agreement": {"recipient_usage_period": "2y"}}, "source": "a test"}
    assert (retired(), retired(keep="30d"), retired(policy=policy)) == ([], [], [])
    later(monkeypatch, 31)
    assert (retired(), retired(keep="30d"), retired(policy=policy)) == ([], old, [])
    later(monkeypatch, 700)
    assert (retired(), retired(policy=policy)) == ([], old)
    gone = [{"key": path, "state": "absent"} for path in old]
    assert one.host.run("private_key", keys=gone)["changed"]
    assert not any(Path(path).exists() for path in old)
    assert retired(policy=policy) == []


def test_an_old_key_without_an_archive_is_not_removed(one: Rotated) -> None:
    one.rotate()
    (one.host.folder / "state" / "receipts" / f"{one.made['plain'][1]}.json").unlink()
    old = f"{one.host.folder / 'plain'}.key.{one.made['plain'][1][:16]}"
    with pytest.raises(NotArchivedRefused):
        one.host.run("private_key", keys=[{"key": old, "state": "absent"}])


def announced(one: Rotated, folder: Path, item: dict) -> tuple[dict, list[str]]:
    """The result of a rotation of a pair of openssl's, and the names of what is left of the old one."""
    old = key_id(folder / "own.key")[:16]
    one.host.run("key_rotation", keys=[item])
    result = one.host.run("key_rotation", keys=[item], state="announced")
    return result, sorted(path.name for path in folder.glob(f"*.{old}"))


@pytest.mark.parametrize(
    ("bound", "usage", "stays"),
    [
        (False, "digitalSignature,keyEncipherment", True),  # the usual pair for S/MIME
        (False, "digitalSignature", True),
        (True, "digitalSignature,keyEncipherment", True),
        (True, "digitalSignature,keyAgreement", True),
        (True, "digitalSignature", False),
        (True, "", True),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_declared_usage_destroys_nothing(one: Rotated, bound: bool, usage: str, stays: bool, named: bool) -> None:
    folder = one.host.folder / "pair"
    folder.mkdir()
    key, certificate = folder / "own.key", folder / "own.pem"
    for name in ("own.key", "own.key.next"):
        if bound:
            made = {"key": str(folder / name), "usage": "signature", "algorithm": "ec-p256"}
            one.host.run("private_key", keys=[made])
        else:
            story.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / name)
            (folder / name).chmod(0o600)
        more = ("-addext", f"keyUsage={usage}") if usage else ()
        subject = ("req", "-x509", "-key", folder / name, "-subj", "/CN=own", "-days", "9", *more)
        settings = folder / "settings"
        settings.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        pem = folder / name.replace("key", "pem")
        story.openssl(*subject, "-config", settings, "-out", pem)
    item = {"key": str(key), "usage": "signature", **({"certificate": str(certificate)} if named else {})}
    before, old = key.read_bytes(), key_id(key)[:16]
    result, left = announced(one, folder, item)
    assert (f"own.key.{old}" in left) == stays, left
    assert bool(result["warnings"]) == stays
    if stays:
        assert (folder / f"own.key.{old}").read_bytes() == before
        assert (f"own.pem.{old}" in left) == named
        (row,) = one.host.run("key_rotation_info", keys=[item])["results"]
        assert [old["retire"] for old in row["old"]] == [False]
    else:
        assert left == ([f"own.pem.{old}"] if named else [])


def test_what_has_a_record_is_not_destroyed(one: Rotated) -> None:
    """Neither by the host's receipt nor by the vault's record."""
    with open_vault({"path": str(one.scene.vault_path)}, False) as vault:
        vault.create({f"records/{one.made['tls'][1]}/1": b"spoiled"})
    item = {"key": str(one.host.folder / "tls.key")}
    made = {"key": f"{item['key']}.next", "usage": "authentication", "algorithm": "ec-p256"}
    one.host.run("private_key", keys=[made])
    one.host.run("key_rotation", keys=[item])
    result = one.host.run("key_rotation", keys=[item], state="announced")
    assert "record" in result["warnings"][0]
    assert (one.host.folder / f"tls.key.{one.made['tls'][1][:16]}").read_bytes() == one.made["tls"][0]


def test_the_history_has_both_generations_with_their_certificates(one: Rotated) -> None:
    one.rotate()
    now, host = one.check_finished(), one.host
    asked = {"key_owner": host.name, "reason": "a test", **one.scene.requester(host)}
    request_id = host.run("recovery_request", **asked)["request_id"]
    for agent in one.scene.agents[:2]:
        agent.approve(one.scene.vault_path, request_id, host.name)
    found = host.run("key_recovery", request_id=request_id, into={"folder": str(host.folder / "history")})
    certified = {row["key_id"]: len(row["certificates"]) for row in found["results"]}
    mail, plain = one.made["mail"][1], one.made["plain"][1]
    assert certified == {mail: 1, now["mail"]: 1, plain: 0, now["plain"]: 0}


def test_nothing_is_overwritten(one: Rotated) -> None:
    """Somebody else's file under the name of the old key, and a successor without a key."""
    item = {"key": staged(one)["key"]}
    foreign = one.host.folder / f"mail.key.{one.made['mail'][1][:16]}"
    foreign.write_bytes((one.host.folder / "plain.key").read_bytes())
    foreign.chmod(0o600)
    before = (one.host.folder / "mail.key").read_bytes()
    with pytest.raises(FileError):
        one.host.run("key_rotation", keys=[item])
    assert (one.host.folder / "mail.key").read_bytes() == before
    foreign.unlink()
    (one.host.folder / "mail.key").rename(one.host.folder / "away")
    with pytest.raises(KeyExists):
        one.host.run("key_rotation", keys=[item])
    (one.host.folder / "away").rename(one.host.folder / "mail.key")
    assert one.host.run("key_rotation", keys=[item])["changed"]


def test_what_is_asked_wrongly(one: Rotated) -> None:
    key = str(one.host.folder / "mail.key")
    for option, value in (("before", "yesterday"), ("ahead", "soon"), ("keep", "3w"), ("key_ids", ["mail"])):
        with pytest.raises(OptionError):
            one.host.run("key_rotation_info", keys=[{"key": key}], **{option: value})
    with pytest.raises(OptionError):
        one.host.run("key_rotation", keys=[{"key": key}, {"key": key}])
    with pytest.raises(KeyReferenceError):
        one.host.run("key_rotation", keys=[{"key": "pkcs11:token=t;object=o?module-path=/usr/lib/p11.so"}])
    with pytest.raises(PolicyError):
        one.host.run("key_rotation_info", keys=[{"key": key}], policy={"usages": {"key_agreement": {"nonsense": 1}}})
