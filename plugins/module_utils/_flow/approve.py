# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Approve a request: on the agent's own machine, with the agent's own keys.

The steps, in this order; each raises and nothing is signed:

1. The request's ID is recomputed from what the vault gave, and must be the one that the agent was told on another way.
2. The requester's signature over it verifies, and it is within its time.
3. The request's key owner is the one that the agent expects.
4. The requester is not this agent.
5. No requested key is frozen.
6. For each requested key, each revision: record, request and the agent's own opened share agree; else it is left out.
   A key from a token: its session key must be proven by the share, and a file as its target be allowed. A key of which
   this agent can release nothing is told, and stands in the way of no other: a key history has had other agents.
7. The share is encrypted to the request's one-time key, and the approval signed for this request, key and agent.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    FormatError,
    FrozenRefused,
    KeyopsError,
    RecoveryError,
    RequestMismatch,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import own_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, record, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import approval as approvals
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import release
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text


def run(task: HostTask) -> FlowResult:
    """See the module's docstring.

    Relay in: ``{"envelope", "head": {"number", "digest"}, "keys": {key ID: {"records": [base64], "shares": {digest:
    base64}, "approvals": {agent ID: [base64]}, "frozen": str | None}}}``; out: ``{"approvals": {key ID: {"agent_id",
    "envelope"}}}``.
    """
    params = task.params
    options = ["encryption_key", "signing_key", *(["wrapping_key"] if params["wrapping_key"] is not None else [])]
    with own_keys.opened(params, options) as found:
        encryption_key, signing_key, wrapping_key = [*found, None][:3]
        keys = release.agent_keys(params["agent"], encryption_key, signing_key, wrapping_key, params["allow_file"])
        return _approved(task, keys)


def _approved(task: HostTask, keys: release.AgentKeys) -> FlowResult:
    params = task.params
    request = _verified_request(params, task.relay, keys)
    released, refused = _release_each(task.relay["keys"], keys, request)
    signed = {}
    results = []
    for key_id, (shares, sound, problems) in released.items():
        present = _has_approved(task.relay["keys"][key_id], params["request_id"], key_id, keys, shares)
        if not present:
            signed[key_id] = {
                "agent_id": keys.agent_id,
                "envelope": canonical.encode(_sign(params["request_id"], key_id, keys, shares, task.relay["head"])),
            }
        results.append({**_row(key_id, keys, shares, problems, not present), **_about(sound, request, key_id)})
    for key_id, error in refused.items():
        results.append({**_row(key_id, keys, [], [error], False), **_about([], request, key_id)})
    extra = {
        **{"request_id": params["request_id"], "key_owner": request.key_owner, "reason": request.reason},
        **{"host": request.host, "requester": requests.requester_of(request)},
    }
    results.sort(key=lambda row: str(row["key_id"]))
    warnings = [f"not approved: {error}" for error in refused.values()]
    return FlowResult(bool(signed), results, relay={"approvals": signed}, warnings=warnings, extra=extra)


def _verified_request(params: dict, relay: dict, keys: release.AgentKeys) -> RecoveryRequest:
    request = requests.verify(canonical.decode(relay["envelope"]), params["request_id"])  # 1, 2
    requests.require_open(request, times.now())  # 2
    if request.key_owner != params["expected_owner"]:  # 3
        raise RequestMismatch(
            f"the request is for the keys of {request.key_owner!r}, and expected_owner is {params['expected_owner']!r}"
        )
    release.require_other_requester(request, keys)  # 4
    return request


def _release_each(relayed: dict, keys: release.AgentKeys, request: RecoveryRequest) -> tuple[dict, dict]:
    """By key ID what is released, and why nothing is.

    Raises:
        FrozenRefused: a key is frozen; then nothing is released.
        RecoveryError, FormatError: the gravest of all, when there is nothing to release at all.
    """
    released: dict[str, tuple] = {}
    refused: dict[str, KeyopsError] = {}
    for key_id in request.key_ids:
        try:
            released[key_id] = _release(key_id, relayed.get(key_id), keys, request)
        except (RecoveryError, FormatError) as error:
            refused[key_id] = error
    if not released:
        raise _gravest(list(refused.values()))
    return released, refused


def _release(key_id: str, given: dict | None, keys: release.AgentKeys, request: RecoveryRequest) -> tuple:
    if given is None or not given["records"]:
        raise RecoveryError(f"the vault has no record of key {key_id}: it was never archived there")
    if given["frozen"]:  # 5
        raise FrozenRefused(f"key {key_id[:16]}... is frozen: {given['frozen']}")
    records, problems = _records(given["records"], key_id)
    messages = {digest: canonical.decode(text) for digest, text in given["shares"].items()}
    released, sound, more = release.release_all(records, messages, keys, request)  # 6
    problems += more
    if not released:
        raise _worst(problems, key_id)
    return released, sound, problems


def _records(texts: list[str], key_id: str) -> tuple[list[record.Record], list[KeyopsError]]:
    records: list[record.Record] = []
    problems: list[KeyopsError] = []
    for text in texts:
        try:
            parsed = record.parse(canonical.decode(text))
            if parsed.key_id != key_id:
                raise FormatError(f"a record of key {parsed.key_id[:16]}... stands among those of {key_id[:16]}...")
            records.append(parsed)
        except FormatError as error:
            problems.append(error)
    return records, problems


def _worst(problems: list[KeyopsError], key_id: str) -> KeyopsError:
    """The error to report: that the agent is not named only if nothing worse was found."""
    told = "; ".join(str(error) for error in problems)
    return type(_gravest(problems))(f"no share of key {key_id[:16]}... can be released: {told}")


def _gravest(problems: list[KeyopsError]) -> KeyopsError:
    return ([error for error in problems if not isinstance(error, AgentUnknown)] or problems)[-1]


def _has_approved(given: dict, request_id: str, key_id: str, keys: release.AgentKeys, shares: list) -> bool:
    """Whether this agent's newest approval in the vault verifies and releases the same shares already."""
    wanted = sorted(_about_share(share) for share in shares)
    for text in given["approvals"].get(keys.agent_id, [])[-1:]:
        try:
            envelope = canonical.decode(text)
            there = approvals.verify_own(envelope, keys.signing_key, request_id, key_id, keys.agent_id)
        except (FormatError, RecoveryError):
            return False  # something else stands there, and the next number mends it
        same = sorted(_about_share(share) for share in there.shares) == wanted
        return same and there.allow_file >= _allows_file(keys, shares)
    return False


def _allows_file(keys: release.AgentKeys, shares: list) -> bool:
    """What the approval says of a file: nothing, where no key is from a token."""
    return keys.allow_file and any(share.wrapped_key for share in shares)


def _about_share(share: approvals.ReleasedShare) -> tuple:
    return share.group, share.sealed_key, bool(share.wrapped_key)


def _sign(request_id: str, key_id: str, keys: release.AgentKeys, shares: list, head: dict) -> bytes:
    approval = approvals.Approval(
        request_id=request_id,
        key_id=key_id,
        agent_id=keys.agent_id,
        created=times.text(times.now()),
        log_number=head["number"],
        log_digest=head["digest"],
        shares=tuple(shares),
        allow_file=_allows_file(keys, shares),
    )
    return approvals.sign(approval, keys.signing_key)  # 7


def _about(sound: list[record.Record], request: RecoveryRequest, key_id: str) -> dict:
    """What the key is for, where it was, from the revisions whose shares are released, and where it is to go.

    The share vouches for the usage. Nothing vouches for the place, so it is only told, and as something to be shown.
    """
    places = {(share_text.shown(item.host), share_text.shown(item.place)): None for item in sound}
    return {
        "usages": sorted({item.usage for item in sound}),
        "places": [{"host": host, "place": place} for host, place in places],
        "target": share_text.shown(request.place_of(key_id)) or None,
    }


def _row(key_id: str, keys: release.AgentKeys, shares: list, problems: list, changed: bool) -> dict:
    return {
        **{"key_id": key_id, "agent": keys.name, "agent_id": keys.agent_id, "changed": changed},
        "groups": sorted({share.group for share in shares}),
        "problems": [str(error) for error in problems],
    }
