# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuring a vault server: each setting is read, compared field by field, and written only when it differs.

- Every path is checked before anything is read. Objects of the archive, tokens, logins, secret IDs and the server's own
  operation (seal, storage, keys) cannot be reached, whatever the credential may do and whatever vault.mount says.
- Only policies and roles are removed: removing a mount removes an archive.
- What the user calls secret is in no diff, no result and no message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DeclarativeOnly,
    OptionError,
    VaultError,
    VaultForbidden,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.comparing import same_value
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server import Answer, Server

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.@-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.@-]*)+")
_ALLOWED = ("sys/policies/acl/", "sys/mounts/", "sys/auth/", "sys/audit/", "auth/")
#: The server's own first segments: below them, ``config`` belongs to no key-value engine.
_RESERVED = ("sys", "auth", "identity", "cubbyhole")
#: What makes, shows or ends credentials instead of configuring something; a name may stand behind it (login/NAME).
_OPERATION = re.compile(
    r"auth/token(?!/roles/).*"
    r"|auth/.+/(?:login|role-id|(?:custom-)?secret-id[^/]*|(?:lookup|renew|revoke|create|accessor)[^/]*)(?:/[^/]+)?"
)
_REMOVABLE = re.compile(r"sys/policies/acl/.+|auth/(?:.+/)?role/[^/]+")
#: What is known by a list only, and cannot be changed once it is there.
_ENABLED = re.compile(r"(sys/(?:mounts|auth|audit))/(.+)(?<!/tune)")
_SECRET = "(secret)"  # noqa: S105


@dataclass(frozen=True)
class Setting:
    """One item of the option ``settings``, checked."""

    path: str
    data: Mapping[str, Any] = field(repr=False)
    secret: frozenset[str]
    absent: bool
    any_will_do: bool


def set_up(task: ControllerTask) -> dict:
    """The result of vault_settings.

    Raises:
        OptionError: for a path or mount that is out of reach, or a setting that cannot be; nothing was read or written.
        VaultForbidden: when the credential is no administrator's.
        DeclarativeOnly: when the server takes audit devices from its configuration only.
        VaultError: when the server refuses a setting; those before it are made.
    """
    server: Server = task.vault
    if server.options.mount.strip("/").split("/")[0] in _RESERVED:
        raise OptionError(
            f"vault.mount: {server.options.mount[:100]!r} belongs to the server itself; name the secrets engine's path"
        )
    settings = [_checked(item, server.options.mount) for item in task.params["settings"]]
    rows, diff = [], []
    for one in settings:
        there = _read(server, one)
        differing = _differing(one, there)
        changed = there is not None if one.absent else there is None or bool(differing)
        if changed:
            diff.append(_diff(one, there))
            if not task.check_mode:
                _write(server, one, there is not None)
        rows.append({"path": one.path, "changed": changed, "existed": there is not None, "fields": differing})
    return {"changed": bool(diff), "results": rows, "diff": diff}


def _checked(item: Mapping[str, Any], mount: str) -> Setting:
    path, data, secret = item["path"], item["data"], frozenset(item["secret"])
    if not _PATH.fullmatch(path) or not (path.startswith(_ALLOWED) or path == f"{mount}/config"):
        raise OptionError(
            f"settings: {path[:100]!r} is out of reach; a path is below one of {', '.join(_ALLOWED)} or is "
            f"{mount}/config (vault.mount)"
        )
    if _OPERATION.fullmatch(path):
        raise OptionError(
            f"settings: {path[:100]!r} is out of reach; it makes, shows or ends tokens or credentials. Use the "
            "server's own command line"
        )
    absent = item["state"] == "absent"
    if absent and not _REMOVABLE.fullmatch(path):
        raise OptionError(f"settings: {path} cannot be removed, only policies and roles can; do it by hand")
    if not absent and not data:
        raise OptionError(f"settings: {path} needs data")
    if item["any_will_do"] and not path.startswith("sys/audit/"):
        raise OptionError(f"settings: any_will_do is for audit devices, not for {path}")
    unknown = sorted(secret - set(data or {}))
    if unknown:
        raise OptionError(f"settings: {path}: secret names {', '.join(unknown)}, which data does not have")
    return Setting(path, data or {}, secret, absent, item["any_will_do"])


def _read(server: Server, one: Setting) -> Mapping[str, Any] | None:
    """The fields that the server has, or None where it has no such thing."""
    enabled = _ENABLED.fullmatch(one.path)
    answer = server.request("get", enabled.group(1) if enabled else one.path)
    if answer.status == 404:
        return None
    data = answer.body.get("data")
    if answer.status != 200 or not isinstance(data, Mapping):
        raise _refused(one, answer, "read")
    if not enabled:
        return data
    if one.any_will_do and data:
        return one.data
    found = data.get(enabled.group(2) + "/")
    return found if isinstance(found, Mapping) else None


def _differing(one: Setting, there: Mapping[str, Any] | None) -> list[str]:
    """Names of the fields that are not as wanted; all of them for what is not there."""
    if one.absent:
        return []
    if there is None:
        return sorted(one.data)
    return sorted(
        name
        for name, value in one.data.items()
        if not (name in one.secret and name not in there) and not same_value(value, there.get(name))
    )


def _write(server: Server, one: Setting, existed: bool) -> None:
    if existed and _ENABLED.fullmatch(one.path):
        raise VaultError(
            f"settings: {one.path} is there with other fields, and the server changes none of them in place; adapt the "
            "setting, or choose another path"
        )
    answer = server.request("delete", one.path) if one.absent else server.request("post", one.path, dict(one.data))
    if answer.status not in (200, 204):
        raise _refused(one, answer, "remove" if one.absent else "write")


def _refused(one: Setting, answer: Answer, what: str) -> VaultError:
    if answer.status == 403:
        return VaultForbidden(
            f"settings: this credential may not {what} {one.path}; give an administrator's in vault, and check the "
            "namespace"
        )
    errors = _SECRET if any(str(one.data[name]) in answer.errors for name in one.secret) else answer.errors
    kind = DeclarativeOnly if "declarative" in errors else VaultError
    return kind(f"settings: the server does not {what} {one.path}: {answer.status} {errors}")


def _diff(one: Setting, there: Mapping[str, Any] | None) -> dict:
    header = {"before_header": one.path, "after_header": one.path}
    if one.absent:
        policy = (there or {}).get("policy")
        return {**header, "before": f"{policy or 'present'}\n", "after": ""}
    before = None if there is None else {name: there.get(name) for name in one.data}
    return {**header, "before": _shown(one, before), "after": _shown(one, one.data)}


def _shown(one: Setting, data: Mapping[str, Any] | None) -> object:
    """A policy as its text, anything else as its fields."""
    if data is None:
        return ""
    if set(data) == {"policy"}:
        return str(data["policy"] or "")
    return {name: _SECRET if name in one.secret else value for name, value in data.items()}
