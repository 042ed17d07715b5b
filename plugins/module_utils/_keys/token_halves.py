# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a private key on a token and the public half that is found for it are one key.

A token ties them together by nothing but the same ID, and some let anybody exchange public objects without a PIN. So:

- Before a key goes because *its* archive is confirmed, the private object shows in the token that it is this key
  (``prove``): it answers a possession challenge to the public half, or signs what that verifies. ``prove`` uses the
  handle that is destroyed afterwards, so an exchange in between changes nothing.
- Elsewhere (``require_own``) that is asked only of keys whose ID does not say it. The ID of a key that was made here is
  the first 20 bytes of its key ID, and nobody without the PIN can change the private half's: another public key that
  fits would be a second preimage. An RSA private key has its public numbers itself.
"""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    HalvesDiffer,
    PossessionNotProven,
    TokenError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import possession, signing_proof
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card, objects
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

#: Hex digits of the ID of a key that is made here without a given one.
_OWN_ID = 40
_SIGNING = ("sign", "sign_recover")


def prove(one: TokenObject) -> None:
    """One operation with the private key, in the token.

    Raises:
        HalvesDiffer: it is not the key of this public half.
        KeyUnreadable: the token has only a part of it.
        TokenError: the token does not work with this key, so nothing is shown.
    """
    objects.require_fitting(one)
    key, key_id, public_key = card.usable(one), str(one.key_id), one.public_key or b""
    try:
        if any(one.attributes.get(name) for name in _SIGNING):
            proof = signing_proof.prove(key, key_id)
            if proof is None:
                raise TokenError(f"the key {one.label!r} is of a type that signs no statements")
            signing_proof.verify(proof, public_key, key_id)
        else:
            challenge, expected = possession.make_challenge(public_key, key_id)
            possession.check_answer(expected, possession.answer_challenge(key, key_id, challenge))
    except (PossessionNotProven, FormatError):
        objects.require_fitting(replace(one, problem="the private key does not work as that key"))


def require_own(one: TokenObject) -> None:
    """Raise HalvesDiffer unless the public half is the private key's, as far as it can be known (see above).

    Where the token does not work with the key (X25519, or one that wants its PIN each time) and the ID was given, it is
    believed (docs/threat-model.md).
    """
    objects.require_fitting(one)
    if one.public_key is None or one.tells_public or _is_named(one) or one.attributes.get("always_authenticate"):
        return
    try:
        prove(one)
    except TokenError:
        if len(one.object_id) == _OWN_ID:
            objects.require_fitting(
                replace(one, problem="its ID is not the begin of its key ID, and nothing else shows it")
            )


def looked_at(one: TokenObject) -> TokenObject:
    """The same for who only looks: keys that seem to be made here and do not have their ID get what is wrong, if it is.

    Other keys are not worked with: a card's owner does not expect that of a look.
    """
    made_here = len(one.object_id) == _OWN_ID and one.attributes.get("modifiable") is False
    if one.kind != "private_key" or one.problem or one.unfinished or not made_here:
        return one
    try:
        require_own(one)
        return one
    except HalvesDiffer:
        return replace(one, problem="the private key does not work as that key")


def _is_named(one: TokenObject) -> bool:
    return len(one.object_id) == _OWN_ID and str(one.key_id).startswith(one.object_id)
