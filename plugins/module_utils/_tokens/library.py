# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#11 libraries, their tokens, and the errors that come from them.

- A library is loaded once per process and from one thread: SoftHSM crashes when threads share what python-pkcs11
  initialises. What a library wants to be told at its start goes through its own environment variables
  (``SOFTHSM2_CONF``, ``NSS_LIB_PARAMS``, ...), which a task sets with ``environment``.
- Whatever a library answers becomes one of our errors: which operation failed, and the name of the PKCS#11 return
  value. Never a PIN.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    MissingLibrary,
    TokenAmbiguous,
    TokenError,
    TokenLibraryError,
    TokenMissing,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import calls

# Most hosts have no tokens, so this library is asked for only where one is used.
try:
    import pkcs11
    from pkcs11.exceptions import PKCS11Error
except ImportError:
    pkcs11 = None

#: What NSS's softokn is to be told at its start: ``configdir='sql:/path' certPrefix='' keyPrefix='' secmod='' flags=``.
PARAMETERS = "NSS_LIB_PARAMS"

#: What to do about return values that have one usual cause.
_HINTS = {
    **dict.fromkeys(("PinLenRange", "PinInvalid"), "; it takes PINs of another length or of other characters"),
    **dict.fromkeys(
        ("DeviceError", "DeviceRemoved", "TokenNotPresent", "GeneralError", "SessionHandleInvalid", "FunctionFailed"),
        "; see whether the token is still there, and the service that it needs",
    ),
    **dict.fromkeys(("DeviceMemory", "HostMemory"), "; it is full, or its service has ended"),
}
#: How python-pkcs11 tells that the file does not load as a library, and how the system tells that it lacks another one.
_LOADING, _NEEDS_MORE = "OS exception while loading", "cannot open shared object file"
#: Return values that python-pkcs11 hands on without a name (PKCS#11 section 3.6).
_UNNAMED = {"0x68": "KEY_FUNCTION_NOT_PERMITTED", "0x1b": "ACTION_PROHIBITED"}


@dataclass(frozen=True)
class TokenFacts:
    """What a token says of itself; all of it is public.

    Attributes:
        slot_id: of the slot that it is in; may change when tokens come and go.
        slot_description: of that slot.
        label, manufacturer, model, serial: without padding; the label is empty before initialisation.
        flags: names of the token's flags, as PKCS#11 calls them without ``CKF_``, sorted.
        hardware_version, firmware_version: ``major.minor``.
    """

    slot_id: int
    slot_description: str
    label: str
    manufacturer: str
    model: str
    serial: str
    flags: tuple[str, ...]
    hardware_version: str
    firmware_version: str

    @property
    def initialized(self) -> bool:
        """Whether the token was initialised (C_InitToken)."""
        return "TOKEN_INITIALIZED" in self.flags


def load(path: str) -> Any:
    """The library at ``path``, initialised.

    Raises:
        MissingLibrary: python-pkcs11 is not installed.
        TokenLibraryError: there is no such library, or it does not start.
    """
    if pkcs11 is None:
        raise MissingLibrary(["pkcs11"])
    if not os.path.isfile(path):
        raise TokenLibraryError(f"uri: there is no PKCS#11 library at {path}; install the token's software")
    try:
        parameters = os.environ.get(PARAMETERS)
        return _started_with(path, parameters) if parameters and "softokn" in path else pkcs11.lib(path)
    except PKCS11Error as error:
        if _LOADING in str(error) and _NEEDS_MORE not in str(error):
            raise TokenLibraryError(
                f"uri: {path} is no PKCS#11 library, or none for this machine; name the token's own library"
            ) from error
        raise TokenLibraryError(
            f"uri: the PKCS#11 library {path} does not start ({name_of(error)}); check the environment "
            "variables and services that it needs (docs/tokens.md)"
        ) from error


@functools.cache  # a second start is an error
def _started_with(path: str, parameters: str) -> Any:
    from pkcs11 import _pkcs11

    library = _pkcs11.lib.__new__(_pkcs11.lib, path)  # loaded, not initialised: python-pkcs11 would give no parameters
    answer = calls.initialize_nss(path, parameters)
    if answer:
        raise PKCS11Error(hex(answer))
    return library


@contextmanager
def told_errors(doing: str) -> Iterator[None]:
    """Turn what the library raises within into TokenError.

    Args:
        doing: what is being done, for the message: ``"generating a key on the token ops"``.
    """
    try:
        yield
    except PKCS11Error as error:
        raise TokenError(f"{doing}: the token answers {answer_of(error)}") from error


def name_of(error: Exception) -> str:
    """The name of a return value, without what the library may have put into the message."""
    if type(error).__name__ != "PKCS11Error":
        return type(error).__name__
    for number, name in _UNNAMED.items():
        if number in str(error).lower():
            return name
    return "an error without a name"


def answer_of(error: Exception) -> str:
    """The name of a return value, and what to do about it where it has one usual cause."""
    return name_of(error) + _HINTS.get(name_of(error), "")


def facts_of(token: Any) -> TokenFacts:
    """The facts of a token of python-pkcs11."""
    return TokenFacts(
        slot_id=token.slot.slot_id,
        slot_description=token.slot.slot_description,
        label=token.label,
        manufacturer=token.manufacturer_id,
        model=token.model,
        serial=token.serial.decode("ascii", "replace").strip("\0 "),
        flags=tuple(sorted(flag.name for flag in type(token.flags) if flag in token.flags and flag.name)),
        hardware_version=_version(token.hardware_version),
        firmware_version=_version(token.firmware_version),
    )


def tokens(library: Any) -> list[tuple[TokenFacts, Any]]:
    """Every token of a loaded library, in the order of their slots, each with its facts."""
    found = []
    with told_errors("looking for tokens"):
        for slot in library.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                continue  # pulled out meanwhile
            found.append((facts_of(token), token))
    return found


def find(library: Any, wanted: dict[str, str | None]) -> tuple[TokenFacts, Any]:
    """The one initialised token that is wanted.

    Args:
        wanted: ``token`` (its label), ``manufacturer``, ``model``, ``serial``; None for any.

    Raises:
        TokenMissing: there is none.
        TokenAmbiguous: there are several.
    """
    names = {"token": "label", "manufacturer": "manufacturer", "model": "model", "serial": "serial"}
    given = {names[name]: value for name, value in wanted.items() if value is not None}
    there = [pair for pair in tokens(library) if pair[0].initialized]
    fitting = [pair for pair in there if all(getattr(pair[0], name) == value for name, value in given.items())]
    if not fitting:
        seen = ", ".join(repr(facts.label) for facts, dummy in there) or "none"
        raise TokenMissing(f"uri: no token fits {given}; the library has {seen}. Initialise it with hsm_token")
    if len(fitting) > 1:
        raise TokenAmbiguous(
            f"uri: {len(fitting)} tokens fit {given}; name one by its serial number: "
            f"{', '.join(facts.serial for facts, dummy in fitting)}"
        )
    return fitting[0]


def _version(pair: tuple[int, int]) -> str:
    return f"{pair[0]}.{pair[1]}"
