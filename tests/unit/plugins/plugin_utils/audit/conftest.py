# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the audit: a vault with an archive, and the audit run as the module's process."""

from __future__ import annotations

from collections.abc import Callable

import gathered_facts as made
import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import auditing, keeping
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

DEFAULTS = {
    **{"declared": {}, "tokens": {}, "recovery_groups": [], "trust_anchors": []},
    **{"expiring_within": "30d", "weak_keys": "off", "accepted": [], "expected_heads": []},
    **{"known_log_problems": [], "log_signing_certificates": [], "respond": True, "fail_at": "never"},
    **{"known_lost_heads": [], "limit": None, "outcome_dir": None},
}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit's time stands still."""
    monkeypatch.setattr(auditing.times, "now", lambda: made.NOW)


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault()


def agent(name: str, days: int = 365) -> RecordedAgent:
    """An agent whose certificates end so many days after they began, ten days ago."""
    key = made.new_key()
    data = made.der(made.certificate(key, f"{name} agent", ("keyAgreement",), days=days))
    return RecordedAgent(name, made.key_id_of(key), data, data, "1" * 64, canonical.digest(name.encode()))


def archive(
    vault: MemoryVault, key: object, agents: tuple[RecordedAgent, ...] = (), threshold: int = 2, parts: bool = True
) -> dict:
    """Archive a key as far as the audit looks; returns its receipt."""
    agents = agents or _AGENTS
    key_id, sealed = made.key_id_of(key), canonical.digest(b"sealed" + made.spki(key))
    new = Record(
        key_id=key_id,
        number=1,
        key_owner="web1",
        usage="key_agreement",
        algorithm="ec-p256",
        public_key=made.spki(key),
        host="web1",
        place="/k",
        created="2026-11-01T00:00:00Z",
        sealed_key=sealed,
        groups=(RecordedGroup("admins", threshold, "3" * 32, agents),),
    )
    if parts:
        shares = {paths.share(one.agent_id, one.share): b"share" for one in agents}
        vault.create({paths.sealed_key(sealed): b"sealed", **shares})
    records.add(vault, new)
    return {"key_id": key_id, "usage": "key_agreement", "sealed_key": sealed, "log_number": 0, "log_digest": "0" * 64}


_AGENTS = (agent("carol"), agent("dave"))


@pytest.fixture
def audit(vault: MemoryVault) -> Callable[..., dict]:
    """``audit(hosts, **options)`` runs the process; hosts are gathered_facts.Host by name."""

    def run(hosts: dict, check_mode: bool = False, use_vault: bool = True, **options: object) -> dict:
        def call(*_arguments: object, **_keywords: object) -> None:
            raise AssertionError("nothing runs on a host")

        gathered = {name: host.result() if isinstance(host, made.Host) else host for name, host in hosts.items()}
        params = {**DEFAULTS, "gathered": gathered, **options}
        policy, opened = params.pop("policy", None), params.pop("vault", vault)
        task = ControllerTask(
            params, opened if use_vault else None, check_mode, "localhost", "ops", call, policy=policy
        )
        return keeping.judge(task)

    return run


def told(result: dict) -> list[tuple[str, str, str]]:
    """Kind, host and place of every finding."""
    return sorted((row["id"], row["host"], row["place"]) for row in result["audit"]["findings"])
