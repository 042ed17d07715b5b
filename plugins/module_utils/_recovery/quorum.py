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

from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyopsError,
    KeyUnreadable,
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


@dataclass(frozen=True)
class Case:
    """Everything about one key that the vault gave, for one request.

    Attributes:
        request: verified against its ID.
        one_time_key: cryptography private key object, made for this request on this host.
        records: revisions that parse, of this key.
        sealed_keys: DER by digest.
        approvals: per agent ID the envelopes, oldest first.
    """

    request_id: str
    request: RecoveryRequest
    key_id: str
    one_time_key: object = field(repr=False)
    records: tuple[Record, ...] = ()
    sealed_keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    approvals: dict[str, list[bytes]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Opened:
    """A recovered key.

    Attributes:
        key: proven to have the key ID that was asked for.
        record: the revision that it came from.
        group: the group that gave it back.
        agents: names of the agents whose shares were used.
        problems: approvals and revisions that did not count, and why.
    """

    key: PrivateKey = field(repr=False)
    record: Record
    group: str
    agents: tuple[str, ...]
    problems: tuple[str, ...]


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


def _shares(
    case: Case, record: Record, group: RecordedGroup, problems: list[KeyopsError]
) -> list[tuple[RecordedAgent, Share]]:
    found: dict[str, tuple[RecordedAgent, Share]] = {}
    requester = key_id_of_certificate(case.request.requester_certificate)
    for agent in group.agents:
        signer = key_id_of_certificate(agent.signing_certificate)
        # One person, one voice: a record that names one signing key twice, or the requester's, does not get two.
        if signer in found or requester in (signer, agent.agent_id):
            continue
        share = _newest_share(case, record, group, agent, problems)
        if share is not None:
            found[signer] = (agent, share)
    return list(found.values())


def _newest_share(
    case: Case, record: Record, group: RecordedGroup, agent: RecordedAgent, problems: list[KeyopsError]
) -> Share | None:
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
                    return share
        except (RecoveryError, FormatError) as error:
            problems.append(type(error)(f"approval of agent {agent.name!r}: {error}"))
    return None


def _open(
    case: Case,
    record: Record,
    group: RecordedGroup,
    shares: list[tuple[RecordedAgent, Share]],
    problems: list[KeyopsError],
) -> Opened:
    message = case.sealed_keys.get(record.sealed_key)
    if message is None:
        raise WrongKeyRecovered(f"the vault does not have the sealed key that record {record.number} names")
    used = shares[: group.threshold]
    pkcs8 = open_key.combine_and_open(message, record.sealed_key, [share for _agent, share in used])
    key = key_file.load(pkcs8, None)
    key_file.check_fully(key)
    if key.facts.key_id != case.key_id:
        raise WrongKeyRecovered(
            f"record {record.number} opens to the key {key.facts.key_id}, not to {case.key_id}: it is false"
        )
    agents = tuple(agent.name for agent, _share in used)
    return Opened(key, record, group.name, agents, tuple(str(error) for error in problems))


def _missing(record: Record, group: RecordedGroup, shares: list[tuple[RecordedAgent, Share]]) -> str:
    approved = [agent.name for agent, _share in shares]
    others = [agent.name for agent in group.agents if agent.name not in approved]
    return (
        f"group {group.name!r} (record {record.number}) has {len(approved)} of {group.threshold} approvals"
        f" (approved: {', '.join(approved) or 'nobody'}; not yet: {', '.join(others) or 'nobody'})"
    )


def _failure(case: Case, problems: list[KeyopsError], missing: list[str]) -> KeyopsError:
    told = "; ".join([*missing, *(str(error) for error in problems)]) or "the vault has no record of it"
    kind = type(problems[-1]) if problems else QuorumNotReached
    return kind(f"key {case.key_id[:16]}... cannot be opened: {told}")
