# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of rotation: which keys are due and why, and the vault's word before a successor takes over.

What is due follows from facts alone, so that a run that was killed, or an order that was given twice, rotates nothing
twice: an order names the key ID that is to go, or the moment before which a key was made. A rotation that has begun is
always finished, whether its reason still holds or not.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    FrozenRefused,
    NotArchivedRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import period_end
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import (
    journal,
    of_host,
    rotation_rows,
    rotation_wish,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.rotation_wish import Wish


def plan(task: ControllerTask) -> dict:
    """The result of key_rotation_info."""
    wish = rotation_wish.read(task)
    reply = task.call("look")
    found = rotation_rows.looked(task, reply)
    made = _made(task, [*found, *(old for row in found for old in row["old"])]) if task.vault else {}
    recorded = _recorded(task, [old["key_id"] for row in found for old in row["old"]])
    rows = [{**row, "old": [_old(one, recorded) for one in row["old"]]} for row in found]
    results = [_planned(row, item, wish, made) for row, item in zip(rows, task.params["keys"])]
    warnings = [*(reply.raw.get("warnings") or []), *(text for row in rows for text in _remarks(row, wish, made))]
    told = {**reply.raw, "changed": False, "results": results}
    return {**told, "warnings": warnings} if warnings else told


def rotate(task: ControllerTask) -> dict:
    """The result of key_rotation."""
    reply = task.call("look")
    found = rotation_rows.looked(task, reply)
    if task.params["state"] == "announced":
        return _announce(task, reply, found)
    coming = [row for row in found if row["state"] == "ready"]
    going = any(row["state"] in ("ready", "switched") for row in found)
    diff = [_diff(row["key"], row["key_id"], row["next_key_id"]) for row in coming]
    recorded = journal.refusals_recorded(task, "rotate", [row["next_key_id"] for row in coming])
    with recorded if task.vault else contextlib.nullcontext():
        confirmed = _confirmed(task, [row for row in coming if row["needs_archive"]])
        if task.check_mode or not going:
            predicted = [_predicted(row) for row in found]
            return {**reply.raw, "changed": going, "results": predicted, "diff": diff}
        done = task.call("switch", {"confirmed": confirmed})
        results = rotation_rows.switched(task, done)
    # Also when an earlier run was killed before its event: one too many is better than none.
    changed = [row for row in results if row["changed"]]
    if task.vault and changed:
        journal.write(task, "rotate", "success", _replacements(task, changed))
    return {**done.raw, "changed": bool(changed), "results": results, "diff": diff}


def _announce(task: ControllerTask, reply: HostReply, found: list[dict]) -> dict:
    """The services know the new keys, so the old ones that sign go; the event comes first."""
    told = [row for row in found if row["state"] == "switched"]
    going = [(old, row["key"]) for row in told for old in row["old"] if old["key_id"] == row["old_key_id"]]
    recorded = _recorded(task, [old["key_id"] for old, dummy in going])
    gone = [(old, key) for old, key in going if _old(old, recorded)["signs"] and old["replaced"]]
    diff = [_diff(old["key"], old["key_id"], None) for old, dummy in gone]
    if task.check_mode or not told:
        return {**reply.raw, "changed": bool(told), "results": [_predicted(row) for row in found], "diff": diff}
    if task.vault and gone:
        destroyed = of_host.told(task, [(old["key_id"], f"destroyed: {key}") for old, key in gone])
        journal.write(task, "rotate", "success", destroyed)
    done = task.call("announced", {"recorded": recorded})
    return {**done.raw, "results": rotation_rows.switched(task, done), "diff": diff}


def _recorded(task: ControllerTask, key_ids: list[str | None]) -> list[str]:
    """Those that the vault has a record of, sound or not: who was archived is not destroyed as one that signs."""
    known = sorted({one for one in key_ids if one})
    if task.vault is None or not known:
        return []
    return [key_id for key_id, found in records.walk(task.vault, known).items() if found]


def _old(old: dict, recorded: list[str]) -> dict:
    return {**old, "signs": old["signs"] and old["key_id"] not in recorded}


def _diff(path: str, before: str | None, after: str | None) -> dict:
    sides = {"before": {"key_id": before}, "after": {"key_id": after}}
    return {"before_header": path, "after_header": path, **sides}


def _made(task: ControllerTask, rows: list[dict]) -> dict[str, datetime.datetime]:
    """Since when each key has been there, by this host's record of it or its entry in the signing register.

    Many write to the vault: what somebody else wrote of a key counts for nothing, and nothing makes a key older than
    its own file is, or it would be due for ever.

    Args:
        task: of the host.
        rows: of keys and predecessors, each with ``key_id``, ``archived`` and ``modified``.
    """
    known = {row["key_id"]: row for row in rows if row["key_id"]}
    told: dict[str, list[str]] = {key_id: [] for key_id in known}
    for key_id, found in records.walk(task.vault, known).items():
        mine = [one for one in found if isinstance(one, Record) and one.host == task.host]
        told[key_id] += [one.created for one in mine if one.sealed_key == known[key_id]["archived"]]
    for path, content in task.vault.read(paths.signing_key(key_id) for key_id in known).items():
        told[path.split("/")[1]] += _created(content)
    return {
        key_id: max(min(map(times.parse, found)), times.parse(known[key_id]["modified"]))
        for key_id, found in told.items()
        if found
    }


def _created(content: bytes) -> list[str]:
    """The time of an entry in the register; none where it is no entry, which counts for nothing here."""
    try:
        value = canonical.loads(content)
        created = value.get("created") if isinstance(value, dict) else None
        times.parse(str(created))
    except FormatError:
        return []
    return [str(created)]


def _planned(row: dict, item: dict, wish: Wish, made: dict[str, datetime.datetime]) -> dict:
    since = made.get(row["key_id"]) or (times.parse(row["modified"]) if row["modified"] else None)
    reasons = list(_reasons(row, item, wish, since)) if since else []
    state = "due" if reasons and row["state"] == "current" else row["state"]
    shown = ("key", "key_id", "next", "next_key_id", "algorithm", "usage", "not_after", "problem")
    return {
        **{name: row[name] for name in shown},
        **{"state": state, "reasons": reasons, "made": times.text(since) if since else None},
        "old": [_shown(old, _is_over(old, row, wish, made)) for old in row["old"]],
    }


def _shown(old: dict, retire: bool) -> dict:
    return {**{name: old[name] for name in ("key", "key_id", "signs", "replaced")}, "retire": retire}


def _reasons(row: dict, item: dict, wish: Wish, since: datetime.datetime) -> Any:
    if row["key_id"] in wish.key_ids:
        yield "its key ID was named"
    if wish.before and since < wish.before:
        yield f"it was made before {times.text(wish.before)}"
    if item["algorithm"] and item["algorithm"] != row["algorithm"]:
        yield f"its algorithm is {row['algorithm']}, and {item['algorithm']} is wanted"
    if row["not_after"] and wish.is_near(times.parse(row["not_before"]), times.parse(row["not_after"])):
        yield f"its certificate ends at {row['not_after']}"
    rule = wish.policy.rule_for(row["usage"]).get("originator_usage_period") if wish.policy else None
    if rule and wish.is_near(since, period_end(since, rule.value)):
        yield f"its period of use ({rule.value}, {rule.source}) ends at {times.text(period_end(since, rule.value))}"


def _is_over(old: dict, row: dict, wish: Wish, made: dict[str, datetime.datetime]) -> bool:
    """Whether a predecessor goes: one that decrypts, whose time is over, and that has a receipt.

    It goes only beside another key in its place, with nothing begun. One that signs never goes here: the step
    ``announced`` destroys it, or somebody needs it for the way back.
    """
    if old["signs"] or not old["archived"] or not _is_settled(old, row):
        return False
    return _time_is_over(old, row, wish, made)


def _is_settled(old: dict, row: dict) -> bool:
    """Whether a rotation on that host replaced it, and its path has the key that came after it, for good."""
    in_place = row["state"] == "current" and not row["begun"] and row["key_id"] not in (None, old["key_id"])
    return in_place and old["replaced"] is not None


def _time_is_over(old: dict, row: dict, wish: Wish, made: dict[str, datetime.datetime]) -> bool:
    if wish.keep and old["replaced"] and period_end(times.parse(old["replaced"]), wish.keep) <= wish.now:
        return True
    rule = wish.policy.rule_for(row["usage"]).get("recipient_usage_period") if wish.policy else None
    since = made.get(old["key_id"])
    return bool(rule and since and period_end(since, rule.value) <= wish.now)


def _remarks(row: dict, wish: Wish, made: dict[str, datetime.datetime]) -> Iterator[str]:
    """What somebody has to look at, because no rotation does it."""
    for old in row["old"]:
        if row["key_id"] is None:
            yield f"{row['key']}: there is no key; {old['key']} is an old one of it, and stays"
        elif old["signs"] and _is_settled(old, row):
            yield f"{old['key']}: an old key that signs; remove it with private_key when nothing needs it"
        elif not old["archived"] and _is_settled(old, row) and _time_is_over(old, row, wish, made):
            yield f"{old['key']}: its time is over, but this host has no receipt of its archive, so it stays"


def _replacements(task: ControllerTask, rows: list[dict]) -> list[tuple[str, str]]:
    """The pairs of an event; both keys must be this host's."""
    known = of_host.known(task, (row[name] for row in rows for name in ("key_id", "old_key_id")))
    texts = [(row, f"replaces {row['old_key_id']}: {row['key']}") for row in rows]
    return [
        (row["key_id"], text if {row["key_id"], row["old_key_id"]} <= known else of_host.claimed(text))
        for row, text in texts
    ]


def _predicted(row: dict) -> dict:
    """A row of key_rotation from what the host has, before anything is done."""
    changes = row["state"] in ("ready", "switched")
    return {
        **{"key": row["key"], "state": "switched" if changes else row["state"], "changed": changes},
        **{"problem": row["problem"], "key_id": row["next_key_id"] or row["key_id"]},
        **{"old_key_id": None, "old": None, "certificate": None},
    }


def _confirmed(task: ControllerTask, rows: list[dict]) -> dict[str, str]:
    """By key ID the sealed key of each successor's archive, whole in the vault and named by the host's receipt."""
    if not rows:
        return {}
    if task.vault is None:
        raise NotArchivedRefused(
            f"{', '.join(row['next'] for row in rows)}: a new nonsigning key takes its place only when its archive is "
            "confirmed; give vault:, or archive: false for keys that nobody archives"
        )
    key_ids = [row["next_key_id"] for row in rows]
    for key_id, one in freezes.frozen(task.vault, key_ids).items():
        raise FrozenRefused(f"the new key {key_id[:16]}... is frozen ({one.reason}); remove it and make another one")
    walked = records.walk(task.vault, key_ids)
    intact = records.intact(task.vault, (one for found in walked.values() for one in found), contents=True)
    archives = {(one.key_id, one.sealed_key) for one in intact}
    missing = [row["next"] for row in rows if (row["next_key_id"], row["next_archived"]) not in archives]
    if missing:
        raise NotArchivedRefused(
            f"{', '.join(missing)}: not archived, or this host has no receipt of it; archive it with key_archive first"
        )
    return {row["next_key_id"]: row["next_archived"] for row in rows}
