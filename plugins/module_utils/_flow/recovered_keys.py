# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of an open request in memory: for what puts them back (recover.py) and what decrypts with them.

Nothing is written here. What the controller relays is not believed: the quorum's signatures, shares and the key ID
decide (_recovery/quorum.py), and a key comes out only for the request that this host made, within its time.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    FrozenRefused,
    RequestMismatch,
    StateError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, record, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import open_requests, quorum
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests

try:
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)


def load_open(state_dir: str, request_id: str, key_ids: list[str]) -> open_requests.OpenRequest:
    """This host's own copy of the request, whose ID is the one asked for, within its time and for these keys.

    Raises:
        StateError: this host has no such open request.
        RequestExpired: its time is over.
        RequestMismatch: it does not ask for all of the keys.
    """
    opened = open_requests.load(state_dir, request_id)
    requests.require_open(opened.request, times.now())
    foreign = [key_id for key_id in key_ids if key_id not in opened.request.key_ids]
    if foreign:
        raise RequestMismatch(f"the request does not ask for {', '.join(foreign)}: make a request that does")
    return opened


def open_key(
    key_id: str,
    opened: open_requests.OpenRequest,
    relay: dict,
    prove: Callable[[quorum.Wrapped, record.Record], None] | None = None,
) -> quorum.Opened:
    """One key of the request, opened with the shares of a quorum and proven to be the one that was asked for.

    Args:
        relay: ``{"keys": {key ID: {"records": [base64], "sealed": {digest: base64}, "approvals": {agent ID: [base64]},
            "frozen": str | None}}}``.
        prove: of ``quorum.Case``, for a key that goes into a token.

    Raises:
        FrozenRefused: the key is frozen.
        QuorumNotReached, ShareMismatch, WrongKeyRecovered: as ``quorum.open_with_quorum``.
    """
    given = relay["keys"][key_id]
    one_time_key = _one_time_key(opened)
    if given["frozen"]:
        raise FrozenRefused(f"key {key_id[:16]}... is frozen: {given['frozen']}")
    return quorum.open_with_quorum(
        quorum.Case(
            request_id=opened.request_id,
            request=opened.request,
            key_id=key_id,
            one_time_key=one_time_key,
            records=tuple(parsed_records(given["records"], key_id)),
            sealed_keys={name: canonical.decode(text) for name, text in given["sealed"].items()},
            approvals={
                agent: [canonical.decode(text) for text in texts] for agent, texts in given["approvals"].items()
            },
            prove=prove,
        )
    )


def _one_time_key(opened: open_requests.OpenRequest) -> object:
    try:
        return serialization.load_der_private_key(opened.one_time_key, None)
    except (ValueError, TypeError) as error:
        raise StateError(f"the one-time key of request {opened.request_id} is damaged: make a new request") from error


def parsed_records(texts: list[str], key_id: str) -> list[record.Record]:
    """The revisions that parse; the others cannot be used, and key_archive_info reports them."""
    parsed = []
    for text in texts:
        try:
            parsed.append(record.parse(canonical.decode(text)))
        except FormatError:
            continue
    return [item for item in parsed if item.key_id == key_id]
