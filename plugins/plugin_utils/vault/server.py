# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Talking to a vault server: one login, a bounded pool of connections, requests that outlive what passes by.

- A request is sent again after a broken connection and after the answers that mean "not now" (429, 5xx: sealed, no
  leader, standby, restarting), with growing pauses, until the vault's ``timeout`` is over. Any attempt may have been
  carried out although nothing came back, and whatever lies between here and the leader may send one again by itself:
  what is not the same when it is done twice must be told apart by its content.
- Every request asks for the newest state. A standby answers reads from its own, older copy; a state number that no
  server has reached yet makes it forward the request to the leader (``X-Vault-Index``, a header of the server's own).
- Redirections are not followed: they would carry the token to a server that nobody has named.
- No answer of the server and no credential is ever part of a message; the server's own ``errors`` are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    OptionError,
    VaultForbidden,
    VaultFull,
    VaultSealed,
    VaultUnavailable,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import ServerOptions, is_loopback
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.token_cache import shared_token

# Loaded before Ansible forks where the environment names the server (see open.py).
try:
    import hvac
    import requests
    from hvac.adapters import RawAdapter
    from requests.adapters import HTTPAdapter
except ImportError:
    hvac = None

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: Answers that pass by: too many requests, state not there yet, sealed, standby, no leader, storage not ready.
_PASSING = frozenset({412, 429, 472, 473, 500, 502, 503, 504})
_CONNECT, _READ = 5.0, 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 3.0
#: A state that no server has reached yet.
_NEWEST = str(2**63 - 1)
#: Bytes: a page of names has 70,000, an object at most a million.
_ANSWER_LIMIT = 32_000_000


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        body: the JSON object, empty where there was none.
    """

    status: int
    body: Mapping[str, Any]

    @property
    def errors(self) -> str:
        """What the server complains about, on one line and not too long."""
        return " ".join("; ".join(map(str, self.body.get("errors") or [])).split())[:300]


class Server:
    """A vault server as one user. Belongs to the process that made it; ``each`` uses threads of its own."""

    def __init__(self, options: ServerOptions) -> None:
        if hvac is None:
            raise OptionError(
                "vault.backend: openbao needs the Python library hvac on the controller; install what "
                "requirements-openbao.txt of the collection lists"
            )
        self.options = options
        self._session = _session(options)
        self._client = hvac.Client(
            url=options.url,
            namespace=options.namespace or None,
            session=self._session,
            adapter=RawAdapter,
            verify=options.verify,  # hvac takes its own default for a session's False
            allow_redirects=False,
        )
        # Without a token hvac would take one from the environment or the home folder by itself.
        self._client.token = None
        self._pool: ThreadPoolExecutor | None = None
        self._logging_in = threading.Lock()
        self._token = ""
        self._newest: dict[str, str] = {}

    def close(self) -> None:
        """End all connections."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._session.close()

    def each(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """``work`` done for every item, over all connections at once; results in the order of the items."""
        listed = list(items)
        if len(listed) < 2:
            return [work(item) for item in listed]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.options.connections, thread_name_prefix="vault")
        return list(self._pool.map(work, listed))

    def request(self, method: str, path: str, data: object = None, query: Mapping[str, object] | None = None) -> Answer:
        """One request as the user, with everything that is tried again.

        Args:
            method: ``get``, ``list``, ``post``, ``put`` or ``delete``.
            path: below ``/v1/``.

        Raises:
            VaultForbidden: when the login is refused, or the token is not good any more.
            VaultUnavailable: when nothing but passing failures came for ``timeout`` seconds.
        """
        token = self._token or self._log_in("")
        answer = self._sent(method, path, data, query, token)
        if answer.status == 403 and not _is_told_by_policy(answer) and self._is_spent(token):
            if self.options.auth_method == "token":
                raise VaultForbidden(
                    "vault.token: the server does not know this token: it has expired, was revoked, or is another "
                    "server's or namespace's; log in anew, or let the collection do it (vault.auth_method)"
                )
            answer = self._sent(method, path, data, query, self._log_in(token))
        return answer

    def _log_in(self, refused: str) -> str:
        with self._logging_in:
            if self._token and self._token != refused:
                return self._token
            options = self.options
            if options.auth_method == "token":
                self._token = options.login["token"]
            else:
                # The digest stands for server and credential, so that two plays' vaults never share a token.
                text = json.dumps([options.url, options.namespace, options.auth_mount, dict(options.login)])
                text += json.dumps(options.certificate)
                self._token = shared_token(hashlib.sha256(text.encode()).hexdigest(), self._new_token, refused)
            return self._token

    def _new_token(self) -> tuple[str, float]:
        options = self.options
        answer = self._sent("post", f"auth/{options.auth_mount}/login", dict(options.login), None, "")
        auth = answer.body.get("auth")
        if answer.status != 200 or not isinstance(auth, Mapping) or not auth.get("client_token"):
            raise VaultForbidden(
                f"vault.auth_method: the server refuses the {options.auth_method} login at auth/{options.auth_mount} "
                f"({answer.errors or answer.status}); check the credential, vault.auth_mount and vault.namespace"
            )
        return str(auth["client_token"]), float(auth.get("lease_duration") or 1e9)

    def _is_spent(self, token: str) -> bool:
        return self._sent("get", "auth/token/lookup-self", None, None, token).status == 403

    def _sent(self, method: str, path: str, data: object, query: Mapping[str, object] | None, token: str) -> Answer:
        end = time.monotonic() + self.options.timeout
        pause, failed = _FIRST_PAUSE, False
        while True:
            failure: Exception | None = None
            try:
                with _told_errors(self.options):
                    answer = self._sent_once(method, path, data, query, _headers(token, failed), end)
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failure, answer = error, Answer(0, {})
            if answer.status and answer.status not in _PASSING and "Upgrading from non-versioned" not in answer.errors:
                return answer
            if "no space left on device" in answer.errors:
                raise VaultFull("the vault server's disk is full; free some space there and run again, nothing is lost")
            failed = True
            if time.monotonic() + pause > end:
                raise _given_up(self.options, answer, failure)
            # Jitter, so that those who failed together do not come back together.
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _sent_once(
        self,
        method: str,
        path: str,
        data: object,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str],
        end: float,
    ) -> Answer:
        # At least a second: what a server that is slow has done already is found out by asking once more.
        waits = (_CONNECT, min(_READ, max(1.0, end - time.monotonic())))
        if not self._newest:
            health = self._learn_newest(waits, end)
            if health.status != 200:
                return health
        response = self._client.adapter.request(
            method,
            f"/v1/{path}",
            headers={**self._newest, **headers},
            raise_exception=False,
            timeout=waits,
            stream=True,
            **({} if data is None else {"json": data}),
            **({} if query is None else {"params": dict(query)}),
        )
        if response.is_redirect:
            # Followed, it would take the token to a server that nobody has named.
            return Answer(503, {"errors": [f"it redirects to another address ({response.status_code})"]})
        return Answer(response.status_code, _body(response, end))

    def _learn_newest(self, waits: tuple[float, float], end: float) -> Answer:
        """Make the headers that ask for this cluster's newest state. Health belongs to no user and no namespace."""
        query = {"standbyok": "true", "perfstandbyok": "true"}
        response = self._session.get(
            f"{self.options.url}/v1/sys/health",
            params=query,
            timeout=waits,
            verify=self.options.verify,
            allow_redirects=False,
            stream=True,
        )
        body = _body(response, end)
        if response.is_redirect:
            body = {"errors": [f"it redirects to another address ({response.status_code})"]}
        if response.status_code == 200:
            state = json.dumps({"cluster": body.get("cluster_id", ""), "value": _NEWEST})
            index = base64.b64encode(state.encode()).decode()
            self._newest = {"X-Vault-Inconsistent": "forward-active-node", "X-Vault-Index": index}
        elif body.get("sealed"):
            body = {"errors": ["Vault is sealed"]}
        elif body.get("initialized") is False:
            body = {"errors": ["Vault is not initialized"]}
        # Health says 501 for a new server, 503 for a sealed one: both may pass by, and so may a redirection.
        passing = response.status_code == 501 or response.is_redirect
        return Answer(503 if passing else response.status_code, body)


def _session(options: ServerOptions) -> Any:
    session = requests.Session()
    session.verify = options.verify
    session.cert = options.certificate
    # A proxy in the environment is for the way to other machines.
    session.trust_env = not is_loopback(urlsplit(options.url).hostname or "")
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=options.connections, pool_block=True)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _headers(token: str, failed: bool) -> dict[str, str]:
    """Once something has failed, each attempt has a connection of its own: a load balancer may know a better server."""
    return {**({"X-Vault-Token": token} if token else {}), **({"Connection": "close"} if failed else {})}


def _is_told_by_policy(answer: Answer) -> bool:
    """What an unknown token is told has no number of errors, or one of two; the policies tell exactly this one."""
    return answer.errors == "1 error occurred: * permission denied"


def _body(response: Any, end: float) -> Mapping[str, Any]:
    """The JSON object of an answer; empty where it is none.

    Raises:
        requests.Timeout: when it does not come to its end in time, or has none.
    """
    content = bytearray()
    with response:
        for part in response.iter_content(1 << 16):
            content += part
            if len(content) > _ANSWER_LIMIT or time.monotonic() > end:
                raise requests.Timeout("the answer does not end")
    try:
        body = json.loads(bytes(content))
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}


@contextmanager
def _told_errors(options: ServerOptions) -> Iterator[None]:
    """What no retry mends, as our own errors."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        if "EOF occurred" in str(error) or "UNEXPECTED_EOF" in str(error):
            raise requests.ConnectionError("the connection was cut") from error
        raise VaultUnavailable(
            f"vault.url: the TLS connection to {options.url} fails ({_reason(error)}); check vault.ca_cert, the host "
            "name in the server's certificate, and vault.client_cert where the server wants one"
        ) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidProxyURL) as error:
        raise OptionError(f"vault.url: {options.url} (or the proxy in the environment) is no valid address") from error
    except OSError as error:
        if isinstance(error, requests.RequestException):
            raise
        raise OptionError(f"vault: a certificate or key file cannot be read: {error.strerror or error}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    return (
        text[text.find("[SSL") :].split("(_ssl.c", maxsplit=1)[0].strip()
        if "[SSL" in text
        else "certificate or protocol error"
    )


def _given_up(options: ServerOptions, answer: Answer, failure: Exception | None) -> VaultUnavailable:
    tried = f"tried for {options.timeout} s"
    if "sealed" in answer.errors.lower():
        return VaultSealed(f"the vault at {options.url} is sealed ({tried}); unseal it and run again")
    if failure is not None:
        why = type(failure).__name__
        return VaultUnavailable(
            f"vault.url: {options.url} cannot be reached ({why}, {tried}); check address and network"
        )
    return VaultUnavailable(
        f"the vault at {options.url} answers {answer.status} {answer.errors!r} ({tried}); check the cluster's state "
        "(bao status), and run again"
    )
