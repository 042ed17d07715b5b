# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provisioning: generate, keep, replace or remove the private keys of one host, in one pass.

1. Read and check every option.
2. Look at every place: the files (provision_files.py), the tokens (provision_tokens.py).
3. Decide for every key (provision_plan.py).
4. Ask the controller about keys that may go only when their archive is confirmed; until it has answered, nothing at all
   is changed.
5. Generate what is missing, and write: each key whole or not at all. Tokens first, since they refuse more often.
6. Report from what is then there.

A killed run leaves a part of 5, and the next run goes on. Of two runs at once, one creates a key, the other finds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import NotArchivedRefused, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision_report as report
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_files import Files
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.provision_plan import (
    Decision,
    Found,
    Wish,
    decide,
    needs_archive,
    read_wishes,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


def run(task: HostTask, tokens: Any = None) -> FlowResult:
    """The whole process.

    Where keys may be on tokens, ``tokens`` is provision_tokens.py, as in provision_anywhere.py. Nothing here imports
    it, so that plays on key files neither ship nor load anything of tokens.

    Without a step, the result's relay is ``{"proofs": {key_id: base64}}`` (see _keys/signing_proof.py), or
    ``{"unconfirmed": [{"key", "key_id", "sealed_key"}]}``, and then nothing was changed. With the step ``confirmed``,
    the task's relay ``{"confirmed": {key_id: sealed_key}}`` names the records that the controller has found in the
    vault; ``sealed_key`` is the digest in this host's receipt, or None. With the step ``prove`` and the relay
    ``{"prove": [key_id]}`` nothing is changed either, and the proofs of keys that are there come back.

    Raises:
        KeyopsError: as the functions below; nothing was changed unless the disk or a token failed.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    wishes = read_wishes(task.params["keys"], tokens)  # 1
    with contextlib.ExitStack() as stack:
        only_looks = task.check_mode or task.step == "prove"
        places = _Places(wishes, state_dir, only_looks, tokens, stack)
        if task.step == "prove":
            return FlowResult(False, [], relay={"proofs": _prove(wishes, places, task.relay["prove"])})
        return _provision(task, wishes, places)


def _provision(task: HostTask, wishes: list[Wish], places: _Places) -> FlowResult:
    found = places.each(wishes, lambda place, mine: place.survey(mine))  # 2
    decisions = [decide(wish, there, places.of(wish)) for wish, there in zip(wishes, found)]  # 3
    unconfirmed = _unconfirmed(decisions, task)  # 4
    if unconfirmed:
        return FlowResult(False, [report.unchanged(decision) for decision in decisions], relay=unconfirmed)
    proofs: dict[str, str] = {}
    if task.check_mode:
        outcomes = [report.predicted(decision) for decision in decisions]
    else:
        ends = places.each(decisions, lambda place, mine: _carried_out(place, mine, proofs))  # 5
        outcomes = [report.done(decision, there) for decision, there in ends]  # 6
    warnings = [decision.warning for decision in decisions if decision.warning]
    warnings += places.warnings()
    return replace(report.result(outcomes, warnings), relay={"proofs": proofs} if proofs else None)


class _Places:
    """Where the keys are: in files and, only where an item names one, on tokens."""

    def __init__(
        self, wishes: Sequence[Wish], state_dir: str, only_looks: bool, tokens: Any, stack: contextlib.ExitStack
    ) -> None:
        self._files, self._tokens = Files(state_dir, only_looks), None
        on_tokens = [wish for wish in wishes if wish.token is not None]
        if on_tokens:
            self._tokens = stack.enter_context(tokens.Tokens(on_tokens, state_dir, only_looks))

    def of(self, wish: Wish) -> Any:
        return self._files if wish.token is None else self._tokens

    def warnings(self) -> list[str]:
        """About keys on tokens that are kept."""
        return list(self._tokens.warnings) if self._tokens else []

    def each(self, items: Sequence[Any], work: Callable[[Any, list], Sequence]) -> list:
        """What ``work`` gives for each item, each place with all its items at once; wishes or decisions."""
        results: dict[int, Any] = {}
        for place in filter(None, (self._tokens, self._files)):
            numbers = [number for number, one in enumerate(items) if self.of(getattr(one, "wish", one)) is place]
            if numbers:
                results.update(zip(numbers, work(place, [items[number] for number in numbers])))
        return [results[number] for number in range(len(items))]


def _carried_out(place: Any, decisions: list[Decision], proofs: dict[str, str]) -> list[tuple[Decision, Found | None]]:
    ends, new_proofs = place.carry_out(decisions)
    proofs.update(new_proofs)
    return ends


def _prove(wishes: Sequence[Wish], places: _Places, key_ids: list[str]) -> dict[str, str]:
    """The statements of keys that are there already; only the controller knows which of them it needs."""
    proofs = {}
    for wish, there in zip(wishes, places.each(wishes, lambda place, mine: place.survey(mine))):
        if there is not None and there.facts.key_id in key_ids:
            proof = places.of(wish).prove(wish, there)
            if proof is not None:
                proofs[there.facts.key_id] = canonical.encode(proof)
    return proofs


def _unconfirmed(decisions: Sequence[Decision], task: HostTask) -> dict | None:
    going = [
        decision
        for decision in decisions
        if decision.action in ("replace", "remove")
        and not decision.wish.destroy_unarchived
        and needs_archive(decision.there)
    ]
    if task.step == "confirmed":
        confirmed = task.relay.get("confirmed", {}) if isinstance(task.relay, dict) else {}
        for decision in going:
            _check_confirmed(decision, confirmed)
        return None
    if task.step is not None:
        raise OptionError("step: is internal and set by the collection only; leave it out")
    return {"unconfirmed": [_question(decision) for decision in going]} if going else None


def _question(decision: Decision) -> dict:
    receipt = decision.there.receipt
    sealed_key = receipt.sealed_key if receipt else None
    return {"key": decision.wish.key, "key_id": decision.there.facts.key_id, "sealed_key": sealed_key}


def _check_confirmed(decision: Decision, confirmed: dict) -> None:
    """The vault's record and this host's own receipt must name the same sealed key: neither alone is enough."""
    receipt, key_id = decision.there.receipt, decision.there.facts.key_id
    if receipt is None or confirmed.get(key_id) != receipt.sealed_key:
        raise NotArchivedRefused(
            f"{decision.wish.key}: the key {key_id[:16]}... may have encrypted data, and its archive is not confirmed, "
            "so it is neither removed nor replaced. Archive it with key_archive, or give destroy_unarchived: true to "
            "lose it for good"
        )
