# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on tokens, for private_key: what is there, and how keys come and go.

1. Every token is found, locked for other processes, and logged in to once; its objects are read in one pass.
2. What killed runs left is taken away: unfinished copies, parts of private keys (key_recovery was ended while the token
   wrote one), public halves alone, and keys that are replaced already.
3. Signing keys go to tokens that keep their promises only (``accept_findings``).
4. All new keys are made in the session first. Whatever the token does not make, wrap or sign shows here, before a key
   is changed.
5. The request of a nonsigning key is kept in the state folder: the key never signs again (kept_requests.py).
6. Each pair is copied to the token, read back, and only then takes the place of an old one.
7. The labels are looked at once more: another host that shares the token holds another lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    OptionError,
    TokenError,
    UnsafeTokenRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import token_checks, token_wishes
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.kept_requests import KeptRequests
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import (
    Asked,
    OpenToken,
    OpenTokens,
    named,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_plan import (
    Decision,
    Found,
    Wish,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import signing_proof, token_facts, token_halves
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import NONSIGNING
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card, keys, probe
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.keys import Draft, NewKey, Pair
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.probed import findings
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.wrapping import Wrapper

#: As for keys in files, the options of an item are read before anything is looked at.
read = token_wishes.read


class Tokens:
    """The place of keys on tokens; a context in which the tokens are open."""

    def __init__(self, wishes: Sequence[Wish], state_dir: str, only_looks: bool) -> None:
        """
        Args:
            wishes: all of this task that are on tokens.
            only_looks: change nothing: no lock, nothing taken away.
        """
        self._state_dir, self._only_looks = state_dir, only_looks
        self._requests = KeptRequests(state_dir)
        asked = [Asked(wish.key, wish.token.uri, wish.token.pin) for wish in wishes]
        self._tokens = OpenTokens(asked, lock_folder(state_dir, only_looks), missing_ok=only_looks)
        self._wrappers: dict[str, Wrapper] = {}
        self._promises: dict[str, list[probe.Finding]] = {}
        self.warnings: list[str] = []

    def __enter__(self) -> Tokens:
        """Open the tokens; see OpenTokens.

        Raises:
            OptionError: two items name the same key, for example by the token's label and by its serial number.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._tokens)
            for token in self._tokens.all:
                labels = [asked.uri.label for asked in token.asked]
                twice = next((label for label in labels if labels.count(label) > 1), None)
                if twice is not None:
                    raise OptionError(f"keys: two items name the key {twice!r} on the same token; name it once")
            stack.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        """Close them."""
        self._tokens.__exit__(*raised)

    def survey(self, wishes: Sequence[Wish]) -> list[Found | None]:
        """What is there for each wish, after what killed runs left is taken away.

        Raises:
            TokenAmbiguous, KeyExists: labels or IDs are not unique.
            KeyUnreadable: the token does not tell the public half of a key, or another one (HalvesDiffer).
        """
        for token in self._tokens.all:
            token.survey()
            parts = self._set_aside_parts(token)
            if not self._only_looks:
                keys.remove_unwritten(token.session)
                for one in parts:
                    keys.destroy_object(one)
                self._heal(token)
        return [self._found(wish) for wish in wishes]

    def _set_aside_parts(self, token: OpenToken) -> list[TokenObject]:
        """Take parts of private keys under this task's labels out of what was found: nothing works with them."""
        parts = [
            one for one in token.found if keys.is_part(one) and one.label in {key.uri.label for key in token.asked}
        ]
        token.found = [one for one in token.found if one not in parts]
        self.warnings += [
            f"the token {token.facts.label!r} has only a part of the private key {one.label!r} (ID {one.object_id}): a "
            "run was ended while it was written. It is no key, and is removed; if it was being recovered, remove what "
            "has its label now, and run key_recovery again"
            for one in parts
        ]
        return parts

    def _heal(self, token: OpenToken) -> None:
        unfinished = [one for one in token.found if one.label == keys.UNFINISHED]
        token.found = [one for one in token.found if one not in unfinished]
        private_ids = {one.object_id for one in token.found if one.kind == "private_key"}
        given = {asked.uri.label: (asked.uri.object_id or b"").hex() for asked in token.asked}
        gone = [one for one in token.found if one.label in given and keys.is_orphan(one, private_ids, given[one.label])]
        gone += [half for label in given for half in self._replaced(token, label)]
        for one in (*unfinished, *gone):
            keys.destroy_object(one)
        token.found = [one for one in token.found if one not in gone]

    def _replaced(self, token: OpenToken, label: str | None) -> list[TokenObject]:
        """Both halves of a key whose replacement is on the token already; forgets what was not replaced after all."""
        mine = token.private(label)
        marked = [one for one in mine if one.key_id and os.path.lexists(self._mark(one.key_id))]
        if len(mine) == len(marked):
            for one in marked:
                _files.remove(self._mark(str(one.key_id)))
            return []
        for one in marked:
            token_halves.require_own(one)
        pairs = [token.pair(one) for one in marked]
        return [half for pair in pairs for half in (pair.private, pair.public) if half is not None]

    def _mark(self, key_id: str) -> str:
        """A file that says: this key is being replaced, and may go once there is another one with its label."""
        return os.path.join(self._state_dir, "replaced", key_id)

    def _found(self, wish: Wish) -> Found | None:
        token = self._tokens.of(wish.key)
        if token is None:
            return None
        with named(wish.key):
            try:
                pair = token.key(wish.token.uri)
            except KeyExists:
                if wish.state == "absent":
                    return None  # the label belongs to a key with another ID than the one that is to go
                raise
            if pair is None:
                return None
            token_halves.require_own(pair.private)
            return self._told(wish, pair)

    def _told(self, wish: Wish, pair: Pair) -> Found:
        facts = token_facts.facts_of(pair.private)
        receipt = _receipts.read_receipt(self._state_dir, facts.key_id)
        usage = facts.bound_usage or (receipt.usage if receipt else None)
        if usage == "signature" and wish.usage and wish.usage not in NONSIGNING:
            usage = wish.usage  # the attributes do not tell which of the three signing usages it is
        return Found(None, facts, None, usage, receipt, pair)

    def unprotected(self, wish: Wish, found: Found) -> list[str]:
        """How the key's attributes are otherwise than they must be."""
        return token_checks.unprotected(wish, found)

    def adjusts(self, wish: Wish, found: Found) -> bool:
        """Never: a key on a token cannot be changed."""
        return False

    def check(self, decision: Decision) -> None:
        """Refuse what the token cannot do, or must not.

        Raises:
            AlgorithmError: it makes no such keys.
            KeyExists: the ID that was given belongs to another key.
            UnsafeTokenRefused: it breaks promises that signing keys rely on.
            HalvesDiffer, NotArchivedRefused: a key that is to go because it is archived is not shown to be that key.
        """
        token_checks.require_archived_itself(decision)
        wish, token = decision.wish, self._tokens.of(decision.wish.key)
        if decision.action == "keep" and wish.token.request is not None:
            self._warn_without_request(decision)
        if token is None or decision.action not in ("create", "replace"):
            return
        with named(wish.key):
            keys.check_can_make(token.token, wish.algorithm)
            token_checks.check_id(token, wish.token.uri)
            if wish.usage not in NONSIGNING:
                self._check_promises(token, wish)

    def _warn_without_request(self, decision: Decision) -> None:
        if self._requests.read(decision.there.facts.key_id) is None:
            self.warnings.append(
                f"{decision.wish.key}: request: the key is there without a request that was made together with it, and "
                "it signs none any more. Have its certificate issued from its public key, or replace the key"
            )

    def _check_promises(self, token: OpenToken, wish: Wish) -> None:
        serial = token.facts.serial
        if serial not in self._promises:
            keep = not self._only_looks
            self._promises[serial] = findings(token.session, token.library, token.facts, self._state_dir, keep)
        broken = [
            f"{finding.name} ({finding.detail})"
            for finding in self._promises[serial]
            if finding.outcome == probe.FAILS and finding.name not in wish.token.accept_findings
        ]
        if broken:
            raise UnsafeTokenRefused(
                f"the token {token.facts.label!r} does not keep what a signing key relies on: {'; '.join(broken)}. Put "
                "signing keys on another token, or accept these findings by their names with accept_findings"
            )

    def prove(self, wish: Wish, found: Found) -> bytes | None:
        """A signing key's statement that it signs (_keys/signing_proof.py), signed in the token."""
        with named(wish.key):
            return signing_proof.prove(card.usable(found.token.private), found.facts.key_id)

    def carry_out(self, decisions: Sequence[Decision]) -> tuple[list[tuple[Decision, Found | None]], dict[str, str]]:
        """Do what was decided; per key, what is there in the end, and the proofs of new signing keys.

        Raises:
            TokenError: a token refuses, or is full. Every key is whole, or not there.
            KeyExists: another host has made a key of the same label meanwhile.
        """
        making = [decision for decision in decisions if decision.action in ("create", "replace")]
        drafts = [(decision, self._draft(decision)) for decision in making]  # 4
        self._keep_requests(drafts)  # 5
        made: dict[Decision, Found] = {}
        try:
            for decision, draft in drafts:
                made[decision] = self._put(decision, draft)  # 6
        finally:
            self._check_labels(made)  # 7
        for decision in decisions:
            if decision.action == "remove":
                self._remove(decision)
        proofs = {}
        for decision, found in made.items():
            proof = None if decision.wish.usage in NONSIGNING else self.prove(decision.wish, found)
            if proof is not None:
                proofs[found.facts.key_id] = canonical.encode(proof)
        left = {decision: None if decision.action == "remove" else decision.found for decision in decisions}
        return [(decision, made.get(decision) or left[decision]) for decision in decisions], proofs

    def _open(self, wish: Wish) -> OpenToken:
        token = self._tokens.of(wish.key)
        if token is None:
            raise AssertionError("nothing is carried out on a token that is not there")
        return token

    def _draft(self, decision: Decision) -> Draft:
        wish, token = decision.wish, self._open(decision.wish)
        uri, nonsigning = wish.token.uri, wish.usage in NONSIGNING
        extractable = nonsigning and wish.token.archive != "never"
        new = NewKey(wish.algorithm, wish.usage, uri.label, uri.object_id, extractable, wish.token.unwrap)
        with named(wish.key):
            draft = Draft(token.session, new, signs=wish.token.request is not None)
            if wish.token.archive == "required":
                self._wrapper(token).wrap(draft.private, repr(uri.label))
        return draft

    def _wrapper(self, token: OpenToken) -> Wrapper:
        if token.facts.serial not in self._wrappers:
            self._wrappers[token.facts.serial] = Wrapper(token.session, token.facts.label)
        return self._wrappers[token.facts.serial]

    def _keep_requests(self, drafts: Sequence[tuple[Decision, Draft]]) -> None:
        signed = {}
        for decision, draft in drafts:
            if decision.wish.token.request is not None:
                with named(decision.wish.key):
                    signed[draft.key_id] = self._requests.sign(decision.wish.token.request, draft)
        self._requests.keep(signed)

    def _put(self, decision: Decision, draft: Draft) -> Found:
        old = decision.found
        with named(decision.wish.key):
            if old is not None:
                mark = self._mark(old.facts.key_id)
                for folder in (self._state_dir, os.path.dirname(mark)):
                    _files.make_private_folder(folder)
                _files.replace(_files.NewFile(mark, b""))
            pair = draft.keep()
            if old is not None:
                self._remove(decision)
                _files.remove(self._mark(old.facts.key_id))
            return self._told(decision.wish, pair)

    def _remove(self, decision: Decision) -> None:
        with named(decision.wish.key):
            keys.destroy(decision.there.token)
        self._requests.forget(decision.there.facts.key_id)

    def _check_labels(self, made: dict[Decision, Found]) -> None:
        """Destroy every new key whose label another host has used meanwhile, and raise KeyExists."""
        doubled = []
        for token in self._tokens.all:
            mine = {
                decision.wish.token.uri.label: (decision.wish, found.token)
                for decision, found in made.items()
                if self._tokens.of(decision.wish.key) is token
            }
            try:
                same = [other.label for other in token_checks.others(token, mine)]
            except TokenError:
                # Not known whether another host has made the same: then it was not this one.
                for dummy, pair in mine.values():
                    keys.destroy(pair)
                raise
            for label in same:
                wish, pair = mine.pop(label)
                keys.destroy(pair)
                doubled.append(wish.key)
        if doubled:
            raise KeyExists(
                f"{', '.join(doubled)}: another host has made keys of these labels meanwhile, so those made here "
                "were destroyed; run again"
            )
