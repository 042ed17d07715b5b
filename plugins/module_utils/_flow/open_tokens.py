# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tokens of one task, open: their libraries locked for other processes, each found, and logged in to once.

The locks come first, since a library may already look at its tokens when it starts, and in one order, so that two tasks
never wait for each other. All tokens are found before the first login. A wrong PIN ends the task; it was tried once.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyExists,
    KeyopsError,
    OptionError,
    TokenAmbiguous,
    TokenMissing,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, objects, session
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.keys import Pair
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri

_TOKEN_PARTS = ("token", "manufacturer", "model", "serial")


@dataclass(frozen=True)
class Asked:
    """A key on a token that a task names.

    Attributes:
        key: the reference as the user wrote it, for messages and look-ups.
        uri: the same, parsed.
        pin: the user PIN.
    """

    key: str
    uri: TokenUri
    pin: str = field(repr=False)


@dataclass
class OpenToken:
    """A token that is logged in to.

    Attributes:
        library: path of its library.
        facts, token: as it says of itself.
        pin: that it is logged in to with.
        asked: the keys of the task that are on it.
        session: writable, with the user logged in.
        found: its objects; those with labels of the task in full, or all.
    """

    library: str
    facts: TokenFacts
    token: Any = field(repr=False)
    pin: str = field(repr=False)
    asked: list[Asked] = field(default_factory=list)
    session: Any = None
    found: list[TokenObject] = field(default_factory=list, repr=False)

    def survey(self, in_full: bool = False) -> None:
        """Read the objects, in one pass.

        Args:
            in_full: every object, since any may be evidence about a key.

        Raises:
            TokenError: the token fails.
        """
        labels = None if in_full else {one.uri.label for one in self.asked if one.uri.label} | {keys.UNFINISHED}
        with libraries.told_errors(f"reading the objects of the token {self.facts.label!r}"):
            self.found = objects.survey(self.session, labels)

    def private(self, label: str | None) -> list[TokenObject]:
        """The private keys with this label."""
        return [one for one in self.found if one.kind == "private_key" and one.label == label]

    def pair(self, private: TokenObject) -> Pair:
        """The private key with its public half, where the token has one."""
        halves = (one for one in self.found if one.kind == "public_key" and one.object_id == private.object_id)
        return Pair(private, next(halves, None))

    def key(self, uri: TokenUri) -> Pair | None:
        """The key that the URI names, or None.

        Raises:
            KeyExists: its label belongs to a key with another ID.
            TokenAmbiguous: the token has several keys of this label.
        """
        mine = self.private(uri.label)
        if uri.object_id is not None:
            others = [one for one in mine if one.object_id != uri.object_id.hex()]
            mine = [one for one in mine if one not in others]
            if others and not mine:
                raise KeyExists(
                    f"the label {uri.label!r} belongs to the key with the ID {others[0].object_id} on the token; "
                    "give that id=, or another object="
                )
        if len(mine) > 1:
            ids = ", ".join(one.object_id for one in mine)
            raise TokenAmbiguous(f"{len(mine)} private keys on the token have this label (IDs {ids}); give id=")
        return self.pair(mine[0]) if mine else None


class OpenTokens:
    """The tokens of one task; a context in which they are open."""

    def __init__(self, asked: Sequence[Asked], lock_in: str | None, missing_ok: bool = False) -> None:
        """
        Args:
            asked: every key of the task that is on a token.
            lock_in: the state folder that holds the locks; None to take none (check mode makes no folder).
            missing_ok: a token that is not there is no error; in check mode the same run would have made it.
        """
        self._asked, self._lock_in, self._missing_ok = asked, lock_in, missing_ok
        self._of: dict[str, OpenToken] = {}
        self._known: dict[tuple, OpenToken] = {}
        self.all: list[OpenToken] = []
        self._stack = contextlib.ExitStack()

    def of(self, key: str) -> OpenToken | None:
        """The token of a key, by its reference; None when it is not there."""
        return self._of.get(key)

    def __enter__(self) -> OpenTokens:
        """Find, lock and log in.

        Raises:
            TokenError: a token is not there, or refuses; WrongPin among them.
            OptionError: two items disagree about the PIN of one token.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(keys.all_locked(self._lock_in, [str(one.uri.module_path) for one in self._asked]))
            for one in self._asked:
                with named(one.key):
                    self._find(one)
            for token in self.all:
                # Writable also for a task that only looks: what a probe makes are session objects.
                token.session = stack.enter_context(session.opened(token.token, token.pin, writable=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        """Log out and unlock."""
        self._stack.close()

    def _find(self, asked: Asked) -> None:
        try:
            one = self._token(asked.uri, asked.pin)
        except TokenMissing:
            if self._missing_ok:
                return
            raise
        if not hmac.compare_digest(one.pin.encode(), asked.pin.encode()):
            raise OptionError("pin: another item has another PIN for the same token; one of them is wrong")
        one.asked.append(asked)
        self._of[asked.key] = one

    def _token(self, uri: TokenUri, pin: str) -> OpenToken:
        path, parts = str(uri.module_path), {part: getattr(uri, part) for part in _TOKEN_PARTS}
        name = (path, *parts.values())
        if name not in self._known:
            facts, token = libraries.find(libraries.load(path), parts)
            # Two items may name one token differently.
            same = [one for one in self.all if (one.library, one.facts.serial) == (path, facts.serial)]
            self._known[name] = same[0] if same else OpenToken(path, facts, token, pin)
            self.all += [] if same else [self._known[name]]
        return self._known[name]


@contextlib.contextmanager
def named(key: str) -> Iterator[None]:
    """Put the key's reference in front of every error."""
    try:
        yield
    except KeyopsError as error:
        raise type(error)(f"{key}: {error}") from error
