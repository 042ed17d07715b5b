# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How to reach a vault server: what is taken from where, and what is refused before anything is connected."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import server_options

URL = "https://vault.example.com:8200"
#: What validation adds.
DEFAULTS = {
    **{"backend": "openbao", "mount": "keyops", "validate_certs": True, "auth_method": "token"},
    **{"connections": 16, "timeout": 60, "path": None, "token": None},
}


def made(environ=None, **given):
    return server_options({**DEFAULTS, **given}, environ or {})


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_options_are_enough():
    options = made(url=f"{URL}/", token="t", namespace="/team/pki/")
    assert (options.url, options.mount, options.namespace) == (URL, "keyops", "team/pki")
    assert (options.verify, options.certificate) == (True, None)
    assert (options.auth_method, options.auth_mount, dict(options.login)) == ("token", "token", {"token": "t"})


@pytest.mark.parametrize("first", ["BAO", "VAULT"])
def test_the_environment_fills_in(first, tmp_path):
    (tmp_path / "ca.pem").touch()
    values = {"ADDR": URL, "TOKEN": "t", "NAMESPACE": "n", "CACERT": str(tmp_path / "ca.pem")}
    options = made({f"{first}_{name}": value for name, value in values.items()})
    assert (options.url, options.login["token"], options.namespace) == (URL, "t", "n")
    assert options.verify == str(tmp_path / "ca.pem")


def test_an_option_comes_before_bao_before_vault():
    environ = {"BAO_ADDR": "https://bao", "VAULT_ADDR": "https://vault", "VAULT_TOKEN": "t"}
    assert made(environ).url == "https://bao"
    assert made(environ, url=URL).url == URL


def test_the_token_of_whoever_has_logged_in(tmp_path):
    (tmp_path / ".vault-token").write_text("from-login\n")
    assert made(url=URL).login["token"] == "from-login"
    assert made({"BAO_TOKEN": "t"}, url=URL).login["token"] == "t"


def test_the_other_ways_to_log_in(tmp_path):
    certificate = tmp_path / "client.pem"
    certificate.touch()
    approle = made({"BAO_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, url=URL, auth_method="approle", auth_mount="apps/x")
    assert (approle.auth_mount, dict(approle.login)) == ("apps/x", {"role_id": "r", "secret_id": "s"})
    jwt = made(url=URL, auth_method="jwt", jwt="j", role="archiver")
    assert dict(jwt.login) == {"jwt": "j", "role": "archiver"}
    cert = made(url=URL, auth_method="cert", client_cert=str(certificate))
    assert (cert.certificate, dict(cert.login)) == ((str(certificate), str(certificate)), {})


def test_credentials_are_not_shown():
    assert "hidden" not in repr(made(url=URL, auth_method="approle", role_id="hidden-1", secret_id="hidden-2"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8200", "http://localhost:8200", "http://[::1]:8200"])
def test_plain_http_on_loopback_only(url):
    assert made(url=url, token="t").url == url


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "vault.url: is missing; set it, or BAO_ADDR or VAULT_ADDR"),
        ({"url": URL}, "vault.token: is missing for auth_method token"),
        ({"url": URL, "auth_method": "approle", "role_id": "r"}, "vault.secret_id: is missing for auth_method approle"),
        ({"url": URL, "auth_method": "jwt", "jwt": "j"}, "vault.role: is missing"),
        ({"url": URL, "auth_method": "cert"}, "vault.client_cert: is missing"),
        ({"url": URL, "auth_method": "cert", "client_cert": "/nowhere"}, "vault.client_cert: there is no such file"),
        ({"url": URL, "token": "t", "ca_cert": "/nowhere"}, "vault.ca_cert: there is no such"),
        ({"url": "http://vault.example.com", "token": "t"}, "plain http"),
        ({"url": "http://vault.example.com", "token": "t", "validate_certs": False}, "plain http"),
        ({"url": "ftp://vault", "token": "t"}, "vault.url"),
        ({"url": "vault.example.com:8200", "token": "t"}, "vault.url"),
        ({"url": "https://user:pass@vault", "token": "t"}, "vault.url"),
        ({"url": f"{URL}/v1", "token": "t"}, "vault.url: it has a path"),
        ({"url": URL, "token": "t", "mount": "../sys"}, "vault.mount"),
        ({"url": URL, "token": "t", "mount": "a b"}, "vault.mount"),
        ({"url": URL, "token": "t", "namespace": "x/../y"}, "vault.namespace"),
        ({"url": URL, "token": "t", "connections": 0}, "vault.connections"),
        ({"url": URL, "token": "t", "timeout": -1}, "vault.timeout"),
        ({"url": URL, "token": "t", "path": "/vault.db"}, "vault.path: it is the file of the SQLite vault"),
    ],
)
def test_refuses(given, said):
    with pytest.raises(OptionError, match=said) as caught:
        made(**given)
    assert "user:pass" not in str(caught.value)
