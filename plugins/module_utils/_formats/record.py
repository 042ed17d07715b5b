# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive record: the public facts about one sealed key (docs/formats.md, "Record").

``keyops-record/1`` is of a key from a file; ``keyops-record/2``, of a key from a token, also says how the token wrapped
it and to which certificates.

Parsing is strict and complete: whoever holds a ``Record`` knows that its public key has its key ID, that its
certificates' encodings decode, and that its groups have sound thresholds. It does not say that the record is true: a
vault or an archiver can write anything. What protects is that a share, a receipt and the opened key must agree with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    UnknownVersion,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times

VERSION = "keyops-record/1"
SECOND_VERSION = "keyops-record/2"

_FIELDS = {
    **{"key_id": str, "number": int, "key_owner": str, "usage": str, "algorithm": str, "public_key": str},
    **{"host": str, "place": str, "created": str, "sealed_key": str, "certificates": list, "groups": list},
}
_GROUP = {"name": str, "threshold": int, "kek_id": str, "agents": list}
_AGENT = {
    **{"name": str, "agent_id": str, "encryption_certificate": str, "signing_certificate": str},
    **{"share_digest": str, "share": str},
}
#: What version 2 has beside.
_TOKEN_FIELDS = {**_FIELDS, "wrapping": str}
_TOKEN_AGENT = {**_AGENT, "wrapping_certificate": str}
_WRAPPINGS = ("aes-kwp", "aes-kw", "aes-kw-pkcs7", "aes-cbc-pad")


@dataclass(frozen=True)
class RecordedAgent:
    """One agent of a group, and where its share is.

    Attributes:
        share_digest: SHA-256 hex of the share's values.
        share: SHA-256 hex of the sealed share, its name in the vault.
        wrapping_certificate: DER; of a key from a token.
    """

    name: str
    agent_id: str
    encryption_certificate: bytes = field(repr=False)
    signing_certificate: bytes = field(repr=False)
    share_digest: str = ""
    share: str = ""
    wrapping_certificate: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class RecordedGroup:
    """One recovery group of a sealed key."""

    name: str
    threshold: int
    kek_id: str
    agents: tuple[RecordedAgent, ...]

    @property
    def share_digests(self) -> tuple[str, ...]:
        """The digests of all agents' shares, in the order of the group."""
        return tuple(agent.share_digest for agent in self.agents)


@dataclass(frozen=True)
class Record:
    """One revision of the record of one key; the members are those of the format.

    ``wrapping`` is empty for a key from a file.
    """

    key_id: str
    number: int
    key_owner: str
    usage: str
    algorithm: str
    public_key: bytes = field(repr=False)
    host: str = ""
    place: str = ""
    created: str = ""
    sealed_key: str = ""
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    groups: tuple[RecordedGroup, ...] = field(default=(), repr=False)
    wrapping: str = ""


def dump(record: Record) -> bytes:
    """The canonical bytes of a record."""
    value = {name: getattr(record, name) for name in _FIELDS if name not in ("public_key", "certificates", "groups")}
    value["format"] = VERSION
    if record.wrapping:
        value.update(format=SECOND_VERSION, wrapping=record.wrapping)
    value["public_key"] = canonical.encode(record.public_key)
    value["certificates"] = [canonical.encode(certificate) for certificate in record.certificates]
    value["groups"] = [_dump_group(group, bool(record.wrapping)) for group in record.groups]
    return canonical.dumps(value)


def parse(data: bytes) -> Record:
    """The record of canonical bytes.

    Raises:
        UnknownVersion: for another version.
        FormatError: for anything that docs/formats.md does not allow.
    """
    value = _load(data)
    public_key = canonical.decode(value["public_key"])
    _require(value["key_id"] == canonical.digest(public_key), "the key ID is not that of the public key")
    _require(value["number"] >= 1, "the number is below 1")
    _require(value["usage"] in ("key_transport", "key_agreement"), "the usage is not a nonsigning one")
    check_digest(value["sealed_key"])
    times.parse(value["created"])
    _require(len(value["groups"]) >= 1, "there is no recovery group")
    agent_fields = _TOKEN_AGENT if "wrapping" in value else _AGENT
    _require(value.get("wrapping", _WRAPPINGS[0]) in _WRAPPINGS, "the wrapping is not known")
    members = {name: item for name, item in value.items() if name != "format"}
    return Record(
        **{
            **members,
            "public_key": public_key,
            "certificates": tuple(canonical.decode(item) for item in value["certificates"]),
            "groups": tuple(_parse_group(item, agent_fields) for item in value["groups"]),
        }
    )


def _load(data: bytes) -> dict:
    try:
        return canonical.load_object(data, VERSION, _FIELDS)
    except UnknownVersion:
        return canonical.load_object(data, SECOND_VERSION, _TOKEN_FIELDS)


def check_digest(value: object, digits: int = 64) -> str:
    """Return ``value`` if it is lower-case hex of that length, or raise FormatError."""
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{digits}}}", value):
        raise FormatError(f"a value is not {digits} lower-case hexadecimal digits")
    return value


def check_id(value: str, option: str) -> str:
    """Return a key ID or request ID that was given in an option, or raise OptionError with the option's name."""
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise OptionError(f"{option}: {value[:80]!r} is no ID; an ID has 64 lower-case hexadecimal digits")
    return value


def _dump_group(group: RecordedGroup, from_token: bool) -> dict:
    agents = [
        {
            **{"name": agent.name, "agent_id": agent.agent_id},
            **{"share_digest": agent.share_digest, "share": agent.share},
            "encryption_certificate": canonical.encode(agent.encryption_certificate),
            "signing_certificate": canonical.encode(agent.signing_certificate),
            **({"wrapping_certificate": canonical.encode(agent.wrapping_certificate)} if from_token else {}),
        }
        for agent in group.agents
    ]
    return {"name": group.name, "threshold": group.threshold, "kek_id": group.kek_id, "agents": agents}


def _parse_group(value: Any, agent_fields: dict) -> RecordedGroup:
    canonical.check_fields(value, _GROUP, "record group")
    agents = tuple(_parse_agent(item, agent_fields) for item in value["agents"])
    check_digest(value["kek_id"], 32)
    _require(1 <= value["threshold"] <= len(agents) <= 255, "the threshold does not fit the number of agents")
    _require(len({agent.agent_id for agent in agents}) == len(agents), "an agent is named twice")
    return RecordedGroup(value["name"], value["threshold"], value["kek_id"], agents)


def _parse_agent(value: Any, agent_fields: dict) -> RecordedAgent:
    canonical.check_fields(value, agent_fields, "record agent")
    for name in ("agent_id", "share_digest", "share"):
        check_digest(value[name])
    return RecordedAgent(
        name=value["name"],
        agent_id=value["agent_id"],
        encryption_certificate=canonical.decode(value["encryption_certificate"]),
        signing_certificate=canonical.decode(value["signing_certificate"]),
        share_digest=value["share_digest"],
        share=value["share"],
        wrapping_certificate=canonical.decode(value.get("wrapping_certificate", "")),
    )


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(f"record: {what}")
