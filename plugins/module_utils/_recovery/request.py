# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery request: what the requester signs and the agents agree to (docs/formats.md, "Signed statements").

Invariant: the request's ID is the digest of its canonical form, which holds the one-time key. Whoever compared the ID
with the one that the owner's host shows has therefore compared the key to which shares will be encrypted: a vault that
swaps the key changes the ID.

Reason, host and places are what an agent reads before it agrees: they are one line each, without control characters, so
that they cannot draw another question on its screen.

``keyops-request/2`` also says where each key goes, and has the one-time key of the token that keys go to.
"""

from __future__ import annotations

import datetime
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    RequestExpired,
    RequestMismatch,
    UnknownVersion,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.share_text import check_name, shown

try:
    from cryptography import x509
except ImportError as error:
    note_missing_library(error)

PAYLOAD_TYPE = "application/vnd.keyops.request.v1+json"
_VERSION = "keyops-request/1"
_SECOND_VERSION = "keyops-request/2"
_FIELDS = {
    **{"nonce": str, "key_ids": list, "key_owner": str, "host": str, "reason": str, "created": str, "expires": str},
    **{"one_time_key": str, "requester_certificate": str},
}
_SECOND_FIELDS = {**_FIELDS, "places": list, "token_key": str, "token_key_hash": str}
_HASHES = ("sha256", "sha1")


def dump(request: RecoveryRequest) -> bytes:
    """The canonical bytes; their digest is the request ID."""
    value = {name: getattr(request, name) for name in _FIELDS}
    value["format"] = _VERSION
    value["key_ids"] = list(request.key_ids)
    value["one_time_key"] = canonical.encode(request.one_time_key)
    value["requester_certificate"] = canonical.encode(request.requester_certificate)
    if request.places:
        value.update(format=_SECOND_VERSION, places=list(request.places), token_key_hash=request.token_key_hash)
        value["token_key"] = canonical.encode(request.token_key)
    return canonical.dumps(value)


def parse(data: bytes) -> RecoveryRequest:
    """The request of canonical bytes.

    Raises:
        UnknownVersion: for another version.
        FormatError: for anything that docs/formats.md does not allow.
    """
    value = _load(data)
    check_digest(value["nonce"], 32)
    key_ids = tuple(check_digest(item) for item in value["key_ids"])
    if not key_ids or list(key_ids) != sorted(set(key_ids)):
        raise FormatError("request: the key IDs are not sorted and unique, or there are none")
    check_shown(value["reason"], value["host"])
    if times.parse(value["created"]) >= times.parse(value["expires"]):
        raise FormatError("request: it expires before it was created")
    del value["format"]
    return RecoveryRequest(
        **{
            **value,
            **_second_members(value),
            "key_ids": key_ids,
            "one_time_key": canonical.decode(value["one_time_key"]),
            "requester_certificate": canonical.decode(value["requester_certificate"]),
        }
    )


def _load(data: bytes) -> dict:
    try:
        return canonical.load_object(data, _VERSION, _FIELDS)
    except UnknownVersion:
        return canonical.load_object(data, _SECOND_VERSION, _SECOND_FIELDS)


def _second_members(value: dict) -> dict:
    """What version 2 has beside, checked."""
    if "places" not in value:
        return {}
    places = tuple(value["places"])
    if len(places) != len(value["key_ids"]) or not all(isinstance(place, str) for place in places):
        raise FormatError("request: there must be a place, or an empty text, for every key ID")
    for place in filter(None, places):
        check_name(place, "a place", longest=1000)
    token_key = canonical.decode(value["token_key"])
    # The hash of the agents' encryption stands there exactly when there is a key to encrypt to.
    if any(place.startswith("pkcs11:") for place in places) != bool(token_key):
        raise FormatError("request: a key goes into a token exactly when there is a one-time key of a token")
    if value["token_key_hash"] not in (_HASHES if token_key else ("",)):
        raise FormatError("request: the token's OAEP hash is not known")
    return {"places": places, "token_key": token_key}


def check_shown(reason: str, host: str) -> None:
    """Raise FormatError, naming the option, unless an agent can be shown both as they are."""
    check_name(reason, "reason", longest=500)
    check_name(host, "host")


def requester_of(request: RecoveryRequest) -> dict[str, str]:
    """``{"subject", "key_id"}`` of the requester's certificate, to be shown.

    Raises:
        FormatError: when the certificate cannot be read.
    """
    try:
        subject = x509.load_der_x509_certificate(request.requester_certificate).subject.rfc4514_string()
    except ValueError as error:
        raise FormatError("request: the requester's certificate cannot be read") from error
    return {"subject": shown(subject), "key_id": key_id_of_certificate(request.requester_certificate)}


def sign(request: RecoveryRequest, signing_key: Any) -> tuple[str, bytes]:
    """The request ID and the envelope, signed by the requester's cryptography key object."""
    payload = dump(request)
    return canonical.digest(payload), dsse.sign(payload, PAYLOAD_TYPE, signing_key)


def payload_of(envelope: bytes) -> bytes:
    """The canonical bytes in an envelope, NOT verified."""
    return dsse.payload_of(envelope, PAYLOAD_TYPE)


def verify(envelope: bytes, request_id: str) -> RecoveryRequest:
    """The request in an envelope, when it is the one with this ID and its requester signed it.

    Raises:
        RequestMismatch: when the content has another ID, so when anything in it was changed.
        SignatureInvalid: when the requester's certificate did not sign it.
        FormatError: when it is no request.
    """
    payload = payload_of(envelope)
    found = canonical.digest(payload)
    if found != request_id:
        raise RequestMismatch(
            f"the vault's request has the ID {found}, not {request_id}: it was changed or is another one. "
            "Ask the requester for the ID that the owner's host shows"
        )
    request = parse(payload)
    dsse.verify(envelope, PAYLOAD_TYPE, request.requester_certificate)
    return request


def require_open(request: RecoveryRequest, now: datetime.datetime) -> None:
    """Raise RequestExpired unless ``now`` lies in the request's time (five minutes of clock difference are allowed)."""
    if now >= times.parse(request.expires):
        raise RequestExpired(f"the request expired at {request.expires}: make a new one")
    if now + datetime.timedelta(minutes=5) < times.parse(request.created):
        raise RequestExpired(
            f"the request was created at {request.created}, which is in the future: compare the clocks"
        )
