# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vault_settings: what it reaches, what it compares, what it shows. Real servers: tests/integration/test_openbao_*."""

from __future__ import annotations

import types

import pytest

from ansible_collections.keyops.lifecycle.plugins.action.vault_settings import ActionModule
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DeclarativeOnly,
    OptionError,
    VaultError,
    VaultForbidden,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.comparing import same_value
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.setting_up import set_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server import Answer

ENABLED = ("sys/mounts", "sys/auth", "sys/audit")


class FakeServer:
    """Settings in a dictionary, with the server's own habits: lists for what is enabled, 404 for what is not there."""

    options = types.SimpleNamespace(mount="keyops")

    def __init__(self, **refusals):
        self.kept, self.refusals, self.written = {}, refusals, []

    def request(self, method, path, data=None):
        if method in self.refusals:
            return Answer(*self.refusals[method])
        if method == "get" and path in ENABLED:
            names = {name: data for name, data in self.kept.items() if name.startswith(path + "/")}
            return Answer(200, {"data": {name[len(path) + 1 :] + "/": data for name, data in names.items()}})
        if method == "get":
            return Answer(200, {"data": self.kept[path]}) if path in self.kept else Answer(404, {"errors": []})
        self.written.append((method, path))
        if method == "delete":
            del self.kept[path]
        else:
            self.kept[path] = {**self.kept.get(path, {}), **data}
        return Answer(204, {})


def setting(path, data=None, **more):
    return {"path": path, "data": data, "secret": [], "state": "present", "any_will_do": False, **more}


def run(server, *settings, check_mode=False):
    def call(*_arguments, **_keywords):
        raise AssertionError("nothing runs on a host")

    params = {"settings": list(settings)}
    return set_up(
        ControllerTask(params=params, vault=server, check_mode=check_mode, host="localhost", actor="ops", call=call)
    )


POLICY = setting("sys/policies/acl/keyops-x", {"policy": 'path "a" {}\n'})
MOUNT = setting("sys/mounts/keyops", {"type": "kv", "options": {"version": "2"}})


def test_writes_what_differs_and_nothing_twice():
    server = FakeServer()
    first = run(server, POLICY, MOUNT)
    assert first["changed"] and [row["existed"] for row in first["results"]] == [False, False]
    assert first["diff"][0]["before"] == "" and first["diff"][0]["after"] == POLICY["data"]["policy"]
    again = run(server, POLICY, MOUNT)
    assert not again["changed"] and again["diff"] == [] and len(server.written) == 2


def test_check_mode_says_so_and_writes_nothing():
    server = FakeServer()
    assert run(server, POLICY, MOUNT, check_mode=True)["changed"]
    assert server.written == [] and server.kept == {}


def test_fields_that_are_not_given_stay_and_do_not_count():
    server = FakeServer()
    path = "auth/approle/role/x"
    server.kept[path] = {"token_ttl": 3600, "token_num_uses": 7}
    assert not run(server, setting(path, {"token_ttl": "1h"}))["changed"]
    result = run(server, setting(path, {"token_ttl": "2h"}))
    assert result["results"][0]["fields"] == ["token_ttl"]
    assert result["diff"][0]["before"] == {"token_ttl": 3600} and server.kept[path]["token_num_uses"] == 7


@pytest.mark.parametrize(
    "path",
    [
        *("keyops/data/records/x", "keyops/metadata/records/x", "other/config", "sys/seal", "sys/policies/acl/"),
        *("sys/raw/x", "auth/../sys/seal", "/sys/auth/x", "auth//x", "auth/x?y=z", "auth/x%2f", "auth/x\n", "auth"),
    ],
)
def test_paths_out_of_reach_are_refused_before_anything_is_read(path):
    server = FakeServer(get=(500, {}))
    with pytest.raises(OptionError):
        run(server, POLICY, setting(path, {"a": 1}))


@pytest.mark.parametrize(
    "path",
    [
        *("auth/token/lookup-self", "auth/token/lookup", "auth/token/renew-self", "auth/token/revoke-orphan"),
        *("auth/token/create", "auth/token/create/x", "auth/token/accessors/x", "auth/token/tidy", "auth/token/roles"),
        *("auth/approle/login", "auth/userpass/login/bob", "auth/a/b/login", "auth/approle/role/x/role-id"),
        *("auth/approle/role/x/secret-id", "auth/approle/role/x/secret-id/lookup", "auth/x/role/y/secret-id-num-uses"),
        *("auth/approle/role/x/secret-id-accessor/lookup", "auth/approle/role/x/custom-secret-id/lookup"),
        *("auth/x/renew", "auth/x/revoke-self", "auth/x/create-orphan", "auth/x/lookup-accessor", "auth/x/accessors"),
    ],
)
def test_what_deals_with_credentials_is_no_setting(path):
    server = FakeServer(get=(200, {"data": {"id": "s.administrator"}}))
    for data, state in (({"id": "x"}, "present"), (None, "absent")):
        with pytest.raises(OptionError, match="command line"):
            run(server, POLICY, setting(path, data, state=state))
    assert server.written == []


@pytest.mark.parametrize("path", ["auth/token/roles/x", "auth/jwt/config", "auth/approle/role/x", "sys/auth/login"])
def test_settings_with_such_names_nearby_are_made(path):
    server = FakeServer()
    assert run(server, setting(path, {"a": "b"}))["changed"] and server.kept[path] == {"a": "b"}


@pytest.mark.parametrize(
    "mount", ["sys", "sys/rotate", "/sys/rotate", "sys/", "auth/token", "identity", "cubbyhole/x", "identity/oidc"]
)
def test_a_mount_of_the_servers_own_is_refused(mount):
    server = FakeServer()
    server.options = types.SimpleNamespace(mount=mount)
    with pytest.raises(OptionError, match=r"vault\.mount"):
        run(server, setting(f"{mount}/config", {"interval": "1h"}))
    with pytest.raises(OptionError, match=r"vault\.mount"):
        run(server, POLICY)
    assert server.written == []


@pytest.mark.parametrize("mount", ["system", "authority/keyops"])
def test_a_mount_that_only_looks_like_it_is_none(mount):
    server = FakeServer()
    server.options = types.SimpleNamespace(mount=mount)
    assert run(server, setting(f"{mount}/config", {"max_versions": 1}))["changed"]


@pytest.mark.parametrize(
    "path", ["sys/mounts/keyops", "sys/auth/approle", "sys/audit/file", "keyops/config", "auth/jwt/config"]
)
def test_only_policies_and_roles_are_removed(path):
    with pytest.raises(OptionError):
        run(FakeServer(), setting(path, state="absent"))


def test_removes_policies_and_roles_once():
    server = FakeServer()
    gone = [setting(path, state="absent") for path in ("sys/policies/acl/x", "auth/a/role/x")]
    server.kept = {one["path"]: {"policy": "p"} for one in gone}
    assert run(server, *gone)["changed"] and server.kept == {}
    assert not run(server, *gone)["changed"]


def test_what_is_enabled_with_other_fields_is_an_error():
    server = FakeServer()
    server.kept[MOUNT["path"]] = {"type": "kv", "options": {"version": "1"}}
    with pytest.raises(VaultError):
        run(server, MOUNT)
    assert server.written == []


def test_any_audit_device_will_do():
    server = FakeServer()
    wanted = setting("sys/audit/keyops", {"type": "file"}, any_will_do=True)
    assert run(server, wanted, check_mode=True)["changed"]
    server.kept["sys/audit/syslog"] = {"type": "syslog"}
    assert not run(server, wanted)["changed"]
    with pytest.raises(OptionError):
        run(server, {**POLICY, "any_will_do": True})


def test_secret_fields_are_written_and_never_shown():
    server = FakeServer()
    one = setting("auth/jwt/config", {"url": "u", "client_secret": "hidden"}, secret=["client_secret"])
    shown = run(server, one)
    assert server.kept["auth/jwt/config"]["client_secret"] == "hidden" and "hidden" not in str(shown)
    # The server returns it or not: neither writes it again, another one that it returns does.
    assert not run(server, one)["changed"]
    other = {**one, "data": {**one["data"], "client_secret": "changed"}}
    assert run(server, other)["changed"] and "changed" not in str(run(server, other)["diff"])
    del server.kept["auth/jwt/config"]["client_secret"]
    assert not run(server, one)["changed"]
    with pytest.raises(OptionError):
        run(server, {**one, "secret": ["mistyped"]})


def test_the_servers_refusals():
    with pytest.raises(VaultForbidden):
        run(FakeServer(get=(403, {})), POLICY)
    with pytest.raises(DeclarativeOnly):
        run(FakeServer(post=(400, {"errors": ["use declarative configuration"]})), POLICY)
    one = setting("auth/jwt/config", {"key": "hidden"}, secret=["key"])
    with pytest.raises(VaultError) as caught:
        run(FakeServer(post=(400, {"errors": ["cannot parse 'hidden'"]})), one)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "there", "same"),
    [
        *(("1h", 3600, True), ("1h30m", 5400, True), ("90d", 7776000, True), ("0", 0, True), ("1h", 60, False)),
        *((None, "", True), (True, "true", True), ("no", False, True), (True, None, False), (0, None, True)),
        *((["b", "a"], ["a", "b"], True), ("a,b", ["b", "a"], True), ([], None, True), (["a"], None, False)),
        *((["127.0.0.1/32"], ["127.0.0.1"], True), (["10.0.0.0/8"], ["10.0.0.0/16"], False)),
        *(({"a": 1}, {"a": "1", "b": 2}, True), ({"a": 1}, None, False), ("text ", "text", True), ("0s", "0s", True)),
    ],
)
def test_values_as_users_write_them(wanted, there, same):
    assert same_value(wanted, there) is same


@pytest.mark.parametrize("secret", ["token", ["token"]])
def test_the_task_keeps_no_secret(secret):
    action = ActionModule.__new__(ActionModule)
    given = {"settings": [{"path": "auth/x/config", "data": {"token": "hidden", "a": "b"}, "secret": secret}, "hidden"]}
    masked = action._masked({**given, "vault": {"backend": "openbao", "token": "hidden"}})
    assert "hidden" not in str(masked) and masked["settings"][0]["path"] == "auth/x/config"
    assert given["settings"][0]["data"]["token"] == "hidden"
