# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What several flows do with an existing key file first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyNotFound,
    KeyopsError,
    KeyUnreadable,
    OptionError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, PrivateKey

#: Nobody but owner and group ever gets at a key.
WIDEST_MODE = 0o660
#: No private key file is larger: an RSA-16384 key in PEM has 13 kB.
KEY_FILE_LIMIT = 256 * 1024


def read_facts(path: str, passphrase: str | None) -> KeyFacts | None:
    """The public facts of an existing key file, or None when there is none.

    Raises:
        KeyUnreadable, WrongPassphrase: with the path in front.
        FileError: when it cannot be read.
    """
    existing = _files.read_existing(path, KEY_FILE_LIMIT)
    if existing is None:
        return None
    with _named(path):
        return key_file.facts_of(existing.content, passphrase)


def load_sound(path: str, passphrase: str | None) -> tuple[PrivateKey, object]:
    """An existing key file's key, fully checked, and its cryptography object.

    Raises:
        KeyUnreadable, WrongPassphrase: with the path in front.
        FileError: when it cannot be read, or is not there.
    """
    content = _files.read_file(path, KEY_FILE_LIMIT)
    with _named(path):
        key = key_file.load(content, passphrase)
        return key, key_file.check_fully(key)


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except KeyUnreadable as error:
        raise type(error)(f"{path}: {error}") from error


def read_mode(text: str) -> int:
    """The permission bits of a key file's option ``mode``.

    Raises:
        OptionError: it is not octal, or opens the file to others.
    """
    try:
        mode = int(text, 8)
    except ValueError as error:
        raise OptionError("mode: is not octal; write it in quotes, like '0600'") from error
    if mode & ~WIDEST_MODE or not mode & 0o400:
        raise OptionError(
            "mode: a key's owner may read it, and nobody but its owner and group; "
            "write the mode in quotes, like '0600' or '0640'"
        )
    return mode


def check_new_passphrase(passphrase: str | None) -> None:
    """Raise OptionError when a key file would be encrypted with nothing."""
    if passphrase == "":
        raise OptionError("passphrase: is empty; give one, or leave the option out")


def read_private_key(text: str, passphrase: str | None, option: str) -> object:
    """The cryptography key object of an existing key file, fully checked.

    Args:
        text: the key reference.
        passphrase: of an encrypted key, or None.
        option: name of the option that holds the reference, for the message.

    Raises:
        KeyNotFound: when there is none.
        KeyUnreadable, WrongPassphrase, FileError, KeyReferenceError: with the option's name in front.
    """
    try:
        existing = _files.read_existing(reference.parse_path(text).path, KEY_FILE_LIMIT)
        if existing is None:
            raise KeyNotFound(f"there is no key at {text}")
        key = key_file.load(existing.content, passphrase)
        key_file.check_fully(key)
        return key_file.to_cryptography(key)
    except KeyopsError as error:
        raise type(error)(f"{option}: {error}") from error


def lock_folder(state_dir: str, check_mode: bool) -> str | None:
    """The state folder whose other users wait while a token is used; None in check mode before there are locks."""
    return None if check_mode and not os.path.isdir(os.path.join(state_dir, "locks")) else state_dir
