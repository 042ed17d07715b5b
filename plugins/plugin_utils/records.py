# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive records in the vault: storing and walking them. The format is _formats/record.py.

A reader gets every revision of a key, or what is wrong with it; a bad revision never hides a good one and never stands
for one. Records are public facts from a vault that anybody with its credential can write to: a record that parses is
sound, not true (see _formats/record.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Union

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyopsError,
    RecordMismatch,
    VaultForbidden,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates as certificates_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import numbered
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

if TYPE_CHECKING:  # every play loads this file, and few seal
    from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import SealedGroup, SealedKey


#: Names of one listing.
_NAMES = 5000


@dataclass(frozen=True)
class RecordProblem:
    """An object below ``records/`` that is no sound revision of its key.

    Attributes:
        path: of the object.
        text: what is wrong, for the user.
    """

    path: str
    text: str


RevisionOrProblem = Union[Record, RecordProblem]


def walk(vault: Vault, key_ids: Iterable[str]) -> dict[str, tuple[RevisionOrProblem, ...]]:
    """Every revision of every key from 1 while they exist, in bulk rounds; an unknown key has an empty tuple."""
    series = numbered.read(vault, paths.record, key_ids)
    return {
        key_id: tuple(_revision(key_id, number, content) for number, content in enumerate(contents, start=1))
        for key_id, contents in series.items()
    }


def listed(vault: Vault, after: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Every key that has objects below ``records/``, with their names, sorted by key ID.

    Args:
        after: only keys that sort after this key ID.
    """
    for key_id, names in groupby(_names(vault, after), key=lambda path: path.split("/")[1]):
        if key_id != after:
            yield key_id, list(names)


def _names(vault: Vault, after: str | None) -> Iterator[str]:
    last = f"records/{after}/{'z' * 64}" if after else ""
    while page := vault.list("records/", after=last, limit=_NAMES):
        yield from page
        last = page[-1]


def beyond_gap(vault: Vault, key_id: str, last: int) -> tuple[RecordProblem, ...]:
    """What lies below the key's records beside 1 to ``last`` (the length of its walk): found by listing."""
    prefix = paths.record(key_id, 0)[:-1]
    return tuple(problems_of_names(vault.list(prefix), last))


def problems_of_names(names: Iterable[str], last: int) -> list[RecordProblem]:
    """The same from the names of one key's objects that were listed already."""
    problems = []
    for path in names:
        number = path.rsplit("/", 1)[1]
        if not re.fullmatch("[1-9][0-9]{0,11}", number) or path.count("/") != 2:
            problems.append(RecordProblem(path, "is not the name of a record; somebody put it there"))
        elif int(number) > last:
            problems.append(RecordProblem(path, f"lies beyond a gap, or was destroyed: the revisions end with {last}"))
    return problems


def add(vault: Vault, new: Record) -> Record:
    """Store ``new`` as the next revision of its key; returns it with the number it got.

    Raises:
        DestroyedRefused: when the key's records were destroyed under dual control.
    """
    return add_many(vault, [new])[new.key_id]


def add_many(vault: Vault, new: Sequence[Record]) -> dict[str, Record]:
    """The same for one record of each of many keys; the number of rounds does not grow with the number of keys."""
    records = {one.key_id: one for one in new}
    if len(records) != len(new):
        raise RecordMismatch("one key has two new records in one batch; list each key once")

    def content(one: Record) -> Callable[[int], bytes]:
        return lambda number: record.dump(replace(one, number=number))

    got = numbered.add(vault, paths.record, {key_id: content(one) for key_id, one in records.items()})
    return {key_id: replace(records[key_id], number=number) for key_id, number in got.items()}


def record_of(
    sealed: SealedKey,
    facts: KeyFacts,
    *,
    host: str,
    place: str,
    certificates: Iterable[bytes] = (),
    created: str | None = None,
) -> Record:
    """The record of a key that was just sealed; its number is given by ``add``.

    Args:
        host, place: the inventory name of the host that the key is on, and the key reference there.
        certificates: DER of every certificate and certificate request that was seen for the key.
        created: time as the formats write it; now without it.

    Raises:
        RecordMismatch: when sealed key and facts are not about one key.
        FormatError: when the record would not parse.
    """
    if sealed.key_id != facts.key_id or canonical.digest(sealed.message) != sealed.digest:
        raise RecordMismatch("the sealed key does not belong to the key that was examined")
    built = Record(
        key_id=facts.key_id,
        number=1,
        key_owner=sealed.key_owner,
        usage=sealed.usage,
        algorithm=facts.algorithm,
        public_key=facts.public_key,
        host=host,
        place=place,
        created=created or times.text(times.now()),
        sealed_key=sealed.digest,
        certificates=tuple(sorted(set(certificates), key=canonical.digest)),
        groups=tuple(_recorded(group, bool(sealed.wrapping)) for group in sealed.groups),
        wrapping=sealed.wrapping,
    )
    parsed = record.parse(record.dump(built))
    _check_certificates(parsed)
    return parsed


def objects_of(sealed: SealedKey) -> dict[str, bytes]:
    """What must be in the vault before the record is: the sealed key and the shares, by their paths."""
    shares = [share for group in sealed.groups for share in group.shares]
    return {
        paths.sealed_key(sealed.digest): sealed.message,
        **{paths.share(one.agent.agent_id, canonical.digest(one.message)): one.message for one in shares},
    }


def intact(vault: Vault, found: Iterable[RevisionOrProblem], contents: bool = False) -> list[Record]:
    """Those that are records and whose sealed key and shares are all in the vault: only these are archives.

    One question to the vault for all of them.

    Args:
        contents: read the sealed keys and shares and compare them with their digests, which are their names: for
            whoever is about to lose the last copy outside the vault. Where the vault's own policy keeps archivers from
            reading them, it also keeps everybody from changing them, so their existence must do.
    """
    sound = [one for one in found if isinstance(one, Record)]
    parts = {(one.key_id, one.number): parts_of(one) for one in sound}
    wanted = {path for paths_of_one in parts.values() for path in paths_of_one}
    there = _whole(vault, wanted) if contents else set(vault.exists(wanted))
    return [one for one in sound if parts[one.key_id, one.number] <= there]


def _whole(vault: Vault, wanted: set[str]) -> set[str]:
    try:
        return {path for path, data in vault.read(wanted).items() if path.endswith("/" + canonical.digest(data))}
    except VaultForbidden:
        return set(vault.exists(wanted))


def parts_of(one: Record) -> frozenset[str]:
    """The paths of its sealed key and its shares."""
    shares = (paths.share(agent.agent_id, agent.share) for group in one.groups for agent in group.agents)
    return frozenset([paths.sealed_key(one.sealed_key), *shares])


def _recorded(group: SealedGroup, from_token: bool) -> RecordedGroup:
    agents = tuple(
        RecordedAgent(
            name=share.agent.name,
            agent_id=share.agent.agent_id,
            encryption_certificate=share.agent.encryption_certificate,
            signing_certificate=share.agent.signing_certificate,
            share_digest=share.share_digest,
            share=canonical.digest(share.message),
            wrapping_certificate=share.agent.wrapping_certificate if from_token else b"",
        )
        for share in group.shares
    )
    return RecordedGroup(group.name, group.threshold, group.kek_id, agents)


def _revision(key_id: str, number: int, content: bytes) -> RevisionOrProblem:
    path = paths.record(key_id, number)
    try:
        parsed = record.parse(content)
        if (parsed.key_id, parsed.number) != (key_id, number):
            raise RecordMismatch("it is the record of another key or number")
        _check_certificates(parsed)
    except KeyopsError as error:
        return RecordProblem(path, f"{type(error).__name__}: {error}")
    return parsed


def _check_certificates(parsed: Record) -> None:
    """Raise FormatError unless all certificates can be read, belong to the key, and name the agents."""
    for der in parsed.certificates:
        facts, problems = certificates_of.parse_found(der, "record")
        if problems or [fact.key_id for fact in facts] != [parsed.key_id] or facts[0].der != der:
            raise FormatError("record: a certificate cannot be read, or belongs to another key")
    for group in parsed.groups:
        for agent in group.agents:
            _key_id_of(agent.signing_certificate)
            if _key_id_of(agent.encryption_certificate) != agent.agent_id:
                raise FormatError("record: an agent's ID is not the key ID of its encryption certificate")


#: The same agents stand in every record.
_key_id_of = lru_cache(maxsize=1024)(key_id_of_certificate)
