# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a vault server's answers mean, one by one."""

from __future__ import annotations

import base64
import json
import subprocess
import time

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    NotAVault,
    VaultError,
    VaultForbidden,
    VaultFull,
    VaultReadOnly,
    VaultSealed,
    VaultUnavailable,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.openbao import OpenBaoVault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import server_options
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.vault.scripted_server import (
    ScriptedServer,
    hang,
)

CREATED = 200, {"data": {"version": 1}}
DENIED = 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
SPENT = 403, {"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}
TAKEN = 400, {"errors": ["check-and-set parameter did not match the current version"]}
METADATA = 200, {"data": {"versions": {"1": {"destroyed": False, "deletion_time": ""}}}}
SEALED = 503, {"errors": ["Vault is sealed"]}


def opened(server, timeout=5, **more):
    options = {"backend": "openbao", "url": server.url, "mount": "m", "auth_method": "token", "token": "t"}
    options |= {"validate_certs": True, "connections": 4, "timeout": timeout, **more}
    return OpenBaoVault(server_options(options, {}), writable=True)


def in_turn(*answers):
    """Answers one after the other; the last one again and again. One that can be called gets the request."""
    left = list(answers)

    def answer(request):
        one = left.pop(0) if len(left) > 1 else left[0]
        return one(request) if callable(one) else one

    return answer


def store(lose=(), denied=False):
    """A server that keeps objects; it carries out the creations of these numbers, but cuts their answers off."""
    kept, numbers = {}, iter(range(1, 1000))

    def answer(request):
        path = request.path.split("/", 2)[2]
        if request.method == "POST":
            lost = next(numbers) in lose
            if path in kept:
                return DENIED if denied else TAKEN
            kept[path] = request.body["data"]
            return None if lost else CREATED
        if path not in kept:
            return 404, {"errors": []}
        return METADATA if "/metadata/" in request.path else (200, {"data": {"data": kept[path]}})

    return answer


def test_a_denied_create_of_what_exists_is_no_error():
    with ScriptedServer(store(denied=True)) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == {"events/1"}
        assert vault.create({"events/1": b"b"}) == frozenset()


def test_a_denied_create_of_what_does_not_exist_is_forbidden():
    with ScriptedServer(in_turn(DENIED, (404, {"errors": []}))) as server, opened(server) as vault:  # noqa: SIM117
        with pytest.raises(VaultForbidden, match="policy"):
            vault.create({"events/1": b"a"})


def test_where_all_is_denied_nothing_is_taken_for_existing():
    with ScriptedServer(in_turn(DENIED)) as server, opened(server) as vault:
        for ask in (lambda: vault.create({"events/1": b"a"}), lambda: vault.exists(["events/1"])):
            with pytest.raises(VaultForbidden):
                ask()
        for ask in (lambda: vault.read(["events/1"]), lambda: vault.list("events/")):
            with pytest.raises(VaultForbidden):
                ask()


def test_a_spent_token_is_told_as_one():
    with ScriptedServer(in_turn(SPENT)) as server, opened(server) as vault:  # noqa: SIM117
        with pytest.raises(VaultForbidden, match=r"vault\.token"):
            vault.create({"events/1": b"a"})


@pytest.mark.parametrize("denied", [False, True])
def test_a_creation_whose_answer_was_lost_is_ours(denied):
    with ScriptedServer(store(lose={1}, denied=denied)) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == {"events/1"}
        assert vault.create({"events/1": b"a"}) == frozenset()


@pytest.mark.parametrize("denied", [False, True])
def test_a_creation_that_was_sent_twice_between_us_and_the_leader_is_ours(denied):
    """A standby whose connection to the leader breaks does that, and answers with what the second one was told."""
    answer = store(denied=denied)

    def twice(request):
        return (answer(request), answer(request))[1] if request.method == "POST" else answer(request)

    with ScriptedServer(twice) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == {"events/1"}
        assert vault.create({"events/1": b"a"}) == frozenset()


@pytest.mark.parametrize("lost", [[], [None]])
def test_another_writers_object_is_not_ours_though_its_content_is(lost):
    theirs = 200, {"data": {"data": {"content": base64.b64encode(b"a").decode(), "writer": "theirs"}}}
    with ScriptedServer(in_turn(*lost, TAKEN, theirs)) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == frozenset()


def test_a_writer_that_may_not_read_is_told_that_it_exists():
    with ScriptedServer(in_turn(DENIED, DENIED, METADATA)) as server, opened(server) as vault:
        assert vault.create({"sealed/1": b"a"}) == frozenset()


def test_a_past_that_lacks_what_is_taken_is_asked_again():
    absent = 404, {"errors": []}
    theirs = 200, {"data": {"data": {"content": "", "writer": "theirs"}}}
    with ScriptedServer(in_turn(TAKEN, absent, absent, theirs)) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == frozenset()


@pytest.mark.parametrize("status", [412, 429, 472, 473, 500, 502, 503, 504])
def test_what_passes_by_is_outlived(status):
    passing = status, {"errors": ["not now"]}
    with ScriptedServer(in_turn(passing, passing, CREATED)) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == {"events/1"}
        assert server.count("m/data/events/1") == 3


def test_a_new_engine_is_waited_for():
    upgrading = 400, {"errors": ["Upgrading from non-versioned to versioned data. This backend will be unavailable"]}
    with ScriptedServer(in_turn(upgrading, CREATED)) as server, opened(server) as vault:
        assert vault.create({"events/1": b"a"}) == {"events/1"}


def test_what_does_not_pass_by_is_told_at_once():
    with ScriptedServer(in_turn((400, {"errors": ["no"]}))) as server, opened(server) as vault:
        with pytest.raises(VaultError, match="400 no"):
            vault.create({"events/1": b"a"})
        assert len(server.requests) == 1


@pytest.mark.parametrize("health", [SEALED, (503, {"sealed": True, "initialized": True}), (200, {"cluster_id": "c"})])
def test_a_sealed_server_is_told_as_one(health):
    with ScriptedServer(in_turn(SEALED), health=health) as server, opened(server, timeout=1) as vault:  # noqa: SIM117
        with pytest.raises(VaultSealed, match="unseal"):
            vault.read(["events/1"])


def test_a_full_disk_is_told_at_once():
    full = 500, {"errors": ["1 error occurred:\n\t* write raft.db: no space left on device\n\n"]}
    with ScriptedServer(in_turn(full)) as server, opened(server) as vault, pytest.raises(VaultFull):
        vault.create({"events/1": b"a"})


def test_a_server_that_hangs_is_given_up_in_time():
    def hanging(_request):
        hang(8)
        return CREATED

    begin = time.monotonic()
    with ScriptedServer(hanging) as server, opened(server, timeout=1) as vault:
        with pytest.raises(VaultUnavailable, match="cannot be reached"):
            vault.create({"events/1": b"a"})
        assert time.monotonic() - begin < 4


def test_where_nobody_listens():
    with ScriptedServer(in_turn(CREATED)) as server:
        vault = opened(server, timeout=1)
    with vault, pytest.raises(VaultUnavailable, match=r"vault\.url"):
        vault.read(["events/1"])


@pytest.mark.parametrize(
    "answer",
    [
        (404, {"errors": ['no handler for route "m/data/events/1"; route entry not found.']}),
        (404, {"errors": ["Invalid path for a versioned K/V secrets engine."]}),
        (200, {"data": {"content": "x"}}),
        (405, {"errors": ["1 error occurred:\n\t* unsupported operation\n\n"]}),
    ],
)
def test_no_engine_of_version_2(answer):
    with ScriptedServer(in_turn(answer)) as server, opened(server) as vault:  # noqa: SIM117
        with pytest.raises(NotAVault, match=r"vault\.mount"):
            vault.read(["events/1"])


def test_an_engine_of_version_1_is_told_as_one():
    """It would store ``options`` and ``data`` as two values and answer 204; only a create finds out."""
    with ScriptedServer(in_turn((204, {}))) as server, opened(server) as vault:  # noqa: SIM117
        with pytest.raises(NotAVault, match="version 2"):
            vault.create({"events/1": b"a"})


@pytest.mark.parametrize("data", [{}, {"content": 5}, {"content": "not base64!"}, {"value": "x"}])
def test_what_another_program_wrote_stops_no_reader(data):
    """It is read as its JSON, which is nothing that the layers above take for one of their own."""
    with ScriptedServer(in_turn((200, {"data": {"data": data}}))) as server, opened(server) as vault:
        assert vault.read(["events/1"]) == {"events/1": json.dumps(data).encode()}


@pytest.mark.parametrize(
    "engine",
    [
        (200, {"data": {"type": "kv", "options": {"version": "1"}}}),
        (200, {"data": {"type": "kv", "options": None}}),
        (200, {"data": {"type": "transit", "options": {}}}),
        (200, {"data": "text"}),
        (200, {}),
        (404, {"errors": []}),
        (404, {}),
    ],
)
def test_what_is_no_engine_is_not_taken_for_an_empty_vault(engine):
    with ScriptedServer(in_turn((404, {"errors": []})), engine=engine) as server:
        for ask in (
            lambda one: one.list("events/"),
            lambda one: one.read(["events/1"]),
            lambda one: one.exists(["a/1"]),
        ):
            with opened(server) as vault, pytest.raises(NotAVault, match=r"vault\.mount"):
                ask(vault)
        assert not server.requests


def test_an_engine_that_this_credential_may_not_use_is_told():
    with ScriptedServer(in_turn(CREATED), engine=DENIED) as server, opened(server) as vault:  # noqa: SIM117
        with pytest.raises(VaultForbidden, match=r"vault\.mount"):
            vault.create({"events/1": b"a"})


@pytest.mark.parametrize(
    "answer", [(404, {}), (200, {}), (200, {"data": "text"}), (200, {"data": {}}), (404, {"a": 1})]
)
def test_an_answer_of_another_shape_is_told(answer):
    """As a proxy's page would be: absent is what the vault itself says is absent."""
    with ScriptedServer(in_turn(answer)) as server, opened(server) as vault:
        for ask in (
            lambda: vault.list("events/"),
            lambda: vault.read(["events/1"]),
            lambda: vault.exists(["events/1"]),
        ):
            with pytest.raises(NotAVault):
                ask()


def test_names_that_are_no_objects_are_told_and_not_used():
    names = ["000000000001", "A", "a b/", "b\n", "deep/", "é"]

    def answer(request):
        return 200, {"data": {"keys": names if request.path.endswith("events") else ["deep/", "x"]}}

    with ScriptedServer(answer) as server, opened(server) as vault:
        assert vault.list("events/") == ["events/000000000001", *(f"events/{'deep/' * depth}x" for depth in (3, 2, 1))]
        assert vault.list("events/", limit=2) == ["events/000000000001", "events/deep/deep/deep/x"]
        strangers = vault.strangers("events/")
        assert strangers == ["events/A", "events/a b/", "events/b\n", "events/deep/deep/deep/deep/", "events/é"]
        assert vault.strangers("events/", 1) == strangers[:1]


def test_an_answer_without_end_is_given_up_in_time():
    def drip(_request):
        return 200, iter(lambda: time.sleep(0.2) or b" ", None)

    with ScriptedServer(drip) as server, opened(server, timeout=2) as vault:
        start = time.monotonic()
        with pytest.raises(VaultUnavailable):
            vault.read(["events/1"])
        assert time.monotonic() - start < 10


def test_check_mode_sends_nothing():
    with ScriptedServer(in_turn(CREATED)) as server:
        options = {"url": server.url, "mount": "m", "auth_method": "token", "token": "t"}
        options |= {"validate_certs": True, "connections": 1, "timeout": 5}
        with OpenBaoVault(server_options(options, {}), writable=False) as vault:
            with pytest.raises(VaultReadOnly):
                vault.create({"events/1": b"a"})
            with pytest.raises(VaultReadOnly):
                vault.destroy(["events/1"])
        assert not server.requests


def test_every_request_asks_for_the_newest_state_with_the_token():
    with ScriptedServer(in_turn((404, {"errors": []}))) as server, opened(server) as vault:
        vault.read([f"events/{number}" for number in range(20)])
        for one in server.requests:
            assert one.headers["X-Vault-Token"] == "t"
            assert one.headers["X-Vault-Index"]


def test_a_login_is_renewed_when_its_token_is_spent():
    logins = []

    def answer(request):
        if request.path == "auth/approle/login":
            logins.append(request.body)
            return 200, {"auth": {"client_token": f"token {len(logins)}", "lease_duration": 3600}}
        return CREATED if request.headers["X-Vault-Token"] == "token 2" else SPENT

    with ScriptedServer(answer) as server:
        login = {"auth_method": "approle", "token": None, "role_id": "r", "secret_id": "s"}
        with opened(server, **login) as vault:
            assert len(vault.create({f"events/{number}": b"" for number in range(8)})) == 8
    assert logins == [{"role_id": "r", "secret_id": "s"}] * 2


def test_what_the_policy_denies_costs_no_login():
    """A role whose tokens have not even the default policy may not look itself up."""
    logins = []

    def answer(request):
        if request.path == "auth/approle/login":
            logins.append(1)
            return 200, {"auth": {"client_token": f"token {len(logins)}", "lease_duration": 3600}}
        return METADATA if "/metadata/" in request.path else DENIED

    with ScriptedServer(answer) as server:
        login = {"auth_method": "approle", "token": None, "role_id": "r", "secret_id": "s2"}
        with opened(server, **login) as vault:
            assert vault.create({f"events/{number}": b"" for number in range(8)}) == frozenset()
    assert len(logins) == 1


def test_a_refused_login():
    refused = 400, {"errors": ["invalid role or secret ID"]}
    with ScriptedServer(in_turn(refused)) as server:
        login = {"auth_method": "approle", "token": None, "role_id": "r", "secret_id": "wrong"}
        with opened(server, **login) as vault, pytest.raises(VaultForbidden, match="invalid role or secret ID"):
            vault.read(["events/1"])


@pytest.fixture(name="certificate", scope="module")
def _certificate(tmp_path_factory):
    """Of a server at 127.0.0.1, and of one elsewhere; each its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    for name, place in (("here", "IP:127.0.0.1"), ("elsewhere", "DNS:vault.example.com")):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={place}", "-days", "2"]
        command += ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        subprocess.run(command, check=True, capture_output=True)
    return lambda name: (folder / f"{name}.pem", folder / f"{name}.key")


@pytest.mark.parametrize(("served", "trusted"), [("here", "elsewhere"), ("elsewhere", "elsewhere"), ("here", None)])
def test_wrong_tls(certificate, served, trusted):
    """Another authority, another host, and an authority that the system does not know; nothing is tried twice."""
    ca_cert = str(certificate(trusted)[0]) if trusted else None
    with ScriptedServer(in_turn(CREATED), certificate(served)) as server:
        begin = time.monotonic()
        with opened(server, ca_cert=ca_cert) as vault, pytest.raises(VaultUnavailable, match=r"vault\.ca_cert"):
            vault.read(["events/1"])
        assert time.monotonic() - begin < 3
        assert not server.requests


def test_a_bundle_in_the_environment_does_not_stand_in_for_ours(certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate("here")[0]))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate("here")[0]))
    with ScriptedServer(in_turn(CREATED), certificate("here")) as server:
        with opened(server, ca_cert=str(certificate("elsewhere")[0])) as vault, pytest.raises(VaultUnavailable):
            vault.create({"events/1": b"a"})
        assert not server.requests


@pytest.mark.parametrize("options", [{"validate_certs": True}, {"validate_certs": False}])
def test_right_tls(certificate, options):
    with ScriptedServer(in_turn(CREATED), certificate("here")) as server:
        ca_cert = str(certificate("here")[0]) if options["validate_certs"] else None
        with opened(server, ca_cert=ca_cert, **options) as vault:
            assert vault.create({"events/1": b"a"}) == {"events/1"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirection_is_followed(status, certificate):
    """It would take the token to a server that nobody has named, if only in clear text."""
    for secure in ((), certificate("elsewhere")):
        with ScriptedServer(in_turn(CREATED), secure) as other:
            redirecting = in_turn((status, f"{other.url}/v1/m/data/events/1"))
            with ScriptedServer(redirecting, certificate("here")) as server:  # noqa: SIM117
                with opened(server, timeout=1, ca_cert=str(certificate("here")[0])) as vault:
                    with pytest.raises(VaultUnavailable, match="redirects"):
                        vault.create({"events/1": b"a"})
            assert not other.requests


def test_a_proxy_is_not_told_what_stays_on_this_machine(monkeypatch):
    with ScriptedServer(in_turn(CREATED)) as proxy, ScriptedServer(in_turn(CREATED)) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        with opened(server) as vault:
            assert vault.create({"events/1": b"a"}) == {"events/1"}
        assert server.requests and not proxy.requests
