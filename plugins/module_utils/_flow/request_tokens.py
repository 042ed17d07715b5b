# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The second one-time key of a request whose keys go into a token: made by that token, for unwrapping only.

One token for one request: its one-time key must be able to unwrap all of them. Nothing attests that the key is in a
token: agents who want to be sure ask the owner's host by another way (docs/threat-model.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import OpenToken, OpenTokens
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.recover_tokens import asked
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import objects, unwrapping


class RequestToken:
    """The one token that keys go to."""

    def __init__(self, token: OpenToken) -> None:
        self._token = token

    def has(self, public_key: bytes) -> bool:
        """Whether the token still has the one-time key of an earlier run's request."""
        return any(one.kind == "private_key" and one.public_key == public_key for one in self._token.found)

    def make(self, nonce: str, expires: str) -> tuple[bytes, str]:
        """The one-time key: DER SubjectPublicKeyInfo, and the OAEP hash that the token can do.

        Raises:
            TokenError: the token cannot take keys in.
        """
        unwrapping.remove_one_time_keys(self._token.found, times.now())
        return unwrapping.make_one_time_key(self._token.session, nonce, expires)


@contextmanager
def opened(items: list[dict], lock_in: str | None) -> Iterator[RequestToken]:
    """The token of the items of ``keys`` that go into one.

    Args:
        lock_in: the state folder, when the one-time key will be made.

    Raises:
        OptionError: they go into several tokens, or there is no PIN.
        KeyReferenceError, TokenError, WrongPin: naming the item.
    """
    with OpenTokens([asked(item) for item in items], lock_in) as tokens:
        if len(tokens.all) != 1:
            raise OptionError("keys: all keys of one request go into one token; make a request for each token")
        tokens.all[0].found = objects.survey(tokens.all[0].session)
        yield RequestToken(tokens.all[0])
