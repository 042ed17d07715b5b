# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attacks of docs/threat-model.md, each played and each refused with its own error.

A bad vault or controller is played by changing what reaches a machine (``on_relay``); whoever may only create
objects, by creating them in the real vault.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import story
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ApprovalMismatch,
    DigestMismatch,
    FormatError,
    FrozenRefused,
    OpenError,
    PossessionNotProven,
    QuorumNotReached,
    RecordMismatch,
    RequestMismatch,
    ShareMismatch,
    SignatureInvalid,
    SigningRegisterRefused,
    SigningUsageRefused,
    WrongKeyRecovered,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import approval as approvals
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, cms_seal, share_text
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


class Case:
    """One archived key of mail1 whose file is lost, and a request for it."""

    def __init__(self, scene: story.Scene) -> None:
        self.scene = scene
        self.host = scene.machine("mail1")
        self.key_id = scene.generate(self.host)
        self.before = (self.host.folder / "mail.key").read_bytes()
        scene.archive(self.host)
        self.lose()
        self.request_id = scene.ask(self.host, [self.key_id])

    def lose(self) -> None:
        (self.host.folder / "mail.key").unlink()

    def approve(self, number: int, **more: object) -> dict:
        return self.scene.agents[number].approve(self.scene.vault_path, self.request_id, "mail1", **more)

    def recover(self) -> dict:
        return self.scene.recover(self.host, self.request_id, self.key_id)

    def assert_back(self) -> None:
        assert self.recover()["changed"]
        assert (self.host.folder / "mail.key").read_bytes() == self.before

    def record(self) -> record.Record:
        return record.parse(self.read(paths.record(self.key_id, 1)))

    def read(self, path: str) -> bytes:
        with open_vault({"path": str(self.scene.vault_path)}, False) as vault:
            return vault.read([path])[path]

    def create(self, objects: dict[str, bytes]) -> None:
        with open_vault({"path": str(self.scene.vault_path)}, False) as vault:
            assert vault.create(objects) == set(objects)


@pytest.fixture
def case(scene: story.Scene) -> Case:
    return Case(scene)


def changing(change: Callable[[dict], None]) -> Callable:
    """A bad vault: the relay, changed in place."""

    def on_relay(step: str | None, relay: dict) -> dict:
        change(relay)
        return relay

    return on_relay


def agent_certificate(scene: story.Scene, number: int, kind: str = "encryption") -> bytes:
    pem = (scene.agents[number].folder / f"{kind}.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def agent_key(scene: story.Scene, number: int, kind: str = "encryption") -> object:
    return serialization.load_pem_private_key((scene.agents[number].folder / f"{kind}.key").read_bytes(), None)


def own_share(case: Case, number: int) -> share_text.Share:
    """What the agent itself can open."""
    agent = case.record().groups[0].agents[number]
    message = case.read(paths.share(agent.agent_id, agent.share))
    return share_text.parse(
        cms_open.open_with_key(message, agent_key(case.scene, number), agent_certificate(case.scene, number))
    )


# --- who may only create objects ---------------------------------------------------------------------------------


def forged_revision(case: Case, number: int) -> tuple[record.Record, dict[str, bytes]]:
    """A revision of the victim's key ID that holds the attacker's own key, with shares for the genuine agents."""
    from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
    from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import generate
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import groups, seal_key
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records

    key = generate.generate([("ec-p256", "key_agreement")])[0]
    parsed = groups.parse_groups(case.scene.groups(), 2, times.now())
    fake = replace(key, facts=replace(key.facts, key_id=case.key_id))
    sealed = seal_key.seal(fake, "key_agreement", "mail1", parsed)
    genuine = case.record()
    forged = records.record_of(
        sealed, replace(key.facts, key_id=case.key_id, public_key=genuine.public_key), host="mail1", place="/x"
    )
    return replace(forged, number=number), records.objects_of(sealed)


def test_a_shadow_revision_does_not_stand_in_the_way(case: Case) -> None:
    forged, objects = forged_revision(case, 2)
    case.create({**objects, paths.record(case.key_id, 2): record.dump(forged)})
    case.approve(0)
    case.approve(1)
    case.assert_back()


def test_a_squatted_key_id_is_archived_all_the_same(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        vault.create({paths.record(key_id, 1): b"squatted"})
    found = scene.archive(host)["results"][0]
    assert found["changed"]
    assert found["record"] == 2
    before = (host.folder / "mail.key").read_bytes()
    (host.folder / "mail.key").unlink()
    request_id = scene.ask(host, [key_id])
    for agent in scene.agents[:2]:
        agent.approve(scene.vault_path, request_id, "mail1")
    assert scene.recover(host, request_id, key_id)["changed"]
    assert (host.folder / "mail.key").read_bytes() == before


def test_only_a_forged_revision_gives_no_key(case: Case) -> None:
    forged, objects = forged_revision(case, 2)
    case.create({**objects, paths.record(case.key_id, 2): record.dump(forged)})

    def hide_the_genuine(relay: dict) -> None:
        for about in relay["keys"].values():
            about["records"] = about["records"][1:]

    case.approve(0, on_relay=changing(hide_the_genuine))
    case.approve(1, on_relay=changing(hide_the_genuine))
    with pytest.raises(WrongKeyRecovered):
        case.recover()
    assert not (case.host.folder / "mail.key").exists()


def test_a_share_that_was_made_for_another_key_is_not_opened_for_this_one(case: Case) -> None:
    """An agent as an oracle: the victim's share stands in a forged record of the attacker's own key and owner."""
    victim = case.record()
    mallory = case.scene.machine("mallory")
    own = case.scene.generate(mallory)
    case.scene.archive(mallory)
    genuine = record.parse(case.read(paths.record(own, 1)))
    group = replace(genuine.groups[0], agents=victim.groups[0].agents)
    case.create({paths.record(own, 2): record.dump(replace(genuine, number=2, groups=(group,)))})
    (mallory.folder / "mail.key").unlink()
    request_id = case.scene.ask(mallory, [own])
    reply = case.scene.agents[0].approve(case.scene.vault_path, request_id, "mallory")
    assert len(reply["results"][0]["problems"]) == 1, "the forged revision was left out"

    def only_the_forged(relay: dict) -> None:
        relay["keys"][own]["records"] = relay["keys"][own]["records"][1:]

    with pytest.raises(ShareMismatch):
        case.scene.agents[1].approve(case.scene.vault_path, request_id, "mallory", on_relay=changing(only_the_forged))


def test_somebody_elses_message_is_not_opened(case: Case) -> None:
    """An agent as an oracle: a message that was encrypted to the agent stands in the place of its share."""
    secret = cms_seal.seal_to_certificate(b"the agent's own mail", agent_certificate(case.scene, 0))
    _replace_share(case, 0, secret)
    with pytest.raises(FormatError):
        case.approve(0, on_relay=_with_record(case))


def _replace_share(case: Case, number: int, message: bytes) -> None:
    genuine = case.record()
    agents = list(genuine.groups[0].agents)
    agents[number] = replace(agents[number], share=canonical.digest(message))
    case.forged = replace(genuine, groups=(replace(genuine.groups[0], agents=tuple(agents)),))
    case.create({paths.share(agents[number].agent_id, canonical.digest(message)): message})
    case.message = message


def _with_record(case: Case) -> Callable:
    def change(relay: dict) -> None:
        relay["keys"][case.key_id]["records"] = [canonical.encode(record.dump(case.forged))]
        relay["keys"][case.key_id]["shares"] = {canonical.digest(case.message): canonical.encode(case.message)}

    return changing(change)


@pytest.mark.parametrize("cipher", ["-aes-256-cbc", "-aes-128-gcm"])
def test_a_share_that_is_sealed_in_a_weaker_way_is_refused(case: Case, tmp_path: Path, cipher: str) -> None:
    plain = tmp_path / "share"
    plain.write_bytes(share_text.dump(own_share(case, 0)))
    certificate = case.scene.agents[0].folder / "encryption.pem"
    weaker = story.openssl("cms", "-encrypt", cipher, "-binary", "-in", plain, "-outform", "DER", "-recip", certificate)
    _replace_share(case, 0, weaker)
    with pytest.raises((OpenError, FormatError)):
        case.approve(0, on_relay=_with_record(case))


def test_a_share_of_another_group_does_not_count(scene: story.Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    second = [{**scene.groups()[0], "name": "second"}]
    scene.archive(host, recovery_groups=[*scene.groups(), *second])
    (host.folder / "mail.key").unlink()
    request_id = scene.ask(host, [key_id])

    def swap(relay: dict) -> None:
        about = relay["keys"][key_id]
        genuine = record.parse(canonical.decode(about["records"][0]))
        first, other = genuine.groups
        forged = replace(genuine, groups=(replace(first, agents=other.agents),))
        about["records"] = [canonical.encode(record.dump(forged))]

    with pytest.raises(ShareMismatch):
        scene.agents[0].approve(scene.vault_path, request_id, "mail1", on_relay=changing(swap))


# --- a vault or controller that changes what it carries ----------------------------------------------------------


def test_a_swapped_one_time_key_changes_the_id(case: Case) -> None:
    mallory = ec.generate_private_key(ec.SECP384R1())
    spki = mallory.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def swap(relay: dict) -> None:
        request = requests.parse(requests.payload_of(canonical.decode(relay["envelope"])))
        _id, envelope = requests.sign(replace(request, one_time_key=spki), mallory)
        relay["envelope"] = canonical.encode(envelope)

    with pytest.raises(RequestMismatch):
        case.approve(0, on_relay=changing(swap))


def test_a_request_that_the_requester_did_not_sign(case: Case) -> None:
    def sign_otherwise(relay: dict) -> None:
        request = requests.parse(requests.payload_of(canonical.decode(relay["envelope"])))
        _id, envelope = requests.sign(request, ec.generate_private_key(ec.SECP256R1()))
        relay["envelope"] = canonical.encode(envelope)

    with pytest.raises(SignatureInvalid):
        case.approve(0, on_relay=changing(sign_otherwise))


def test_an_edited_record_does_not_agree_with_the_share(case: Case) -> None:
    def edit(relay: dict) -> None:
        about = relay["keys"][case.key_id]
        genuine = record.parse(canonical.decode(about["records"][0]))
        about["records"] = [canonical.encode(record.dump(replace(genuine, usage="key_transport")))]

    with pytest.raises(ShareMismatch):
        case.approve(0, on_relay=changing(edit))


def test_a_record_with_another_owner_is_refused(case: Case) -> None:
    def edit(relay: dict) -> None:
        about = relay["keys"][case.key_id]
        genuine = record.parse(canonical.decode(about["records"][0]))
        about["records"] = [canonical.encode(record.dump(replace(genuine, key_owner="mallory")))]

    with pytest.raises(RecordMismatch):
        case.approve(0, on_relay=changing(edit))


def test_a_replayed_approval_does_not_count(case: Case) -> None:
    """Approvals of an earlier request in the place of approvals of a new one."""
    case.approve(0)
    case.approve(1)
    agents = case.record().groups[0].agents[:2]
    given = {
        agent.agent_id: case.read(paths.approval(case.request_id, case.key_id, agent.agent_id, 1)) for agent in agents
    }
    second = case.scene.ask(case.host, [case.key_id], reason="another reason")
    case.create({paths.approval(second, case.key_id, agent_id, 1): text for agent_id, text in given.items()})
    with pytest.raises(ApprovalMismatch):
        case.scene.recover(case.host, second, case.key_id)


def test_an_approval_that_another_agent_signed_does_not_count(case: Case) -> None:
    case.approve(0)
    agents = case.record().groups[0].agents
    genuine = case.read(paths.approval(case.request_id, case.key_id, agents[0].agent_id, 1))
    payload = approvals.parse(canonical.decode(canonical.loads(genuine)["payload"]))
    forged = approvals.sign(replace(payload, agent_id=agents[1].agent_id), agent_key(case.scene, 0, "signing"))
    case.create({paths.approval(case.request_id, case.key_id, agents[1].agent_id, 1): forged})
    with pytest.raises(SignatureInvalid, match="agent-2"):
        case.recover()


def test_a_bad_share_is_named_and_another_agent_makes_up_for_it(case: Case) -> None:
    """An agent releases a share that is not the one that was made."""
    case.approve(0)
    share = own_share(case, 1)
    request = requests.parse(requests.payload_of(case.read(paths.request(case.request_id))))
    bad = replace(share, values=(share.values[0][:-1] + ("0" if share.values[0][-1] != "0" else "1"), share.values[1]))
    message = cms_seal.seal_to_public_key(share_text.dump(bad), request.one_time_key)
    agent = case.record().groups[0].agents[1]
    released = approvals.ReleasedShare("office", case.record().sealed_key, message)
    approval = approvals.Approval(
        case.request_id, case.key_id, agent.agent_id, request.created, 0, "0" * 64, (released,)
    )
    case.create(
        {
            paths.approval(case.request_id, case.key_id, agent.agent_id, 1): approvals.sign(
                approval, agent_key(case.scene, 1, "signing")
            )
        }
    )
    with pytest.raises(ShareMismatch, match="agent-2"):
        case.recover()
    case.approve(2)
    found = case.recover()["results"][0]
    assert found["agents"] == ["agent-1", "agent-3"]
    assert any("agent-2" in problem for problem in found["problems"])


def test_one_agent_twice_is_no_quorum(case: Case) -> None:
    case.approve(0)
    agents = case.record().groups[0].agents
    genuine = case.read(paths.approval(case.request_id, case.key_id, agents[0].agent_id, 1))
    case.create({paths.approval(case.request_id, case.key_id, agents[0].agent_id, 2): genuine})
    with pytest.raises(QuorumNotReached):
        case.recover()


def test_a_sealed_key_that_was_exchanged_does_not_open(case: Case) -> None:
    case.approve(0)
    case.approve(1)

    def exchange(relay: dict) -> None:
        about = relay["keys"][case.key_id]
        about["sealed"] = {name: canonical.encode(os.urandom(600)) for name in about["sealed"]}

    case.host.on_relay = changing(exchange)
    with pytest.raises(DigestMismatch):
        case.recover()


# --- a bad host --------------------------------------------------------------------------------------------------


def test_a_host_cannot_record_a_key_that_it_does_not_hold(scene: story.Scene) -> None:
    victim, mallory = scene.machine("mail1"), scene.machine("mallory")
    scene.generate(victim)
    scene.generate(mallory)
    stolen: dict = {}

    def learn(step: str | None, results: list, relay: object) -> tuple:
        if step == "facts":
            stolen.update(results[0])
        return results, relay

    victim.on_reply = learn
    scene.archive(victim)

    def claim(step: str | None, results: list, relay: object) -> tuple:
        if step == "facts":
            results[0].update(key_id=stolen["key_id"], public_key=stolen["public_key"], receipt=None)
            relay = {"certificates": {stolen["key_id"]: []}}
        if step == "seal":
            relay = {"sealed": {stolen["key_id"]: {**next(iter(relay["sealed"].values())), "key_id": stolen["key_id"]}}}
        return results, relay

    def challenge_own(step: str | None, relay: dict) -> dict:
        if step == "seal":
            own = scene_key_id(mallory)
            (challenge,) = relay["challenges"].values()
            return {"challenges": {own: challenge}}
        return relay

    mallory.on_reply, mallory.on_relay = claim, challenge_own
    with pytest.raises(PossessionNotProven):
        scene.archive(mallory)


def scene_key_id(host: story.Machine) -> str:
    public = story.openssl("pkey", "-in", host.folder / "mail.key", "-pubout", "-outform", "DER")
    return canonical.digest(public)


# --- the signing register ----------------------------------------------------------------------------------------


def signing_entry(host: story.Machine) -> dict[str, bytes]:
    """What another controller's register would hold after the host's key was made to sign: the key itself proves it."""
    key = serialization.load_pem_private_key((host.folder / "mail.key").read_bytes(), None)
    entry = story.signing_entry(key)
    return {paths.signing_key(entry.key_id): signing_register._dump(entry)}


def test_a_registered_signing_key_is_refused(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host)
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        vault.create(signing_entry(host))
    result = scene.archive(host)
    assert result["failed"]
    assert result["error_class"] == SigningRegisterRefused.__name__


def test_a_signing_key_under_a_false_name_is_refused(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    scene.generate(host, usage="signature")
    result = scene.archive(host, item={"usage": "key_agreement", "accept_declared_usage": True})
    assert result["failed"]
    assert result["error_class"] in (SigningUsageRefused.__name__, "UsageConflictRefused")


def test_archive_and_register_at_the_same_moment_freeze_the_key(scene: story.Scene) -> None:
    """The register's entry comes between the first look and the second."""
    host = scene.machine("mail1")
    key_id = scene.generate(host)

    def race(step: str | None, relay: dict) -> dict:
        if step == "seal":
            with open_vault({"path": str(scene.vault_path)}, False) as vault:
                vault.create(signing_entry(host))
        return relay

    host.on_relay = race
    with pytest.raises(SigningRegisterRefused, match="ALARM"):
        scene.archive(host)
    host.on_relay = None
    with pytest.raises(FrozenRefused):
        scene.ask(host, [key_id])


def test_a_host_cannot_register_another_hosts_key_as_signing(case: Case) -> None:
    """Else one bad host could strand every archived key of the fleet."""
    signer = case.scene.machine("signer")
    case.scene.generate(signer, "sign.key", "signature", "ec-p256")
    victim = case.record()

    def claim(step: str | None, results: list, relay: dict) -> tuple:
        if step is None:
            pem = "-----BEGIN PUBLIC KEY-----\n" + canonical.encode(victim.public_key) + "\n-----END PUBLIC KEY-----\n"
            results[0].update(key_id=case.key_id, public_key=pem)
        else:
            relay = {"proofs": {case.key_id: next(iter(relay["proofs"].values()))}}
        return results, relay

    def prove_the_own_key(step: str | None, relay: dict) -> dict:
        own = story.openssl("pkey", "-in", signer.folder / "sign.key", "-pubout", "-outform", "DER")
        return {"prove": [canonical.digest(own)]} if step == "prove" else relay

    signer.on_reply, signer.on_relay = claim, prove_the_own_key
    with pytest.raises(PossessionNotProven):
        case.scene.generate(signer, "sign.key", "signature", "ec-p256")
    case.approve(0)
    case.approve(1)
    case.assert_back()


def test_a_key_that_is_archived_and_then_signs_is_frozen(scene: story.Scene) -> None:
    host = scene.machine("mail1")
    key_id = scene.generate(host)
    scene.archive(host)
    # Rewritten by a tool that drops the usage, then declared to sign.
    path = host.folder / "mail.key"
    path.write_bytes(story.openssl("pkey", "-in", path))
    (host.folder / "state" / "receipts" / f"{key_id}.json").rename(host.folder / "receipt")
    item = {"key": str(path), "usage": "signature", "algorithm": "ec-p256", "regenerate": "never"}
    with pytest.raises(SigningRegisterRefused, match="ALARM"):
        host.run("private_key", keys=[item])
    with pytest.raises(FrozenRefused):
        scene.ask(host, [key_id])
    # What its archive gives back to nobody must not lose its last copy.
    (host.folder / "receipt").rename(host.folder / "state" / "receipts" / f"{key_id}.json")
    with pytest.raises(FrozenRefused):
        host.run("private_key", keys=[{"key": str(path), "state": "absent"}])
    assert path.exists()


def test_garbage_in_the_register_freezes_nothing(case: Case) -> None:
    case.create({paths.signing_key(case.key_id): b"squatted"})
    case.approve(0)
    case.approve(1)
    case.assert_back()
