# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What counts as archived, what removal asks for, and signed events."""

from __future__ import annotations

import sqlite3

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import NotArchivedRefused, RecoveryGroupError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.sqlite import SqliteVault


def lose_from_vault(scene: story.Scene, prefix: str) -> None:
    """What a damaged disk or a forbidden hand does: the vault itself never removes an object."""
    with sqlite3.connect(scene.vault_path) as database:
        database.execute("DROP TRIGGER object_destroy")
        database.execute("DELETE FROM object WHERE path LIKE ?", (prefix + "%",))
    database.close()


def remove(host: story.Machine, **options: object) -> dict:
    key = {"key": str(host.folder / "mail.key"), "state": "absent", **options}
    return host.run("private_key", keys=[key])


@pytest.mark.parametrize("part", ["sealed/", "shares/", "records/"])
def test_an_archive_that_lost_a_part_is_no_archive(scene: story.Scene, part: str) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    scene.archive(host)
    lose_from_vault(scene, part)
    with pytest.raises(NotArchivedRefused):
        remove(host)
    assert (host.folder / "mail.key").exists()
    assert scene.archive(host)["changed"]
    assert remove(host)["changed"]


def test_a_nonsigning_key_goes_only_when_receipt_and_record_agree(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    with pytest.raises(NotArchivedRefused, match="no receipt"):
        remove(host)
    scene.archive(host)
    assert remove(host, usage="key_agreement")["changed"]
    assert not (host.folder / "mail.key").exists()
    assert not remove(host)["changed"]


def test_an_unarchived_key_goes_only_by_name(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    assert remove(host, destroy_unarchived=True)["changed"]
    assert not (host.folder / "mail.key").exists()


def test_the_archive_of_another_host_is_not_this_hosts(scene: story.Scene) -> None:
    """The same key on two hosts: each has a receipt and a revision of its own."""
    first, second = scene.machine("mail1"), scene.machine("mail2")
    key_id = scene.generate(first)
    (second.folder / "mail.key").write_bytes((first.folder / "mail.key").read_bytes())
    assert scene.archive(first)["results"][0]["record"] == 1
    assert scene.archive(second)["results"][0]["record"] == 2
    assert not scene.archive(first, key_owner="mail1")["changed"]
    with open_vault({"path": str(scene.vault_path)}, True) as vault:
        assert len(vault.list(paths.record(key_id, 0)[:-1])) == 2


def test_events_are_signed_where_a_key_is_configured(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key, certificate = host.folder / "log.key", host.folder / "log.pem"
    story.make_certificate(key, certificate, "log", "EC:P-256", "digitalSignature")
    host.log_signing_key = str(key)
    scene.generate(host)
    scene.archive(host)
    der = story.openssl("x509", "-in", certificate, "-outform", "DER")
    with open_vault({"path": str(scene.vault_path)}, True) as vault:
        report = event_log.verify(vault, (), [der])
        assert [bool(event.signed_by) for event in report.events] == [True, True]
        assert not report.problems
        other = story.openssl("x509", "-in", scene.agents[0].folder / "signing.pem", "-outform", "DER")
        assert {problem.kind for problem in event_log.verify(vault, (), [other]).problems} == {"signature"}


def test_a_certificate_that_turns_up_later_raises_an_alarm(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    scene.archive(host)
    options = ("-subj", "/CN=later", "-days", "9", "-addext", "keyUsage=critical,digitalSignature")
    story.openssl("req", "-x509", "-new", "-key", host.folder / "mail.key", "-out", host.folder / "later.pem", *options)
    result = scene.archive(host)
    assert result["failed"]
    assert result["error_class"] == "SigningCertificateRefused"
    assert "ALARM" in result["msg"]
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        assert event_log.verify(vault).events[-1].outcome == "alarm"


def test_cost_of_many_keys_is_one_look_and_one_seal_per_chunk(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    keys = [
        {"key": str(host.folder / f"{number}.key"), "usage": "key_agreement", "algorithm": "ec-p256"}
        for number in range(70)
    ]
    host.run("private_key", keys=keys)
    host.calls.clear()
    common = {"key_owner": "mail1", "recovery_groups": scene.groups()}
    found = host.run("key_archive", keys=[{"key": key["key"]} for key in keys], **common)
    assert all(row["changed"] for row in found["results"])
    assert host.calls == ["facts", "seal", "receipt", "seal", "receipt"]
    host.calls.clear()
    assert not host.run("key_archive", keys=[{"key": key["key"]} for key in keys], **common)["changed"]
    assert host.calls == ["facts"]


def test_what_was_not_looked_at_is_told_and_logged(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    (host.folder / "more").mkdir()
    (host.folder / "more" / "large.pem").write_bytes(b"\n" * ((1 << 20) + 1))
    options = {"search": [str(host.folder / "more")]}
    archived = scene.archive(host, **options)
    assert archived["changed"] and any("over 1 MiB" in warning for warning in archived["warnings"])
    refused = scene.archive(host, item={"usage": "signature"}, **options)
    assert refused["failed"] and refused["warnings"] == archived["warnings"]
    with open_vault({"path": str(scene.vault_path)}, True) as vault:
        events = event_log.verify(vault).events
    assert all("1 MiB" in event.detail for event in events if event.action == "archive")


@pytest.mark.parametrize(
    ("usage", "state", "changed"),
    [("key_agreement", "archived", True), (None, "unknown", True), ("signature", "refused", False)],
)
def test_check_mode_promises_nothing_about_a_coming_key(
    scene: story.Scene, usage: str | None, state: str, changed: bool
) -> None:
    host = scene.machine("mail1")
    scene.generate(host, "other.key")  # a vault is there
    options = {"on_refusal": "skip", "check_mode": True}
    result = scene.archive(host, item={"usage": usage} if usage else {}, **options)
    row = result["results"][0]
    assert (row["state"], row["changed"], result["changed"]) == (state, changed, changed)
    if state == "refused":
        assert row["refusal"]["class"] == "SigningUsageRefused"
        assert scene.archive(host, item={"usage": usage}, check_mode=True)["failed"]


@pytest.mark.parametrize("kind", ["encryption", "signing"])
def test_an_agents_own_key_is_not_archived_to_its_group(scene: story.Scene, kind: str) -> None:
    host = scene.machine("mail1")
    (host.folder / "mail.key").write_bytes((scene.agents[1].folder / f"{kind}.key").read_bytes())
    (host.folder / "mail.key").chmod(0o600)
    item = {"usage": "key_agreement", "accept_declared_usage": True}
    with pytest.raises(RecoveryGroupError, match=rf"mail\.key is the {kind} key of the agent 'agent-2'"):
        scene.archive(host, item=item)
    assert host.calls == ["facts"]


def test_an_archive_whose_content_was_damaged_does_not_let_the_key_go(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    scene.archive(host)
    with sqlite3.connect(scene.vault_path) as database:
        database.execute("DROP TRIGGER object_keep")
        database.execute("UPDATE object SET content = x'00' WHERE path LIKE 'shares/%'")
    database.close()
    with pytest.raises(NotArchivedRefused):
        remove(host)
    assert (host.folder / "mail.key").exists()


def test_a_log_that_lost_its_end_is_told_by_the_host_s_own_receipt(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    scene.archive(host)
    assert not any("receipts of this host" in text for text in scene.archive(host)["warnings"])
    with open_vault({"path": str(scene.vault_path)}) as vault:
        last = event_log.head(vault).number
    lose_from_vault(scene, paths.event(last))
    again = scene.archive(host)
    assert not again["changed"]
    assert any(f"does not have (event {last})" in text for text in again["warnings"])


def test_another_vault_is_told(scene: story.Scene) -> None:
    """Its log may be as long, but it is not the one that the receipts name."""
    host = scene.machine("mail1")
    scene.generate(host)
    scene.archive(host)
    with open_vault({"path": str(scene.vault_path)}) as vault:
        last = event_log.head(vault).number
    lose_from_vault(scene, "events/")
    with open_vault({"path": str(scene.vault_path)}) as vault:
        for _number in range(last):
            event_log.append(vault, action="other", outcome="success", actor="a", host="b")
    assert any("another vault" in text for text in scene.archive(host)["warnings"])


def test_the_vault_is_asked_as_often_for_many_keys_as_for_few(scene: story.Scene, monkeypatch) -> None:
    """Each question is one round of requests to a vault server, all of them at once. The log's end takes its own."""
    asked: list[str] = []

    def counting(name: str) -> None:
        real = getattr(SqliteVault, name)

        def counted(vault, paths, *arguments):
            if not any(path.startswith("events/") for path in paths):
                asked.append(name)
            return real(vault, paths, *arguments)

        monkeypatch.setattr(SqliteVault, name, counted)

    for name in ("_create", "_exists", "_read"):
        counting(name)
    rounds = []
    for count in (1, 40):
        host = scene.machine(f"host{count}")
        keys = [{"key": str(host.folder / f"{number}.key")} for number in range(count)]
        made = [{**key, "usage": "key_agreement", "algorithm": "ec-p256"} for key in keys]
        host.run("private_key", keys=made)
        for _again in range(2):
            asked.clear()
            host.run("key_archive", keys=keys, key_owner=host.name, recovery_groups=scene.groups())
            rounds.append(sorted(asked))
    assert rounds[0] == rounds[2] and rounds[1] == rounds[3]
    assert 3 < len(rounds[1]) < len(rounds[0]) < 20
