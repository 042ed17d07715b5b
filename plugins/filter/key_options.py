# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_options: the part of a list like keyops_keys that one module takes."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.reference import is_token
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import NONSIGNING
from ansible_collections.keyops.lifecycle.plugins.modules import (
    csr,
    key_archive,
    key_recovery,
    key_rotation_info,
    private_key,
    private_key_info,
    recovery_request,
)

_MODULES = {
    **{"private_key": private_key, "key_archive": key_archive, "csr": csr, "key_recovery": key_recovery},
    **{"private_key_info": private_key_info, "recovery_request": recovery_request, "key_rotation": key_rotation_info},
}
#: What a list of a host's keys does not say: it is known when the key is.
_NOT_LISTED = {"key_id"}
#: What ``archive`` of a list means for a new key on a token; without it, the token decides what is possible.
_ARCHIVE = {True: "required", False: "never"}
#: Of the key's own file: a request that everybody may read has others.
_FILE = {"mode", "owner", "group"}


def key_options(keys: list[dict], module: str) -> list[dict]:
    """The items of ``keys`` that concern a module, each with only the options that it takes.

    Raises:
        AnsibleFilterError: for another module, items that are no dictionaries, or members that no module takes.
    """
    if module not in _MODULES:
        raise AnsibleFilterError(f"key_options: one of {', '.join(_MODULES)} was expected, not {module!r}")
    known = {"archive", "request"}.union(*(_options(name) for name in _MODULES))
    picked = []
    for item in keys:
        if not isinstance(item, Mapping) or not isinstance(item.get("request", {}), Mapping):
            raise AnsibleFilterError("keyops_keys: each item, and request in it, is a dictionary of options")
        unknown = sorted(set(item) - known)
        if unknown:
            raise AnsibleFilterError(
                f"keyops_keys: no module takes {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        if _concerns(item, module):
            merged = _MERGED.get(module, dict)(item)
            picked.append({name: value for name, value in merged.items() if name in _options(module)})
    return picked


def _for_csr(item: Mapping) -> dict:
    return {**_without(item, _FILE), **item["request"]}


def _for_private_key(item: Mapping) -> dict:
    """On a token, a nonsigning key is made for its archive, and together with its certificate request."""
    told = _without(item, {"archive", "request"})
    if not is_token(str(item.get("key", ""))) or item.get("usage") not in NONSIGNING:
        return told
    if "archive" in item:
        told["archive"] = _ARCHIVE.get(item["archive"], item["archive"])
    if "request" in item:
        known = private_key.ARGUMENT_SPEC["keys"]["options"]["request"]["options"]
        told["request"] = {name: value for name, value in item["request"].items() if name in known}
    return told


def _for_key_rotation(item: Mapping) -> dict:
    """The path of the request, and whether its key is archived, stand for what the other modules are told of both."""
    told = {**_without(item, {"request"}), "archive": item.get("archive", True) not in (False, "never")}
    return {**told, "request": item["request"]["path"]} if "path" in item.get("request", {}) else told


_MERGED = {"csr": _for_csr, "private_key": _for_private_key, "key_rotation": _for_key_rotation}


def _without(item: Mapping, names: set[str]) -> dict:
    return {name: value for name, value in item.items() if name not in names}


def _options(module: str) -> set[str]:
    return set(_MODULES[module].ARGUMENT_SPEC["keys"]["options"]) - _NOT_LISTED


def _concerns(item: dict, module: str) -> bool:
    if item.get("state", "present") == "absent":
        return module == "private_key"
    if module == "key_archive":
        return item.get("usage") in NONSIGNING and item.get("archive", True) not in (False, "never")
    if module == "key_rotation":
        return not is_token(str(item.get("key", "")))
    return module != "csr" or "request" in item


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict:
        """Name to function."""
        return {"key_options": key_options}
