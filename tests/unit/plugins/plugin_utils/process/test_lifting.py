# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lifting a freeze: m agents of the record's group, for these freezes and no others; and everybody else who tries."""

from __future__ import annotations

from dataclasses import replace

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    ApprovalMismatch,
    FormatError,
    FrozenRefused,
    KeyNotFound,
    NotOnOwnMachine,
    ObjectNotFound,
    OptionError,
    QuorumNotReached,
    VaultForbidden,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.freeze import freeze_id as id_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import lift as lifts
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.looking_up import look_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault


class Case:
    """One archived key of mail1 that somebody froze."""

    def __init__(self, scene: story.Scene) -> None:
        self.scene = scene
        self.host = scene.machine("mail1")
        self.key_id = scene.generate(self.host)
        scene.archive(self.host)
        self.freeze("it signed")

    def freeze(self, reason: str) -> None:
        with self.vault() as vault:
            freezes.freeze(vault, self.key_id, reason)

    def vault(self) -> object:
        return open_vault({"path": str(self.scene.vault_path)}, False)

    def row(self) -> dict:
        """What key_archive_info tells."""
        params = {
            "keys": [{"key_id": self.key_id}],
            "request_id": None,
            "key_owner": None,
            "limit": None,
            "after": None,
        }
        with self.vault() as vault:
            return look_up(ControllerTask(params, vault, False, "localhost", "ops", lambda *_more: None))["results"][0]

    def lift(self, number: int, freeze_id: str | None = None, **more: object) -> dict:
        agent = self.scene.agents[number]
        return agent.lift(self.scene.vault_path, self.key_id, freeze_id or self.row()["freeze_id"], **more)

    def holds(self) -> bool:
        """As every reader of freezes sees it."""
        with self.vault() as vault:
            held = self.key_id in freezes.closed(vault, [self.key_id])
        assert held == self.row()["frozen"]
        return held

    def put(self, number: int, signer: int, **changed: object) -> None:
        """Whoever may write anything puts a lift of this agent, signed with that one's key, into the vault."""
        agent_id = self.record().groups[0].agents[number].agent_id
        freeze_id = str(changed.pop("at", self.row()["freeze_id"]))
        one = lifts.Lift(self.key_id, freeze_id, agent_id, "a test", "2026-01-31T12:00:00Z", 0, "0" * 64)
        key = story.read_private_key(str(self.scene.agents[signer].folder / "signing.key"), None, "key")
        with self.vault() as vault:
            path = paths.lift(self.key_id, self.row()["freeze_id"], agent_id, 1)
            assert vault.create({path: lifts.sign(replace(one, **changed), key)})

    def record(self, number: int = 1) -> record.Record:
        with self.vault() as vault:
            return record.parse(vault.read([paths.record(self.key_id, number)])[paths.record(self.key_id, number)])

    def add_revision(self, **changed: object) -> None:
        with self.vault() as vault:
            records.add(vault, replace(self.record(), **changed))


@pytest.fixture
def case(scene: story.Scene) -> Case:
    return Case(scene)


def test_a_quorum_lifts_a_freeze_and_the_key_can_be_recovered(case: Case) -> None:
    request = "it was lost"
    (case.host.folder / "mail.key").unlink()
    with pytest.raises(FrozenRefused, match="freeze_lift"):
        case.scene.ask(case.host, [case.key_id], reason=request)
    predicted = case.lift(0, check_mode=True)
    assert predicted["changed"] and predicted["results"][0]["signed_by"][0]["agents"] == []
    first = case.lift(0)["results"][0]
    assert first["changed"] and first["lifted_for"] == [] and first["freezes"][0]["reason"] == "it signed"
    assert first["key_owners"] == ["mail1"] and first["places"][0]["host"] == "mail1"
    assert first["signed_by"] == [{"record": 1, "group": "office", "threshold": 2, "agents": ["agent-1"]}]
    assert not case.lift(0)["changed"] and case.holds()
    with pytest.raises(FrozenRefused):
        case.scene.ask(case.host, [case.key_id])
    freeze_id = case.row()["freeze_id"]
    second = case.lift(2)["results"][0]
    assert second["lifted_for"] == [1] and not case.holds()
    assert (case.row()["freeze_id"], case.row()["freeze_reason"]) == (None, None)
    with case.vault() as vault:
        event = event_log.verify(vault).events[-1]
        # The same evidence again is no new freeze; new evidence is one.
        freezes.freeze(vault, case.key_id, "it signed")
        assert not freezes.frozen(vault, [case.key_id])
    assert (event.action, event.outcome, event.keys) == ("lift", "success", ((case.key_id, "agent agent-3"),))
    assert freeze_id in event.detail and "a test" in event.detail
    request_id = case.scene.ask(case.host, [case.key_id])
    for agent in case.scene.agents[:2]:
        agent.approve(case.scene.vault_path, request_id, "mail1")
    assert case.scene.recover(case.host, request_id, case.key_id)["changed"]
    # And archived anew, for example to new agents.
    assert case.scene.archive(case.host, recovery_groups=case.scene.groups(3))["changed"]
    assert not case.holds()


def test_a_new_freeze_between_request_and_approval_stops_it(case: Case) -> None:
    case.lift(0)
    case.lift(1)
    old = freezes_id(case)
    (case.host.folder / "mail.key").unlink()
    request_id = case.scene.ask(case.host, [case.key_id])
    case.scene.agents[0].approve(case.scene.vault_path, request_id, "mail1")
    case.freeze("it signed again")
    # The two lifts are still there, and say nothing of the freeze that came later.
    assert case.holds() and case.row()["freeze_id"] != old
    with pytest.raises(FrozenRefused):
        case.scene.agents[1].approve(case.scene.vault_path, request_id, "mail1")
    with pytest.raises(FrozenRefused):
        case.scene.recover(case.host, request_id, case.key_id)
    with pytest.raises(ApprovalMismatch, match="one more than you were told"):
        case.lift(0, old)
    # Nor do they when somebody puts the old envelopes in the new place.
    with case.vault() as vault:
        new = case.row()["freeze_id"]
        kept = vault.read(vault.list(f"lifts/{case.key_id}/{old}/"))
        vault.create({path.replace(old, new): content for path, content in kept.items()})
    assert case.holds()
    case.lift(0)
    assert case.holds()
    case.lift(1)
    assert not case.holds()


def freezes_id(case: Case) -> str:
    """The ID of the freezes, also when they are lifted."""
    with case.vault() as vault:
        return id_of(case.key_id, freezes.contents(vault, [case.key_id])[case.key_id])


def test_one_agent_is_one_voice_and_nobody_speaks_for_another(case: Case) -> None:
    case.lift(0)
    # Agent 1 writes in agent 2's place: with its own signature, and a copy of its own lift.
    case.put(1, signer=0)
    case.put(2, signer=0, agent_id=case.record().groups[0].agents[0].agent_id)
    assert case.holds()
    # What stands in the wrong place is passed over, and the agent's own next to it counts.
    case.lift(1)
    assert not case.holds()


def test_a_lift_signed_by_a_smart_card_counts_beside_one_by_a_file(scene: story.Scene, tmp_path) -> None:
    # softhsm2-util imports no key that agrees.
    scene.agents[0] = story.make_agent(tmp_path / "agents", "agent-1", "RSA:2048", wrapping="RSA:2048")
    scene.agents[0].take_card()
    case = Case(scene)
    assert case.lift(0)["changed"] and not case.lift(0)["changed"]
    case.lift(1)
    assert not case.holds()


@pytest.mark.parametrize(
    "changed", [{"key_id": "a" * 64}, {"freeze_id": "b" * 64}, {"agent_id": "c" * 64}], ids=lambda one: next(iter(one))
)
def test_a_lift_is_bound_to_key_freezes_and_agent(case: Case, changed: dict) -> None:
    case.lift(0)
    case.put(1, signer=1, **changed)
    assert case.holds()


def test_two_halves_of_different_groups_are_no_quorum(scene: story.Scene, tmp_path) -> None:
    others = [story.make_agent(tmp_path / "others", f"other-{number}", "EC:P-256") for number in (1, 2)]
    case = Case(scene)
    both = [*scene.groups(), {"name": "escrow", "threshold": 2, "agents": [one.option() for one in others]}]
    case.lift(0)
    case.lift(1)
    assert scene.archive(case.host, recovery_groups=both)["changed"]
    case.freeze("it signed again")
    case.lift(0)
    others[0].lift(scene.vault_path, case.key_id, case.row()["freeze_id"])
    assert case.holds()
    # Revision 2 has both groups; of revision 1 the second one knows nothing, so that stays shut.
    others[1].lift(scene.vault_path, case.key_id, case.row()["freeze_id"])
    assert case.row()["lifted_for"] == [2] and not case.holds()
    with case.vault() as vault:
        assert case.key_id in freezes.frozen(vault, [case.key_id])


def test_agents_of_another_group_and_of_a_forged_revision_lift_nothing_of_the_genuine_one(case: Case, tmp_path) -> None:
    forgers = [story.make_agent(tmp_path / "forgers", f"forger-{number}", "EC:P-256") for number in (1, 2)]
    with pytest.raises(AgentUnknown):
        forgers[0].lift(case.scene.vault_path, case.key_id, case.row()["freeze_id"])
    with pytest.raises(AgentUnknown):
        case.lift(0, signing_key=str(forgers[0].folder / "signing.key"))
    # An archiver adds a revision with agents of its own: its sealed key is no archive of this key.
    other = case.scene.machine("other")
    case.scene.generate(other)
    groups = [{"name": "office", "threshold": 2, "agents": [one.option() for one in forgers]}]
    case.scene.archive(other, recovery_groups=groups)
    with case.vault() as vault:
        names = [path for path in vault.list("records/") if case.key_id not in path]
        forged = record.parse(vault.read(names)[names[0]])
    case.add_revision(groups=forged.groups, sealed_key=forged.sealed_key)
    for one in forgers:
        one.lift(case.scene.vault_path, case.key_id, case.row()["freeze_id"])
    assert case.row()["lifted_for"] == [2]
    (case.host.folder / "mail.key").unlink()
    request_id = case.scene.ask(case.host, [case.key_id])
    # The genuine agents' shares are of revision 1, which is not even shown to them.
    for agent in case.scene.agents[:2]:
        with pytest.raises(AgentUnknown):
            agent.approve(case.scene.vault_path, request_id, "mail1")
    with pytest.raises(QuorumNotReached):
        case.scene.recover(case.host, request_id, case.key_id)


def test_a_copy_of_a_revision_with_other_signers_is_lifted_with_it_or_not_at_all(case: Case, tmp_path) -> None:
    """Else its forged signers would lift it, and the genuine agents' shares open it."""
    forger = story.make_agent(tmp_path / "forgers", "forger", "EC:P-256")
    certificate = story.openssl("x509", "-in", forger.folder / "signing.pem", "-outform", "DER")
    group = case.record().groups[0]
    swapped = tuple(replace(one, signing_certificate=certificate) for one in group.agents[:1])
    case.add_revision(groups=(replace(group, threshold=1, agents=(*swapped, *group.agents[1:])),))
    agent_id = group.agents[0].agent_id
    one = lifts.Lift(case.key_id, case.row()["freeze_id"], agent_id, "x", "2026-01-31T12:00:00Z", 0, "0" * 64)
    key = story.read_private_key(str(forger.folder / "signing.key"), None, "key")
    with case.vault() as vault:
        vault.create({paths.lift(case.key_id, one.freeze_id, agent_id, 1): lifts.sign(one, key)})
    assert case.holds() and case.row()["lifted_for"] == []


def test_a_freeze_that_cannot_be_read_is_lifted_like_any_other(case: Case) -> None:
    with case.vault() as vault:
        vault.create({paths.freeze(case.key_id, 2): b"garbage \xff"})
    case.lift(0)
    told = case.lift(1)["results"][0]
    assert [row["number"] for row in told["freezes"]] == [1, 2] and "cannot be read" in told["freezes"][1]["reason"]
    assert not case.holds()


def test_a_vault_that_shows_other_freezes_to_the_agent_gets_no_signature(case: Case) -> None:
    def fewer(_step: str | None, relay: dict) -> dict:
        return {**relay, "freezes": []}

    with pytest.raises(ApprovalMismatch):
        case.lift(0, on_relay=fewer)
    assert case.holds()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"transport": "ssh"}, NotOnOwnMachine),
        ({"key_id": "f" * 64}, ObjectNotFound),
        ({"key_id": "mail"}, OptionError),
        ({"freeze_id": "F" * 64}, OptionError),
        ({"freeze_id": "f" * 64}, ApprovalMismatch),
        ({"reason": ""}, FormatError),
        ({"reason": "two\nlines"}, FormatError),
        ({"agent": "nobody"}, AgentUnknown),
        ({"signing_key": "/nowhere"}, KeyNotFound),
        ({"signing_key_pin": "12345678"}, OptionError),
    ],
    ids=str,
)
def test_bad_input(case: Case, options: dict, expected: type) -> None:
    agent = case.scene.agents[0]
    given = {"key_id": case.key_id, "freeze_id": case.row()["freeze_id"], **options}
    with pytest.raises(expected):
        agent.lift(case.scene.vault_path, **given)
    assert case.holds()
    with case.vault() as vault:
        assert vault.list("lifts/") == []


def test_who_may_not_see_lifts_sees_a_frozen_key(case: Case) -> None:
    """A server whose policies are of an earlier release."""

    class Restricted(MemoryVault):
        hidden = ""

        def _read(self, paths):
            if any(name.startswith(self.hidden) for name in paths):
                raise VaultForbidden("not for you")
            return super()._read(paths)

    case.lift(0)
    case.lift(1)
    full = Restricted()
    full.hidden = "nothing"
    with case.vault() as vault:
        names = [path for folder in paths.FOLDERS for path in vault.list(f"{folder}/")]
        full.create(vault.read(names))
    assert not freezes.frozen(full, [case.key_id])
    for hidden in ("lifts/", "records/"):
        full.hidden = hidden
        assert freezes.closed(full, [case.key_id])


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "keyops-lift/2"},
        {"reason": "\u202e"},
        {"created": "now"},
        {"log_head": {}},
        {"key_id": "A"},
        {"more": 1},
    ],
    ids=lambda one: next(iter(one)),
)
def test_the_format_is_strict(changed: dict) -> None:
    sound = {
        **{"format": "keyops-lift/1", "key_id": "a" * 64, "freeze_id": "b" * 64, "agent_id": "c" * 64},
        **{"reason": "x", "created": "2026-01-31T12:00:00Z", "log_head": {"number": 0, "digest": "0" * 64}},
    }
    assert lifts.parse(canonical.dumps(sound)).reason == "x"
    with pytest.raises(FormatError):
        lifts.parse(canonical.dumps({**sound, **changed}))
