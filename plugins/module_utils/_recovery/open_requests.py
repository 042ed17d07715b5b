# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's side of an open request: its one-time key, kept in the state folder until all is done or time is over.

A file per request, ``<state folder>/requests/<request ID>.json``, mode 0600, written at once and whole. It is the
only place where the one-time private key exists.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, KeyopsError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import request as requests
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery.model import RecoveryRequest

_VERSION = "keyops-open-request/1"
_FIELDS = {"envelope": str, "one_time_key": str, "recovered": list}
_LIMIT = 1_000_000


@dataclass(frozen=True)
class OpenRequest:
    """An open request on its own host.

    Attributes:
        envelope: the signed request as it was sent to the vault.
        one_time_key: DER PKCS#8 of the key that was made for it.
        recovered: key IDs that are back already.
    """

    request_id: str
    request: RecoveryRequest
    envelope: bytes = field(repr=False)
    one_time_key: bytes = field(repr=False)
    recovered: tuple[str, ...] = ()


def save(state_dir: str, opened: OpenRequest) -> None:
    """Write the request's file, atomically and durably."""
    value = {
        **{"format": _VERSION, "envelope": canonical.encode(opened.envelope)},
        **{"one_time_key": canonical.encode(opened.one_time_key), "recovered": sorted(opened.recovered)},
    }
    folder = _folder(state_dir)
    _folders.make_folder(folder, 0o700)
    _files.replace(_files.NewFile(os.path.join(folder, opened.request_id + ".json"), canonical.dumps(value)))


def load(state_dir: str, request_id: str) -> OpenRequest:
    """The open request of this ID.

    Raises:
        StateError: when this host has none, so when it was made elsewhere, is finished, or its time is over.
    """
    path = os.path.join(_folder(state_dir), request_id + ".json")
    existing = _files.read_existing(path, _LIMIT)
    if existing is None:
        raise StateError(
            f"this host has no open request {request_id}: recover on the host, and with the state_dir, where it was "
            "made, or make a new request"
        )
    try:
        value = canonical.load_object(existing.content, _VERSION, _FIELDS)
        envelope = canonical.decode(value["envelope"])
        request = requests.verify(envelope, request_id)
        return OpenRequest(
            request_id, request, envelope, canonical.decode(value["one_time_key"]), tuple(value["recovered"])
        )
    except FormatError as error:
        raise StateError(f"{path} is damaged ({error}): make a new request") from error


def is_open(state_dir: str, request_id: str) -> bool:
    """Whether this host has an open request of this ID."""
    return os.path.exists(os.path.join(_folder(state_dir), request_id + ".json"))


def load_all(state_dir: str) -> tuple[list[OpenRequest], list[str]]:
    """All open requests of this host that can be read, and one sentence for each file that cannot."""
    folder = _folder(state_dir)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found, problems = [], []
    for name in names:
        if name.endswith(".json"):
            try:
                found.append(load(state_dir, name[: -len(".json")]))
            except KeyopsError as error:
                problems.append(str(error))
    return found, problems


def remove(state_dir: str, request_id: str) -> None:
    """Remove the request's file, and with it the one-time key."""
    _files.remove(os.path.join(_folder(state_dir), request_id + ".json"))


def remove_expired(state_dir: str, now: datetime.datetime) -> list[str]:
    """Remove the one-time keys of requests whose time is over; return their IDs."""
    found, dummy = load_all(state_dir)
    expired = [item.request_id for item in found if now >= times.parse(item.request.expires)]
    for request_id in expired:
        remove(state_dir, request_id)
    return expired


def _folder(state_dir: str) -> str:
    return os.path.join(state_dir, "requests")
