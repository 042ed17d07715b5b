# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Least privilege, from outside: the role vault prepares a real server, and each duty's credential tries everything."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from openbao_cluster import Cluster, wait
from privileges import VERBS, Login, Trier

CHECKOUT = Path(__file__).resolve().parents[2]
OWN, OTHER = "1" * 64, "2" * 64

#: The matrix. C create, R read the content, M ask whether it is there, L list, D destroy. Nobody updates, patches,
#: deletes, undeletes or purges anything.
_TABLE = """
                        archiver restorer agent auditor destroyer migrator
records/k/              CRML     RML      RM    RML     MLD       CRML
sealed/                 CM       RM       -     ML      MLD       CRML
shares/OWN/             CM       -        RM    ML      MLD       CRML
shares/OTHER/           CM       -        -     ML      MLD       CRML
requests/               -        CRM      RML   RML     MLD       CRML
approvals/r/k/OWN/      -        RML      CRM   RML     MLD       CRML
approvals/r/k/OTHER/    -        RML      RM    RML     MLD       CRML
events/                 CRML     CRML     CRML  CRML    CRML      CRML
signing/                CRML     -        RM    CRML    -         CRML
freezes/k/              CRM      RM       RM    CRML    -         CRML
lifts/k/f/OWN/          RM       RM       CRM   RML     -         CRML
lifts/k/f/OTHER/        RM       RM       RM    RML     -         CRML
deliveries/o/           CM       RML      -     ML      -         CRML
elsewhere/              -        -        -     -       -         -
"""
DUTIES, *_ROWS = [line.split() for line in _TABLE.replace("OWN", OWN).replace("OTHER", OTHER).strip().splitlines()]
MATRIX = {folder: [cell.replace("-", "") for cell in cells] for folder, *cells in _ROWS}

#: What no duty may do beside the archive.
FORBIDDEN = [
    ["read", "sys/policies/acl/keyops-archiver"],
    ["write", "sys/policies/acl/keyops-archiver", 'policy=path "*" {}'],
    ["read", "sys/mounts"],
    ["delete", "sys/mounts/keyops"],
    ["read", "keyops/config"],
    ["write", "keyops/config", "max_versions=9"],
    ["read", "sys/audit"],
    ["read", "sys/storage/raft/configuration"],
    ["write", "-f", "sys/seal"],
    ["write", "-f", "auth/token/create"],
    ["write", "-f", "auth/approle/role/keyops-archiver/secret-id"],
    ["list", "auth/approle/role"],
    ["write", "cubbyhole/x", "a=b"],
    ["list", "keyops/metadata/"],
]


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("privileges"), 1) as cluster:
        yield cluster


def role(cluster: Cluster, *arguments: str, **variables: object) -> str:
    """One run of the playbook vault; returns what it printed, and its exit status at the end."""
    admin = {"backend": "openbao", "url": cluster.nodes[0].url, "ca_cert": str(cluster.ca_cert)}
    agents = [{"name": "carol", "agent_id": OWN}, {"name": "dave", "agent_id": OTHER}]
    given = {"keyops_vault_admin": admin, "keyops_vault_agents": agents, **variables}
    file = cluster.folder / "variables.json"
    file.write_text(json.dumps(given))
    done = subprocess.run(
        [CHECKOUT / "tests/tools/with-env", "ansible-playbook", "keyops.lifecycle.vault", *arguments, "-e", f"@{file}"],
        cwd=cluster.folder,
        env={**os.environ, "BAO_TOKEN": cluster.root_token, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert cluster.root_token not in done.stdout + done.stderr
    return f"{done.stdout}{done.stderr}\nstatus={done.returncode}"


@pytest.fixture(name="trier", scope="module")
def _trier(cluster: Cluster) -> Trier:
    """A server that the role has prepared, on the way that a user goes."""
    # No audit device: the role stops, and says what the server's configuration needs.
    refused = role(cluster)
    assert "status=2" in refused and 'audit "file" "keyops"' in refused
    stanza = f'audit "file" "keyops" {{\n  options = {{\n    file_path = "{cluster.folder}/audit.log"\n  }}\n}}\n'
    (cluster.nodes[0].folder / "audit.hcl").write_text(stanza)
    restart(cluster)
    wait(lambda: cluster.root("GET", "sys/audit").get("data"), "there is no audit device")
    # A check run shows everything and makes nothing.
    shown = role(cluster, "--check", "--diff")
    assert "status=0" in shown and f'path "keyops/data/shares/{OWN}/*"' in shown and '"token_ttl": "1h"' in shown
    assert f'"carol: keyops-agent-{OWN}"' in shown and f'"dave: keyops-agent-{OTHER}"' in shown
    assert "approle/" not in cluster.root("GET", "sys/auth")["data"]
    duties = {"keyops_vault_duties": ["archiver", "restorer", "auditor", "destroyer", "migrator"]}
    assert "status=0" in role(cluster, **duties)
    again = role(cluster, **duties)
    assert "changed=0" in again and "status=0" in again
    return Trier(cluster, "keyops")


def restart(cluster: Cluster) -> None:
    """A new configuration is read at the start, and at SIGHUP what is declared in it."""
    cluster.kill(cluster.nodes[0])
    cluster.up(1)


@pytest.fixture(name="logins", scope="module")
def _logins(trier: Trier) -> dict[str, Login]:
    return {duty: trier.log_in(duty, f"keyops-agent-{OWN}" if duty == "agent" else f"keyops-{duty}") for duty in DUTIES}


@pytest.fixture(name="objects", scope="module")
def _objects(cluster: Cluster, trier: Trier, logins: dict[str, Login]) -> str:
    """In each folder one object for all, and one per duty to destroy; returns the name of the first."""
    for folder in MATRIX:
        for name in ("there", *(f"{duty}d" for duty in DUTIES)):
            content = {"options": {"cas": 0}, "data": {"content": "", "writer": "test"}}
            assert cluster.root("POST", f"keyops/data/{folder}{name}", content)
    return "there"


@pytest.mark.parametrize("duty", DUTIES)
def test_the_matrix(trier: Trier, logins: dict[str, Login], objects: str, duty: str) -> None:
    expected = {folder: row[DUTIES.index(duty)] for folder, row in MATRIX.items()}
    assert trier.capabilities(logins[duty], MATRIX, objects) == expected
    # Every try is a process. For all but the agents, one agent's folders are as good as another's; and where a duty has
    # no right at all, what nobody may is tried in one folder of them.
    folders = [folder for folder in MATRIX if duty == "agent" or OTHER not in folder]
    tried = {folder: VERBS if expected[folder] or folder == "elsewhere/" else "CRMLD" for folder in folders}
    assert trier.cells(logins[duty], tried, objects) == {folder: expected[folder] for folder in folders}


def test_every_cell_of_the_matrix_is_one_that_can_be_tried() -> None:
    assert all(len(row) == len(DUTIES) and set("".join(row)) <= set(VERBS) for row in MATRIX.values())


@pytest.mark.parametrize("duty", DUTIES)
def test_nothing_beside_the_archive(trier: Trier, logins: dict[str, Login], duty: str) -> None:
    assert [one for one in FORBIDDEN if trier.bao(logins[duty], *one).allowed] == []


@pytest.mark.parametrize("duty", DUTIES)
def test_a_token_has_its_own_policy_and_an_end(trier: Trier, logins: dict[str, Login], duty: str) -> None:
    data = json.loads(trier.bao(logins[duty], "token", "lookup", "-format=json").output)["data"]
    assert data["policies"] == [f"keyops-agent-{OWN}" if duty == "agent" else f"keyops-{duty}"]
    assert 0 < data["ttl"] <= (600 if duty == "destroyer" else 3600) and data["type"] == "service"


@pytest.mark.parametrize("duty", ["archiver", "migrator"])
@pytest.mark.parametrize("cas", [0, 1])
def test_what_was_destroyed_does_not_come_back(
    trier: Trier, logins: dict[str, Login], objects: str, duty: str, cas: int
) -> None:
    path = f"sealed/gone{duty}{cas}"
    assert trier.create(logins["archiver"], path).allowed
    destroyed = trier.bao(logins["destroyer"], "write", f"keyops/destroy/{path}", data={"versions": [1]})
    assert destroyed.allowed
    again = trier.create(logins[duty], path, cas=cas)
    assert again.code != 0, again.output
    metadata = json.loads(trier.bao(logins["auditor"], "read", "-format=json", f"keyops/metadata/{path}").output)
    assert metadata["data"]["current_version"] == 1 and metadata["data"]["versions"]["1"]["destroyed"]


def test_a_destroyers_secret_id_is_for_one_login(trier: Trier) -> None:
    path = "auth/approle/role/keyops-destroyer"
    role_id = trier.bao(trier.root, "read", "-field=role_id", f"{path}/role-id").output
    secret_id = trier.bao(trier.root, "write", "-f", "-field=secret_id", f"{path}/secret-id").output
    trier.log_in_with("destroyer", role_id, secret_id)
    with pytest.raises(AssertionError, match="invalid role or secret ID"):
        trier.log_in_with("destroyer", role_id, secret_id)


def test_tokens_end_themselves(trier: Trier) -> None:
    """And not others: there is no path to another's accessor."""
    login = trier.log_in("auditor", "keyops-auditor")
    assert trier.bao(login, "write", "-f", "auth/token/revoke-self").allowed
    assert not trier.bao(login, "read", "auth/token/lookup-self").allowed


def test_who_leaves_and_where_duties_come_from(cluster: Cluster, trier: Trier, logins: dict[str, Login]) -> None:
    """The last test: the migrator's duty ends, an agent goes, and the auditor comes from another network only."""
    networks = {"auditor": ["192.0.2.0/24"]}
    options = {"keyops_vault_removed_agents": [OTHER], "keyops_vault_bound_cidrs": networks}
    agents = [{"name": "carol", "agent_id": OWN}]
    assert "status=0" in role(cluster, **options, keyops_vault_agents=agents)
    assert "changed=0" in role(cluster, **options, keyops_vault_agents=agents)
    policies = cluster.root("GET", "sys/policies/acl?list=true")["data"]["keys"]
    wanted = [*(f"keyops-{duty}" for duty in ("archiver", "restorer", "auditor", "destroyer")), f"keyops-agent-{OWN}"]
    assert sorted(name for name in policies if name.startswith("keyops")) == sorted(wanted)
    # The tokens that are out lose their rights with the policy.
    assert not trier.bao(logins["migrator"], "read", "keyops/data/sealed/there").allowed
    with pytest.raises(AssertionError):
        trier.log_in("auditor", "keyops-auditor")
    trier.log_in("archiver", "keyops-archiver")
