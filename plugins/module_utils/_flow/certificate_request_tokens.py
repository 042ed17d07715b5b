# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on tokens, for csr: a signing key signs in its token, a nonsigning one has the request that was made with it.

Each token is logged in to once, and nothing on it is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyNotFound,
    OptionError,
    StateError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.kept_requests import KeptRequests
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import Asked, OpenTokens, named
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference, token_facts, token_halves
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import session, signing
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import foreign_request, profiles, usages
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.possession_statement import Signer

try:
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)

_CONTENT = ("subject", "subject_alt_name", "extended_key_usage")


def _told(content: profiles.Content) -> str:
    """What a request says, in the options' words: ``subject "CN=a", subject_alt_name DNS:a, DNS:b``."""
    facts = content.facts()
    given = {name: facts[name] for name in _CONTENT if facts[name]}
    return ", ".join(
        f'{name} "{value}"' if isinstance(value, str) else f"{name} {', '.join(value)}" for name, value in given.items()
    )


@dataclass(frozen=True)
class TokenKey:
    """A key on a token, in the place of a ``PrivateKey``.

    Attributes:
        facts: public facts; the bound usage is ``signature`` for every key that may sign.
        handle: of python-pkcs11, while the tokens are open.
        kept: the request that was made with a nonsigning key, and what it says; or None.
    """

    facts: KeyFacts
    handle: Any = field(repr=False)
    kept: tuple[bytes, profiles.Content] | None = field(default=None, repr=False)

    def usage(self, declared: str | None) -> str | None:
        """The key's usage, given what the option says of a key that signs.

        Raises:
            OptionError: the option says nothing: attributes do not tell the three signing usages apart.
        """
        bound = self.facts.bound_usage
        if bound not in usages.SIGNING:
            return bound
        if declared is None:
            raise OptionError("usage: is missing; a token does not tell which of the usages that sign its key has")
        return declared if declared in usages.SIGNING else bound

    def content(self, item: dict, usage: str) -> profiles.Content:
        """What the request is to say.

        Raises:
            OptionError: an option is wrong, or a nonsigning key has no such request.
        """
        facts = self.facts
        if usage in usages.SIGNING:
            return profiles.wanted(item, usage, facts.key_id, facts.algorithm)
        if self.kept is None:
            raise OptionError(
                "the key was made without its request, and its token lets it sign none later. Have its certificate "
                "issued from its public key (private_key_info returns it), or make a key with request: in private_key"
            )
        if not any(item[name] for name in _CONTENT):
            return self.kept[1]
        wanted = profiles.wanted(item, usage, facts.key_id, facts.algorithm)
        if wanted != self.kept[1]:
            raise OptionError(
                f"subject: the request that was made with this key says {_told(self.kept[1])}; its token lets it sign "
                "no other. Ask for the same, or leave the options out, or replace the key"
            )
        return wanted

    def request(self, content: profiles.Content) -> bytes:
        """The PEM of the request.

        Raises:
            TokenError: the token does not sign it.
        """
        if self.kept is not None:
            return self.kept[0]
        facts = self.facts

        def sign(message: bytes) -> bytes:
            return signing.sign(self.handle, facts.algorithm, content.signature_hash, message)

        return foreign_request.write(content, facts.public_key, facts.algorithm, sign)


class TokenKeys:
    """The keys on tokens that a task names; a context in which they can sign."""

    def __init__(self, items: Sequence[dict], state_dir: str, check_mode: bool) -> None:
        """
        Args:
            items: those of the option ``keys``, and of ``possession`` in them, that are on tokens.
            check_mode: the same run would have made a token that is missing.

        Raises:
            OptionError: an item has no PIN, or options of a key file.
        """
        asked = []
        for item in items:
            with named(item["key"]):
                if item["passphrase"] is not None:
                    raise OptionError("passphrase: a key on a token has a PIN, not a passphrase: give pin")
                uri = reference.parse(item["key"]).uri
                asked.append(Asked(item["key"], uri, session.pin_for(item.get("pin"), uri)))
        self._tokens = OpenTokens(asked, lock_folder(state_dir, check_mode), missing_ok=check_mode)
        self._kept = KeptRequests(state_dir)

    def __enter__(self) -> TokenKeys:
        """Open the tokens and read their objects."""
        self._tokens.__enter__()
        try:
            for token in self._tokens.all:
                token.survey()
        except BaseException:
            self._tokens.__exit__()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the tokens."""
        self._tokens.__exit__(*raised)

    def signer(self, options: dict) -> Signer:
        """The key of the option ``possession``.

        Raises:
            KeyNotFound: there is none.
            OptionError: it does not sign.
            TokenAmbiguous, KeyExists, KeyUnreadable: the reference does not name one readable key.
        """
        with named(options["key"]):
            key = self.key(options)
            if key is None:
                raise KeyNotFound("there is no such key on the token; make it with private_key first")
            if key.facts.bound_usage not in usages.SIGNING:
                raise OptionError("possession.key: its token does not let it sign")
        facts, handle = key.facts, key.handle

        def sign(message: bytes, hash_name: str | None) -> bytes:
            return signing.sign(handle, facts.algorithm, hash_name, message)

        return Signer(serialization.load_der_public_key(facts.public_key), sign)

    def key(self, item: dict) -> TokenKey | None:
        """The item's key, or None when there is none.

        Raises:
            TokenAmbiguous, KeyExists, KeyUnreadable: the reference does not name one readable key.
            StateError: the kept request is damaged.
        """
        token = self._tokens.of(item["key"])
        pair = token.key(reference.parse(item["key"]).uri) if token else None
        if pair is None:
            return None
        token_halves.require_own(pair.private)
        facts = token_facts.facts_of(pair.private)
        if facts.bound_usage in usages.SIGNING:
            return TokenKey(facts, pair.private.handle)
        kept = self._kept.read(facts.key_id)
        if kept is not None and (kept[1] is None or kept[1].key_id != facts.key_id):
            raise StateError(f"the kept request of the key {facts.key_id[:16]}... is damaged; remove it from {kept[2]}")
        return TokenKey(facts, pair.private.handle, kept[:2] if kept else None)
