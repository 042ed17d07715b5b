# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions on a token: one login per process, and no login that could lock the token.

A wrong PIN is tried once. Where the token says that the next wrong one locks it, the PIN is not tried at all: a play
over many hosts, run twice, must never lock a token that its owner then has to send in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError, TokenError, WrongPin
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts, facts_of, told_errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri

try:
    import pkcs11
except ImportError:
    pkcs11 = None

USER, SECURITY_OFFICER = "user", "security officer"
_FLAGS = {USER: "USER_PIN", SECURITY_OFFICER: "SO_PIN"}


@contextmanager
def opened(token: Any, pin: str | None = None, who: str = USER, writable: bool = False) -> Iterator[Any]:
    """A session of python-pkcs11, logged in when a PIN is given.

    Raises:
        WrongPin: the PIN is wrong, or was not tried because the next wrong one would lock the token.
        TokenError: the token refuses.
    """
    # Asked anew: what python-pkcs11 keeps is from before, and another process may have used up tries since.
    with told_errors("looking at a token"):
        facts = facts_of(token.slot.get_token())
    if pin is not None:
        refuse_last_try(facts, who)
    try:
        login = {} if pin is None else {"user_pin" if who == USER else "so_pin": pin}
        session = token.open(rw=writable or who == SECURITY_OFFICER, **login)
    except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid) as error:
        raise WrongPin(_wrong(facts, token, who)) from error
    except pkcs11.PinLocked as error:
        raise WrongPin(f"pin: the token {facts.label!r} is locked for the {who}; {_unlock(who)}") from error
    except pkcs11.UserPinNotInitialized as error:
        raise WrongPin(f"pin: the token {facts.label!r} has no user PIN yet; set one with hsm_token") from error
    except pkcs11.UserAlreadyLoggedIn as error:
        raise TokenError(
            f"the token {facts.label!r} is logged in to already by this task: a requester's signing key cannot be on "
            "the token that the keys go to; sign with a key in a file, or on another token"
        ) from error
    except pkcs11.PKCS11Error as error:
        raise TokenError(f"logging in to the token {facts.label!r}: it answers {libraries.name_of(error)}") from error
    with told_errors(f"using the token {facts.label!r}"):
        try:
            yield session
        finally:
            session.close()


def pin_for(pin: str | None, named: TokenUri) -> str:
    """The user PIN: the option's, or the one in the file that the URI names.

    Raises:
        OptionError: there is none, or there are two.
        FileError: the file cannot be read.
    """
    if pin is not None and named.pin_file is not None:
        raise OptionError("pin: is given although the URI has a pin-source; give one of them")
    if named.pin_file is not None:
        return pin_from_file(named.pin_file)
    if not pin:
        raise OptionError("pin: is missing; a key on a token wants the user PIN, or pin-source=file:/path in its URI")
    return pin


def pin_from_file(path: str) -> str:
    """The PIN in a file: its first line, without the line break.

    Raises:
        OptionError: others can read the file, or there is no PIN in it.
        FileError: it cannot be read.
    """
    content = _files.read_file(path, follow_links=True)
    if os.stat(path).st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise OptionError(f"pin-source: others can read or write {path}; give it the mode 0600 or 0640")
    try:
        pin = content.decode("utf-8").split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise OptionError(f"pin-source: {path} is not UTF-8 text") from error
    if not pin:
        raise OptionError(f"pin-source: the first line of {path} is empty; put the PIN there")
    return pin


def refuse_last_try(facts: TokenFacts, who: str) -> None:
    """Refuse a PIN that could lock the token when it is wrong.

    Raises:
        WrongPin: the token is locked, or the next wrong PIN locks it.
    """
    if f"{_FLAGS[who]}_LOCKED" in facts.flags:
        raise WrongPin(f"pin: the token {facts.label!r} is locked for the {who}; {_unlock(who)}")
    if f"{_FLAGS[who]}_FINAL_TRY" in facts.flags:
        raise WrongPin(
            f"pin: one more wrong PIN locks the token {facts.label!r} for the {who}, so it was not tried; log in once "
            "with the token's own tool, which clears the count"
        )


def _wrong(before: TokenFacts, token: Any, who: str) -> str:
    # The flags change with the failed login, so the token is asked again.
    flags = facts_of(token.slot.get_token()).flags
    name = _FLAGS[who]
    left = "it says nothing about the tries that are left"
    if f"{name}_LOCKED" in flags:
        left = f"it is locked now; {_unlock(who)}"
    elif f"{name}_FINAL_TRY" in flags:
        left = "one try is left"
    elif f"{name}_COUNT_LOW" in flags:
        left = "it counts wrong PINs, and some tries are left"
    return f"pin: the token {before.label!r} refuses this PIN of the {who}, which was tried once; {left}"


def _unlock(who: str) -> str:
    return "its security officer can set a new PIN" if who == USER else "only the maker's procedure helps"
