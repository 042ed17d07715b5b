# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``vault`` of a vault server, completed from the environment and checked before anything is connected.

What the option leaves out comes from the environment variables that the server's own command line reads: ``BAO_ADDR``
before ``VAULT_ADDR``, and so on. Plain HTTP is refused but for loopback, where the server's own agent listens.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError

#: From option to the environment variables that stand in for it.
_ENVIRONMENT = {
    name: (f"BAO_{variable}", f"VAULT_{variable}")
    for name, variable in {
        "url": "ADDR",
        "namespace": "NAMESPACE",
        "ca_cert": "CACERT",
        "client_cert": "CLIENT_CERT",
        "client_key": "CLIENT_KEY",
        "token": "TOKEN",
        "role_id": "ROLE_ID",
        "secret_id": "SECRET_ID",
    }.items()
}
_NEEDED = {"token": ("token",), "approle": ("role_id", "secret_id"), "cert": ("client_cert",), "jwt": ("jwt", "role")}
_SEGMENTS = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class ServerOptions:
    """How to reach a vault server and as whom.

    Attributes:
        url: ``https://host:port``, without a path.
        mount, namespace: of the KV version 2 secrets engine; the namespace may be empty.
        verify: path of a file or folder of CA certificates, True for the system's, False for no verification.
        certificate: paths of the client certificate and its key, or None.
        auth_method, auth_mount: how and where to log in.
        login: what is sent to log in; for the method ``token`` the token itself.
        connections: at most so many at once.
        timeout: seconds that one operation may take with all that is tried again.
    """

    url: str
    mount: str
    namespace: str
    verify: bool | str
    certificate: tuple[str, str] | None
    auth_method: str
    auth_mount: str
    login: Mapping[str, str] = field(repr=False)
    connections: int
    timeout: int


def names_a_server(environ: Mapping[str, str]) -> bool:
    """Whether the environment says where a vault server is."""
    return any(environ.get(name) for name in _ENVIRONMENT["url"])


def server_options(options: Mapping[str, object], environ: Mapping[str, str]) -> ServerOptions:
    """From the validated option ``vault`` with ``backend: openbao``.

    Raises:
        OptionError: when something is missing, malformed, or would send credentials in clear.
    """
    if options.get("path"):
        raise OptionError("vault.path: it is the file of the SQLite vault; remove it, or set vault.backend to sqlite")
    given = {**_from_environment(environ), **{name: value for name, value in options.items() if value is not None}}
    method = str(given["auth_method"])
    if method == "token" and not given.get("token"):
        given["token"] = _token_file()
    missing = [name for name in ("url", *_NEEDED[method]) if not given.get(name)]
    if missing:
        raise OptionError("; ".join(_missing(name, method) for name in missing))
    return ServerOptions(
        url=_url(str(given["url"])),
        mount=_segments(str(given["mount"]), "mount"),
        namespace=_segments(str(given["namespace"]), "namespace") if given.get("namespace") else "",
        verify=_verify(given),
        certificate=_certificate(given),
        auth_method=method,
        auth_mount=_segments(str(given.get("auth_mount") or method), "auth_mount"),
        login=_login(method, given),
        connections=_positive(given, "connections", 128),
        timeout=_positive(given, "timeout", 3600),
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    found = {name: next((environ[one] for one in both if environ.get(one)), "") for name, both in _ENVIRONMENT.items()}
    return {name: value for name, value in found.items() if value}


def _token_file() -> str:
    """Where the server's command line keeps the token of whoever has logged in."""
    path = Path.home() / ".vault-token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _missing(name: str, method: str) -> str:
    variables = _ENVIRONMENT.get(name)
    otherwise = f", or {' or '.join(variables)} in the environment" if variables else ""
    why = "" if name == "url" else f" for auth_method {method}"
    return f"vault.{name}: is missing{why}; set it{otherwise}"


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise OptionError("vault.url: it must be like https://vault.example.com:8200")
    if parts.path.strip("/"):
        raise OptionError("vault.url: it has a path; set vault.mount and vault.namespace instead")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise OptionError("vault.url: plain http would send credentials in clear; use https")
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _segments(text: str, option: str) -> str:
    if not _SEGMENTS.fullmatch(text.strip("/")):
        raise OptionError(
            f"vault.{option}: it must be names of letters, digits, '_', '.' and '-', with '/' between them"
        )
    return text.strip("/")


def _verify(given: Mapping[str, object]) -> bool | str:
    if not given["validate_certs"]:
        return False
    path = given.get("ca_cert")
    if path and not os.path.exists(str(path)):
        raise OptionError("vault.ca_cert: there is no such file or folder")
    return str(path) if path else True


def _certificate(given: Mapping[str, object]) -> tuple[str, str] | None:
    certificate = given.get("client_cert")
    if not certificate:
        return None
    for option in ("client_cert", "client_key"):
        if given.get(option) and not os.path.exists(str(given[option])):
            raise OptionError(f"vault.{option}: there is no such file")
    return str(certificate), str(given.get("client_key") or certificate)


def _login(method: str, given: Mapping[str, object]) -> dict[str, str]:
    if method == "cert":
        return {"name": str(given["role"])} if given.get("role") else {}
    return {name: str(given[name]) for name in _NEEDED[method]}


def _positive(given: Mapping[str, object], option: str, most: int) -> int:
    value = int(str(given[option]))
    if not 1 <= value <= most:
        raise OptionError(f"vault.{option}: it must be between 1 and {most}")
    return value
