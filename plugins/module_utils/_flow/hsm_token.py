# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making PKCS#11 tokens and setting their PINs.

1. Read and check every option.
2. Find every token; what cannot be done is an error before anything changes.
3. Initialise what is not yet, set user PINs that are not set, change PINs that are the old ones.

A token that holds anything is wiped only when that is asked for twice, the second time with its serial number. A run
that is killed between the two steps of making a token leaves one without a user PIN, and the next run sets it. One
process at a time does this for a library (a lock), or two would make two tokens of one name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyopsError,
    OptionError,
    TokenAmbiguous,
    TokenError,
    TokenMissing,
    TokenNotEmpty,
    WrongPin,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.hsm_info import facts_told
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import calls, keys, objects, session, uri
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts

_PINS = ("pin", "so_pin", "old_pin", "old_so_pin")
_CHANGE_OFFICERS, _CHANGE_USERS = "SO_PIN_TO_BE_CHANGED", "USER_PIN_TO_BE_CHANGED"


@dataclass(frozen=True)
class _Wish:
    """One checked item of the option ``tokens``."""

    text: str
    library: str
    label: str
    serial: str | None
    pins: dict[str, str | None] = field(repr=False)
    reinitialize: bool
    destroy_objects: str | None


@dataclass(frozen=True)
class _Decision:
    """What is to be done: ``keep``, ``initialize``, ``set_pin``; ``facts`` and ``token`` are what is there."""

    wish: _Wish
    action: str
    facts: TokenFacts
    token: Any = field(repr=False)


def run(task: HostTask) -> FlowResult:
    """The whole process; see above.

    Raises:
        KeyopsError: the message names the item; nothing was changed before step 3.
    """
    wishes = []
    for number, item in enumerate(task.params["tokens"]):
        try:
            wishes.append(_read(item))
        except KeyopsError as error:
            raise type(error)(f"tokens[{number}]: {error}") from error
    if len({(wish.library, wish.label) for wish in wishes}) < len(wishes):
        raise OptionError("tokens: two items have the same library and label; name each token once")
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    with keys.all_locked(lock_folder(state_dir, task.check_mode), [wish.library for wish in wishes]):
        decisions = [_decide(wish) for wish in wishes]
        outcomes = [_predicted(one) if task.check_mode else _carried_out(_still_new(one)) for one in decisions]
    rows = [row for row, dummy in outcomes]
    return FlowResult(any(row["changed"] for row in rows), rows, diff=[diff for dummy, diff in outcomes if diff])


def _read(item: dict) -> _Wish:
    named = uri.parse(item["uri"])
    if named.module_path is None or named.token is None:
        raise OptionError(
            "uri: name the token and its PKCS#11 library: pkcs11:token=NAME?module-path=/path/of/library.so"
        )
    if named.label is not None or named.object_id is not None or named.manufacturer or named.model:
        raise OptionError("uri: give token=, and serial= where several are new; nothing else names a token to make")
    if named.pin_file is not None and item["pin"] is not None:
        raise OptionError("pin: is given although the URI has a pin-source; give one of them")
    if len(named.token.encode()) > 32:
        raise OptionError("uri: a token's label has at most 32 bytes (PKCS#11)")
    pins = {name: item[name] for name in _PINS}
    if named.pin_file:
        pins["pin"] = session.pin_from_file(named.pin_file)
    if pins["pin"] is not None and pins["pin"] == pins["so_pin"]:
        raise OptionError("pin: it is the same as so_pin; the security officer's PIN is another person's")
    if item["destroy_objects"] is not None and not item["reinitialize"]:
        raise OptionError("destroy_objects: it does nothing without reinitialize: true")
    return _Wish(
        item["uri"], named.module_path, named.token, named.serial, pins, item["reinitialize"], item["destroy_objects"]
    )


def _decide(wish: _Wish) -> _Decision:
    there = libraries.tokens(libraries.load(wish.library))
    named = [pair for pair in there if pair[0].initialized and pair[0].label == wish.label]
    named = [pair for pair in named if wish.serial in (None, pair[0].serial)]
    if len(named) > 1:
        raise TokenAmbiguous(
            f"uri: {len(named)} tokens have the label {wish.label!r}; name one by serial=: "
            f"{', '.join(facts.serial for facts, dummy in named)}"
        )
    if not named:
        return _decide_new(wish, there)
    facts, token = named[0]
    if wish.reinitialize:
        _require(wish, "so_pin", "to initialise the token again")
        session.refuse_last_try(facts, session.SECURITY_OFFICER)
        _check_may_go(wish, facts, token)
        return _Decision(wish, "initialize", facts, token)
    # A locked user PIN is the security officer's to set anew, who must be asked for it by giving so_pin.
    locked = "USER_PIN_LOCKED" in facts.flags and wish.pins["so_pin"] is not None
    if ("USER_PIN_INITIALIZED" not in facts.flags or locked) and wish.pins["pin"] is not None:
        _require(wish, "so_pin", "to set the user PIN")
        return _Decision(wish, "set_pin", facts, token)
    return _Decision(wish, "keep", facts, token)


def _decide_new(wish: _Wish, there: list[tuple[TokenFacts, Any]]) -> _Decision:
    new = [pair for pair in there if not pair[0].initialized and wish.serial in (None, pair[0].serial)]
    if not new:
        seen = ", ".join(repr(facts.label) for facts, dummy in there if facts.initialized) or "none"
        raise TokenMissing(f"uri: there is no token {wish.label!r} and none to initialise; the library has {seen}")
    if len(new) > 1:
        raise TokenAmbiguous(
            f"uri: {len(new)} tokens are new; name the one to initialise by serial=: "
            f"{', '.join(facts.serial for facts, dummy in new)}"
        )
    for name in ("so_pin", "pin"):
        _require(wish, name, "to initialise the token")
    return _Decision(wish, "initialize", *new[0])


def _require(wish: _Wish, name: str, why: str) -> None:
    if wish.pins[name] is None:
        raise OptionError(f"{name}: is needed {why} {wish.label!r}")


def _check_may_go(wish: _Wish, facts: TokenFacts, token: Any) -> None:
    """A token that holds objects, or whose objects cannot be seen, goes only when its serial number is given."""
    if wish.destroy_objects == facts.serial:
        return
    if wish.destroy_objects is not None:
        raise OptionError(f"destroy_objects: the token {facts.label!r} has another serial number; look with hsm_info")
    if wish.pins["pin"] is None:
        raise TokenNotEmpty(
            f"reinitialize: without pin nobody can see whether the token {facts.label!r} is empty; give pin, or "
            f"destroy_objects: {facts.serial} to lose what it holds for good"
        )
    with session.opened(token, wish.pins["pin"]) as opened:
        count = len(objects.survey(opened))
    if count:
        raise TokenNotEmpty(
            f"reinitialize: the token {facts.label!r} holds {count} objects, which would be lost; give "
            f"destroy_objects: {facts.serial} as well to lose them for good"
        )


def _predicted(decision: _Decision) -> tuple[dict, dict | None]:
    """Without a login: a wrong PIN would count. So whether a PIN would be changed is not told."""
    return _row(decision, decision.action, decision.facts)


def _still_new(decision: _Decision) -> _Decision:
    """The same, with a token that is new now: an item before this one may have made the one that was seen.

    To initialise that once more would destroy what is hardly there (SoftHSM has one new token at a time).
    """
    if decision.action != "initialize" or decision.facts.initialized:
        return decision
    return _decide_new(decision.wish, libraries.tokens(libraries.load(decision.wish.library)))


def _carried_out(decision: _Decision) -> tuple[dict, dict | None]:
    action, wish, token = decision.action, decision.wish, decision.token
    if action == "initialize":
        answer = calls.init_token(wish.library, decision.facts.slot_id, _first_officer_pin(decision), wish.label)
        if answer:
            raise _init_failed(decision, answer)
        # The token may have moved to another slot.
        wanted = {"token": wish.label, "serial": None if not wish.serial or wish.reinitialize else wish.serial}
        dummy, token = libraries.find(libraries.load(wish.library), wanted)
    if action in ("initialize", "set_pin") and wish.pins["pin"] is not None:
        _set_user_pin(wish, token)
    elif action == "keep":
        action = _pins_changed(wish, token)
    return _row(decision, action, libraries.facts_of(token.slot.get_token()))


def _first_officer_pin(decision: _Decision) -> str:
    """What the token takes now: a new one may come with a PIN of its own (openCryptoki's), which is changed next."""
    pins, facts = decision.wish.pins, decision.facts
    comes_with_one = not facts.initialized and _CHANGE_OFFICERS in facts.flags
    return str(pins["old_so_pin"] if comes_with_one and pins["old_so_pin"] is not None else pins["so_pin"])


def _init_failed(decision: _Decision, answer: int) -> TokenError:
    label = decision.wish.label
    if answer in (0xA0, 0xA1, 0xA2):  # CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE
        own = _CHANGE_OFFICERS in decision.facts.flags
        hint = "it came with a PIN of its own: give that one as old_so_pin" if own else "a new one wants its own length"
        return WrongPin(
            f"so_pin: the token {label!r} refuses this PIN of the security officer, which was tried once; an "
            f"initialised token wants the one that it has, {hint}"
        )
    return TokenError(f"initialising the token {label!r}: it answers {answer:#x} (PKCS#11 section 3.6)")


def _set_user_pin(wish: _Wish, token: Any) -> None:
    if _CHANGE_OFFICERS in libraries.facts_of(token.slot.get_token()).flags:
        _require(wish, "old_so_pin", "to change the security officer's PIN that came with the token")
        with session.opened(token, wish.pins["old_so_pin"], session.SECURITY_OFFICER) as opened:
            opened.set_pin(wish.pins["old_so_pin"], wish.pins["so_pin"])
    with session.opened(token, wish.pins["so_pin"], session.SECURITY_OFFICER) as opened:
        opened.init_pin(wish.pins["pin"])
    # Writable, since some tokens take a PIN from its user only.
    with session.opened(token, wish.pins["pin"], writable=True) as opened:
        if _CHANGE_USERS in libraries.facts_of(token.slot.get_token()).flags:
            opened.set_pin(wish.pins["pin"], wish.pins["pin"])


def _pins_changed(wish: _Wish, token: Any) -> str:
    changed = False
    for name, who in (("pin", session.USER), ("so_pin", session.SECURITY_OFFICER)):
        new, old = wish.pins[name], wish.pins[f"old_{name}"]
        if new is None or (old is None and who == session.SECURITY_OFFICER):
            continue  # the security officer logs in for a change only
        first = None
        try:
            # Writable: a failed login leaves its session open, and beside one that only reads no officer logs in.
            with session.opened(token, new, who, writable=True):
                continue
        except WrongPin as error:
            if old is None:
                raise
            first = error
        try:
            # Not tried when the first has left one try: two wrong PINs of one task must not lock the token.
            with session.opened(token, old, who, writable=True) as opened:
                opened.set_pin(old, new)
        except WrongPin as error:
            raise WrongPin(f"{name}: {first}. Then, with old_{name}: {error}") from error
        changed = True
    return "change_pin" if changed else "keep"


_DONE = {"initialize": "initialized", "set_pin": "pin_set", "change_pin": "pin_changed", "keep": "kept"}


def _row(decision: _Decision, action: str, after: TokenFacts) -> tuple[dict, dict | None]:
    wish = decision.wish
    row = {"uri": wish.text, "action": _DONE[action], "changed": action != "keep", **facts_told(after)}
    if action == "keep":
        return row, None
    title = f"the token {wish.label}"
    before = {"initialized": decision.facts.initialized, "label": decision.facts.label}
    return row, {
        **{"before_header": title, "after_header": title, "before": before},
        "after": {"initialized": True, "label": wish.label, "action": _DONE[action]},
    }
