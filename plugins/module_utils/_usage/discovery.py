# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds certificates and requests in the folders of keys. (All that lies on a host is found by _discovery/.)

Bounded in files and in bytes per file; decided by the first bytes wherever that is possible. Symbolic links inside a
folder are not followed: not out of it, and not in a circle. Whatever a bound or a link kept from being looked at is
reported.

A key's own folder is looked at harder. Links to files are followed there, since a certificate is public and certbot and
its like lay it elsewhere; and what cannot be looked at there and is not plainly something else by its first bytes is an
obstacle to archiving, because it is the cheapest way to hide a certificate."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, reading
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts

MAX_FILES = 20_000
_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)"
#: A certificate with its version, or a request: SEQUENCE in SEQUENCE, then [0] {INTEGER}, or INTEGER 0 and the subject.
_DER_CERTIFICATE = re.compile(rb"\x30" + _LENGTH + rb"\x30" + _LENGTH + rb"(?:\xa0\x03\x02\x01|\x02\x01\x00\x30)", re.S)
_MAX_PROBLEMS = 100

#: PrivateKeyInfo, RSAPrivateKey, ECPrivateKey and DSA: a SEQUENCE that begins with the INTEGER 0 or 1.
_DER_KEY = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01]", re.S)
#: EncryptedPrivateKeyInfo: a SEQUENCE that begins with the AlgorithmIdentifier of PKCS#5 or PKCS#12.
_DER_ENCRYPTED_KEY = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x30(?:[\x00-\x7f]|\x81.)\x06.\x2a\x86\x48\x86\xf7\x0d\x01[\x05\x0c]", re.S
)


@dataclass(frozen=True)
class Findings:
    """What is in the folders.

    Attributes:
        certificates: certificates and requests, for whatever key.
        not_looked_at: one sentence per file, folder or bound that stood in the way.
        obstacles: of these, pairs of an own folder (its real path) and the sentence, where it may be a certificate.
        read_folders: real paths of folders that were looked at as hard as own ones and had no obstacle.
    """

    certificates: tuple[CertificateFacts, ...] = ()
    not_looked_at: tuple[str, ...] = ()
    obstacles: tuple[tuple[str, str], ...] = ()
    read_folders: frozenset[str] = frozenset()


def search(folders: Iterable[str], own: Iterable[str] = (), max_files: int = MAX_FILES) -> Findings:
    """Look into every regular file of the folders, each folder and file once.

    Args:
        folders: absolute paths; a missing one has nothing in it. Folders below them are not looked at.
        own: folders in which the keys in question lie; they come first.
        max_files: over all folders; what is beyond is reported.
    """
    found: list[CertificateFacts] = []
    problems: list[str] = []
    obstacles: list[tuple[str, str]] = []
    own = frozenset(os.path.realpath(folder) for folder in own)
    for path in _files([*sorted(own), *folders], own, max_files, problems, obstacles):
        is_own = os.path.dirname(path) in own
        told: list[str] = []
        data = reading.read_one(path, reading.MAX_SIZE, told, _is_candidate, cut=is_own)
        begins = data is None or _begins_like_certificate(data)
        if data is None:
            _tell(told, path, is_own, problems, obstacles)
            continue
        if certificates.looks_like(data) and not _is_der_key(data):
            facts, broken = certificates.parse_found(data, reading.shown(path))
            found += facts
            # DER that is no certificate at all is any other file, and nothing to tell about.
            told += broken if data[:1] != b"\x30" or (is_own and begins) else ()
        _tell(told, path, is_own and begins, problems, obstacles)
    return Findings(tuple(found), _bounded(list(dict.fromkeys(problems))), tuple(dict.fromkeys(obstacles)))


def _tell(told: list[str], path: str, is_obstacle: bool, problems: list[str], obstacles: list[tuple[str, str]]) -> None:
    problems += told
    obstacles += [(os.path.dirname(path), text) for text in told if is_obstacle]


def _begins_like_certificate(data: bytes) -> bool:
    is_der = data[:1] == b"\x30"
    return _DER_CERTIFICATE.match(data) is not None if is_der else certificates.looks_like(data)


def _bounded(problems: list[str]) -> tuple[str, ...]:
    more = len(problems) - _MAX_PROBLEMS
    return (*problems[:_MAX_PROBLEMS], f"and {more} more were not looked at") if more > 0 else tuple(problems)


#: What is told of a path that was to be searched.
NO_FOLDER = "is no folder on this host"


def check_folders(folders: Iterable[str], option: str) -> None:
    """Raise OptionError unless these are absolute paths of folders."""
    for folder in folders:
        if not os.path.isabs(folder) or not os.path.isdir(folder):
            raise OptionError(f"{option}: {folder!r} is not the absolute path of a folder on this host")


def _is_candidate(head: bytes) -> bool:
    """Whether the first bytes can be the beginning of PEM (text, perhaps with other text before it) or of DER."""
    return head[:1] == b"\x30" or (bool(head) and b"\x00" not in head and head[:4] != b"\x7fELF")


def _is_der_key(data: bytes) -> bool:
    # A v1 certificate or a request begins with a SEQUENCE inside the SEQUENCE, so neither is taken for a key.
    return _DER_KEY.match(data) is not None or _DER_ENCRYPTED_KEY.match(data) is not None


def _files(
    folders: Iterable[str],
    own: frozenset[str],
    max_files: int,
    problems: list[str],
    obstacles: list[tuple[str, str]],
) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    count = 0
    waiting = list(dict.fromkeys(os.path.realpath(folder) for folder in folders))
    while waiting:
        folder = waiting.pop(0)
        told: list[str] = []
        entries = _entries(folder, folder in own, seen, problems, told)
        beyond = count + len(entries) > max_files
        if beyond:
            told.append(
                f"{reading.shown(folder)}: not looked at to its end, more than {max_files} files; narrow the search"
            )
        problems += told
        obstacles += [(folder, text) for text in told if folder in own]
        yield from entries[: max_files - count]
        count += len(entries)
        if beyond:
            obstacles += [
                (left, f"{reading.shown(left)}: not looked at, too many files") for left in waiting if left in own
            ]
            return


def _entries(folder: str, is_own: bool, seen: set[tuple[int, int]], problems: list[str], told: list[str]) -> list[str]:
    """Files to look at in a folder; nothing the second time.

    Args:
        is_own: links to files and large files are among them.
        problems: gets what was left out by rule.
        told: gets what could not be read.
    """
    files: list[str] = []
    links = large = 0
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_symlink():
                    # What it means lies in this folder, too, and is looked at there: nothing is missed.
                    is_outside = os.path.dirname(os.path.realpath(entry.path)) != folder
                    follow = is_own and is_outside and _may_be_file(entry)
                    files += [entry.path] if follow else []
                    links += is_outside and not follow
                elif entry.is_file(follow_symlinks=False):
                    is_large = not is_own and entry.stat(follow_symlinks=False).st_size > reading.MAX_SIZE
                    large += is_large
                    files += [] if is_large else [entry.path]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        told.append(f"{reading.shown(folder)}: not looked at, {error.strerror}")
    if links:
        problems.append(f"{reading.shown(folder)}: {links} symbolic links to other folders were not followed")
    if large:
        problems.append(f"{reading.shown(folder)}: {large} files over 1 MiB were not looked at")
    return files


def _may_be_file(entry: os.DirEntry) -> bool:
    """Whether a link leads to a regular file, or to where this process may not look; not a folder, device or circle."""
    try:
        return entry.is_file()
    except PermissionError:
        return True
    except OSError:
        return False
