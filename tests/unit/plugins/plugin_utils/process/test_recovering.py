# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole story without attackers: archive, lose, request, approve, recover; idempotence, check mode, expiry."""

from __future__ import annotations

import hashlib
import json

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyExists,
    KeyUnreadable,
    NotOnOwnMachine,
    ObjectNotFound,
    OptionError,
    QuorumNotReached,
    RecordMismatch,
    RequesterApproves,
    RequestExpired,
    RequestMismatch,
    StateError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.looking_up import look_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

KEYS = [
    ("key_transport", "rsa-2048"),
    ("key_agreement", "ec-p384"),
    ("key_agreement", "x25519"),
    ("key_agreement", "x448"),
]


def lose(host: story.Machine, name: str = "mail.key") -> None:
    """The disk dies: key and state are gone, the requester's key is not."""
    (host.folder / name).unlink()
    for path in sorted((host.folder / "state").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_request_made_after_archiving_is_no_new_revision_but_a_certificate_is(scene: story.Scene) -> None:
    """The roles archive first and request then; their second run has nothing to do."""
    host = scene.machine("mail1")
    scene.generate(host, usage="key_transport", algorithm="rsa-2048")
    scene.archive(host)
    key, usage = host.folder / "mail.key", "keyUsage=critical,keyEncipherment"
    subject = ("-key", key, "-subj", "/CN=mail1", "-addext", usage)
    story.openssl("req", "-new", *subject, "-out", host.folder / "mail.csr")
    assert not scene.archive(host)["changed"]
    story.openssl("req", "-x509", *subject, "-days", 30, "-out", host.folder / "mail.pem")
    assert scene.archive(host)["results"][0]["record"] == 2
    assert not scene.archive(host)["changed"]


@pytest.mark.parametrize(("usage", "algorithm"), KEYS)
def test_a_lost_key_comes_back(scene: story.Scene, usage: str, algorithm: str) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host, usage=usage, algorithm=algorithm)
    before = (host.folder / "mail.key").read_bytes()
    assert scene.archive(host)["changed"]
    lose(host)
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        assert agent.approve(scene.vault_path, request_id, "mail1")["changed"]
    found = scene.recover(host, request_id, key_id)
    assert found["results"][0]["agents"] == ["agent-1", "agent-2"]
    # The same key with the same usage attribute, as openssl sees it too.
    assert (host.folder / "mail.key").read_bytes() == before
    story.openssl(
        "pkey", "-check" if algorithm.startswith(("rsa", "ec")) else "-noout", "-in", host.folder / "mail.key", "-noout"
    )
    # The host has a receipt again, and the one-time key is gone.
    assert json.loads((host.folder / "state" / "receipts" / f"{key_id}.json").read_text())["key_id"] == key_id
    assert not list((host.folder / "state" / "requests").iterdir())
    assert not scene.recover(host, request_id, key_id)["changed"]
    assert not scene.archive(host)["changed"], "the recovered key counts as archived"
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        report = event_log.verify(vault)
    actions = [event.action for event in report.events]
    assert actions == ["provision", "archive", "request", "approve", "approve", "recover"]
    assert not report.problems


def test_every_step_is_idempotent_and_predicted_by_check_mode(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    assert scene.archive(host, check_mode=True)["changed"]
    assert scene.archive(host)["changed"]
    assert not scene.archive(host)["changed"]
    assert not scene.archive(host, check_mode=True)["changed"]
    lose(host)
    assert scene.ask(host, [key_id], check_mode=True) is None
    request_id = scene.ask(host, [key_id])
    assert scene.ask(host, [key_id]) == request_id, "an open request for the same is the request"
    for agent in scene.agents[1:]:
        assert agent.approve(scene.vault_path, request_id, "mail1", check_mode=True)["changed"]
        assert agent.approve(scene.vault_path, request_id, "mail1")["changed"]
        assert not agent.approve(scene.vault_path, request_id, "mail1")["changed"]
    assert scene.recover(host, request_id, key_id, check_mode=True)["changed"]
    assert not (host.folder / "mail.key").exists()
    assert scene.recover(host, request_id, key_id)["changed"]
    assert not scene.recover(host, request_id, key_id, check_mode=True)["changed"]


def test_one_approval_is_no_quorum_and_says_who_is_missing(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    lose(host)
    request_id = scene.ask(host, [key_id])
    scene.agents[0].approve(scene.vault_path, request_id, "mail1")
    with pytest.raises(QuorumNotReached, match=r"1 of 2.*approved: agent-1.*not yet: agent-2, agent-3"):
        scene.recover(host, request_id, key_id)
    assert not (host.folder / "mail.key").exists()


def test_a_group_of_which_every_agent_can_open(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host, recovery_groups=scene.groups(threshold=1), minimum_threshold=1)
    lose(host)
    request_id = scene.ask(host, [key_id])
    scene.agents[2].approve(scene.vault_path, request_id, "mail1")
    assert scene.recover(host, request_id, key_id)["changed"]


def test_either_of_two_groups_opens(scene: story.Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    escrow = story.make_scene(tmp_path_factory.mktemp("escrow"), agents=2)
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    groups = [*scene.groups(), {**escrow.groups()[0], "name": "escrow"}]
    scene.archive(host, recovery_groups=groups)
    lose(host)
    request_id = scene.ask(host, [key_id])
    scene.agents[0].approve(scene.vault_path, request_id, "mail1")
    escrow.agents[0].approve(scene.vault_path, request_id, "mail1")
    with pytest.raises(QuorumNotReached):
        scene.recover(host, request_id, key_id)
    escrow.agents[1].approve(scene.vault_path, request_id, "mail1")
    assert scene.recover(host, request_id, key_id)["results"][0]["group"] == "escrow"


def test_new_groups_and_new_certificates_make_a_new_revision(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    assert scene.archive(host)["results"][0]["record"] == 1
    assert scene.archive(host, recovery_groups=scene.groups(threshold=3))["results"][0]["record"] == 2
    assert (
        scene.archive(host, key_owner="another owner", recovery_groups=scene.groups(threshold=3))["results"][0][
            "record"
        ]
        == 3
    )
    assert not scene.archive(host, key_owner="another owner", recovery_groups=scene.groups(threshold=3))["changed"]


def test_a_request_ends(scene: story.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    lose(host)
    request_id = scene.ask(host, [key_id], expires_in="30m")
    later = times.now() + times.duration("31m", "test")
    monkeypatch.setattr(times, "now", lambda: later)
    with pytest.raises(RequestExpired):
        scene.agents[0].approve(scene.vault_path, request_id, "mail1")
    with pytest.raises(RequestExpired):
        scene.recover(host, request_id, key_id)
    second = scene.ask(host, [key_id])
    assert second != request_id
    kept = [path.name for path in (host.folder / "state" / "requests").iterdir()]
    assert kept == [f"{second}.json"], "the expired one-time key is gone"


def test_what_is_asked_wrongly(scene: story.Scene) -> None:
    host, other = scene.machine("mail1"), scene.machine("mail2")
    key_id = scene.generate(host)
    with pytest.raises(ObjectNotFound):
        scene.ask(host, [key_id])
    scene.archive(host)
    with pytest.raises(RecordMismatch):
        scene.ask(host, [key_id], owner="mallory")
    request_id = scene.ask(host, [key_id])
    with pytest.raises(RequestMismatch):
        scene.agents[0].approve(scene.vault_path, request_id, "somebody else")
    with pytest.raises(ObjectNotFound):
        scene.agents[0].approve(scene.vault_path, "0" * 64, "mail1")
    with pytest.raises(NotOnOwnMachine):
        scene.agents[0].approve(scene.vault_path, request_id, "mail1", transport="ssh")
    with pytest.raises(StateError):
        scene.recover(other, request_id, key_id)
    another = scene.generate(host, "other.key")
    with pytest.raises(KeyExists):
        scene.recover(host, request_id, key_id, "other.key")
    assert another != key_id


def test_the_requester_does_not_approve(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    agent = scene.agents[0]
    own = {"signing_key": str(agent.folder / "signing.key"), "signing_certificate": str(agent.folder / "signing.pem")}
    request_id = scene.ask(host, [key_id], **own)
    with pytest.raises(RequesterApproves):
        agent.approve(scene.vault_path, request_id, "mail1")


def test_a_recovery_that_was_killed_before_its_event_is_finished_by_the_next_run(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    lose(host)
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")

    def kill(step: str | None, results: list, relay: object) -> tuple:
        raise KeyboardInterrupt

    host.on_reply = kill
    with pytest.raises(KeyboardInterrupt):
        scene.recover(host, request_id, key_id)
    host.on_reply = None
    one_time_key = host.folder / "state" / "requests" / f"{request_id}.json"
    assert (host.folder / "mail.key").exists()
    assert one_time_key.exists()
    assert not scene.recover(host, request_id, key_id)["changed"]
    assert not one_time_key.exists()
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        assert [event.action for event in event_log.verify(vault).events][-1] == "recover"
    assert not scene.archive(host)["changed"], "the receipt is there as well"


@pytest.mark.parametrize(
    "lie",
    [{"agents": ["boss"], "agent_ids": ["f" * 64]}, {"group": "boss"}, {"record": 2}, {"agent_ids": "all"}],
)
def test_what_a_host_says_of_agents_must_be_in_the_record(scene: story.Scene, lie: dict) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    lose(host)
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    host.on_reply = lambda step, results, relay: ([{**row, **lie} for row in results], relay)
    with pytest.raises(FormatError):
        scene.recover(host, request_id, key_id)
    host.on_reply = lambda step, results, relay: (results, {"unclosed": ["f" * 64]} if step == "recover" else relay)
    with pytest.raises(FormatError):
        scene.recover(host, request_id, key_id)
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        event = event_log.verify(vault).events[-1]
    assert (event.action, event.outcome, event.keys) == ("recover", "failed", ((key_id, ""),))


def test_a_damaged_open_request_stands_in_nobodys_way(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    first = scene.ask(host, [key_id])
    (host.folder / "state" / "requests" / f"{first}.json").write_text("damaged")
    second = scene.ask(host, [key_id])
    assert second != first
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, second, "mail1")
    (host.folder / "mail.key").unlink()
    assert scene.recover(host, second, key_id)["changed"]
    with pytest.raises(StateError, match="damaged"):
        scene.recover(host, first, key_id, "elsewhere.key")


def test_a_damaged_file_at_the_place_is_no_key_that_is_back(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host, usage="key_transport", algorithm="rsa-2048")
    scene.archive(host)
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    path = host.folder / "mail.key"
    whole = path.read_bytes()
    der = bytearray(story.openssl("pkey", "-in", path, "-outform", "DER"))
    der[400] ^= 1  # in the private exponent: the public half stays whole
    path.write_bytes(story.openssl("pkey", "-inform", "DER", stdin=bytes(der)))
    damaged = path.read_bytes()
    for check_mode in (True, False):
        with pytest.raises(KeyUnreadable, match="move the file away"):
            scene.recover(host, request_id, key_id, check_mode=check_mode)
    assert path.read_bytes() == damaged
    path.unlink()
    assert scene.recover(host, request_id, key_id)["changed"]
    assert path.read_bytes() == whole


FORGED = ["lost\r\x1b[2Jsound", "lost\nto host: web1", "\u202etsol", "x" * 501]


@pytest.mark.parametrize("reason", FORGED)
def test_a_reason_cannot_forge_what_the_agents_are_shown(
    scene: story.Scene, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    with pytest.raises(OptionError, match=r"^reason must have"):
        scene.ask(host, [key_id], reason=reason)
    with monkeypatch.context() as patched:  # a requester that does not care
        patched.setattr(requests, "check_shown", lambda reason, host: None)
        request_id = scene.ask(host, [key_id], reason=reason)
    with pytest.raises(FormatError, match="reason must have"):
        scene.agents[0].approve(scene.vault_path, request_id, "mail1")


def test_what_an_agent_is_told_before_it_approves(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    request_id = scene.ask(host, [key_id], reason="a block of YAML\n")
    told = scene.agents[0].approve(scene.vault_path, request_id, "mail1", check_mode=True)
    public = story.openssl("x509", "-in", host.folder / "requester.pem", "-pubkey", "-noout")
    der = story.openssl("pkey", "-pubin", "-outform", "DER", stdin=public)
    assert told["requester"] == {"subject": "CN=requester", "key_id": hashlib.sha256(der).hexdigest()}
    assert told["reason"] == "a block of YAML"
    (row,) = told["results"]
    assert row["usages"] == ["key_agreement"]
    assert row["places"] == [{"host": "mail1", "place": str(host.folder / "mail.key")}]


def test_the_vault_does_not_say_where_a_key_goes(scene: story.Scene) -> None:
    """The request says it, and its ID commits to that; a library that it does not name is not even loaded."""
    host = scene.machine("mail1")
    key_id, place = scene.generate(host), str(host.folder / "mail.key")
    scene.archive(host)
    lose(host)
    asked = {"key_owner": "mail1", "reason": "a test", **scene.requester(host)}
    request_id = host.run("recovery_request", keys=[{"key_id": key_id, "key": place}], **asked)["request_id"]
    with open_vault({"backend": "sqlite", "path": str(scene.vault_path)}) as vault:
        about = {"keys": None, "key_owner": None, "limit": None, "after": None}
        task = ControllerTask({**about, "request_id": request_id}, vault, False, "mail1", "ops", print)
        assert [row["requested_place"] for row in look_up(task)["results"]] == [place]
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    token = {"key": "pkcs11:token=ops;object=mail?module-path=/nowhere/library.so", "pin": "12345678", "mode": None}
    for other in ({"key": str(host.folder / "elsewhere.key")}, token):
        with pytest.raises(RequestMismatch, match="which the agents saw"):
            scene.recover(host, request_id, key_id, item=other)
    assert scene.recover(host, request_id, key_id)["changed"] and (host.folder / "mail.key").exists()
