# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found in a file: the dataclasses of it, and one private key read for its public facts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyopsError,
    KeyUnreadable,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts

#: Bytes; that of RSA-16384 has 2,100.
LARGEST_PUBLIC_KEY = 16 * 1024

_NOT_OPENED = {
    "openpgp": "an OpenPGP private key; it is not opened",
    "ssh1": "a private key of SSH protocol 1; it is not opened",
    "pkcs12": "a PKCS#12 file that does not open",
    "keystore": "a Java keystore that could not be read to its end; it was not opened",
}


@dataclass(frozen=True)
class FoundKey:
    """One private key in a file, or a file of keys that does not open.

    Attributes:
        container: see ``KeyFacts.container``, and ``pkcs12``, ``putty``, ``jks``, ``jceks``, ``openpgp``, ``ssh1``.
        encrypted: None when that cannot be told.
        facts: None when it cannot be read.
        error: why it cannot, or None.
        sealed: what a passphrase may open (see opening.py), or empty.
    """

    container: str | None
    encrypted: bool | None
    facts: KeyFacts | None = None
    error: KeyopsError | None = None
    sealed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Contents:
    """What is in a file.

    Attributes:
        keys: in the order of the file.
        certificates: DER of what is said to be a certificate or certificate request; not read yet.
        broken: one sentence for what looks like certificates and cannot be read.
    """

    keys: tuple[FoundKey, ...] = ()
    certificates: tuple[bytes, ...] = ()
    broken: tuple[str, ...] = ()


def read_key(data: bytes, container: str | None = None) -> FoundKey:
    """The one private key that the bytes are (PEM with one block, or DER), without its passphrase."""
    try:
        facts = key_file.facts_of(data)
    except WrongPassphrase as error:
        return FoundKey(container or _container(data), True, None, error, data)
    except KeyUnreadable as error:
        return FoundKey(container, None, None, error)
    container = container or facts.container
    if len(facts.public_key) > LARGEST_PUBLIC_KEY:
        return FoundKey(container, None, None, KeyUnreadable("its public key is larger than that of any key"))
    # OpenSSH keeps the public half in clear; of the others facts without a passphrase mean that there is none.
    encrypted = key_file.is_encrypted(data) if facts.container == "openssh" else False
    return FoundKey(container, encrypted, replace(facts, container=container))


def _container(data: bytes) -> str:
    return "traditional" if b"Proc-Type:" in data else "encrypted-pkcs8"


def not_opened(kind: str, container: str | None = None, encrypted: bool | None = None, sealed: bytes = b"") -> FoundKey:
    return FoundKey(container or kind, encrypted, None, KeyUnreadable(_NOT_OPENED[kind]), sealed)


def public_facts(public_key: bytes, container: str) -> KeyFacts:
    """The facts of a key of which only the public half is read."""
    if len(public_key) > LARGEST_PUBLIC_KEY:
        raise FormatError("its public key is larger than that of any key")
    return KeyFacts(identity.key_id(public_key), identity.algorithm_of(public_key), public_key, None, container)
