# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public facts of a private key on a token, and the usage that its attributes say.

- A key with SIGN or SIGN_RECOVER signs, whatever else it may do: it counts as a signing key everywhere. Its attributes
  do not tell which of the three signing usages it has.
- A usage that can still be changed (MODIFIABLE) binds the key to nothing: it may have signed before.
- What the token does not tell is not taken for false: then the key is bound to no single usage (``conflict``).
- A token may hold one key several times, with other attributes each: a key signs when any of its objects does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import CONFLICT
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import objects
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
    if may_sign(attributes):
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


def may_sign(attributes: Mapping[str, bool]) -> bool:
    """Whether the token says that the key signs."""
    return any(attributes.get(name) for name in _SIGNING)


def facts_of(one: TokenObject) -> KeyFacts:
    """The facts of a private key on a token.

    Raises:
        KeyUnreadable: the token tells nothing of its public half, or (HalvesDiffer) another key's.
    """
    objects.require_fitting(one)
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


class Pool:
    """Private keys of tokens by their public halves: what all objects of one key may do, counts for each of them."""

    def __init__(self, found: Iterable[TokenObject]) -> None:
        """
        Args:
            found: objects that were read in full; of several tokens, where a task looks at several.
        """
        self._usages: dict[str, set[str | None]] = {}
        for one in found:
            if one.kind == "private_key" and one.key_id is not None:
                self._usages.setdefault(one.key_id, set()).add(usage_of_attributes(one.attributes))

    def facts(self, facts: KeyFacts) -> KeyFacts:
        """A key's facts, with the usage of all its objects: of differing ones the worst."""
        usages = self._usages.get(facts.key_id, set()) | {facts.bound_usage}
        if len(usages) == 1:
            return facts
        for worst in ("signature", CONFLICT, None):
            if worst in usages:
                return replace(facts, bound_usage=worst)
        return replace(facts, bound_usage=CONFLICT)
