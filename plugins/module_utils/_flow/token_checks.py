# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key looks at before, and after, keys on tokens come and go; each is a refusal, or what leads to one."""

from __future__ import annotations

import time

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    NotArchivedRefused,
    TokenError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import OpenToken, named
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_plan import (
    Decision,
    Found,
    Wish,
    needs_archive,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import token_halves
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import objects, templates
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri

#: How often the token is looked at when that fails.
_LOOKS = 5


def unprotected(wish: Wish, found: Found) -> list[str]:
    """How the key's attributes are otherwise than they must be."""
    extractable = {"required": True, "never": False}.get(wish.token.archive)
    if extractable and found.receipt is not None:
        extractable = None  # it is archived, and one that was recovered stays inside
    # One that was recovered only decrypts.
    unwraps = None if wish.token.unwrap and found.receipt is not None else wish.token.unwrap
    faults = templates.faults(found.token.private.attributes, wish.usage, extractable, unwraps)
    if extractable and "EXTRACTABLE is false" in faults:
        faults.append(
            "so it cannot be archived from there, and this host has no receipt of its archive. If the vault has "
            "it, give archive: possible; if not, replacing this key loses what was encrypted to it"
        )
    return faults


def require_archived_itself(decision: Decision) -> None:
    """A confirmed archive is one of a key ID, which the public half tells: the private half must be that key."""
    wish = decision.wish
    if decision.action not in ("replace", "remove") or wish.destroy_unarchived or not needs_archive(decision.there):
        return
    with named(wish.key):
        try:
            token_halves.prove(decision.there.token.private)
        except TokenError as error:
            raise NotArchivedRefused(
                f"the token does not show that this is the key {decision.there.facts.key_id[:16]}... and no other, so "
                f"it may be unarchived, and is neither removed nor replaced ({error}). Give destroy_unarchived: true "
                "to lose it for good"
            ) from error


def check_id(token: OpenToken, uri: TokenUri) -> None:
    """Raise KeyExists unless a new key may have the ID that was given for it."""
    if uri.object_id is None:
        return
    if token.private(uri.label):
        raise KeyExists("a key with a given id cannot be replaced, since both would have it; give another id=")
    for other in token.found:
        if other.object_id == uri.object_id.hex() and other.kind.endswith("_key"):
            raise KeyExists(f"the id belongs to the object {other.label!r} on the token; give another")


def _private_keys(token: OpenToken) -> list[TokenObject]:
    """Names and IDs of the token's private keys, although another host may destroy some of them meanwhile."""
    for left in reversed(range(_LOOKS)):
        try:
            with libraries.told_errors(f"reading the objects of the token {token.facts.label!r}"):
                return objects.names(token.session, "private_key")
        except TokenError:
            if not left:
                raise
        time.sleep(0.1)
    raise AssertionError("the last look ends or raises")


def others(token: OpenToken, mine: dict) -> list[TokenObject]:
    """For each label of new pairs, one private key of this label that is another one."""
    if not mine:
        return []
    there = _private_keys(token)
    found = {
        one.label: one for one in there if one.label in mine and one.object_id != mine[one.label][1].private.object_id
    }
    return list(found.values())
