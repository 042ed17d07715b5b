# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Freezes: keys whose archive must not be used, because the vault holds evidence that they signed.

A key is frozen when there is any object under its name. One that cannot be read counts too: otherwise whoever can
corrupt or misname an object could thaw a key, while a wrong freeze only delays until a quorum lifts it.

A quorum of agents lifts all freezes of a key as they stand (_recovery/lift.py), for those revisions of its record that
name them; one more freeze, and all hold again. Against the vault itself freezes are advisory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import freeze as freeze_format
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.freeze import Freeze
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record, check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import numbered, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: Lifts of one agent that are looked at: each mends the one before.
MOST_LIFTS = 4


@dataclass(frozen=True)
class Frozen:
    """A key with freezes that are not lifted for every revision of its record.

    Attributes:
        first: its first freeze.
        freeze_id: the name of all its freezes as they stand: what a lift is given for.
        lifted_for: numbers of the revisions for which a quorum has lifted them.
    """

    first: Freeze
    freeze_id: str
    lifted_for: frozenset[int] = frozenset()

    @property
    def reason(self) -> str:
        """Why it is frozen."""
        return self.first.reason


def freeze(vault: Vault, key_id: str, reason: str, evidence: Iterable[str] = ()) -> Freeze:
    """Freeze a key; the same reason and evidence are not stored twice, so what was lifted stays lifted."""
    new = Freeze(check_digest(key_id), 1, reason, tuple(evidence), times.text(times.now()))
    for number, content in enumerate(contents(vault, [key_id])[key_id], start=1):
        old = freeze_format.parse(key_id, number, content)
        if (old.reason, old.evidence) == (new.reason, new.evidence):
            return old

    def content_of(number: int) -> bytes:
        return freeze_format.dump(replace(new, number=number))

    return replace(new, number=numbered.add(vault, paths.freeze, {key_id: content_of})[key_id])


def evidence(vault: Vault, key_ids: Iterable[str]) -> dict[str, list[str]]:
    """The evidence of all freezes of each key, held or lifted."""
    return {
        key_id: [text for one in enumerate(found, start=1) for text in freeze_format.parse(key_id, *one).evidence]
        for key_id, found in contents(vault, key_ids).items()
    }


def contents(vault: Vault, key_ids: Iterable[str]) -> dict[str, list[bytes]]:
    """The bytes of every freeze of every key, oldest first."""
    return numbered.read(vault, paths.freeze, key_ids)


def frozen(vault: Vault, key_ids: Iterable[str]) -> dict[str, Frozen]:
    """Those of ``key_ids`` that are frozen, each with the revisions for which that is lifted, if there are any."""
    series = {key_id: found for key_id, found in contents(vault, key_ids).items() if found}
    if not series:
        return {}
    ids = {key_id: freeze_format.freeze_id(key_id, found) for key_id, found in series.items()}
    revisions = _revisions(vault, ids)
    lifted = _lifted_for(vault, ids, revisions)
    return {
        key_id: Frozen(freeze_format.parse(key_id, 1, found[0]), ids[key_id], lifted[key_id])
        for key_id, found in series.items()
        if not lifted[key_id] or lifted[key_id] != {one.number for one in revisions[key_id]}
    }


def closed(vault: Vault, key_ids: Iterable[str]) -> dict[str, Frozen]:
    """Those of ``key_ids`` that are frozen and of which nothing was lifted."""
    return {key_id: one for key_id, one in frozen(vault, key_ids).items() if not one.lifted_for}


def usable(series: Iterable[records.RevisionOrProblem], one: Frozen | None) -> list[Record]:
    """The sound revisions that may be used: all of a key that is not frozen, else those for which that is lifted."""
    sound = [item for item in series if isinstance(item, Record)]
    return [item for item in sound if one is None or item.number in one.lifted_for]


def lifts(vault: Vault, freeze_ids: Mapping[str, str], agents: Mapping[str, Iterable[str]]) -> dict[str, dict]:
    """Per key ID and agent ID the envelopes of lifts, oldest first and unverified, in one bulk read.

    Args:
        freeze_ids: by key ID.
        agents: agent IDs by key ID.
    """
    wanted = {
        paths.lift(key_id, freeze_ids[key_id], agent_id, number): (key_id, agent_id)
        for key_id, ids in agents.items()
        for agent_id in ids
        for number in range(1, MOST_LIFTS + 1)
    }
    found: dict[str, dict[str, list[bytes]]] = {key_id: {} for key_id in freeze_ids}
    there = vault.read(wanted)
    for path, (key_id, agent_id) in wanted.items():
        if path in there:
            found[key_id].setdefault(agent_id, []).append(there[path])
    return found


def _revisions(vault: Vault, key_ids: Iterable[str]) -> dict[str, list[Record]]:
    try:
        walked = records.walk(vault, key_ids)
    except VaultForbidden:
        # Who may not read the records cannot see whose word lifts a freeze: all hold.
        walked = {}
    return {key_id: [one for one in walked.get(key_id, ()) if isinstance(one, Record)] for key_id in key_ids}


def _lifted_for(
    vault: Vault, freeze_ids: Mapping[str, str], revisions: Mapping[str, Sequence[Record]]
) -> dict[str, frozenset[int]]:
    # Not at the top: almost no run sees a frozen key.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import lift

    agents = {key_id: agents_of(found) for key_id, found in revisions.items()}
    try:
        given = lifts(vault, freeze_ids, agents)
    except VaultForbidden:
        # A server whose policies are of an earlier release has no place for lifts.
        given = {}
    return {
        key_id: lift.lifted_for(found, freeze_ids[key_id], given.get(key_id, {})) for key_id, found in revisions.items()
    }


def agents_of(revisions: Iterable[Record]) -> set[str]:
    """The agent IDs in these revisions."""
    return {agent.agent_id for one in revisions for group in one.groups for agent in group.agents}
