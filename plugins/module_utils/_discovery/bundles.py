# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys and certificates in files of several: PKCS#7, PKCS#12, Java keystores; and PuTTY's files."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import pkcs7
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.found import (
    Contents,
    FoundKey,
    not_opened,
    public_facts,
    read_key,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, keystore, pkcs12, putty


def pkcs7_message(data: bytes) -> Contents:
    try:
        return Contents((), pkcs7.certificates_in(data))
    except FormatError:
        return Contents(broken=("a damaged PKCS#7 message",))


def pkcs12_file(data: bytes) -> Contents:
    try:
        inside = pkcs12.read(data)
    except FormatError:
        return Contents((not_opened("pkcs12"),))
    keys = [replace(read_key(key, "pkcs12"), encrypted=False) for key in inside.keys]
    keys += [not_opened("pkcs12", encrypted=True, sealed=data)] if inside.closed else []
    return Contents(tuple(keys), inside.certificates)


def java_keystore(data: bytes) -> Contents:
    container = keystore.CONTAINERS[data[:4]]
    inside = keystore.read(data)
    keys = [_of_certificate(chain[:1], container) for chain in inside.keys]
    keys += [] if inside.whole else [not_opened("keystore", container)]
    return Contents(tuple(keys), (*(one for chain in inside.keys for one in chain), *inside.certificates))


def _of_certificate(chain: tuple[bytes, ...], container: str) -> FoundKey:
    """A key that is only known by its certificate."""
    try:
        facts = public_facts(identity.canonical(identity.public_key_of_certificate(chain[0])), container)
    except (FormatError, IndexError):
        error = KeyUnreadable("a key in a Java keystore whose certificate cannot be read")
        return FoundKey(container, True, None, error)
    return FoundKey(container, True, facts)


def putty_key(data: bytes) -> FoundKey:
    encrypted = putty.is_encrypted(data)
    try:
        facts = public_facts(putty.public_half(data), "putty")
    except FormatError as error:
        return FoundKey("putty", encrypted, None, KeyUnreadable(str(error)))
    return FoundKey("putty", encrypted, facts)
