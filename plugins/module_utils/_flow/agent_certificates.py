# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recovery agent's certificates: the signing one signed with its own key, the other ones with that as well.

A certificate that is there is kept, whoever issued it: a team with its own CA puts its certificates in place of these.
Every request must verify, the first one must belong to the signing key, and no two may be for one key. A signing key
on a token (a smart card) signs there.
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
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import own_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity, reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
except ImportError as error:
    note_missing_library(error)


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    params = task.params
    names = [f"{purpose}_certificate" for purpose in _purposes(params)]
    missing = [name for name in names if _files.read_existing(params[name], KEY_FILE_LIMIT) is None]
    rows = [{"path": params[name], "changed": name in missing} for name in names]
    _check_kept(params, missing)
    if missing and not _to_come(task):
        with own_keys.opened(params, ["signing_key"]) as (key,):
            files = _issued(params, missing, key)
        if not task.check_mode:
            _files.write_new(files)
    return FlowResult(bool(missing), rows)


def _purposes(params: dict) -> list[str]:
    given = [params.get(f"wrapping_{what}") is not None for what in ("request", "certificate")]
    if given[0] != given[1]:
        raise OptionError("wrapping_certificate: it goes with wrapping_request; give both or none")
    wrapping = ["wrapping"] if given[0] else []
    return ["signing", "encryption", *wrapping]


def _check_kept(params: dict, missing: list[str]) -> None:
    """Raise OptionError when a certificate that is there is not for the key of its request."""
    for purpose in _purposes(params):
        name = f"{purpose}_certificate"
        request = _files.read_existing(params[f"{purpose}_request"], KEY_FILE_LIMIT)
        if name in missing or request is None:
            continue
        asked = _parsed(x509.load_pem_x509_csr, request.content, f"{purpose}_request")
        kept = _parsed(x509.load_pem_x509_certificate, _files.read_file(params[name], KEY_FILE_LIMIT), name)
        ids = [identity.key_id_of_public_key(one.public_key()) for one in (asked, kept)]
        if ids[0] != ids[1]:
            raise OptionError(
                f"{name}: the certificate at {params[name]} is for another key than {purpose}_request; when the agent "
                "has new keys, move its old certificates away"
            )


def _to_come(task: HostTask) -> bool:
    """Whether this check run would have made key and requests only now."""
    params = task.params
    paths = [params[f"{purpose}_request"] for purpose in _purposes(params)]
    if not reference.is_token(params["signing_key"]):
        paths.append(reference.parse_path(params["signing_key"]).path)
    return task.check_mode and any(_files.read_existing(path, KEY_FILE_LIMIT) is None for path in paths)


def _issued(params: dict, missing: list[str], key: Any) -> list[_files.NewFile]:
    requests = {purpose: _request(params[f"{purpose}_request"], f"{purpose}_request") for purpose in _purposes(params)}
    key_ids = {purpose: identity.key_id_of_public_key(one.public_key()) for purpose, one in requests.items()}
    if key_ids["signing"] != identity.key_id_of_private_key(key):
        raise OptionError("signing_request: it belongs to another key than signing_key")
    for number, (purpose, key_id) in enumerate(key_ids.items()):
        if key_id in list(key_ids.values())[:number]:
            raise OptionError(
                f"{purpose}_request: it is for a key that has another task; an agent's keys are different"
            )
    if "signing_certificate" in missing:
        issuer = requests["signing"].subject
    else:
        content = _files.read_file(params["signing_certificate"], KEY_FILE_LIMIT)
        issuer = _parsed(x509.load_pem_x509_certificate, content, "signing_certificate").subject
    named = {f"{purpose}_certificate": one for purpose, one in requests.items()}
    return [
        _files.NewFile(params[name], _certificate(named[name], issuer, key, params["days"]), 0o644) for name in missing
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
    certificate = _signed_on_token(builder, key) if getattr(key, "on_token", False) else _signed(builder, key)
    return certificate.public_bytes(serialization.Encoding.PEM)


def _signed(builder: x509.CertificateBuilder, key: Any) -> x509.Certificate:
    edwards = isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    return builder.sign(key, None if edwards else hashes.SHA256())


def _signed_on_token(builder: x509.CertificateBuilder, key: Any) -> x509.Certificate:
    """The library signs with its own keys only: so a passing one of the same type signs, and the token after it.

    What is signed names the kind of signature and neither key, so the token's signature takes the other one's place.
    """
    sha256 = hashes.SHA256()
    if isinstance(key, rsa.RSAPrivateKey):
        made = _signed(builder, rsa.generate_private_key(65537, 2048))
        signature = key.sign(made.tbs_certificate_bytes, padding.PKCS1v15(), sha256)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = _signed(builder, ec.generate_private_key(ec.SECP256R1()))
        signature = key.sign(made.tbs_certificate_bytes, ec.ECDSA(sha256))
    else:
        made = _signed(builder, ed25519.Ed25519PrivateKey.generate())
        signature = key.sign(made.tbs_certificate_bytes)
    method = der.read_sequence(made.public_bytes(serialization.Encoding.DER))[1].whole
    bits = der.write(der.BIT_STRING, b"\0" + signature)
    return x509.load_der_x509_certificate(der.write(der.SEQUENCE, made.tbs_certificate_bytes + method + bits))
