# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The form of one lifecycle event (docs/formats.md, "Event"): canonical JSON, or a DSSE envelope around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, SignatureInvalid
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest

VERSION = "keyops-event/1"
PAYLOAD_TYPE = "application/vnd.keyops.event.v1+json"
OUTCOMES = ("success", "refused", "failed", "alarm")
ZEROS = "0" * 64

_FIELDS = {
    **{"number": int, "previous": str, "time": str, "actor": str, "host": str},
    **{"action": str, "outcome": str, "keys": list, "detail": str},
}


@dataclass(frozen=True)
class Event:
    """One event; the members are those of the format.

    Attributes:
        keys: pairs of key ID (empty where a key was refused before it could be read) and detail.
        signed_by: key ID that the envelope names as its signer, or empty for an unsigned event. It is proven only when
            the event was parsed with certificates.
    """

    number: int
    previous: str
    time: str
    actor: str
    host: str
    action: str
    outcome: str
    keys: tuple[tuple[str, str], ...]
    detail: str
    signed_by: str = ""


@dataclass(frozen=True)
class Head:
    """The last event of the log: its number and the digest of its bytes; 0 and zeros for an empty log."""

    number: int
    digest: str


def dump(event: Event, signing_key: object = None) -> bytes:
    """The object's bytes; an envelope when there is a key (a cryptography private key object)."""
    value = {name: getattr(event, name) for name in _FIELDS}
    value["format"] = VERSION
    value["keys"] = [{"key_id": key_id, "detail": detail} for key_id, detail in event.keys]
    payload = canonical.dumps(value)
    return payload if signing_key is None else dsse.sign(payload, PAYLOAD_TYPE, signing_key)


def parse(content: bytes, signing_certificates: Sequence[bytes] = ()) -> Event:
    """The event of an object's bytes.

    Args:
        signing_certificates: DER; when there are any, every event must be an envelope that verifies with one of them.

    Raises:
        SignatureInvalid: when it is not signed, or verifies with none of the certificates.
        FormatError: for anything that docs/formats.md does not allow.
    """
    # Members are sorted in the canonical form, so an envelope begins with this and an event never does.
    if not content.startswith(b'{"payload":'):
        if signing_certificates:
            raise SignatureInvalid("it is not signed")
        return _event(content, "")
    payload = dsse.payload_of(content, PAYLOAD_TYPE)
    if signing_certificates:
        _verify(content, signing_certificates)
    envelope: Any = canonical.loads(content)
    return _event(payload, check_digest(envelope["signatures"][0]["keyid"]))


def _verify(envelope: bytes, certificates: Sequence[bytes]) -> None:
    for certificate in certificates:
        try:
            dsse.verify(envelope, PAYLOAD_TYPE, certificate)
            return
        except SignatureInvalid:
            continue
    raise SignatureInvalid("the signature verifies with none of the signing certificates")


def _event(payload: bytes, signed_by: str) -> Event:
    value = canonical.load_object(payload, VERSION, _FIELDS)
    check_digest(value["previous"])
    times.parse(value["time"])
    if value["number"] < 1 or value["outcome"] not in OUTCOMES or not value["action"]:
        raise FormatError("event: number, action or outcome is not allowed")
    for item in value["keys"]:
        canonical.check_fields(item, {"key_id": str, "detail": str}, "event key")
        if item["key_id"]:
            check_digest(item["key_id"])
    members = {name: item for name, item in value.items() if name != "format"}
    return Event(
        **{**members, "keys": tuple((item["key_id"], item["detail"]) for item in value["keys"])}, signed_by=signed_by
    )
