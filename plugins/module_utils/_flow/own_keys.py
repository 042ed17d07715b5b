# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a person on its own machine, for use: in files, or on a token (a smart card).

An option ``X`` holds the key reference, ``X_passphrase`` the passphrase of a key file, ``X_pin`` the user PIN of a
token. Keys on tokens can be used within the block only, and the token does what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import read_private_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference


@contextmanager
def opened(params: dict, options: Sequence[str], lock_in: str | None = None) -> Iterator[list[Any]]:
    """The key objects of these options, in their order.

    Args:
        params: of the module.
        options: names of those that hold key references.
        lock_in: as in ``card.opened``.

    Raises:
        KeyNotFound, KeyUnreadable, WrongPassphrase, FileError, KeyReferenceError, OptionError, TokenError: with the
            option's name in front.
    """
    on_tokens = [name for name in options if reference.is_token(params[name])]
    for name in options:
        _check(params, name, name in on_tokens)
    # Files first: a wrong passphrase must not cost a login.
    keys = {
        name: read_private_key(params[name], params[f"{name}_passphrase"], name)
        for name in options
        if name not in on_tokens
    }
    if not on_tokens:
        yield [keys[name] for name in options]
        return
    # Not at the top: an agent with key files loads nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card

    asked = [card.Asked(name, _uri(params[name], name), params.get(f"{name}_pin")) for name in on_tokens]
    with card.opened(asked, lock_in) as found:
        keys.update(zip(on_tokens, found))
        yield [keys[name] for name in options]


def _check(params: dict, name: str, on_token: bool) -> None:
    if on_token and params[f"{name}_passphrase"] is not None:
        raise OptionError(f"{name}_passphrase: {name} is a key on a token, which has a PIN: give {name}_pin")
    if not on_token and params.get(f"{name}_pin") is not None:
        raise OptionError(f"{name}_pin: {name} is a key file, which may have a passphrase: give {name}_passphrase")


def _uri(text: str, name: str) -> Any:
    try:
        return reference.parse(text).uri
    except KeyReferenceError as error:
        raise KeyReferenceError(f"{name}: {error}") from error
