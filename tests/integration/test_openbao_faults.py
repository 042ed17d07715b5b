# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fifty archival runs that a fault meets, against three vault servers: no record is lost, and none is doubled.

Each run is several hosts at once, whose archiver has the rights of its duty and reaches the servers through a load
balancer. What passes by is outlived: no batch fails. What does not (a spent token, a full disk) is told clearly, and
the next run finishes.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import story
from fault_runs import Batch, Fault, Runs
from openbao_faults import FaultyCluster
from outside_server import OutsideServer

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultFull, VaultUnavailable
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

_ARCHIVER = """
path "{mount}/data/records/*" {{ capabilities = ["create", "read"] }}
path "{mount}/data/events/*" {{ capabilities = ["create", "read"] }}
path "{mount}/data/signing/*" {{ capabilities = ["create", "read"] }}
path "{mount}/data/freezes/*" {{ capabilities = ["create", "read"] }}
path "{mount}/data/sealed/*" {{ capabilities = ["create"] }}
path "{mount}/data/shares/*" {{ capabilities = ["create"] }}
path "{mount}/metadata/*" {{ capabilities = ["read", "list"] }}
"""

_DEFAULTS = {"validate_certs": True, "auth_method": "token", "connections": 4, "timeout": 60}

#: What was done, for the summary.
_COLUMNS = ("runs", "batches", "failed", "keys", "seconds")
_DONE: Counter[tuple[str, str]] = Counter()


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    with FaultyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.root("POST", "sys/auth/approle", {"type": "approle"})
        yield cluster


@pytest.fixture(name="runs")
def _runs(cluster: FaultyCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runs]:
    """A new vault with what was archived before; at the end all of it is still the same, and its log verifies."""
    cluster.wait_ready()
    mount = request.node.originalname.replace("test_", "").replace("_", "-")
    cluster.mount(mount)
    token = cluster.token(mount, _ARCHIVER.format(mount=mount))
    server = OutsideServer(cluster, mount)
    runs = Runs(story.make_scene(tmp_path), lambda: _options(cluster, mount, token=token), server)
    runs.measure()
    yield runs
    known = server.forget()
    assert server.look().objects.items() >= known.items()
    with open_vault(_options(cluster, mount, token=cluster.root_token)) as vault:
        assert event_log.verify(vault).problems == ()


def _options(cluster: FaultyCluster, mount: str, **login: object) -> dict:
    return {
        "backend": "openbao",
        "url": cluster.url,
        "mount": mount,
        "ca_cert": str(cluster.ca_cert),
        **_DEFAULTS,
        **login,
    }


def _repeat(runs: Runs, kind: str, count: int, fault: Fault, lasts: tuple[float, float] = (0, 1)) -> list[Batch]:
    batches: list[Batch] = []
    begin = time.monotonic()
    for dummy in range(count):
        batches += runs.run(fault, lasts)
        _DONE[kind, "runs"] += 1
    _DONE[kind, "batches"] += len(batches)
    _DONE[kind, "keys"] += sum(len(batch.key_ids) for batch in batches)
    _DONE[kind, "failed"] += sum(bool(batch.error) for batch in batches)
    _DONE[kind, "seconds"] += round(time.monotonic() - begin)
    return batches


def _outlived(runs: Runs, kind: str, count: int, fault: Fault, lasts: tuple[float, float] = (0, 1)) -> None:
    batches = _repeat(runs, kind, count, fault, lasts)
    assert {batch.error for batch in batches} == {""}, "what passes by was not outlived"


def test_lost_answers(cluster: FaultyCluster, runs: Runs) -> None:
    """Every n-th request is carried out, or not, and its answer is lost."""
    every = iter([2, 3, 4, 5, 7, 9, 11, 17] * 2)
    _outlived(runs, "answers lost", 10, lambda: cluster.lost_answers(next(every)), (1, 2))


def test_cut_between_nodes(cluster: FaultyCluster, runs: Runs) -> None:
    """A standby may send a client's request to the leader again, and nobody tells the client."""
    _outlived(runs, "nodes cut apart", 5, cluster.cut_between_nodes)


def test_killed_leader(cluster: FaultyCluster, runs: Runs) -> None:
    _outlived(runs, "leader killed", 6, cluster.killed_leader)


def test_sealed_leader(cluster: FaultyCluster, runs: Runs) -> None:
    _outlived(runs, "leader sealed", 5, cluster.sealed_leader)


def test_paused_leader(cluster: FaultyCluster, runs: Runs) -> None:
    _outlived(runs, "leader paused", 5, cluster.paused_leader, (1, 3))


def test_isolated_leader(cluster: FaultyCluster, runs: Runs) -> None:
    _outlived(runs, "leader isolated", 5, cluster.isolated_leader, (1, 4))


def test_all_killed(cluster: FaultyCluster, runs: Runs) -> None:
    _outlived(runs, "all three killed", 3, cluster.all_killed)


def test_spent_login(cluster: FaultyCluster, runs: Runs) -> None:
    """All tokens of the archiver's role are revoked in the middle of a run: it logs in again and goes on."""
    mount = runs.server.mount
    role = {"token_policies": [mount], "token_no_default_policy": True, "token_ttl": "10m"}
    cluster.root("POST", f"auth/approle/role/{mount}", role)
    role_id = cluster.root("GET", f"auth/approle/role/{mount}/role-id")["data"]["role_id"]
    secret_id = cluster.root("POST", f"auth/approle/role/{mount}/secret-id", {})["data"]["secret_id"]
    login = {"auth_method": "approle", "role_id": role_id, "secret_id": secret_id}
    runs.options = lambda: _options(cluster, mount, **login)

    @contextmanager
    def revoked() -> Iterator[None]:
        cluster.root("PUT", "sys/leases/revoke-prefix/auth/approle/login", {"sync": True})
        yield

    before = cluster.logins()
    _outlived(runs, "login spent", 3, revoked)
    assert cluster.logins() >= before + 2


def test_short_lived_login(cluster: FaultyCluster, runs: Runs) -> None:
    """Tokens end by themselves after a second, each of them within a call or between two."""
    mount = runs.server.mount
    cluster.root("POST", f"auth/approle/role/{mount}", {"token_policies": [mount], "token_ttl": "1s"})
    role_id = cluster.root("GET", f"auth/approle/role/{mount}/role-id")["data"]["role_id"]
    secret_id = cluster.root("POST", f"auth/approle/role/{mount}/secret-id", {})["data"]["secret_id"]
    login = {"auth_method": "approle", "role_id": role_id, "secret_id": secret_id}
    runs.options = lambda: _options(cluster, mount, **login)
    _outlived(runs, "login of a second", 3, nullcontext)


def test_spent_token(cluster: FaultyCluster, runs: Runs) -> None:
    """A token that somebody has given ends in the middle of a run: that is told, and the next one finishes."""
    mount = runs.server.mount
    tokens = [cluster.token(mount, _ARCHIVER.format(mount=mount))]
    runs.options = lambda: _options(cluster, mount, token=tokens[-1])

    @contextmanager
    def revoked() -> Iterator[None]:
        cluster.root("POST", "auth/token/revoke", {"token": tokens[-1]})
        tokens.append(cluster.token(mount, _ARCHIVER.format(mount=mount)))
        yield

    batches = _repeat(runs, "token spent", 3, revoked)
    errors = {batch.error.split(":")[0] for batch in batches}
    assert errors <= {"", "VaultForbidden"} and "VaultForbidden" in errors
    assert all("vault.token" in batch.error for batch in batches if batch.error)


def test_full_disks(cluster: FaultyCluster, runs: Runs) -> None:
    """No server can write any more: that is told, and when there is space again, the next run finishes.

    A server says so when its log does not take the request; when only its storage does not, it dies.
    """
    cluster.mount("filler")
    told = set()

    @contextmanager
    def full() -> Iterator[None]:
        options = _options(cluster, "filler", token=cluster.root_token, timeout=5)
        with cluster.full_disks():
            with open_vault(options) as vault, pytest.raises((VaultFull, VaultUnavailable)) as error:
                for dummy in range(100):  # what the servers' files have free inside goes first
                    vault.create({f"sealed/{secrets.token_hex(8)}": os.urandom(20_000) for dummy in range(25)})
            told.add(error.type)
            yield

    batches = _repeat(runs, "disks full", 2, full, (0, 1))
    assert {batch.error.split(":")[0] for batch in batches} <= {"", "VaultFull", "VaultUnavailable"}
    print(f"a full disk was told as {sorted(one.__name__ for one in told)}")


def test_summary() -> None:
    """What was done."""
    kinds = sorted({kind for kind, _what in _DONE})
    rows = [[_DONE[kind, what] for what in _COLUMNS] for kind in kinds]
    rows.append([sum(column) for column in zip(*rows)])
    print("\n" + " " * 24 + "".join(f"{one:>9}" for one in _COLUMNS))
    for kind, row in zip([*kinds, "all"], rows):
        print(f"{kind:24}" + "".join(f"{one:9}" for one in row))
    assert _DONE.total() == 0 or rows[-1][0] >= 50
