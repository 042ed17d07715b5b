# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the audit freezes when agents have lifted freezes, with true lifts: it goes by the evidence alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import vault as audited
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.evidence import Evidence
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import responding
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


def _chained(content: bytes) -> Evidence:
    return Evidence("certificate h:/new.pem allows digitalSignature", "it chains to CN=root", (content, b"root"))


def _own(content: bytes) -> Evidence:
    return Evidence("certificate h:/own.pem allows digitalSignature", "the key itself has signed it", (content,))


class Case:
    """One archived key; its agents can lift, and somebody who may write records adds a revision for others."""

    def __init__(self, scene: story.Scene, vault: object) -> None:
        self.scene, self.vault = scene, vault
        host = scene.machine("mail1")
        self.key_id = scene.generate(host)
        scene.archive(host)

    def audit(self, *evidence: Evidence, check_mode: bool = False) -> list[dict]:
        task = ControllerTask({}, self.vault, check_mode, "localhost", "ops", lambda *_more: None)
        return responding.respond(task, {self.key_id: evidence}, audited.look(self.vault, []))[0]

    def lift(self) -> None:
        freeze_id = freezes.frozen(self.vault, [self.key_id])[self.key_id].freeze_id
        for agent in self.scene.agents[:2]:
            agent.lift(self.scene.vault_path, self.key_id, freeze_id)

    def add_bogus_revision(self, folder: Path) -> None:
        """Whoever may write records archives a key of his own for agents of his own, and names this key."""
        forgers = [story.make_agent(folder, f"forger-{number}", "EC:P-256") for number in (1, 2)]
        other = self.scene.machine("other")
        groups = [{"name": "office", "threshold": 2, "agents": [one.option() for one in forgers]}]
        own_id = self.scene.generate(other)
        self.scene.archive(other, recovery_groups=groups)
        walked = records.walk(self.vault, [self.key_id, own_id])
        (mine,), (own,) = walked[self.key_id], walked[own_id]
        records.add(self.vault, replace(mine, groups=own.groups, sealed_key=own.sealed_key))

    def usable(self) -> list[int]:
        found = freezes.frozen(self.vault, [self.key_id]).get(self.key_id)
        return [one.number for one in freezes.usable(records.walk(self.vault, [self.key_id])[self.key_id], found)]

    def count(self) -> int:
        return len(freezes.contents(self.vault, [self.key_id])[self.key_id])


@pytest.fixture
def case(scene: story.Scene, tmp_path: Path) -> Iterator[Case]:
    with open_vault({"path": str(scene.vault_path)}, False, make=True) as vault:
        yield Case(scene, vault)


@pytest.mark.parametrize("bogus", ["before the lift", "after the lift"])
def test_new_evidence_freezes_anew_when_a_lift_covers_only_some_revisions(
    case: Case, tmp_path: Path, bogus: str
) -> None:
    assert case.audit(_chained(b"first"))[0]["frozen"] and case.usable() == []
    if bogus == "before the lift":
        case.add_bogus_revision(tmp_path)
    case.lift()
    if bogus == "after the lift":
        case.add_bogus_revision(tmp_path)
    assert case.usable() == [1] and case.key_id in freezes.frozen(case.vault, [case.key_id])
    assert case.audit(_chained(b"first")) == [], "what was lifted does not freeze again"
    assert case.usable() == [1]
    assert case.audit(_chained(b"first"), _chained(b"second"), check_mode=True)[0]["frozen"] and case.count() == 1
    assert case.audit(_chained(b"first"), _chained(b"second"))[0]["frozen"]
    assert case.usable() == [] and case.count() == 2
    assert case.audit(_chained(b"first"), _chained(b"second")) == [] and case.count() == 2


def test_evidence_that_comes_before_the_last_lift_is_among_what_is_lifted(case: Case) -> None:
    """Who lifts has seen all that the freezes name, so what came meanwhile has to be among them."""
    case.audit(_chained(b"first"))
    first_id = freezes.frozen(case.vault, [case.key_id])[case.key_id].freeze_id
    case.scene.agents[0].lift(case.scene.vault_path, case.key_id, first_id)
    case.audit(_chained(b"first"), _chained(b"second"))
    with pytest.raises(Exception, match="freeze"):
        case.scene.agents[1].lift(case.scene.vault_path, case.key_id, first_id)
    assert case.usable() == []


def test_whoever_holds_the_key_cannot_push_out_an_authoritys_certificate(case: Case) -> None:
    flood = [_own(b"%d" % number) for number in range(150)]
    assert case.audit(*flood)[0]["frozen"]
    case.lift()
    assert case.usable() == [1] and case.audit(*reversed(flood)) == []
    assert case.audit(*flood, _chained(b"true"))[0]["frozen"] and case.usable() == []
    assert len(freezes.evidence(case.vault, [case.key_id])[case.key_id]) == 101
