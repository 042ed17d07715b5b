# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where public keys stand for SSH on this host: such a key authenticates, whatever its usage says.

Looked at, once per task and not per key: the AuthorizedKeysFile of sshd's configuration (and always
``.ssh/authorized_keys`` and ``authorized_keys2``) for every account of /etc/passwd, ``/etc/ssh/authorized_keys*``
(files, and files in folders of that name), the host keys ``/etc/ssh/ssh_host_*.pub``, files that the user names, and
every ``*.pub`` (public keys and certificates) in the folders of the keys in question. A key that lies in a folder
``.ssh`` or below ``/etc/ssh`` is SSH's without a look.
Not looked at: AuthorizedKeysCommand, accounts of a directory service, other hosts.

What is there and cannot be read is reported, never silently passed over. Bad lines are passed over, as sshd does: a
line that sshd cannot read lets nobody in. Every read is bounded and of regular files only, so that no account can hang
or exhaust a run by what it puts into its home.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import reading

MAX_SIZE = 1 << 20
MAX_ACCOUNTS = 20_000

_DEFAULT_PATTERNS = (".ssh/authorized_keys", ".ssh/authorized_keys2")
_PATTERN_LINE = re.compile(rb"^[ \t]*AuthorizedKeysFile[ \t=]+([^\r\n]+)", re.I | re.M)
#: A public key blob begins with the length of its type's name, which is below 2**16: base64 ``AAA``.
_BLOB = re.compile(rb"(?<![A-Za-z0-9+/])AAAA[A-Za-z0-9+/]{16,32768}={0,2}")

_ED25519 = "1.3.101.112"
_CURVES = {b"nistp256": "1.2.840.10045.3.1.7", b"nistp384": "1.3.132.0.34", b"nistp521": "1.3.132.0.35"}
_CERTIFICATE = b"-cert-v01@openssh.com"


@dataclass(frozen=True)
class SshPlaces:
    """Where to look.

    Attributes:
        accounts: the accounts of this host, as passwd(5).
        folder: sshd's configuration and host keys.
        extra: further files in the form of authorized_keys (the option ``authorized_keys``).
    """

    accounts: str = "/etc/passwd"
    folder: str = "/etc/ssh"
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class SshKeys:
    """What stands where.

    Attributes:
        places: paths by key ID.
        not_looked_at: one sentence per file or folder that is there and could not be read.
    """

    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_looked_at: tuple[str, ...] = ()


def is_own_folder(folder: str, where: SshPlaces) -> bool:
    """Whether a folder is one in which SSH's programs keep their keys."""
    parts = os.path.normpath(folder).split(os.sep)
    below = [os.path.normpath(where.folder), os.path.realpath(where.folder)]
    return ".ssh" in parts or any((folder + os.sep).startswith(top + os.sep) for top in below)


def collect(where: SshPlaces, folders: Iterable[str] = ()) -> SshKeys:
    """Read all places.

    Args:
        where: this host's places.
        folders: those of the keys in question; every ``*.pub`` in them is read.

    Raises:
        FileError: when a file of ``where.extra`` cannot be read: the user named it.
    """
    places: dict[str, list[str]] = {}
    problems: list[str] = []
    extra = [(path, _files.read_file(path, MAX_SIZE, follow_links=True)) for path in where.extra]
    beside = [
        os.path.join(folder, name)
        for folder in dict.fromkeys(os.path.realpath(folder) for folder in folders)
        for name in reading.names(folder, problems)
        if name.endswith(".pub")
    ]
    paths = list(dict.fromkeys([*_server_files(where.folder, problems), *_account_files(where, problems), *beside]))
    for path, data in [*extra, *reading.read_present(paths, MAX_SIZE, problems)]:
        for key_id in key_ids(data):
            places.setdefault(key_id, []).append(reading.shown(path))
    found = {key_id: tuple(paths) for key_id, paths in places.items()}
    return SshKeys(found, tuple(dict.fromkeys(problems)))


def authorized_files(where: SshPlaces, problems: list[str]) -> list[str]:
    """Where this host's SSH server looks for the keys of its accounts; files that need not be there.

    Args:
        where: this host's places.
        problems: gets one sentence per folder or file that cannot be read.
    """
    named = [path for path in _server_files(where.folder, problems) if not path.endswith(".pub")]
    return list(dict.fromkeys([*named, *_account_files(where, problems)]))


def key_ids(data: bytes) -> list[str]:
    """The key IDs of all public keys in the bytes of an authorized_keys or ``.pub`` file, each once.

    Types without an ID here (DSA, FIDO keys, unknown ones) and broken lines are passed over.
    """
    found: dict[str, None] = {}
    for line in data.splitlines():
        if line.lstrip().startswith(b"#"):
            continue
        for match in _BLOB.finditer(line):
            try:
                found[identity.key_id(public_key(base64.b64decode(match.group(), validate=True)))] = None
            except (ValueError, binascii.Error, FormatError):
                continue
    return list(found)


def public_key(blob: bytes) -> bytes:
    """DER SubjectPublicKeyInfo of an SSH public key blob or of an OpenSSH certificate's key.

    Sources: RFC 4253 section 6.6 (ssh-rsa), RFC 5656 section 3.1 (ecdsa), RFC 8709 section 4 (ssh-ed25519), OpenSSH
    PROTOCOL.certkeys (cert-v01: the same members after a nonce).

    Raises:
        FormatError: for another type, or when it is cut off.
    """
    kind, rest = _string(blob)
    if kind.endswith(_CERTIFICATE):
        kind = kind[: -len(_CERTIFICATE)]
        _nonce, rest = _string(rest)
    one, rest = _string(rest)
    if kind == b"ssh-ed25519":
        return identity.subject_public_key_info(der.oid(_ED25519), one)
    two, rest = _string(rest)
    if kind == b"ssh-rsa":
        return identity.rsa_public_key(int.from_bytes(two, "big"), int.from_bytes(one, "big"))
    if kind == b"ecdsa-sha2-" + one and one in _CURVES:
        return identity.ec_public_key(_CURVES[one], two)
    raise FormatError("not a type of SSH key that is known here")


def _string(data: bytes) -> tuple[bytes, bytes]:
    """A string of RFC 4251 section 5 and the bytes after it."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 or length > len(data) - 4:
        raise FormatError("an SSH public key is cut off")
    return data[4 : 4 + length], data[4 + length :]


def _server_files(folder: str, problems: list[str]) -> list[str]:
    paths = []
    for name in reading.names(folder, problems):
        path = os.path.join(folder, name)
        if fnmatch.fnmatchcase(name, "ssh_host_*.pub"):
            paths.append(path)
        elif name.startswith("authorized_keys"):
            inside = reading.names(path, problems) if os.path.isdir(path) else None
            paths += [path] if inside is None else [os.path.join(path, entry) for entry in inside]
    return paths


def _account_files(where: SshPlaces, problems: list[str]) -> list[str]:
    patterns = _patterns(where.folder, problems)
    lines = [data.splitlines() for _path, data in reading.read_present([where.accounts], 1 << 24, problems)]
    accounts = [line.split(b":") for line in (lines[0] if lines else [])]
    accounts = [fields for fields in accounts if len(fields) == 7 and fields[5].startswith(b"/")]
    if len(accounts) > MAX_ACCOUNTS:
        problems.append(
            f"{reading.shown(where.accounts)}: only the first {MAX_ACCOUNTS} of {len(accounts)} accounts were looked at"
        )
    return [_expanded(pattern, fields) for fields in accounts[:MAX_ACCOUNTS] for pattern in patterns]


def _patterns(folder: str, problems: list[str]) -> list[str]:
    """The defaults, and every AuthorizedKeysFile of sshd_config and sshd_config.d (in Match blocks too)."""
    found = list(_DEFAULT_PATTERNS)
    parts = os.path.join(folder, "sshd_config.d")
    files = [os.path.join(parts, name) for name in reading.names(parts, problems) if name.endswith(".conf")]
    for _path, data in reading.read_present([os.path.join(folder, "sshd_config"), *files], MAX_SIZE, problems):
        for match in _PATTERN_LINE.finditer(data):
            found += [os.fsdecode(word.strip(b'"')) for word in match.group(1).split(b"#")[0].split()]
    return list(dict.fromkeys(pattern for pattern in found if pattern.lower() != "none"))


def _expanded(pattern: str, account: list[bytes]) -> str:
    """An AuthorizedKeysFile pattern for one account (sshd_config(5), TOKENS); relative ones begin at the home."""
    name, uid, home = (os.fsdecode(account[index]) for index in (0, 2, 5))
    tokens = {"%": "%", "h": home, "u": name, "U": uid}
    path = re.sub("%(.)", lambda match: tokens.get(match.group(1), match.group()), pattern)
    return os.path.normpath(os.path.join(home, path))
