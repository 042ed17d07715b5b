# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a key of each usage is on a token: every attribute is stated, and what the token then tells is compared.

The defaults of tokens differ, and MODIFIABLE is false: a usage that could be relaxed later binds nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import TokenMisbehaved
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

# Whoever works on a token has loaded its library, and that says what is missing.
with contextlib.suppress(ImportError):
    from pkcs11 import Attribute

#: Usage to the uses of the private and of the public half (DESIGN, table of usages). All others are false.
_USES = {
    **dict.fromkeys(("signature", "certificate_signing", "authentication"), (("SIGN",), ("VERIFY",))),
    "key_transport": (("DECRYPT",), ("ENCRYPT",)),
    "key_agreement": (("DERIVE",), ()),
}
_SIGNING = ("signature", "certificate_signing", "authentication")
_PRIVATE_USES = ("DECRYPT", "SIGN", "SIGN_RECOVER", "UNWRAP", "DERIVE")
_PUBLIC_USES = ("ENCRYPT", "VERIFY", "VERIFY_RECOVER", "WRAP")
#: What a token must tell of a key before it is believed; the rest must fit where it is told.
_MUST_TELL = ("sign", "extractable", "sensitive", "modifiable")


def private_template(usage: str, extractable: bool, signs: bool = False, unwraps: bool = False) -> dict[Any, Any]:
    """Every attribute that a private key of this usage has on a token, but for label, ID, type and value.

    Args:
        signs: a session key that may sign, and be changed, until it is copied (DESIGN, requests for certificates).
        unwraps: UNWRAP was asked for. The public half never gets WRAP: with it and DECRYPT, what the token holds could
            be had in the clear.
    """
    uses = _USES[usage][0]
    told: dict[str, bool] = {name: name in uses for name in _PRIVATE_USES}
    told.update(SENSITIVE=True, EXTRACTABLE=extractable, PRIVATE=True, MODIFIABLE=False, TOKEN=True)
    if signs:
        told.update(SIGN=True)
    if unwraps:
        told.update(UNWRAP=True)
    return _named(told)


def public_template(usage: str) -> dict[Any, Any]:
    """The same of the public half."""
    uses = _USES[usage][1]
    told = {name: name in uses for name in _PUBLIC_USES}
    return _named({**told, "PRIVATE": False, "MODIFIABLE": False, "TOKEN": True})


def _named(attributes: dict[str, Any]) -> dict[Any, Any]:
    return {getattr(Attribute, name): value for name, value in attributes.items()}


def faults(
    attributes: Mapping[str, bool], usage: str, extractable: bool | None = None, unwraps: bool | None = False
) -> list[str]:
    """How a private key's attributes differ from what its usage demands; empty when it is what it should be.

    Args:
        attributes: of ``TokenObject``, in lower case.
        extractable: None for either, but for signing keys, which never are.
        unwraps: None for either.
    """
    if usage in _SIGNING:
        extractable = False
    wanted = {name.lower(): name in _USES[usage][0] for name in _PRIVATE_USES}
    wanted.update(sensitive=True, modifiable=False, unwrap=bool(unwraps))
    if unwraps is None:
        del wanted["unwrap"]
    if extractable is not None:
        wanted["extractable"] = extractable
    found = [f"the token does not tell {name.upper()}" for name in _MUST_TELL if name not in attributes]
    for name, value in wanted.items():
        if name in attributes and attributes[name] != value:
            found.append(f"{name.upper()} is {str(attributes[name]).lower()}")
    return found


def check(one: TokenObject, usage: str, extractable: bool | None = None, unwraps: bool = False) -> None:
    """Raise TokenMisbehaved unless the private key's attributes are those of its usage (read back from the token)."""
    found = faults(one.attributes, usage, extractable, unwraps)
    if found:
        raise TokenMisbehaved(
            f"the token made the key {one.label!r} for {usage} otherwise than it was told: {'; '.join(found)}. It was "
            "destroyed; use another token for this usage"
        )
