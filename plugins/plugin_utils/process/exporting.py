# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of key_export.

1. The policy says which signing usages may go into tokens: the rule ``export`` of a usage, and of no other. What it
   says of other usages is refused here, when the host has told them.
2. With a vault: keys of the signing register go nowhere but where the policy lets them, and frozen keys nowhere.
3. The host exports, and says which of its exports the vault does not know yet: on every run, since a kill may have
   come between.
4. One event for these, and one for every refusal. A message with a generated password comes back as ciphertext for its
   owner, and goes into the vault; then the host forgets it.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    FrozenRefused,
    OptionError,
    PolicyRefused,
    UsageConflictRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import USAGES
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.eligibility import judge_against_vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal, of_host

VERSION = "keyops-delivery/1"
_SIGNING = signing_register.SIGNING_USAGES
_UNTOLD = {"dest": str, "format": str, "key_ids": list, "digest": str, "message": str}
_FACTS = {"dest": str, "format": str, "key_id": str, "usage": str}
#: Characters of a path.
_LONGEST = 4096


def export(task: ControllerTask) -> dict:
    """The whole process; returns the task's result."""
    for item in task.params["exports"]:
        if (item["password_to"] or {}).get("vault") and (task.vault is None or not task.params["key_owner"]):
            raise OptionError("password_to.vault: it needs vault: and key_owner:")
    rules = _rules(task)
    signing = [
        usage for usage in _SIGNING if usage in rules and rules[usage].enforced and rules[usage].value == "token"
    ]
    if task.vault is None:
        warnings = _judge(task, rules, signing) if rules else []
        return _told(task.call("export", {"signing": signing}), warnings)
    with journal.refusals_recorded(task, "export", []):
        warnings = _judge(task, rules, signing)  # 1, 2
        reply = task.call("export", {"signing": signing})  # 3
    result = _told(reply, warnings)
    if not task.check_mode:
        _tell(task, _checked(reply), result)  # 4
    return result


def _told(reply: HostReply, warnings: list[str]) -> dict:
    result = dict(reply.raw)
    return {**result, "warnings": [*(result.get("warnings") or []), *warnings]} if warnings else result


def _rules(task: ControllerTask) -> dict[str, Any]:
    """The rule ``export`` of each usage for which the policy has one."""
    if task.policy is None:
        return {}
    # Here, so that a play without a policy loads none of it.
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import load

    policy = load.load(task.policy)
    named = {usage: policy.rule_for(usage).get("export") for usage in USAGES}
    return {usage: rule for usage, rule in named.items() if rule is not None}


def _judge(task: ControllerTask, rules: dict[str, Any], signing: list[str]) -> list[str]:
    """Warnings; raises the refusal of the first key that the policy or the vault does not let out."""
    rows = _facts(task.call("facts", {"signing": signing}))
    warnings = [text for row in rows for text in _against(rules.get(row["usage"]), row)]
    if task.vault is None:
        return warnings
    key_ids = sorted({row["key_id"] for row in rows})
    registered = signing_register.usages_of(task.vault, key_ids)
    frozen = freezes.frozen(task.vault, key_ids)
    for row in rows:
        if row["key_id"] in frozen:
            raise FrozenRefused(f"key {row['key_id'][:16]}... is frozen: {frozen[row['key_id']].reason}")
        if row["usage"] not in signing:
            judge_against_vault(row["key_id"], row["key_id"] in registered, None)
        elif registered.get(row["key_id"], row["usage"]) != row["usage"]:
            raise UsageConflictRefused(
                f"key {row['key_id'][:16]}...: the host says {row['usage']}, and the vault's signing register "
                f"{registered[row['key_id']] or 'has an entry that the key did not make'}; it does not go out"
            )
    return warnings


def _against(rule: Any, row: dict) -> list[str]:
    """What the rule of a key's usage only advises against; raises PolicyRefused for what it forbids."""
    if rule is None or rule.value == "allowed" or (rule.value == "token" and row["format"] == "token"):
        return []
    allowed = "nowhere" if rule.value == "never" else "into a token only"
    message = (
        f"{row['dest']}: a key of this usage is handed over {allowed} (rule usages.{row['usage']}.export: "
        f"{rule.value}; set by {rule.origin}; source: {rule.source})"
    )
    if rule.enforced:
        raise PolicyRefused(f"refused by the policy, and nothing was changed: {message}")
    return [message]


def _facts(reply: HostReply) -> list[dict]:
    """What the host says of its keys; a key may have no usage.

    Raises:
        FormatError: it has another form.
    """
    with of_host.its_form("its keys"):
        for row in reply.results:
            usage = {"usage": ""} if isinstance(row, dict) and row.get("usage", "") is None else {}
            canonical.check_fields({**row, **usage} if usage else row, _FACTS, "a key")
            check_digest(row["key_id"])
    return list(reply.results)


def _checked(reply: HostReply) -> list[dict]:
    """What the host says of its exports, as far as it has its form: it goes into a log that others read.

    Raises:
        FormatError: it has another.
    """
    with of_host.its_form("its exports"):
        canonical.check_fields(reply.relay, {"untold": list}, "the reply")
        if not all(isinstance(row, dict) and isinstance(row.get("dest"), str) for row in reply.results):
            raise FormatError("a row of results has no dest")
        for one in reply.relay["untold"]:
            canonical.check_fields(one, _UNTOLD, "an export")
            canonical.decode(one["message"])
            for key_id in one["key_ids"]:
                check_digest(key_id)
            if len(one["dest"]) > _LONGEST or len(one["format"]) > _LONGEST:
                raise FormatError("an export's destination is longer than any")
    return list(reply.relay["untold"])


def _tell(task: ControllerTask, untold: list[dict], result: dict) -> None:
    """Write the events, put messages with passwords into the vault, and have the host note that.

    What an ended run left untold is among them, so there is an event too many at most, and never an export without one.
    """
    if not untold:
        return
    owner = task.params["key_owner"]
    messages = [one for one in untold if one["message"]]
    if messages and not owner:
        raise OptionError("key_owner: is missing; an earlier export has a password for the vault that is not there yet")
    detail = f"key owner {owner}" if owner else ""
    keys = [(key_id, f"{one['format']} {one['dest']}") for one in untold for key_id in one["key_ids"]]
    journal.write(task, "export", "success", of_host.told(task, keys), detail)
    if messages:
        keys = [(key_id, f"password of {one['dest']}") for one in messages for key_id in one["key_ids"]]
        journal.write(task, "deliver", "success", of_host.told(task, keys), detail)
        task.vault.create({_path(owner, one): _object(task, owner, one) for one in messages})
    task.call("close", {"told": list(dict.fromkeys(one["dest"] for one in untold))})
    result["changed"] = True
    names = {one["dest"]: _path(owner, one) for one in messages}
    for row in result["results"]:
        if row["dest"] in names:
            row["password_object"] = names[row["dest"]]


def _path(owner: str, one: dict) -> str:
    return paths.delivery(canonical.digest(owner.encode("utf-8")), canonical.digest(canonical.decode(one["message"])))


def _object(task: ControllerTask, owner: str, one: dict) -> bytes:
    told = {name: one[name] for name in ("dest", "digest", "key_ids", "message")}
    created = times.text(times.now())
    return canonical.dumps({"format": VERSION, "key_owner": owner, "host": task.host, "created": created, **told})
