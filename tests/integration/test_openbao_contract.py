# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of every vault backend, here of real OpenBao servers: one alone, and a standby of three with Raft."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from openbao_cluster import Cluster, Node
from vault_contract import VaultContract

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault import openbao
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

#: What somebody may do who may do everything but change or remove: the server then answers a second create with 403.
_CREATE_ONLY = """
path "{mount}/data/*" {{ capabilities = ["create", "read"] }}
path "{mount}/metadata/*" {{ capabilities = ["read", "list"] }}
path "{mount}/destroy/*" {{ capabilities = ["update"] }}
"""


@pytest.fixture(name="alone", scope="module")
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("alone"), 1) as cluster:
        yield cluster


@pytest.fixture(name="three", scope="module")
def _three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("three"), 3) as cluster:
        yield cluster


@pytest.fixture(name="vault", params=["alone, root", "three, standby, create-only"])
def _vault(request: pytest.FixtureRequest) -> Iterator[Vault]:
    cluster = request.getfixturevalue(request.param.split(",")[0])
    mount = f"keyops-{secrets.token_hex(4)}"
    cluster.mount(mount)
    node, token = cluster.leader(), cluster.root_token
    if "standby" in request.param:
        node = [one for one in cluster.nodes if one != node][0]  # noqa: RUF015
        token = cluster.token(mount, _CREATE_ONLY.format(mount=mount))
    with _opened(cluster, node, mount, token) as vault:
        yield vault


def _opened(cluster: Cluster, node: Node, mount: str, token: str, ca_cert: Path | None = None) -> Vault:
    options = {"backend": "openbao", "url": node.url, "mount": mount, "token": token}
    options |= {"ca_cert": str(ca_cert or cluster.ca_cert), "validate_certs": True, "auth_method": "token"}
    return open_vault({**options, "connections": 16, "timeout": 60})


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_lists_folders_in_folders_page_by_page(vault: Vault, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    paths = sorted(
        [f"shares/{agent}/{number}" for agent in ("a", "ab", "b", "c") for number in range(5)]
        + ["shares/a", "shares/b0", "shares/c/1/2/3", "shares/z/1"]
    )
    vault.create(dict.fromkeys(paths, b""))
    monkeypatch.setattr(openbao, "_PAGE", 3)
    monkeypatch.setattr(openbao, "_AHEAD", 2)
    found: list[str] = []
    while page := vault.list("shares/", after=found[-1] if found else "", limit=limit):
        found += page
    assert found == paths == vault.list("shares/")
    assert vault.list("shares/c/1/") == ["shares/c/1/2/3"]


class TestServers(VaultContract):
    """The contract, on both."""


def test_what_others_have_put_there_stops_nobody(alone: Cluster) -> None:
    """Whoever may create in a folder may create any name and any content in it; so may each agent in the log's."""
    mount = f"keyops-{secrets.token_hex(4)}"
    alone.mount(mount)
    token = alone.token(mount, _CREATE_ONLY.format(mount=mount))
    leader = alone.leader()
    assert leader
    for name in ("events/Planted", "events/a%20b/c", "events/deep/er/and/deeper/still", "records/EVIL/1"):
        assert alone.call(leader, "POST", f"{mount}/data/{name}", {"options": {"cas": 0}, "data": {"x": 1}}, token)
    with _opened(alone, leader, mount, token) as vault:
        first = _append(vault)
        # The next number, with nothing in it that is an event.
        squat = f"{mount}/data/events/{first.number + 1:012d}"
        assert alone.call(leader, "POST", squat, {"options": {"cas": 0}, "data": {"x": 1}}, token)
        second = _append(vault)
        assert second.number == first.number + 2
        assert vault.list("records/") == []
        report = event_log.verify(vault, [first, second])
        assert [event.number for event in report.events] == [first.number, second.number]
        assert sorted(problem.kind for problem in report.problems) == ["stranger"] * 3 + ["unparsable"]


def _append(vault: Vault) -> event_log.Head:
    return event_log.append(vault, action="test", outcome="success", actor="a", host="h")


def test_a_vault_in_a_namespace(alone: Cluster) -> None:
    """Login, engine and objects are the namespace's own; the same mount outside it is another vault."""
    alone.root("POST", "sys/namespaces/team", {})
    alone.root("POST", "team/sys/mounts/keyops", {"type": "kv", "options": {"version": "2"}})
    alone.root("PUT", "team/sys/policies/acl/writer", {"policy": _CREATE_ONLY.format(mount="keyops")})
    alone.root("POST", "team/sys/auth/approle", {"type": "approle"})
    alone.root("POST", "team/auth/approle/role/writer", {"token_policies": ["writer"], "token_no_default_policy": True})
    role_id = alone.root("GET", "team/auth/approle/role/writer/role-id")["data"]["role_id"]
    secret_id = alone.root("POST", "team/auth/approle/role/writer/secret-id", {})["data"]["secret_id"]
    leader = alone.leader()
    assert leader
    options = {"backend": "openbao", "url": leader.url, "mount": "keyops", "ca_cert": str(alone.ca_cert)}
    options |= {"validate_certs": True, "connections": 4, "timeout": 30}
    login = {"auth_method": "approle", "role_id": role_id, "secret_id": secret_id}
    with open_vault({**options, **login, "namespace": "team"}) as vault:
        assert vault.create({"events/1": b"ours"}) == {"events/1"}
        assert vault.create({"events/1": b"again"}) == frozenset()
        assert vault.read(["events/1"]) == {"events/1": b"ours"}
        assert vault.list("events/") == ["events/1"]
    with open_vault({**options, **login}) as vault, pytest.raises(VaultForbidden, match=r"vault\.namespace"):
        vault.exists(["events/1"])
