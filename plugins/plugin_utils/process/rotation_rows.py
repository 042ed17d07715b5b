# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host says of its keys and their rotation, before any of it is used: a row per key, in the task's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import of_host

#: Members that are always there, and their types; and those that are a text or None.
_LOOKED = {"key": str, "next": str, "state": str, "begun": bool, "needs_archive": bool, "old": list}
_LOOKED_TEXTS = (
    *("key_id", "algorithm", "usage", "archived", "modified", "not_before", "not_after"),
    *("old_key_id", "next_key_id", "next_archived", "problem"),
)
_OLD = {"key": str, "key_id": str, "modified": str, "signs": bool}
_OLD_TEXTS = ("archived", "replaced")
_SWITCHED = {"key": str, "state": str, "changed": bool}
_SWITCHED_TEXTS = ("key_id", "old_key_id", "old", "certificate", "problem")
#: What a key in this state has.
_HAS = {
    **{"missing": (), "current": ("key_id", "modified"), "waiting": ("next_key_id",), "ready": ("next_key_id",)},
    "switched": ("key_id", "old_key_id"),
}
_DIGESTS = ("key_id", "next_key_id", "old_key_id", "archived", "next_archived")
_TIMES = ("modified", "not_before", "not_after", "replaced")


def looked(task: ControllerTask, reply: HostReply) -> list[dict]:
    """The rows of the step ``look``.

    Raises:
        FormatError: they have another form.
    """
    return _checked(task, reply, _check_looked)


def switched(task: ControllerTask, reply: HostReply) -> list[dict]:
    """The rows of the steps ``switch`` and ``announced``.

    Raises:
        FormatError: they have another form.
    """
    return _checked(task, reply, _check_switched)


def _checked(task: ControllerTask, reply: HostReply, check: Callable[[Any], None]) -> list[dict]:
    with of_host.its_form("its keys"):
        for row in reply.results:
            check(row)
        if [row["key"] for row in reply.results] != [item["key"] for item in task.params["keys"]]:
            raise FormatError("the keys are not those of the task")
    return list(reply.results)


def _check_looked(row: Any) -> None:
    _check(row, _LOOKED, _LOOKED_TEXTS)
    needed = _HAS.get(row["state"])
    if needed is None or any(row[name] is None for name in needed) or (row["key_id"] and not row["modified"]):
        raise FormatError("a key has not what its state says")
    for old in row["old"]:
        _check(old, _OLD, _OLD_TEXTS)


def _check_switched(row: Any) -> None:
    _check(row, _SWITCHED, _SWITCHED_TEXTS)
    if row["state"] not in _HAS or (row["changed"] and None in (row["key_id"], row["old_key_id"])):
        raise FormatError("a key has not what its state says")


def _check(row: Any, fields: Mapping[str, type], texts: Iterable[str]) -> None:
    texts = tuple(texts)
    none = {name: "" for name in texts if isinstance(row, dict) and row.get(name, "") is None}
    canonical.check_fields({**row, **none} if none else row, {**fields, **dict.fromkeys(texts, str)}, "a key")
    for name in _DIGESTS:
        if row.get(name) is not None:
            check_digest(row[name])
    for name in _TIMES:
        if row.get(name) is not None:
            times.parse(row[name])
