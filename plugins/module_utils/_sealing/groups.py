# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery groups from the option ``recovery_groups``: what cannot work, or could not be opened later, is refused here.

A wrong group is found out years later, when the key is gone. So before anything is sealed:

1. every name and threshold can stand in a share text, and a threshold below the minimum needs ``minimum_threshold``;
2. every certificate is exactly one, valid now, and of a type and key usage that can do its job;
3. nobody counts twice: no two agents of a group share a key, and no key has two of the jobs: opening shares, signing
   approvals, opening what tokens wrap.
"""

from __future__ import annotations

import datetime

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    RecoveryGroupError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.certificates import (
    certificate_from_pem,
    check_encrypts,
    check_signs,
    check_wraps,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import RecoveryAgent, RecoveryGroup


def parse_groups(options: list[dict], minimum_threshold: int, now: datetime.datetime) -> tuple[RecoveryGroup, ...]:
    """The recovery groups of the option.

    Args:
        options: ``[{name, threshold, agents: [{name, encryption_certificate, signing_certificate,
            wrapping_certificate}]}]``, PEM texts, as the argument spec leaves them (_options.RECOVERY_GROUPS).
        minimum_threshold: the smallest threshold that is allowed; 2 unless the user says otherwise.
        now: aware time, to check the certificates against.

    Raises:
        RecoveryGroupError: naming the group, the agent and the remedy.
    """
    if not options:
        raise RecoveryGroupError("recovery_groups: name at least one group, or nobody could open the key again")
    if minimum_threshold < 1:
        raise RecoveryGroupError("minimum_threshold: must be 1 or more")
    groups = tuple(_group(option, minimum_threshold, now) for option in options)
    twice = _first_twice([group.name for group in groups])
    if twice is not None:
        raise RecoveryGroupError(
            f"recovery_groups: the name {twice!r} is used twice; give every group a name of its own"
        )
    return groups


def _group(option: dict, minimum_threshold: int, now: datetime.datetime) -> RecoveryGroup:
    where = f"recovery_groups: group {option['name'][:200]!r}"
    try:
        share_text.check_name(option["name"], f"{where}: its name")
        _check_numbers(where, option["threshold"], len(option["agents"]), minimum_threshold)
        agents = tuple(_agent(where, agent, now) for agent in option["agents"])
    except (FormatError, OptionError) as error:
        raise RecoveryGroupError(str(error)) from error
    _check_distinct(where, agents)
    return RecoveryGroup(option["name"], option["threshold"], agents)


def _check_numbers(where: str, threshold: int, count: int, minimum_threshold: int) -> None:
    if not 1 <= count <= share_text.MAXIMUM_AGENTS:
        raise RecoveryGroupError(f"{where}: has {count} agents; name 1 to {share_text.MAXIMUM_AGENTS}")
    if threshold < 1:
        raise RecoveryGroupError(f"{where}: threshold is {threshold}; it must be 1 or more")
    if threshold > count:
        raise RecoveryGroupError(
            f"{where}: threshold is {threshold} of only {count} agents, so nobody could ever open a key; "
            "lower the threshold or name more agents"
        )
    if threshold < minimum_threshold:
        raise RecoveryGroupError(
            f"{where}: threshold is {threshold}, and the minimum is {minimum_threshold}; raise the threshold, or, if "
            f"so few agents are really meant to open keys, set minimum_threshold: {threshold}"
        )


def _agent(where: str, option: dict, now: datetime.datetime) -> RecoveryAgent:
    where = f"{where}, agent {option['name'][:200]!r}"
    share_text.check_name(option["name"], f"{where}: its name")
    encryption_option, signing_option = f"{where}: encryption_certificate", f"{where}: signing_certificate"
    encryption = certificate_from_pem(option["encryption_certificate"], encryption_option, now)
    signing = certificate_from_pem(option["signing_certificate"], signing_option, now)
    check_encrypts(encryption, encryption_option)
    check_signs(signing, signing_option)
    return RecoveryAgent(
        name=option["name"],
        agent_id=key_id_of_certificate(encryption),
        signer_id=key_id_of_certificate(signing),
        encryption_certificate=encryption,
        signing_certificate=signing,
        wrapping_certificate=_wrapping(where, option, now),
    )


def _wrapping(where: str, option: dict, now: datetime.datetime) -> bytes:
    """The DER wrapping certificate, or nothing."""
    pem, where = option.get("wrapping_certificate"), f"{where}: wrapping_certificate"
    if not pem:
        return b""
    certificate = certificate_from_pem(pem, where, now)
    check_wraps(certificate, where)
    return certificate


def require_wrapping(groups: tuple[RecoveryGroup, ...]) -> None:
    """Raise RecoveryGroupError unless every agent has a wrapping certificate, which keys on tokens need."""
    for group in groups:
        without = [agent.name for agent in group.agents if not agent.wrapping_certificate]
        if without:
            raise RecoveryGroupError(
                f"recovery_groups: group {group.name!r}: keys on tokens are archived to agents with a "
                f"wrapping_certificate (RSA), which {', '.join(map(repr, without))} lacks; make one with the role agent"
            )


def _check_distinct(where: str, agents: tuple[RecoveryAgent, ...]) -> None:
    name = _first_twice([agent.name for agent in agents])
    if name is not None:
        raise RecoveryGroupError(f"{where}: two agents are called {name!r}; give every agent a name of its own")
    for what, ids in (("encryption", "agent_id"), ("signing", "signer_id")):
        twice = _first_twice([getattr(agent, ids) for agent in agents])
        if twice is not None:
            names = " and ".join(repr(agent.name) for agent in agents if getattr(agent, ids) == twice)
            raise RecoveryGroupError(
                f"{where}: the agents {names} have the same {what} key, so one person could count twice; "
                f"every agent needs an own {what} key"
            )
    signers = {agent.signer_id: agent.name for agent in agents}
    for agent in agents:
        if agent.agent_id in signers:
            raise RecoveryGroupError(
                f"{where}, agent {agent.name!r}: the encryption key is also the signing key of agent "
                f"{signers[agent.agent_id]!r}; use two keys, one for each job"
            )
    _check_wrapping(where, agents)


def _check_wrapping(where: str, agents: tuple[RecoveryAgent, ...]) -> None:
    """A wrapping key decrypts what anybody made, and proves it only afterwards: so it must have no other job."""
    taken = {one for agent in agents for one in (agent.agent_id, agent.signer_id)}
    for agent in agents:
        if agent.wrapping_certificate:
            key_id = key_id_of_certificate(agent.wrapping_certificate)
            if key_id in taken:
                raise RecoveryGroupError(
                    f"{where}, agent {agent.name!r}: the wrapping key is also another key of an agent; a wrapping key "
                    "is for nothing else, and every agent needs an own one"
                )
            taken.add(key_id)


def _first_twice(items: list[str]) -> str | None:
    return next((item for place, item in enumerate(items) if item in items[:place]), None)
