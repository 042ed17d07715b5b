# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuses, before anything changes, what the policy of a task forbids; and warns of what it only advises against.

Only the actions of private_key, csr and key_archive come here, and only when a task has a policy: a play without one
loads none of these files.

What the options say is judged first, without the host. What only the host knows (the usage of a key that is there, the
owner that a new file gets) is judged by a call that changes nothing: the module in check mode, or key_archive's own
first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PolicyRefused
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import judge, load
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import Policy, Violation

_NONSIGNING = ("key_transport", "key_agreement")

#: A key's place, and what breaks a rule there.
Found = list[tuple[str, Violation]]


def refuse(found: Iterable[tuple[str, Violation]]) -> list[str]:
    """Warnings: what the policy only advises against.

    Raises:
        PolicyRefused: with everything that is to be refused.
    """
    unique = list(dict.fromkeys(found))
    refused = [f"{place}: {one.message()}" for place, one in unique if one.enforced]
    if refused:
        number = f"{len(refused)} times: " if refused[1:] else ""
        raise PolicyRefused(f"refused by the policy, and nothing was changed: {number}{'. '.join(refused)}")
    return [f"{place}: {one.message()}" for place, one in unique]


def with_warnings(reply: HostReply, warnings: list[str]) -> HostReply:
    """The host's reply, whose result tells these warnings too."""
    if warnings:
        reply.raw["warnings"] = [*(reply.raw.get("warnings") or []), *warnings]
    return reply


# --- private_key -------------------------------------------------------------------------------------------------


def check_private_key(task: ControllerTask) -> list[str]:
    """Warnings for the keys that private_key is asked for; raises PolicyRefused."""
    policy = load.load(task.policy)
    found: Found = []
    for item in task.params["keys"]:
        found += [(item["key"], one) for one in _wished(policy, item)]
    warnings = refuse(found)
    _demand_archivable(policy, task.params["keys"])
    if any(_host_decides(policy, item) for item in task.params["keys"]):
        warnings = refuse([*found, *_predicted(policy, task.call(None, predicting=True))])
    return warnings


def _wished(policy: Policy, item: dict) -> list[Violation]:
    usage = item["usage"]
    found = list(_kept_unarchived(policy, item)) if item["destroy_unarchived"] else []
    if item["state"] == "absent":
        return found
    found += judge.algorithm(policy, usage, item["algorithm"])
    if _on_token(item["key"]):
        return [*found, *judge.protection(policy, usage, "token"), *_wished_on_token(policy, item)]
    encrypted = item["passphrase"] is not None
    found += judge.protection(policy, usage, "file")
    found += judge.file(policy, usage, mode=_mode(item["mode"]), encrypted=encrypted, **_names(item))
    return found


def _wished_on_token(policy: Policy, item: dict) -> Iterable[Violation]:
    """What the options of a key on a token say: its archive, and the request that is made with it."""
    usage, request = item["usage"], item.get("request")
    if item.get("archive") == "never":
        remedy = "say archive: required, or leave the option out"
        for broken in judge.archive(policy, usage, False):
            yield replace(broken, text="archive: never makes a key that nothing can archive", remedy=remedy)
    if usage and request:
        purposes = request.get("extended_key_usage") or ()
        yield from judge.certificate(policy, usage, key_usage=usages.key_usage_bits(usage), extended_key_usage=purposes)


def _demand_archivable(policy: Policy, items: Iterable[dict]) -> None:
    """Have no key made on a token that could not be archived from there, where the policy wants its archive."""
    for item in items:
        if _on_token(item["key"]) and item["state"] == "present" and item.get("archive") == "possible":
            rule = policy.rule_for(item["usage"]).get("archive")
            if rule and rule.enforced and rule.value == "required":
                item["archive"] = "required"


def _kept_unarchived(policy: Policy, item: dict) -> Iterable[Violation]:
    for usage in [item["usage"]] if item["usage"] else _NONSIGNING:
        for broken in judge.archive(policy, usage, False):
            text = "destroy_unarchived: true would lose a key without its archive"
            yield replace(broken, text=text, remedy="leave the option out, and archive the key first")


def _host_decides(policy: Policy, item: dict) -> bool:
    """Whether the options alone do not say what the key will be: a kept one may be another, a default the host's."""
    if item["state"] == "absent":
        return False
    rules = policy.rule_for(item["usage"])
    kept = item["regenerate"] in ("never", "partial_idempotence")
    named = not _on_token(item["key"]) and any(
        rule in rules and item[option] is None for rule, option in (("owners", "owner"), ("groups", "group"))
    )
    return kept or named


def _predicted(policy: Policy, reply: HostReply) -> Found:
    """What is wrong with keys as they will be. Keys that go once the vault has confirmed it are still the old ones."""
    going = {item["key"] for item in (reply.relay or {}).get("unconfirmed", [])}
    found: Found = []
    for row in reply.results:
        if row["state"] == "present" and row["key"] not in going:
            broken = list(judge.algorithm(policy, row["usage"], row["algorithm"]))
            if not _on_token(row["key"]):
                facts = {"owner": row["owner"], "group": row["group"], "encrypted": row["encrypted"]}
                broken += judge.file(policy, row["usage"], mode=_mode(row["mode"]), **facts)
            found += [(row["key"], one) for one in broken]
    return found


# --- csr ---------------------------------------------------------------------------------------------------------


def request(task: ControllerTask) -> dict:
    """The whole of csr under a policy; raises PolicyRefused."""
    policy = load.load(task.policy)
    refuse(_requested(policy, task.params["keys"], task.params["keys"]))
    reply = task.call(None, predicting=True)
    warnings = refuse(_requested(policy, task.params["keys"], reply.results))
    return dict(with_warnings(reply if task.check_mode else task.call(None), warnings).raw)


def _requested(policy: Policy, items: Sequence[dict], facts: Sequence[dict]) -> Found:
    """What is wrong with requests; ``facts`` are the items themselves, or what the host says of each."""
    found: Found = []
    for item, known in zip(items, facts):
        usage, purposes = known["usage"], known.get("extended_key_usage")
        broken = list(judge.algorithm(policy, usage, known.get("algorithm")))
        if usage:
            broken += judge.certificate(policy, usage, key_usage=known.get("key_usage"), extended_key_usage=purposes)
            if not item["require_receipt"]:
                text = "require_receipt: false would have a key certified without its archive"
                remedy = "leave the option out, and archive the key first"
                broken += [replace(one, text=text, remedy=remedy) for one in judge.archive(policy, usage, False)]
        found += [(item["key"], one) for one in broken]
    return found


# --- key_archive -------------------------------------------------------------------------------------------------


def check_groups(task: ControllerTask, named: Iterable[str | None], groups: Iterable) -> list[str]:
    """Warnings for the recovery groups of keys of these usages; raises PolicyRefused.

    Args:
        named: the usages, None where none is known.
        groups: with ``name``, ``threshold`` and ``agents``.
    """
    policy = load.load(task.policy)
    given = [(group.name, group.threshold, len(group.agents)) for group in groups]
    return refuse(
        ("recovery_groups", broken)
        for usage in sorted({usage for usage in named if usage})
        for broken in judge.recovery_groups(policy, usage, given)
    )


def refused_rows(task: ControllerTask, rows: Sequence[dict]) -> list[dict]:
    """The rows of key_archive, with a refusal for each key that the policy does not want archived."""
    policy = load.load(task.policy)
    return [row if row["refusal"] else {**row, "refusal": _refusal(policy, row["usage"])} for row in rows]


def _refusal(policy: Policy, usage: str | None) -> dict | None:
    broken = [one for one in judge.archive(policy, usage, True) if one.enforced] if usage else []
    return {"class": "PolicyRefused", "message": broken[0].message()} if broken else None


# --- all ---------------------------------------------------------------------------------------------------------


def _on_token(key: str) -> bool:
    return key.lower().startswith("pkcs11:")


def _mode(text: str | None) -> int | None:
    """The mode's number; None for what the host will refuse."""
    try:
        return None if text is None else int(text, 8)
    except ValueError:
        return None


def _names(item: dict) -> dict:
    """Owner and group where they are given as names; the host knows the names of numbers."""
    return {name: item[name] for name in ("owner", "group") if item[name] is not None and not item[name].isdecimal()}
