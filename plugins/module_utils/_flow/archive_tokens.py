# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archive keys that are on tokens: the host's half, as archive.py calls it (docs/formats.md, "Keys from a token").

1. The token makes K and wraps the private key under it.
2. It wraps K to every agent, and proves with a CMAC under K whose key it is.
3. What came out is sealed as any key is; only then the quorum's mathematics and the vault see it.

Before that, all objects of the tokens are read: the same key may be there again and sign, and so may a certificate say.
No step has K or the private key as a value of this process. The possession challenge is answered by the token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyNotFound,
    NotWrappable,
    OptionError,
    StateError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import token_certificates
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import Asked, OpenToken, OpenTokens
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import (
    possession,
    reference,
    token_facts,
    token_halves,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.groups import require_wrapping
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import RecoveryGroup
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.seal_key import seal_token_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.wrapped_key import (
    TokenKey,
    WrappedKey,
    statement,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card, session
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.wrapping import Wrapped, Wrapper
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import reading
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.discovery import Findings


@dataclass(frozen=True)
class _Key:
    """One item: the token that it is on, and its private key there, or None."""

    token: OpenToken | None
    one: TokenObject | None
    facts: KeyFacts | None = None


class TokenKeys:
    """The items of ``keys`` that are on tokens, until the tokens are closed.

    Attributes:
        findings: the certificates on these tokens.
    """

    def __init__(self, items: list[dict], tokens: OpenTokens) -> None:
        pool = token_facts.Pool(one for token in tokens.all for one in token.found)
        self._keys = {item["key"]: _found(item, tokens.of(item["key"]), pool) for item in items}
        self.findings = _findings(tokens)
        self._wrappers: dict[int, Wrapper] = {}

    def facts(self, item: dict, check_mode: bool) -> KeyFacts | None:
        """The public facts of an item's key; None in check mode when there is none yet.

        Raises:
            KeyNotFound: there is none.
        """
        key = self._keys[item["key"]]
        if key.facts is None and not check_mode:
            raise KeyNotFound(
                f"{item['key']}: there is no such private key on the token; make it with private_key first"
            )
        return key.facts

    def require_wrappable(self, item: dict) -> None:
        """Raise NotWrappable for a key that its token keeps inside: found out by wrapping it, for nobody."""
        key = self._keys[item["key"]]
        if key.token is None or key.one is None:
            return
        if key.one.attributes.get("extractable") is False:
            raise NotWrappable(
                f"the key {key.one.label!r} was made so that it never leaves its token, not even wrapped (EXTRACTABLE "
                "false), so it cannot be archived. Make a new key that may be archived"
            )
        self._wrapper(key.token).wrap(key.one.handle, repr(key.one.label))

    def seal(self, item: dict, usage: str, owned: tuple[str, tuple[RecoveryGroup, ...]], challenge: dict) -> tuple:
        """The sealed key of an eligible item, and the answer to its possession challenge.

        Args:
            owned: the key owner, and the groups.

        Raises:
            NotWrappable, TokenError: the token cannot do it.
            RecoveryGroupError: an agent has no wrapping certificate.
            StateError: the key is not there any more.
            PossessionNotProven: the challenge is not for this key.
        """
        key_owner, groups = owned
        require_wrapping(groups)
        key = self._keys[item["key"]]
        if key.token is None or key.one is None or key.facts is None:
            raise StateError(f"{item['key']} was removed while it was being archived: run again")
        wrapper = self._wrapper(key.token)
        wrapped = wrapper.wrap(key.one.handle, repr(key.one.label))  # 1
        for_agents = _for_agents(wrapper, wrapped, key.facts.key_id, key_owner, groups)
        token_key = TokenKey(key.facts, wrapped.wrapping, wrapped.blob, for_agents)
        answer = possession.answer_challenge(card.usable(key.one), key.facts.key_id, challenge)
        return seal_token_key(token_key, usage, key_owner, groups), answer  # 3

    def _wrapper(self, token: OpenToken) -> Wrapper:
        if id(token) not in self._wrappers:
            self._wrappers[id(token)] = Wrapper(token.session, token.facts.label)
        return self._wrappers[id(token)]


def _for_agents(
    wrapper: Wrapper, wrapped: Wrapped, key_id: str, key_owner: str, groups: tuple[RecoveryGroup, ...]
) -> dict[tuple[str, str], WrappedKey]:
    """2: K for every agent of every group."""
    found = {}
    for group, agent in [(every, member) for every in groups for member in every.agents]:
        to = cms_parts.certificate_recipient(agent.wrapping_certificate)
        oaep_hash, ciphertext = wrapper.wrap_to(wrapped.session_key, to.spki)
        mac = wrapper.prove(wrapped.session_key, statement(key_id, key_owner, group.name, agent.agent_id))
        found[group.name, agent.agent_id] = WrappedKey(
            wrapped.wrapping, canonical.digest(to.spki), oaep_hash, ciphertext, mac
        )
    return found


@contextmanager
def opened(items: list[dict], state_dir: str, check_mode: bool) -> Iterator[TokenKeys]:
    """The items of ``keys`` that are on tokens, with their tokens open.

    Args:
        check_mode: the same check run may have made the tokens that are not there.

    Raises:
        OptionError: an option that is for files is given, or no PIN.
        KeyReferenceError, TokenError, WrongPin: as OpenTokens.
    """
    lock_in = lock_folder(state_dir, check_mode)
    with OpenTokens([_asked(item) for item in items], lock_in, missing_ok=check_mode) as tokens:
        for token in tokens.all:
            token.survey(in_full=True)
            token.found = [token_halves.looked_at(one) for one in token.found]
        yield TokenKeys(items, tokens)


def _asked(item: dict) -> Asked:
    if item["passphrase"] is not None:
        raise OptionError(f"passphrase: {item['key']} is on a token, which has a PIN: give pin")
    uri = reference.parse(item["key"]).uri
    return Asked(item["key"], uri, session.pin_for(item["pin"], uri))


def _found(item: dict, token: OpenToken | None, pool: token_facts.Pool) -> _Key:
    pair = token.key(reference.parse(item["key"]).uri) if token else None
    one = pair.private if pair else None
    return _Key(token, one, pool.facts(token_facts.facts_of(one)) if one else None)


def _findings(tokens: OpenTokens) -> Findings:
    told = [token_certificates.read(token.found, token.facts) for token in tokens.all]
    nameless = [
        reading.shown(f"the key {one.label!r} on the token {token.facts.label!r}")
        + ": it may sign, and the token does not tell its own public half, so it may be any key"
        for token in tokens.all
        for one in token.found
        if one.kind == "private_key" and (one.key_id is None or one.problem) and token_facts.may_sign(one.attributes)
    ]
    found = tuple(one for some, dummy in told for one in some)
    return Findings(found, (*(text for dummy, some in told for text in some), *nameless))
