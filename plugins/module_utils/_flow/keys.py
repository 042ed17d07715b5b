# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What several flows do with an existing key file first."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyNotFound, KeyopsError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference

#: No private key file is larger: an RSA-16384 key in PEM has 13 kB.
KEY_FILE_LIMIT = 256 * 1024


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
        existing = _files.read_existing(reference.parse(text).path, KEY_FILE_LIMIT)
        if existing is None:
            raise KeyNotFound(f"there is no key at {text}")
        key = key_file.load(existing.content, passphrase)
        key_file.check_fully(key)
        return key_file.to_cryptography(key)
    except KeyopsError as error:
        raise type(error)(f"{option}: {error}") from error
