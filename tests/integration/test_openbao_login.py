# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins by each method against real servers: one for all workers of a play, counted in the servers' audit logs; and
reads through a standby that are never behind."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import story
from fault_runs import Child
from local_play import CHECKOUT, task
from openbao_faults import FaultyCluster

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

_POLICY = 'path "keyops/*" { capabilities = ["create", "read", "list"] }'
_WORKERS = 6


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    with FaultyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.mount("keyops")
        cluster.root("PUT", "sys/policies/acl/writer", {"policy": _POLICY})
        for method in ("approle", "cert", "jwt"):
            cluster.root("POST", f"sys/auth/{method}", {"type": method})
        yield cluster


def _approle(cluster: FaultyCluster, dummy: Path) -> dict:
    cluster.root("POST", "auth/approle/role/writer", {"token_policies": ["writer"], "token_no_default_policy": True})
    role_id = cluster.root("GET", "auth/approle/role/writer/role-id")["data"]["role_id"]
    secret_id = cluster.root("POST", "auth/approle/role/writer/secret-id", {})["data"]["secret_id"]
    return {"auth_method": "approle", "role_id": role_id, "secret_id": secret_id}


def _cert(cluster: FaultyCluster, folder: Path) -> dict:
    """A client certificate that openssl makes."""
    key, certificate = folder / "client.key", folder / "client.pem"
    story.openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2),
        *("-subj", "/CN=writer", "-addext", "extendedKeyUsage=clientAuth", "-keyout", key, "-out", certificate),
    )
    role = {"certificate": certificate.read_text(), "token_policies": ["writer"]}
    cluster.root("POST", "auth/cert/certs/writer", role)
    return {"auth_method": "cert", "role": "writer", "client_cert": str(certificate), "client_key": str(key)}


def _jwt(cluster: FaultyCluster, folder: Path) -> dict:
    """A JSON Web Token that openssl signs."""
    key = folder / "issuer.key"
    story.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    public = story.openssl("pkey", "-in", key, "-pubout").decode()
    cluster.root("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["keyops"], "token_policies": ["writer"]}
    cluster.root("POST", "auth/jwt/role/writer", role)
    now = int(time.time())
    parts = [{"alg": "RS256", "typ": "JWT"}, {"sub": "w", "aud": "keyops", "iat": now, "nbf": now, "exp": now + 600}]
    text = ".".join(_url64(json.dumps(part).encode()) for part in parts)
    signature = story.openssl("dgst", "-sha256", "-sign", key, stdin=text.encode())
    return {"auth_method": "jwt", "role": "writer", "jwt": f"{text}.{_url64(signature)}"}


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


_METHODS: dict[str, Callable[[FaultyCluster, Path], dict]] = {"approle": _approle, "cert": _cert, "jwt": _jwt}


def _options(cluster: FaultyCluster, url: str, **more: object) -> dict:
    return {
        **{"backend": "openbao", "url": url, "mount": "keyops", "ca_cert": str(cluster.ca_cert)},
        **{"validate_certs": True, "auth_method": "token", "connections": 8, "timeout": 30, **more},
    }


@pytest.mark.parametrize("method", _METHODS)
def test_one_login_for_all_workers(cluster: FaultyCluster, tmp_path: Path, method: str) -> None:
    """Forked at once, through a standby; each creates what is new and what all of them create."""
    standby = next(node for node in cluster.nodes if node != cluster.active())
    options = _options(cluster, standby.url, **_METHODS[method](cluster, tmp_path))
    before = cluster.logins()

    def work(number: int) -> list[str]:
        with open_vault(options) as vault:
            own = {f"events/{method}{number}x{one}": b"" for one in range(10)}
            return sorted(vault.create({**own, f"events/{method}": b""}))

    children = [Child(lambda number=number: work(number)) for number in range(_WORKERS)]
    created = [path for child in children for path in child.result()]
    assert len(created) == len(set(created)) == _WORKERS * 10 + 1
    assert cluster.logins() == before + 1


@pytest.mark.parametrize("method", _METHODS)
def test_a_refused_login(cluster: FaultyCluster, tmp_path: Path, method: str) -> None:
    options = _options(cluster, cluster.url, **_METHODS[method](cluster, tmp_path))
    wrong = {"approle": {"secret_id": "wrong"}, "cert": {"role": "unknown"}, "jwt": {"jwt": "e30.e30.e30"}}[method]
    with open_vault({**options, **wrong}) as vault, pytest.raises(VaultForbidden, match=method):
        vault.exists(["events/1"])


def test_one_login_for_a_play(cluster: FaultyCluster, tmp_path: Path) -> None:
    """Through ansible-playbook: several tasks on several hosts, in as many workers."""
    vault = _options(cluster, cluster.url, **_approle(cluster, tmp_path))
    before = cluster.logins()
    _play(tmp_path, [task("lifecycle_log_info"), task("key_archive_info")], vault)
    assert cluster.logins() == before + 1


def _play(folder: Path, tasks: list[dict], vault: dict) -> None:
    hosts = "".join(f"host{number} ansible_connection=local\n" for number in range(4))
    (folder / "inventory").write_text(hosts)
    defaults = {"group/keyops.lifecycle.vault": {"vault": vault}}
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks, "module_defaults": defaults}
    (folder / "play.json").write_text(json.dumps([play]))
    command = [CHECKOUT / "tests/tools/with-env", "ansible-playbook", "-f", "4", "-i", "inventory", "play.json"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_standby_is_never_behind(cluster: FaultyCluster) -> None:
    """300 objects created at the leader, each read at once from a standby."""
    leader = cluster.active()
    standbys = [node for node in cluster.nodes if node != leader]
    with open_vault(_options(cluster, leader.url, token=cluster.root_token)) as writing:
        readers = [open_vault(_options(cluster, node.url, token=cluster.root_token)) for node in standbys]
        missed = 0
        for number in range(300):
            path = f"events/behind{number}"
            writing.create({path: b"new"})
            missed += readers[number % 2].read([path]) != {path: b"new"}
        for reader in readers:
            reader.close()
    assert missed == 0
