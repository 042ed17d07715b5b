# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask for keys: on the owner's host, make the one-time key, write the request, sign it as the requester.

1. Remove the one-time keys of requests whose time is over.
2. An open request for the same keys, owner, reason and requester is the request: a second run asks nothing new.
3. Otherwise make a one-time key (EC P-384) and keep it in the state folder before the request leaves the host. Where
   keys go into a token, the token makes a second one (request_tokens.py).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import own_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_id
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import (
    key_id_of_certificate,
    key_id_of_private_key,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import open_requests
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.certificates import (
    certificate_from_pem,
    check_signs,
)

try:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    note_missing_library(error)


def run(task: HostTask) -> FlowResult:
    """See the module's docstring; relay in: ``{"host": str}``, out: ``{"envelope": base64}``."""
    params = task.params
    state_dir = params["state_dir"] or _receipts.default_state_dir()
    # The token that keys go to comes first: its lock is taken before any library looks at its tokens.
    lock_in = lock_folder(state_dir, task.check_mode)
    with _token(task, state_dir) as token, own_keys.opened(params, ("signing_key",), lock_in) as (signing_key,):
        certificate = _certificate(params["signing_certificate"], signing_key)
        wanted = _wanted(params, task.relay["host"], certificate)
        if not task.check_mode:
            open_requests.remove_expired(state_dir, times.now())
        found = _find(state_dir, wanted, token)
        made = found if found or task.check_mode else _make(state_dir, wanted, signing_key, token)
    return _result(made, found is None, state_dir)


@contextlib.contextmanager
def _token(task: HostTask, state_dir: str) -> Iterator[Any]:
    """The token that keys go to (``request_tokens.RequestToken``), or None when all go into files."""
    items = [item for item in task.params["keys"] if item["key"] and reference.is_token(item["key"])]
    for item in task.params["keys"]:
        if item["key"] and item not in items:
            reference.parse_path(item["key"])
        if item["pin"] is not None and item not in items:
            raise OptionError(f"pin: key {item['key_id'][:16]}... goes into a file by this request; leave it out")
    if not items:
        yield None
        return
    # Not at the top: a host whose keys go into files loads nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import request_tokens

    with request_tokens.opened(items, lock_folder(state_dir, task.check_mode)) as token:
        yield token


def _wanted(params: dict, host: str, certificate: bytes) -> RecoveryRequest:
    places = {check_id(item["key_id"], "key_id"): item["key"] or "" for item in params["keys"]}
    key_ids = tuple(sorted(places))
    if not params["reason"].strip():
        raise OptionError("reason: is empty; say why, because the agents decide by it")
    # A block of YAML ends with a line end that nobody meant.
    reason = params["reason"].strip()
    try:
        requests.check_shown(reason, host)
    except FormatError as error:
        raise OptionError(f"{error}, because the agents are shown it") from error
    now = times.now()
    return RecoveryRequest(
        nonce="",
        key_ids=key_ids,
        key_owner=params["key_owner"],
        host=host,
        reason=reason,
        created=times.text(now),
        expires=times.text(now + times.duration(params["expires_in"], "expires_in")),
        one_time_key=b"",
        requester_certificate=certificate,
        places=tuple(places[key_id] for key_id in key_ids) if any(places.values()) else (),
    )


def _find(state_dir: str, wanted: RecoveryRequest, token: Any) -> open_requests.OpenRequest | None:
    def essence(request: RecoveryRequest) -> tuple:
        about = (request.key_ids, request.key_owner, request.host, request.reason, request.places)
        return (*about, request.requester_certificate)

    now = times.now()
    found, dummy = open_requests.load_all(state_dir)
    for item in found:
        gone = token is not None and not token.has(item.request.token_key)  # the token was wiped since
        if essence(item.request) == essence(wanted) and now < times.parse(item.request.expires) and not gone:
            return item
    return None


def _make(state_dir: str, wanted: RecoveryRequest, signing_key: object, token: Any) -> open_requests.OpenRequest:
    one_time_key = ec.generate_private_key(ec.SECP384R1())
    spki = one_time_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    members = {**wanted.__dict__, "nonce": secrets.token_hex(16), "one_time_key": spki}
    if token is not None:
        members["token_key"], members["token_key_hash"] = token.make(members["nonce"], wanted.expires)
    request = RecoveryRequest(**members)
    request_id, envelope = requests.sign(request, signing_key)
    pkcs8 = one_time_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    opened = open_requests.OpenRequest(request_id, request, envelope, pkcs8)
    open_requests.save(state_dir, opened)
    return opened


def _certificate(text: str, signing_key: object) -> bytes:
    pem = text if text.lstrip().startswith("-----BEGIN") else _files.read_file(text, 100_000).decode("ascii", "replace")
    certificate = certificate_from_pem(pem, "signing_certificate", times.now())
    if key_id_of_certificate(certificate) != key_id_of_private_key(signing_key):
        raise OptionError("signing_certificate: it belongs to another key than signing_key")
    check_signs(certificate, "signing_certificate")
    return certificate


def _result(opened: open_requests.OpenRequest | None, changed: bool, state_dir: str) -> FlowResult:
    dummy, warnings = open_requests.load_all(state_dir)
    if opened is None:
        return FlowResult(changed, [], warnings=warnings, extra={"request_id": None, "expires": None})
    results = [{"key_id": key_id} for key_id in opened.request.key_ids]
    extra = {"request_id": opened.request_id, "expires": opened.request.expires}
    relay = {"envelope": canonical.encode(opened.envelope)}
    return FlowResult(changed, results, relay=relay, warnings=warnings, extra=extra)
