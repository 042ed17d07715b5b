# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One agent lifts the freezes of a key, on its own machine. Nothing is opened and nothing is released.

1. The freezes are exactly those whose ID the agent was told: neither one more nor one less.
2. A revision of the key's record names this agent with the signing key that it has here.
3. The lift is signed for this key, these freezes and this agent.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    ApprovalMismatch,
    FormatError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import own_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, freeze, record, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import (
    key_id_of_certificate,
    key_id_of_private_key,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import lift as lifts
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text


def run(task: HostTask) -> FlowResult:
    """See the module's docstring.

    Relay in: ``{"freezes": [base64], "records": [base64], "lifts": {agent ID: [base64]}, "head": {"number",
    "digest"}}``; out: ``{"lifts": {agent ID: base64}}``, the newest revision's agent ID first.
    """
    params, relay = task.params, task.relay
    key_id, freeze_id = params["key_id"], params["freeze_id"]
    lifts.check_reason(params["reason"])
    contents = [canonical.decode(text) for text in relay["freezes"]]
    _require_told(key_id, freeze_id, contents)  # 1
    found = _records(relay["records"], key_id)
    given = {agent_id: [canonical.decode(text) for text in texts] for agent_id, texts in relay["lifts"].items()}
    with own_keys.opened(params, ["signing_key"]) as (signing_key,):
        mine = _own(found, params["agent"], key_id_of_private_key(signing_key))  # 2
        missing = [agent for agent in mine.values() if not lifts.has_lifted(key_id, agent, freeze_id, given)]
        signed = {agent.agent_id: _sign(params, agent.agent_id, relay["head"], signing_key) for agent in missing}  # 3
    row = {
        **{"key_id": key_id, "freeze_id": freeze_id, "agent": params["agent"], "changed": bool(signed)},
        "freezes": [_shown(freeze.parse(key_id, number, content)) for number, content in enumerate(contents, 1)],
        **_about(found),
    }
    encoded = {agent_id: canonical.encode(envelope) for agent_id, envelope in signed.items()}
    return FlowResult(bool(signed), [row], relay={"lifts": encoded})


def _require_told(key_id: str, freeze_id: str, contents: list[bytes]) -> None:
    there = freeze.freeze_id(key_id, contents)
    if there != freeze_id:
        raise ApprovalMismatch(
            f"the freezes of key {key_id[:16]}... have the ID {there}, not {freeze_id}: there is one more than "
            "you were told of, or another one. Look at them with key_archive_info before you lift anything"
        )


def _records(texts: list[str], key_id: str) -> list[record.Record]:
    """The sound revisions of this key; what is wrong with others is told elsewhere."""
    found = []
    for text in texts:
        try:
            parsed = record.parse(canonical.decode(text))
        except FormatError:
            continue
        if parsed.key_id == key_id:
            found.append(parsed)
    return found


def _own(found: list[record.Record], name: str, signer: str) -> dict[str, record.RecordedAgent]:
    """By agent ID; an agent whose encryption key was renewed stands there under more than one."""
    mine = {
        agent.agent_id: agent
        for one in reversed(found)
        for group in one.groups
        for agent in group.agents
        if agent.name == name and key_id_of_certificate(agent.signing_certificate) == signer
    }
    if not mine:
        raise AgentUnknown(f"no record of the key names the agent {name!r} with this signing key")
    return mine


def _sign(params: dict, agent_id: str, head: dict, signing_key: object) -> bytes:
    lift = lifts.Lift(
        key_id=params["key_id"],
        freeze_id=params["freeze_id"],
        agent_id=agent_id,
        reason=params["reason"],
        created=times.text(times.now()),
        log_number=head["number"],
        log_digest=head["digest"],
    )
    return lifts.sign(lift, signing_key)


def _shown(one: freeze.Freeze) -> dict:
    """Whoever freezes writes these texts, so they are told as something to be shown."""
    return {
        **{"number": one.number, "reason": share_text.shown(one.reason), "created": one.created},
        "evidence": [share_text.shown(text) for text in one.evidence],
    }


def _about(found: list[record.Record]) -> dict:
    """What the records say of the key; nothing vouches for it."""
    places = {(share_text.shown(one.host), share_text.shown(one.place)): None for one in found}
    return {
        "key_owners": sorted({share_text.shown(one.key_owner) for one in found}),
        "usages": sorted({one.usage for one in found}),
        "places": [{"host": host, "place": place} for host, place in places],
    }
