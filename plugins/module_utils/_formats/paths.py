# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of objects in the vault, stated once (docs/formats.md). No path holds a name that a user chose."""

from __future__ import annotations

#: Every folder, in the order in which objects may appear: nothing comes before what it names or what forbids its use,
#: and the event of what was done comes last.
FOLDERS = (
    *("sealed", "shares", "signing", "freezes", "records", "requests", "approvals", "lifts", "deliveries"),
    "events",
)


def record(key_id: str, number: int) -> str:
    return f"records/{key_id}/{number}"


def sealed_key(digest: str) -> str:
    return f"sealed/{digest}"


def share(agent_id: str, digest: str) -> str:
    return f"shares/{agent_id}/{digest}"


def request(request_id: str) -> str:
    return f"requests/{request_id}"


def approval(request_id: str, key_id: str, agent_id: str, number: int) -> str:
    return f"approvals/{request_id}/{key_id}/{agent_id}/{number}"


def event(number: int) -> str:
    return f"events/{number:012d}"


def signing_key(key_id: str) -> str:
    return f"signing/{key_id}"


def freeze(key_id: str, number: int) -> str:
    return f"freezes/{key_id}/{number}"


def lift(key_id: str, freeze_id: str, agent_id: str, number: int) -> str:
    return f"lifts/{key_id}/{freeze_id}/{agent_id}/{number}"


def delivery(owner_digest: str, message_digest: str) -> str:
    return f"deliveries/{owner_digest}/{message_digest}"
