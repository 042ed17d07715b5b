# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key reports: facts of each key before and after, and never material."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_plan import Decision, Found
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult

#: What the result calls that which was decided.
_WORDS = {
    "create": "created",
    "keep": "kept",
    "adjust": "adjusted",
    "replace": "replaced",
    "remove": "removed",
    "none": "absent",
}
_NOTHING = dict.fromkeys(("key_id", "algorithm", "usage", "public_key", "encrypted", "mode", "owner", "group"))
_DIFF = ("key_id", "algorithm", "usage", "encrypted", "mode", "owner", "group", "object_id")


@dataclass(frozen=True)
class Outcome:
    """One key's result row, and its facts before and after for the diff."""

    row: dict
    before: dict
    after: dict


def done(decision: Decision, there: Found | None) -> Outcome:
    """The outcome of what was done; ``there`` is what is there now."""
    return _outcome(decision, _facts(decision.found if decision.action == "remove" else there))


def predicted(decision: Decision) -> Outcome:
    """The outcome that a run without check mode would have. A key that does not exist yet has no key ID."""
    if decision.action not in ("create", "replace", "adjust"):
        return _outcome(decision, _facts(decision.found))
    before = _facts(decision.found)
    return _outcome(decision, {**before, **_expected(decision, before)})


def _expected(decision: Decision, before: dict) -> dict:
    wish = decision.wish
    after: dict = {}
    if decision.action != "adjust":
        after.update(key_id=None, public_key=None, algorithm=wish.algorithm, usage=wish.usage)
    if wish.token is not None:
        given = wish.token.uri.object_id
        return {**after, "object_id": given.hex() if given else None}
    if decision.action != "adjust":
        after["encrypted"] = wish.passphrase is not None
    after["mode"] = f"{wish.mode:04o}"
    after["owner"] = wish.owner or before["owner"] or _user()
    after["group"] = wish.group or before["group"] or _group()
    return after


def unchanged(decision: Decision) -> dict:
    """The row of a key when nothing was done yet."""
    return _row(decision, _facts(decision.found), "none" if decision.found is None else "keep")


def result(outcomes: Sequence[Outcome], warnings: list[str]) -> FlowResult:
    """The result of all keys."""
    rows = [outcome.row for outcome in outcomes]
    diff = [
        {
            "before_header": outcome.row["key"],
            "after_header": outcome.row["key"],
            "before": outcome.before,
            "after": outcome.after,
        }
        for outcome in outcomes
        if outcome.row["changed"]
    ]
    return FlowResult(any(row["changed"] for row in rows), rows, diff=diff, warnings=warnings)


def _outcome(decision: Decision, facts: dict) -> Outcome:
    before = {} if decision.found is None else _shown(_facts(decision.found))
    after = {} if decision.action in ("remove", "none") else _shown(facts)
    return Outcome(_row(decision, facts, decision.action), before, after)


def _row(decision: Decision, facts: dict, action: str) -> dict:
    changed = action not in ("keep", "none")
    state = decision.wish.state
    return {"key": decision.wish.key, "state": state, "changed": changed, "action": _WORDS[action], **facts}


def _facts(found: Found | None) -> dict:
    if found is None:
        return dict(_NOTHING)
    facts = {
        "key_id": found.facts.key_id,
        "algorithm": found.facts.algorithm,
        "usage": found.usage,
        "public_key": pem.write("PUBLIC KEY", found.facts.public_key).decode("ascii"),
        "encrypted": found.encrypted,
    }
    if found.file is None:
        return {**_NOTHING, **facts, "object_id": found.token.private.object_id}
    return {**facts, "mode": f"{found.file.mode:04o}", "owner": found.file.owner, "group": found.file.group}


def _shown(facts: dict) -> dict:
    return {name: facts[name] for name in _DIFF if name in facts}


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _group() -> str:
    try:
        return grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return str(os.getegid())
