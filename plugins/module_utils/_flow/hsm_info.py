# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at PKCS#11 tokens: libraries, slots, mechanisms, objects, and what a token truly enforces.

Nothing is left on a token. A login is made only with a PIN that is given, and only for the one token that is named.
Whoever logs in holds the library's lock, as every other module does: runs side by side would each try a wrong PIN
before any of them sees that it counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, objects, probe, session, uri
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri

_TOKEN_PARTS = ("token", "manufacturer", "model", "serial")


def run(task: HostTask) -> FlowResult:
    """Look at every item of the option ``tokens``.

    Raises:
        KeyopsError: an item is wrong, or its token cannot be looked at; the message names the item.
    """
    wanted = []
    for number, item in enumerate(task.params["tokens"]):
        try:
            wanted.append((item, *read_token(item)))
        except KeyopsError as error:
            raise type(error)(f"tokens[{number}]: {error}") from error
    with locked_for_logins([(item["uri"], item["pin"]) for item in task.params["tokens"]], task):
        return FlowResult(False, [_looked_at(item, named, pin) for item, named, pin in wanted])


@contextlib.contextmanager
def locked_for_logins(wanted: Sequence[tuple[str, str | None]], task: HostTask) -> Iterator[None]:
    """The libraries of tokens that are logged in to, locked for every other process with this state folder.

    Check mode makes no folder, so it locks only where an earlier run made it.

    Args:
        wanted: URIs and PINs, of the options; what has no PIN is looked at without waiting. A URI that is none is left
            out here, and told where it is read.

    Raises:
        FileError: the state folder cannot be used.
    """
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    paths: set[str] = set()
    for text, pin in wanted:
        with contextlib.suppress(KeyopsError):
            named = uri.parse(text)
            paths |= {named.module_path} if named.module_path and (pin or named.pin_file) else set()
    with keys.all_locked(lock_folder(state_dir, task.check_mode), paths):
        yield


def read_token(item: dict) -> tuple[TokenUri, str | None]:
    """What one item of the option ``tokens`` names, and the PIN.

    Raises:
        KeyopsError: it names no library, or an object, or the PIN is for no one token.
    """
    named = uri.parse(item["uri"])
    if named.module_path is None:
        raise OptionError("uri: name the PKCS#11 library in the URI: pkcs11:...?module-path=/path/of/library.so")
    if named.label is not None or named.object_id is not None:
        raise OptionError("uri: it names an object; name the token only")
    if item["pin"] is not None and named.pin_file is not None:
        raise OptionError("pin: is given although the URI has a pin-source; give one of them")
    pin = session.pin_from_file(named.pin_file) if named.pin_file else item["pin"]
    if item.get("probe") and pin is None:
        raise OptionError("probe: it needs the user PIN; give pin, or a pin-source in the URI")
    if pin is not None and not any(getattr(named, part) for part in _TOKEN_PARTS):
        raise OptionError("pin: it is for one token; name it in the URI by token= or serial=")
    return named, pin


def _looked_at(item: dict, named: TokenUri, pin: str | None) -> dict:
    library = libraries.load(str(named.module_path))
    parts = {part: getattr(named, part) for part in _TOKEN_PARTS}
    found = [libraries.find(library, parts)] if any(parts.values()) else libraries.tokens(library)
    return {
        "uri": item["uri"],
        "library": str(named.module_path),
        "tokens": [_told(facts, token, item, pin) for facts, token in found],
    }


def _told(facts: TokenFacts, token: Any, item: dict, pin: str | None) -> dict:
    told = {**facts_told(facts), "mechanisms": _mechanisms(token), "objects": [], "probe": []}
    if not facts.initialized:
        return told
    with session.opened(token, pin, writable=bool(item["probe"])) as opened:
        told["objects"] = [_object(one) for one in objects.survey(opened)]
        if item["probe"]:
            told["probe"] = [
                {"name": one.name, "outcome": one.outcome, "detail": one.detail} for one in probe.probe(opened)
            ]
    return told


def facts_told(facts: TokenFacts) -> dict:
    """The facts of a token, as the modules return them."""
    names = ("slot_id", "slot_description", "label", "manufacturer", "model", "serial", "initialized")
    told = {name: getattr(facts, name) for name in names}
    versions = {"hardware_version": facts.hardware_version, "firmware_version": facts.firmware_version}
    return {**told, **versions, "flags": list(facts.flags)}


def _mechanisms(token: Any) -> list[str]:
    with libraries.told_errors("asking a token for its mechanisms"):
        return sorted(getattr(one, "name", None) or hex(one) for one in token.slot.get_mechanisms())


def _object(one: TokenObject) -> dict:
    return {
        **{"kind": one.kind, "label": one.label, "id": one.object_id, "key_type": one.key_type},
        **{"key_id": one.key_id, "attributes": dict(one.attributes)},
    }
