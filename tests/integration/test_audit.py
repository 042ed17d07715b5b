# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three SSH hosts with one of each finding planted: the audit finds exactly those, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import planted_fleet
import pytest
from planted_fleet import CHECKOUT, Planted, command, on_host
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

AUDIT = "keyops.lifecycle.audit"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    command(CHECKOUT / "tests/fleet/down")
    try:
        yield planted_fleet.plant(tmp_path_factory.mktemp("audit"))
    finally:
        command(CHECKOUT / "tests/fleet/down")


@pytest.fixture(scope="module")
def first(world: Planted) -> str:
    """The first audit, which fails at ``high``; what the play printed."""
    done = world.play(AUDIT)
    text = done.stdout.decode()
    assert done.returncode == 2 and "limit high" in text, text[-4000:] + done.stderr.decode()[-2000:]
    return text


def test_exactly_what_was_planted(world: Planted, first: str) -> None:
    assert world.told() == sorted(world.expected)
    # Tokens are in test_audit_tokens.py: these hosts have none. No host lies here.
    assert {one.id for one in catalogue.KINDS} - {kind for kind, *dummy in world.expected} == {"KL025", "KL030"}
    assert "KL002" in first and "limit high" in first
    assert world.outcome["summary"]["hosts_audited"] == 3 and world.outcome["notes"] == []


def test_the_archived_key_that_signs_is_frozen_and_alarmed(world: Planted, first: str) -> None:
    with open_vault({"path": str(world.vault_path)}, check_mode=True) as vault:
        frozen = freezes.frozen(vault, [world.ids["signs"]])[world.ids["signs"]]
        events = event_log.verify(vault).events
    assert "chains to the trust anchor CN=root" in frozen.first.evidence[0]
    alarms = [event for event in events if (event.action, event.outcome) == ("audit", "alarm")]
    assert [key_id for event in alarms for key_id, dummy in event.keys] == [world.ids["signs"]]


def test_reports_lie_beside_the_outcome(world: Planted, first: str) -> None:
    folder = world.folder / "audits"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.[hjs]*") if path.is_file()} == {0o600}
    run = json.loads((folder / "audit.sarif").read_text())["runs"][0]
    assert Counter(result["ruleId"] for result in run["results"]) == Counter(kind for kind, *dummy in world.expected)
    families = {one.name: one for one in text_string_to_metric_families((folder / "keyops_audit.prom").read_text())}
    assert sum(one.value for one in families["keyops_audit_findings"].samples) == len(world.expected)
    page = (folder / "report.html").read_text()
    kept = CHECKOUT / ".build" / "report"  # to be looked at
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "planted.html").write_text(page)
    assert "/srv/signs.key" in page and "Archived key that signs" in page
    assert len(list((folder / "history").iterdir())) == 1


def test_an_agent_lifts_a_freeze_by_the_playbook(world: Planted, first: str) -> None:
    """The group's threshold is 1. What the second audit says of the key is below."""
    with open_vault({"path": str(world.vault_path)}, check_mode=True) as vault:
        freeze_id = freezes.frozen(vault, [world.ids["real"]])[world.ids["real"]].freeze_id
    signing_key = str(world.folder / "agents" / "ann" / "signing.key")
    common = {"keyops_key_id": world.ids["real"], "keyops_freeze_id": freeze_id, "keyops_reason": "it was a mistake"}
    common.update(keyops_agent="ann", keyops_agent_signing_key=signing_key, keyops_agent_passphrase="")
    refused = world.play("keyops.lifecycle.lift", **common)
    assert refused.returncode == 2 and "Nothing was signed" in refused.stdout.decode()
    with open_vault({"path": str(world.vault_path)}, check_mode=True) as vault:
        assert world.ids["real"] in freezes.frozen(vault, [world.ids["real"]]) and vault.list("lifts/") == []
    done = world.play("keyops.lifecycle.lift", **common, keyops_lift_without_asking=True)
    assert done.returncode == 0 and "They are lifted" in done.stdout.decode(), done.stdout.decode()[-3000:]
    with open_vault({"path": str(world.vault_path)}, check_mode=True) as vault:
        assert not freezes.frozen(vault, [world.ids["real"]])


def test_second_audit_mends_accepts_and_alarms_no_more(world: Planted, first: str) -> None:
    with open_vault({"path": str(world.vault_path)}, check_mode=True) as vault:
        before, lifted = event_log.head(vault).number, not freezes.frozen(vault, [world.ids["real"]])
    accepted = [
        {"id": "dual-usage", "host": "host1", "reason": "ticket 1", "expires": str(date.today() + timedelta(days=300))},
        {"id": "KL006", "place": "/srv/*", "reason": "ticket 2", "expires": "2020-01-01"},
    ]
    done = world.play(AUDIT, keyops_audit_fix=True, keyops_audit_accepted=accepted, keyops_audit_fail_at="never")
    assert done.returncode == 0, done.stdout.decode()[-4000:]
    text = done.stdout.decode()
    assert "/srv/open.key: 0644 root:root is now 0600 root:root" in text
    assert "/srv/owner.key: 0600 4711:root is now 0600 root:root" in text
    assert on_host("host1", "stat -c %a:%U /srv/open.key /srv/owner.key").split() == ["600:root", "600:root"]
    gone = {
        *([("KL029", "host1", "/srv/real.key")] if lifted else []),
        ("KL003", "host1", "/srv/open.key"),
        ("KL004", "host1", "/srv/owner.key"),
    }
    assert world.told() == sorted(set(world.expected) - gone)
    found = {row["id"]: row for row in world.outcome["findings"]}
    assert found["KL007"]["accepted"]["reason"] == "ticket 1"
    assert found["KL006"]["accepted"] is None and "accepted until 2020-01-01: ticket 2" in found["KL006"]["detail"]
    head = json.loads((world.folder / "audits" / "head.json").read_text())
    assert head["number"] == before, "no new alarm, so no new event"
    assert head["missed"] == [{"number": 99, "digest": "9" * 64}], "told again until somebody acknowledges it"
    assert len(list((world.folder / "audits" / "history").iterdir())) == 3, "one more before it mended"


def test_no_private_key_leaves_its_host(world: Planted, first: str) -> None:
    for path in Path(world.folder / "audits").rglob("*"):
        assert path.is_dir() or "PRIVATE KEY-----" not in path.read_text()
