# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recovery agent's two certificates: the signing one signed with its own key, the encryption one with that as well.

A certificate that is there is kept, whoever issued it: a team with its own CA puts its certificates in place of these.
Both requests must verify, the first one must belong to the signing key, and the second one to another key.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyNotFound,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT, read_private_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
except ImportError as error:
    note_missing_library(error)


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    params = task.params
    names = [f"{purpose}_certificate" for purpose in ("signing", "encryption")]
    missing = [name for name in names if _files.read_existing(params[name], KEY_FILE_LIMIT) is None]
    rows = [{"path": params[name], "changed": name in missing} for name in names]
    if missing and not _to_come(task):
        files = _issued(params, missing)
        if not task.check_mode:
            _files.write_new(files)
    return FlowResult(bool(missing), rows)


def _to_come(task: HostTask) -> bool:
    """Whether this check run would have made key and requests only now."""
    paths = [reference.parse_path(task.params["signing_key"]).path]
    paths += [task.params["signing_request"], task.params["encryption_request"]]
    return task.check_mode and any(_files.read_existing(path, KEY_FILE_LIMIT) is None for path in paths)


def _issued(params: dict, missing: list[str]) -> list[_files.NewFile]:
    key = read_private_key(params["signing_key"], params["signing_key_passphrase"], "signing_key")
    signing, encryption = (_request(params[name], name) for name in ("signing_request", "encryption_request"))
    key_ids = [identity.key_id_of_public_key(request.public_key()) for request in (signing, encryption)]
    if key_ids[0] != identity.key_id_of_private_key(key):
        raise OptionError("signing_request: it belongs to another key than signing_key")
    if key_ids[0] == key_ids[1]:
        raise OptionError("encryption_request: it is for the signing key; an agent has two keys")
    if "signing_certificate" in missing:
        issuer = signing.subject
    else:
        content = _files.read_file(params["signing_certificate"], KEY_FILE_LIMIT)
        issuer = _parsed(x509.load_pem_x509_certificate, content, "signing_certificate").subject
    requests = {"signing_certificate": signing, "encryption_certificate": encryption}
    return [
        _files.NewFile(params[name], _certificate(requests[name], issuer, key, params["days"]), 0o644)
        for name in missing
    ]


def _request(path: str, option: str) -> x509.CertificateSigningRequest:
    existing = _files.read_existing(path, KEY_FILE_LIMIT)
    if existing is None:
        raise KeyNotFound(f"{option}: there is no request at {path}; make it with csr first")
    request = _parsed(x509.load_pem_x509_csr, existing.content, option)
    if not request.is_signature_valid:
        raise OptionError(f"{option}: its signature does not verify; make it anew with csr")
    return request


def _parsed(parser: Callable[[bytes], Any], content: bytes, option: str) -> Any:
    try:
        return parser(content)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{option}: it is not what this option names, in PEM") from error


def _certificate(request: x509.CertificateSigningRequest, issuer: x509.Name, key: Any, days: int) -> bytes:
    if not 1 <= days <= 36500:
        raise OptionError("days: it must be 1 to 36500")
    now = times.now()
    builder = x509.CertificateBuilder(issuer, request.subject, request.public_key(), x509.random_serial_number())
    # An hour back: the clocks of agents and hosts differ.
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    edwards = isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    certificate = builder.sign(key, None if edwards else hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)
