# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys with which data is decrypted, each as a ``Decryptor``: from files, and on tokens (one login for each token).

Other ways to a key (a recovery request, whose keys are in memory only) are other functions like ``opened``: a context
that gives decryptors, which can be used within it only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileMissing,
    FormatError,
    KeyNotFound,
    KeyopsError,
    KeyReferenceError,
    KeyUnreadable,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pem, pkcs8, reference, soundness
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)


@contextmanager
def opened(items: Sequence[dict], lock_in: str | None = None) -> Iterator[list[Decryptor]]:
    """The decryptors of the option ``keys``, in its order.

    Args:
        items: ``{"key", "passphrase", "pin", "certificates": [path]}``.
        lock_in: as in ``card.opened``.

    Raises:
        KeyNotFound, KeyUnreadable, WrongPassphrase, FileError, KeyReferenceError, OptionError, TokenError: with the
            option's name in front.
    """
    for number, item in enumerate(items):
        _check(item, f"keys[{number}]")
    certificates = [_certificates(item["certificates"], f"keys[{number}]") for number, item in enumerate(items)]
    # Files first: a wrong passphrase must not cost a login.
    keys: dict[int, Any] = {
        number: _read(item, f"keys[{number}]")
        for number, item in enumerate(items)
        if not reference.is_token(item["key"])
    }
    if len(keys) == len(items):
        yield [_made(items[number], keys[number], certificates[number]) for number in sorted(keys)]
        return
    # Not at the top: a host with key files loads nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card

    on_tokens = [number for number in range(len(items)) if number not in keys]
    asked = [card.Asked(f"keys[{n}]", _uri(items[n]["key"], n), items[n]["pin"]) for n in on_tokens]
    with card.opened(asked, lock_in) as found:
        keys.update(zip(on_tokens, found))
        yield [_made(items[number], keys[number], certificates[number]) for number in sorted(keys)]


def _read(item: dict, option: str) -> Any:
    path = reference.parse_path(item["key"]).path
    try:
        return _proven(key_file.load(_files.read_file(path, KEY_FILE_LIMIT), item["passphrase"]))
    except FileMissing as error:
        raise KeyNotFound(f"{option}: there is no key at {path}") from error
    except KeyUnreadable as error:
        raise type(error)(f"{option}: {path}: {error}") from error
    except KeyopsError as error:
        raise type(error)(f"{option}: {error}") from error


def _proven(key: PrivateKey) -> Any:
    """The key, with halves that belong together.

    Whether the factors of an RSA key are prime is not looked at where that can be left out: it takes as long as a
    hundred mails, and a key with others opens nothing. Nothing is ever sealed or written with these.
    """
    try:
        info = pkcs8.parse(key.pkcs8)
        plain = pkcs8.compose(replace(info, attributes=()))
        loaded = serialization.load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)
        soundness.check(loaded, info, key.facts.public_key)
    except (TypeError, ValueError, UnsupportedAlgorithm, FormatError):  # cryptography before 39; or a damaged key
        return key_file.check_fully(key)
    return loaded


def _made(item: dict, private_key: Any, certificates: list[bytes]) -> Decryptor:
    return Decryptor(item["key"], private_key, certificates)


def _check(item: dict, option: str) -> None:
    on_token = reference.is_token(item["key"])
    if on_token and item["passphrase"] is not None:
        raise OptionError(f"{option}.passphrase: the key is on a token, which has a PIN: give pin")
    if not on_token and item["pin"] is not None:
        raise OptionError(f"{option}.pin: the key is a file, which may have a passphrase: give passphrase")


def _uri(text: str, number: int) -> Any:
    try:
        return reference.parse(text).uri
    except KeyReferenceError as error:
        raise KeyReferenceError(f"keys[{number}]: {error}") from error


def _certificates(paths: Sequence[str], option: str) -> list[bytes]:
    found: list[bytes] = []
    for path in paths:
        try:
            content = _files.read_file(path, follow_links=True)
            found += _in_pem(content) if pem.looks_like_pem(content) else [der.read(content).whole]
        except KeyopsError as error:
            raise OptionError(f"{option}.certificates: {path} cannot be read as a certificate: {error}") from error
    return found


def _in_pem(content: bytes) -> list[bytes]:
    try:
        found = [base64.b64decode(piece.body) for piece in pem.split(content) if piece.label.endswith("CERTIFICATE")]
    except binascii.Error as error:
        raise FormatError("its base64 is damaged") from error
    if not found:
        raise FormatError("there is none in it")
    return found
