# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public facts of a private key on a token, and the usage that its attributes say.

- A key with SIGN or SIGN_RECOVER signs, whatever else it may do: it counts as a signing key everywhere. Its attributes
  do not tell which of the three signing usages it has.
- A usage that can still be changed (MODIFIABLE) binds the key to nothing: it may have signed before.
- What the token does not tell is not taken for false: then the key is bound to no single usage (``conflict``).
"""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import CONFLICT
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

#: ``KeyFacts.container`` of a key on a token.
CONTAINER = "token"

_SIGNING = ("sign", "sign_recover")


def usage_of_attributes(attributes: Mapping[str, bool]) -> str | None:
    """The usage that a private key's attributes bind it to.

    Args:
        attributes: of ``TokenObject``, in lower case; what the token does not tell is not in it.

    Returns:
        ``signature`` for every key that may sign; ``key_transport`` or ``key_agreement``; ``conflict`` for a key that
        may do both or nothing, or does not tell; None for one whose attributes can still be changed.
    """
    if any(attributes.get(name) for name in _SIGNING):
        return "signature"
    if "sign" not in attributes:
        return CONFLICT
    if attributes.get("modifiable", True):
        return None
    transports = bool(attributes.get("decrypt") or attributes.get("unwrap"))
    agrees = bool(attributes.get("derive"))
    if transports == agrees:
        return CONFLICT
    return "key_transport" if transports else "key_agreement"


def facts_of(one: TokenObject) -> KeyFacts:
    """The facts of a private key on a token.

    Raises:
        KeyUnreadable: the token tells nothing of its public half.
    """
    if one.public_key is None:
        raise KeyUnreadable(
            f"the token does not tell the public half of the key {one.label!r}: it has no public key object with the "
            "same ID, or the key is of a type that is not known here"
        )
    public_key = identity.canonical(one.public_key)
    return KeyFacts(
        identity.key_id(public_key),
        identity.algorithm_of(public_key),
        public_key,
        usage_of_attributes(one.attributes),
        CONTAINER,
    )
