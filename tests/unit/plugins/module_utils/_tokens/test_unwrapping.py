# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which one-time keys of requests are removed. Unwrapping itself: tests/integration/test_token_archive.py."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import unwrapping
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

NOW = times.parse("2026-01-31T12:00:00Z")
NONCE = "0123456789abcdef"


class Handle:
    """An object on a token that can be destroyed."""

    def __init__(self) -> None:
        self.destroyed = False

    def destroy(self) -> None:
        self.destroyed = True


def pair(label: str, public_key: bytes) -> list[TokenObject]:
    """Both halves of a key."""
    return [TokenObject(kind, label, "01", "RSA", {}, public_key, Handle()) for kind in ("public_key", "private_key")]


def left(there: list[TokenObject]) -> set[str]:
    return {one.label for one in there if not one.handle.destroyed}


def test_only_what_is_over_or_the_requests_own_is_removed():
    over = f"keyops-request {NONCE} 2026-01-31T12:00:00Z"
    own = f"keyops-request {NONCE} 2026-02-01T12:00:00Z"
    running = "keyops-request fedcba9876543210 2026-02-01T12:00:00Z"
    others = ("mail", "keyops-request", "keyops-request of mine", "keyops-request x 2026-01-31")
    there = [*pair(over, b"1"), *pair(own, b"2"), *pair(running, b"3")]
    for label in others:
        there += pair(label, b"4")
    unwrapping.remove_one_time_keys(there, NOW)
    assert left(there) == {own, running, *others}
    unwrapping.remove_one_time_keys(there[2:], NOW, b"2")
    assert left(there) == {running, *others}


def test_a_public_key_alone_does_not_make_a_one_time_key():
    """The owner's own key must not be taken for it, whatever a request says."""
    there = [*pair("mail", b"1"), *pair(f"keyops-request {NONCE} 2026-02-01T12:00:00Z", b"2")]
    assert unwrapping.one_time_key(there, b"2").label.startswith("keyops-request")
    with pytest.raises(StateError):
        unwrapping.one_time_key(there, b"1")
    unwrapping.remove_one_time_keys(there, NOW, b"1")
    assert left(there) == {one.label for one in there}
