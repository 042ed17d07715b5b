# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gathers everything that this host shows of what keys have been used for: one pass for all keys of a task.

Looked at: the facts of the key itself, this host's receipt, the certificates that the user names, certificates in the
key's own file and folder (the folder of the path, and of the file behind it where the path is a link) and in folders
that the user adds, and SSH (see ssh.py), with the ``.pub`` files in the key's own folder and that folder's own name.

Nothing here decides; eligibility.judge() does. What could not be looked at is handed on, so that the flow can say it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, discovery, reading, ssh
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence


@dataclass(frozen=True)
class Subject:
    """One key in question.

    Attributes:
        facts: its public facts.
        path: absolute path of its file, as the user wrote it; empty for a key on a token.
        declared_usage: what the user says, or None.
        named: what read_named() gave for the certificates that the user names.
        accept_declared_usage: the user vouches for the declared usage of a key that was not made here.
    """

    facts: KeyFacts
    path: str
    declared_usage: str | None = None
    named: tuple[CertificateFacts, ...] = ()
    accept_declared_usage: bool = False


@dataclass(frozen=True)
class Gathered:
    """What is known, in the order of the subjects.

    Attributes:
        evidence: per subject.
        receipts: this host's receipt per subject, or None.
        not_looked_at: one sentence for everything that could not be looked at.
    """

    evidence: tuple[Evidence, ...]
    receipts: tuple[Receipt | None, ...] = ()
    not_looked_at: tuple[str, ...] = ()


def read_named(paths: Sequence[str]) -> tuple[CertificateFacts, ...]:
    """The certificates and requests in the files that the user names for one key.

    Raises:
        FileError: one cannot be read.
        FormatError: one holds no certificate, or a broken one.
    """
    found: list[CertificateFacts] = []
    for path in paths:
        found += certificates.parse(_files.read_file(path, reading.MAX_SIZE, follow_links=True), path)
    return tuple(found)


def gather(
    subjects: Sequence[Subject],
    state_dir: str,
    search: Iterable[str] = (),
    places: ssh.SshPlaces | None = None,
    findings: discovery.Findings | None = None,
) -> Gathered:
    """All evidence about the keys.

    Args:
        subjects: the keys.
        state_dir: where this host's receipts are.
        search: further folders to look for certificates in (not in folders below them).
        places: where SSH's files are; None for this host's usual ones.
        findings: what a search of the flow's own has found already; it counts as evidence too.

    Raises:
        FileError: when a file of ``places.extra`` or the state folder cannot be read.
    """
    if not subjects:
        return Gathered(())
    real: dict[str, str] = {}
    own = [_folders(subject, real) for subject in subjects]
    folders = list(dict.fromkeys(folder for several in own for folder in several))
    unread = [folder for folder in folders if findings is None or folder not in findings.read_folders]
    near = discovery.search(search, own=unread)
    places = places or ssh.SshPlaces()
    ssh_keys = ssh.collect(places, folders)
    of_ssh = {folder for folder in folders if ssh.is_own_folder(folder, places)}
    found = _by_key([*near.certificates, *(findings.certificates if findings else ())])
    problems = [*near.not_looked_at, *ssh_keys.not_looked_at]
    receipts = tuple(_receipt(state_dir, subject, problems) for subject in subjects)
    evidence = tuple(
        replace(
            _evidence(subject, receipt, found),
            ssh_uses=(
                *ssh_keys.places.get(subject.facts.key_id, ()),
                *(reading.shown(folder) for folder in lies_in if folder in of_ssh),
            ),
            not_readable=_not_readable(lies_in, near),
        )
        for subject, receipt, lies_in in zip(subjects, receipts, own)
    )
    return Gathered(evidence, receipts, tuple(dict.fromkeys(problems)))


def _receipt(state_dir: str, subject: Subject, problems: list[str]) -> Receipt | None:
    """The receipt; a broken one is told and counts as none, so that archiving the key again mends it."""
    try:
        return _receipts.read_receipt(state_dir, subject.facts.key_id)
    except StateError as error:
        problems.append(str(error))
        return None


def _folders(subject: Subject, real: dict[str, str]) -> list[str]:
    """The folder of the key's path and that of the file behind it; none for a key on a token.

    Args:
        subject: the key.
        real: real paths of folders that are known already.
    """
    if not subject.path:
        return []
    folder = os.path.dirname(subject.path)
    if os.path.islink(subject.path):
        behind = os.path.dirname(os.path.realpath(subject.path))
    else:
        behind = real[folder] if folder in real else real.setdefault(folder, os.path.realpath(folder))
    return list(dict.fromkeys((folder, behind)))


def _by_key(facts: Iterable[CertificateFacts]) -> dict[str, dict[bytes, CertificateFacts]]:
    """By key ID, each certificate once however many copies of it lie around."""
    found: dict[str, dict[bytes, CertificateFacts]] = {}
    for one in facts:
        found.setdefault(one.key_id, {}).setdefault(one.der, one)
    return found


def _evidence(subject: Subject, receipt: Receipt | None, found: dict) -> Evidence:
    key_id = subject.facts.key_id
    named = {one.der for one in subject.named}
    return Evidence(
        facts=subject.facts,
        declared_usage=subject.declared_usage,
        receipt_usage=receipt.usage if receipt else None,
        named=subject.named,
        found=tuple(one for data, one in found.get(key_id, {}).items() if data not in named),
        accept_declared_usage=subject.accept_declared_usage,
    )


def _not_readable(lies_in: Sequence[str], near: discovery.Findings) -> tuple[str, ...]:
    own = {os.path.realpath(folder) for folder in lies_in} if near.obstacles else set()
    return tuple(text for folder, text in near.obstacles if folder in own)
