# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lift: one agent's word that all freezes of a key, as they stand, shall not hold any more (docs/formats.md).

Invariants: a lift is bound by its signature to key ID, freeze ID and agent ID, so that it says nothing of another key
or of a freeze that came later. It counts for a revision of the record whose group names the agent and the certificate
that signed it, and for no other: whoever can add a revision with agents of its own lifts that revision and no genuine
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ApprovalMismatch,
    FormatError,
    RecoveryError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
    check_digest,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.share_text import check_name

PAYLOAD_TYPE = "application/vnd.keyops.lift.v1+json"
_VERSION = "keyops-lift/1"
_FIELDS = {"key_id": str, "freeze_id": str, "agent_id": str, "reason": str, "created": str, "log_head": dict}
_HEAD = {"number": int, "digest": str}


@dataclass(frozen=True)
class Lift:
    """The members are those of the format."""

    key_id: str
    freeze_id: str
    agent_id: str
    reason: str
    created: str
    log_number: int
    log_digest: str


def sign(lift: Lift, signing_key: Any) -> bytes:
    """The envelope, signed by the agent's cryptography key object."""
    value = {
        **{"format": _VERSION, "key_id": lift.key_id, "freeze_id": lift.freeze_id, "agent_id": lift.agent_id},
        **{"reason": lift.reason, "created": lift.created},
        "log_head": {"number": lift.log_number, "digest": lift.log_digest},
    }
    return dsse.sign(canonical.dumps(value), PAYLOAD_TYPE, signing_key)


def check_reason(reason: str) -> None:
    """Raise FormatError, naming the option, unless a person can be shown the reason as it is."""
    check_name(reason, "reason", longest=500)


def parse(data: bytes) -> Lift:
    """The lift of canonical bytes.

    Raises:
        UnknownVersion: for another version.
        FormatError: for anything that docs/formats.md does not allow.
    """
    value = canonical.load_object(data, _VERSION, _FIELDS)
    for name in ("key_id", "freeze_id", "agent_id"):
        check_digest(value[name])
    check_reason(value["reason"])
    times.parse(value["created"])
    canonical.check_fields(value["log_head"], _HEAD, "log head")
    return Lift(
        **{name: value[name] for name in ("key_id", "freeze_id", "agent_id", "reason", "created")},
        log_number=value["log_head"]["number"],
        log_digest=check_digest(value["log_head"]["digest"]),
    )


def verify(envelope: bytes, signing_certificate: bytes, key_id: str, freeze_id: str, agent_id: str) -> Lift:
    """The lift in an envelope, when this certificate signed it for exactly this key, these freezes and this agent.

    Raises:
        SignatureInvalid: when the certificate's key did not sign it.
        ApprovalMismatch: when it was given for something else.
        FormatError: when it is no lift.
    """
    lift = parse(dsse.verify(envelope, PAYLOAD_TYPE, signing_certificate))
    if (lift.key_id, lift.freeze_id, lift.agent_id) != (key_id, freeze_id, agent_id):
        raise ApprovalMismatch("the lift was given for another key, for other freezes, or by another agent")
    return lift


def voices(record: Record, group: RecordedGroup, freeze_id: str, lifts: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Names of the agents of this group of this revision who have lifted these freezes.

    Args:
        lifts: per agent ID the envelopes.
    """
    found: dict[str, str] = {}
    for agent in group.agents:
        signer = key_id_of_certificate(agent.signing_certificate)
        # One person, one voice: a record that names one signing key twice does not get two.
        if signer not in found and has_lifted(record.key_id, agent, freeze_id, lifts):
            found[signer] = agent.name
    return list(found.values())


def has_lifted(key_id: str, agent: RecordedAgent, freeze_id: str, lifts: Mapping[str, Iterable[bytes]]) -> bool:
    """Whether one of the agent's envelopes is its lift of these freezes; any others are passed over."""
    for envelope in lifts.get(agent.agent_id, ()):
        try:
            verify(envelope, agent.signing_certificate, key_id, freeze_id, agent.agent_id)
        except (RecoveryError, FormatError):
            continue
        return True
    return False


def lifted_for(records: Sequence[Record], freeze_id: str, lifts: Mapping[str, Iterable[bytes]]) -> frozenset[int]:
    """Numbers of the revisions for which the quorum of one group has lifted these freezes.

    Several revisions of one sealed key are lifted together or not at all: else a copy of a revision, with other
    people's certificates in it, would be lifted by them and opened with the shares of the genuine one.
    """
    lifted = {one.number for one in records if _has_quorum(one, freeze_id, lifts)}
    shut = {one.sealed_key for one in records if one.number not in lifted}
    return frozenset(one.number for one in records if one.number in lifted and one.sealed_key not in shut)


def _has_quorum(record: Record, freeze_id: str, lifts: Mapping[str, Iterable[bytes]]) -> bool:
    return any(len(voices(record, group, freeze_id, lifts)) >= group.threshold for group in record.groups)
