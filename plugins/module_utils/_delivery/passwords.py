# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords of exported files: what one may be, how one is made, and the message in which its owner gets it.

A generated password leaves this process in one form only: sealed to the owner's certificate or public key.
"""

from __future__ import annotations

import secrets
import string

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_seal

#: Without I, L, O, U, 0 and 1: it is read from a screen, and typed.
_ALPHABET = "".join(sorted(set(string.ascii_uppercase + string.digits) - set("ILOU01")))
#: 5 groups of 5: 122 bits.
_GROUPS, _SIZE = 5, 5
_SHORTEST = 8


def check(password: str) -> None:
    """Raise OptionError for a password that tools read differently, or that is too short."""
    if not all(" " <= letter <= "~" for letter in password) or password != password.strip():
        raise OptionError(
            "password: tools disagree about passwords with anything but the characters of ASCII, or with spaces around "
            "them; give another one, or let one be generated with password_to"
        )
    if len(password) < _SHORTEST:
        raise OptionError(
            f"password: a password of fewer than {_SHORTEST} characters is guessed from the file; give a longer one, "
            "or let one be generated with password_to"
        )


def generate() -> str:
    """A new password that can be typed."""
    groups = ("".join(secrets.choice(_ALPHABET) for dummy in range(_SIZE)) for dummy2 in range(_GROUPS))
    return "-".join(groups)


def message(password: str, place: str, digest: str, recipient: bytes, option: str) -> bytes:
    """The sealed message (CMS, DER): the password is its first line, so that tools take it from the file as it is.

    Args:
        place, digest: of the file that the password opens.
        recipient: DER certificate or SubjectPublicKeyInfo.
        option: for messages.

    Raises:
        OptionError: nothing can be sealed to it.
    """
    text = f"{password}\nopens: {place}\nsha256: {digest}\n"
    try:
        return cms_seal.seal_to(text.encode("utf-8"), recipient)
    except FormatError as error:
        raise OptionError(f"{option}: {error}") from error
