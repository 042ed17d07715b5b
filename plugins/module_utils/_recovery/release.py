# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent opens its own share and encrypts it to one request.

An agent is never a decryption oracle. Anybody can encrypt to its certificate and write records, so what it decrypts
goes out only as a whole share text that authenticates, names this agent, and agrees with the record and the request
on key ID, key owner and sealed key. Anything else that was encrypted to the agent (its mail, another key's share) is
refused. What a share of a key from a token has beside, a wrapped key, goes out only when its maker knew it
(_sealing/wrapped_key_open.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    FileNotAllowed,
    FormatError,
    KeyopsError,
    RecordMismatch,
    RecoveryError,
    RequesterApproves,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import (
    key_id_of_certificate,
    key_id_of_private_key,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.approval import ReleasedShare
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.share_check import check_share
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, cms_seal, share_text
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share


@dataclass(frozen=True)
class AgentKeys:
    """The agent's own keys on its own machine.

    Attributes:
        name: as the record's group calls the agent.
        agent_id, signer_id: key IDs of the two keys.
        encryption_key, signing_key: cryptography private key objects.
        wrapping_key: the same, for keys from tokens; None where the agent gives none.
        allow_file: the agent allows that a key from a token goes into a file.
    """

    name: str
    agent_id: str
    signer_id: str
    encryption_key: object = field(repr=False)
    signing_key: object = field(repr=False)
    wrapping_key: object = field(default=None, repr=False)
    allow_file: bool = False


def agent_keys(
    name: str, encryption_key: object, signing_key: object, wrapping_key: object = None, allow_file: bool = False
) -> AgentKeys:
    """The agent's keys with their key IDs."""
    ids = (key_id_of_private_key(encryption_key), key_id_of_private_key(signing_key))
    return AgentKeys(name, *ids, encryption_key, signing_key, wrapping_key, allow_file)


def require_other_requester(request: RecoveryRequest, keys: AgentKeys) -> None:
    """Raise RequesterApproves when the requester's key is one of the agent's: nobody approves the own request."""
    if key_id_of_certificate(request.requester_certificate) in (keys.agent_id, keys.signer_id):
        raise RequesterApproves(
            f"agent {keys.name!r} made this request with its own key and cannot approve it: another agent must"
        )


def require_same_facts(request: RecoveryRequest, record: Record) -> None:
    """Raise RecordMismatch unless the record is of a key that is asked for, and of the same owner."""
    if record.key_id not in request.key_ids:
        raise RecordMismatch(f"the request does not ask for the key {record.key_id}")
    if record.key_owner != request.key_owner:
        raise RecordMismatch(
            f"key {record.key_id[:16]}... is archived for {record.key_owner!r}, and the request says "
            f"{request.key_owner!r}"
        )


def places_of(record: Record, keys: AgentKeys) -> list[tuple[RecordedGroup, RecordedAgent]]:
    """Where the record names this agent with this encryption key and this signing key (it may be in several groups)."""
    return [
        (group, agent)
        for group in record.groups
        for agent in group.agents
        if agent.name == keys.name
        and agent.agent_id == keys.agent_id == key_id_of_certificate(agent.encryption_certificate)
        and key_id_of_certificate(agent.signing_certificate) == keys.signer_id
    ]


def release(
    record: Record, messages: dict[str, bytes], keys: AgentKeys, request: RecoveryRequest
) -> list[ReleasedShare]:
    """The agent's shares of one revision, encrypted to the request's one-time key.

    Args:
        record: the revision.
        messages: sealed shares by their digest, as the vault has them.

    Raises:
        RecordMismatch: when record and request differ.
        AgentUnknown: when the record does not name this agent with these keys, or the vault lacks its share.
        OpenError, FormatError: when something else than a share was encrypted to the agent.
        ShareMismatch: when the share was made for something else.
    """
    require_same_facts(request, record)
    places = places_of(record, keys)
    if not places:
        raise AgentUnknown(
            f"record {record.key_id[:16]}.../{record.number} does not name an agent {keys.name!r} with these keys"
        )
    return [_release_one(record, group, agent, messages, keys, request) for group, agent in places]


def _release_one(
    record: Record,
    group: RecordedGroup,
    agent: RecordedAgent,
    messages: dict[str, bytes],
    keys: AgentKeys,
    request: RecoveryRequest,
) -> ReleasedShare:
    message = messages.get(agent.share)
    if message is None:
        raise AgentUnknown(f"the vault does not have the share of agent {agent.name!r} that the record names")
    plaintext = cms_open.open_with_key(message, keys.encryption_key, agent.encryption_certificate)
    share = share_text.parse(plaintext)
    check_share(share, record, group, agent)
    wrapped_key = _wrapped_key(share, keys, request) if share.wrapped else b""
    message = cms_seal.seal_to_public_key(plaintext, request.one_time_key)
    return ReleasedShare(group.name, record.sealed_key, message, wrapped_key)


def _wrapped_key(share: Share, keys: AgentKeys, request: RecoveryRequest) -> bytes:
    """The session key of a key from a token, for where the request says that the key goes.

    Raises:
        FileNotAllowed: into a file, and the agent does not allow it.
        WrappedKeyNotProven: the share's maker did not know it.
    """
    # Not at the top: agents of keys from files load nothing of it.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key_open

    if not request.into_token(share.key_id) and not keys.allow_file:
        raise FileNotAllowed(
            f"key {share.key_id[:16]}... is from a token, where nobody could read it, and the request wants it in a "
            "file: give allow_file: true only if your policy allows that, or have a request made for a token"
        )
    session_key = wrapped_key_open.open_proven(share, keys.wrapping_key)
    if request.into_token(share.key_id):
        return wrapped_key_open.encrypt_to_token(session_key, request.token_key, request.token_key_hash)
    return cms_seal.seal_to_public_key(session_key, request.one_time_key)


def release_all(
    records: list[Record], messages: dict[str, bytes], keys: AgentKeys, request: RecoveryRequest
) -> tuple[list[ReleasedShare], list[Record], list[KeyopsError]]:
    """The agent's shares of every revision that is sound, these revisions, and why the others are not.

    A forged revision must not stand in the way of a genuine one; it gives the forger nothing, because what is released
    are shares of this key ID and this owner only.
    """
    released: list[ReleasedShare] = []
    sound: list[Record] = []
    problems: list[KeyopsError] = []
    for record in records:
        try:
            # A revision that only has more certificates names the shares of the one before: they are released once.
            same = [one for one in sound if (one.sealed_key, one.groups) == (record.sealed_key, record.groups)]
            if same and same[0].usage == record.usage:
                require_same_facts(request, record)
            else:
                released.extend(release(record, messages, keys, request))
            sound.append(record)
        except (RecoveryError, FormatError) as error:
            problems.append(error)
    return released, sound, problems
