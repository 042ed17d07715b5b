# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The approval: one agent's shares of one key, released to one request (docs/formats.md, "Signed statements").

Invariant: an approval is bound by its signature to request ID, key ID and agent ID. In the place of another request,
key or agent it does not count, wherever a vault puts it.

``keyops-approval/2`` releases shares of a key from a token: beside each stands the key's session key for this request,
and whether the agent allows that the key goes into a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import ApprovalMismatch, UnknownVersion
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest

PAYLOAD_TYPE = "application/vnd.keyops.approval.v1+json"
_VERSION = "keyops-approval/1"
_SECOND_VERSION = "keyops-approval/2"
_FIELDS = {"request_id": str, "key_id": str, "agent_id": str, "created": str, "log_head": dict, "shares": list}
_SECOND_FIELDS = {**_FIELDS, "allow_file": bool}
_SHARE = {"group": str, "sealed_key": str, "message": str}


@dataclass(frozen=True)
class ReleasedShare:
    """One share text, encrypted to the request's one-time key.

    Attributes:
        group: name of the recovery group.
        sealed_key: SHA-256 hex of the sealed key that it helps to open.
        message: DER ContentInfo.
        wrapped_key: of a key from a token its session key: RSA-OAEP to the request's key in a token, or a DER
            ContentInfo to its one-time key for a file; empty for a key from a file.
    """

    group: str
    sealed_key: str
    message: bytes = field(repr=False)
    wrapped_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Approval:
    """The members are those of the format."""

    request_id: str
    key_id: str
    agent_id: str
    created: str
    log_number: int
    log_digest: str
    shares: tuple[ReleasedShare, ...]
    allow_file: bool = False


def sign(approval: Approval, signing_key: Any) -> bytes:
    """The envelope, signed by the agent's cryptography key object."""
    second = any(share.wrapped_key for share in approval.shares)
    shares = [_dump_share(share, second) for share in approval.shares]
    value: dict = {
        **{"format": _VERSION, "request_id": approval.request_id, "key_id": approval.key_id},
        **{"agent_id": approval.agent_id, "created": approval.created, "shares": shares},
        "log_head": {"number": approval.log_number, "digest": approval.log_digest},
    }
    if second:
        value.update(format=_SECOND_VERSION, allow_file=approval.allow_file)
    return dsse.sign(canonical.dumps(value), PAYLOAD_TYPE, signing_key)


def _dump_share(share: ReleasedShare, second: bool) -> dict:
    value = {"group": share.group, "sealed_key": share.sealed_key, "message": canonical.encode(share.message)}
    return {**value, "wrapped_key": canonical.encode(share.wrapped_key)} if second else value


def verify(envelope: bytes, signing_certificate: bytes, request_id: str, key_id: str, agent_id: str) -> Approval:
    """The approval in an envelope, when this certificate signed it for exactly this request, key and agent.

    Raises:
        SignatureInvalid: when the certificate's key did not sign it.
        ApprovalMismatch: when it was given for something else.
        FormatError: when it is no approval.
    """
    return _bound(dsse.verify(envelope, PAYLOAD_TYPE, signing_certificate), request_id, key_id, agent_id)


def verify_own(envelope: bytes, signing_key: Any, request_id: str, key_id: str, agent_id: str) -> Approval:
    """The same for the agent itself, which has its private key at hand."""
    payload = dsse.verify_with_key(envelope, PAYLOAD_TYPE, signing_key.public_key())
    return _bound(payload, request_id, key_id, agent_id)


def _bound(payload: bytes, request_id: str, key_id: str, agent_id: str) -> Approval:
    approval = parse(payload)
    found = (approval.request_id, approval.key_id, approval.agent_id)
    for what, is_there, wanted in zip(("request", "key", "agent"), found, (request_id, key_id, agent_id)):
        if is_there != wanted:
            raise ApprovalMismatch(f"the approval was given for the {what} {is_there}, not for {wanted}")
    return approval


def parse(data: bytes) -> Approval:
    """The approval of canonical bytes.

    Raises:
        UnknownVersion: for another version.
        FormatError: for anything that docs/formats.md does not allow.
    """
    value = _load(data)
    second = "allow_file" in value
    for name in ("request_id", "key_id", "agent_id"):
        check_digest(value[name])
    times.parse(value["created"])
    canonical.check_fields(value["log_head"], {"number": int, "digest": str}, "log head")
    return Approval(
        **{name: value[name] for name in ("request_id", "key_id", "agent_id", "created")},
        log_number=value["log_head"]["number"],
        log_digest=check_digest(value["log_head"]["digest"]),
        shares=tuple(_parse_share(item, second) for item in value["shares"]),
        allow_file=second and value["allow_file"],
    )


def _load(data: bytes) -> dict:
    try:
        return canonical.load_object(data, _VERSION, _FIELDS)
    except UnknownVersion:
        return canonical.load_object(data, _SECOND_VERSION, _SECOND_FIELDS)


def _parse_share(value: Any, second: bool) -> ReleasedShare:
    canonical.check_fields(value, {**_SHARE, "wrapped_key": str} if second else _SHARE, "released share")
    return ReleasedShare(
        value["group"],
        check_digest(value["sealed_key"]),
        canonical.decode(value["message"]),
        canonical.decode(value.get("wrapped_key", "")),
    )
