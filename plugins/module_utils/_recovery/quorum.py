# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opening on the owner's host: m approvals of different agents of one group give the key back.

Every approval is verified with the signing certificate that the *record* names, for this request, this key and this
agent; every share against the record's digests. A bad approval or share is named and does not count. What was opened
is compared with the key ID, which nobody can forge: a false record or a false sealed key can waste time and gives no
wrong key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ApprovalMismatch,
    FileNotAllowed,
    FormatError,
    KeyopsError,
    KeyUnreadable,
    OpenError,
    QuorumNotReached,
    RecoveryError,
    ShareMismatch,
    WrongKeyRecovered,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import approval as approvals
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.share_check import check_share
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, open_key, share_text
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share

#: An agent whose approval counts, its share, and the session key that it released, if the key is from a token.
_Voice = tuple[RecordedAgent, Share, bytes]


@dataclass(frozen=True)
class Case:
    """Everything about one key that the vault gave, for one request.

    Attributes:
        request: verified against its ID.
        one_time_key: cryptography private key object, made for this request on this host.
        records: revisions that parse, of this key.
        sealed_keys: DER by digest.
        approvals: per agent ID the envelopes, oldest first.
        prove: for a key that goes into a token: raises RecoveryError unless what is given to it is this key.
    """

    request_id: str
    request: RecoveryRequest
    key_id: str
    one_time_key: object = field(repr=False)
    records: tuple[Record, ...] = ()
    sealed_keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    approvals: dict[str, list[bytes]] = field(default_factory=dict, repr=False)
    prove: Callable[[Wrapped, Record], None] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Wrapped:
    """A key from a token as it came out of its sealed key: still wrapped, for another token.

    Attributes:
        wrapping: how (_sealing/wrapped_key.py).
        blob: the private key under its session key.
        session_keys: name of the agent, and the session key as it released it, for the request's key in the token.
    """

    wrapping: str
    blob: bytes = field(repr=False)
    session_keys: tuple[tuple[str, bytes], ...] = field(repr=False)


@dataclass(frozen=True)
class Opened:
    """A recovered key.

    Attributes:
        key: proven to have the key ID that was asked for; None for ``wrapped``.
        record: the revision that it came from.
        group: the group that gave it back.
        agents: names of the agents whose shares were used, as the record has them.
        agent_ids: their IDs, in the same order.
        problems: approvals and revisions that did not count, and why.
        wrapped: a key from a token that goes into a token; ``Case.prove`` has seen it to be the right one.
    """

    key: PrivateKey | None = field(repr=False)
    record: Record
    group: str
    agents: tuple[str, ...]
    problems: tuple[str, ...]
    wrapped: Wrapped | None = field(default=None, repr=False)
    agent_ids: tuple[str, ...] = ()


def open_with_quorum(case: Case) -> Opened:
    """The key, from whichever revision and group has a quorum, newest revision first.

    Raises:
        QuorumNotReached: when no group of any revision has m valid approvals; says who has approved and who could.
        ShareMismatch: the same, when a share that would have completed a quorum is bad.
        WrongKeyRecovered: when a quorum opened something, and it never was this key.
    """
    problems: list[KeyopsError] = []
    missing: list[str] = []
    for record in sorted(case.records, key=lambda item: -item.number):
        if record.key_owner != case.request.key_owner:
            problems.append(ShareMismatch(f"record {record.number} names another key owner than the request"))
            continue
        for group in record.groups:
            shares = _shares(case, record, group, problems)
            if len(shares) < group.threshold:
                missing.append(_missing(record, group, shares))
                continue
            try:
                return _open(case, record, group, shares, problems)
            except (RecoveryError, FormatError, KeyUnreadable) as error:
                problems.append(error)
    raise _failure(case, problems, missing)


def _shares(case: Case, record: Record, group: RecordedGroup, problems: list[KeyopsError]) -> list[_Voice]:
    found: dict[str, _Voice] = {}
    requester = key_id_of_certificate(case.request.requester_certificate)
    for agent in group.agents:
        signer = key_id_of_certificate(agent.signing_certificate)
        # One person, one voice: a record that names one signing key twice, or the requester's, does not get two.
        if signer in found or requester in (signer, agent.agent_id):
            continue
        voice = _newest_voice(case, record, group, agent, problems)
        if voice is not None:
            found[signer] = voice
    return list(found.values())


def _newest_voice(
    case: Case, record: Record, group: RecordedGroup, agent: RecordedAgent, problems: list[KeyopsError]
) -> _Voice | None:
    for envelope in reversed(case.approvals.get(agent.agent_id, [])):
        try:
            approval = approvals.verify(
                envelope, agent.signing_certificate, case.request_id, case.key_id, agent.agent_id
            )
            for released in approval.shares:
                if (released.group, released.sealed_key) == (group.name, record.sealed_key):
                    plaintext = cms_open.open_with_key(released.message, case.one_time_key, case.request.one_time_key)
                    share = share_text.parse(plaintext)
                    check_share(share, record, group, agent)
                    if share.wrapped:
                        _check_target(case, approval, released)
                    return agent, share, released.wrapped_key
        except (RecoveryError, FormatError) as error:
            problems.append(type(error)(f"approval of agent {agent.name!r}: {error}"))
    return None


def _check_target(case: Case, approval: approvals.Approval, released: approvals.ReleasedShare) -> None:
    """Raise unless this agent has released the key from a token for where it is to go."""
    if not case.request.into_token(case.key_id) and not approval.allow_file:
        raise FileNotAllowed("the key is from a token, and the agent does not allow that it goes into a file")
    if not released.wrapped_key:
        raise ApprovalMismatch("the agent has released no session key for a key from a token")


def _open(
    case: Case, record: Record, group: RecordedGroup, shares: list[_Voice], problems: list[KeyopsError]
) -> Opened:
    message = case.sealed_keys.get(record.sealed_key)
    if message is None:
        raise WrongKeyRecovered(f"the vault does not have the sealed key that record {record.number} names")
    used = shares[: group.threshold]
    content = open_key.combine_and_open(message, record.sealed_key, [share for _agent, share, _key in used])
    session_keys = tuple((agent.name, wrapped_key) for agent, _share, wrapped_key in used)
    agent_ids = tuple(agent.agent_id for agent, _share, _key in used)
    told = (tuple(name for name, _key in session_keys), tuple(str(error) for error in problems))
    if record.wrapping and case.prove:
        wrapped = Wrapped(record.wrapping, content, session_keys)
        case.prove(wrapped, record)
        return Opened(None, record, group.name, *told, wrapped, agent_ids)
    if record.wrapping:
        content = _unwrapped(case, record.wrapping, content, session_keys)
    key = key_file.load(content, None)
    key_file.check_fully(key)
    if key.facts.key_id != case.key_id:
        raise WrongKeyRecovered(
            f"record {record.number} opens to the key {key.facts.key_id}, not to {case.key_id}: it is false"
        )
    return Opened(key, record, group.name, *told, agent_ids=agent_ids)


def _unwrapped(case: Case, wrapping: str, blob: bytes, session_keys: tuple[tuple[str, bytes], ...]) -> bytes:
    """A key from a token, for a file: with the session key of whichever agent released the right one."""
    # Not at the top: hosts whose keys are from files load nothing of it.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key_open

    failed: list[str] = []
    for agent, released in session_keys:
        try:
            session_key = cms_open.open_with_key(released, case.one_time_key, case.request.one_time_key)
            return wrapped_key_open.unwrap(session_key, wrapping, blob)
        except FormatError as error:
            failed.append(f"agent {agent!r}: {error}")
    raise OpenError(f"no agent has released the session key of this key: {'; '.join(failed)}")


def _missing(record: Record, group: RecordedGroup, shares: list[_Voice]) -> str:
    approved = [agent.name for agent, _share, _key in shares]
    others = [agent.name for agent in group.agents if agent.name not in approved]
    return (
        f"group {group.name!r} (record {record.number}) has {len(approved)} of {group.threshold} approvals"
        f" (approved: {', '.join(approved) or 'nobody'}; not yet: {', '.join(others) or 'nobody'})"
    )


def _failure(case: Case, problems: list[KeyopsError], missing: list[str]) -> KeyopsError:
    told = "; ".join([*missing, *(str(error) for error in problems)]) or "the vault has no record of it"
    kind = type(problems[-1]) if problems else QuorumNotReached
    return kind(f"key {case.key_id[:16]}... cannot be opened: {told}")
