# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Argument specs that several modules share, each stated once (documented in plugins/doc_fragments/)."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils import _importing

_importing.compile_less(getattr(__spec__, "loader", None))  # modules and actions import this file before all others

USAGES = ["signature", "certificate_signing", "authentication", "key_transport", "key_agreement"]
ALGORITHMS = [
    *(f"rsa-{bits}" for bits in (2048, 3072, 4096, 6144, 8192)),
    *("ec-p256", "ec-p384", "ec-p521"),
    *("ed25519", "ed448", "x25519", "x448"),
]

#: Taken out by the action before anything reaches a host, as is every option with these suboptions (vaults_in).
VAULT = {
    "vault": {
        "type": "dict",
        "options": {
            "backend": {"type": "str", "choices": ["sqlite", "openbao"], "default": "sqlite"},
            "path": {"type": "path"},
            "url": {"type": "str"},
            "mount": {"type": "str", "default": "keyops"},
            "namespace": {"type": "str"},
            "ca_cert": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
            "auth_method": {"type": "str", "choices": ["token", "approle", "cert", "jwt"], "default": "token"},
            "auth_mount": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "role": {"type": "str"},
            "role_id": {"type": "str", "no_log": True},
            "secret_id": {"type": "str", "no_log": True},
            "jwt": {"type": "str", "no_log": True},
            "client_cert": {"type": "path"},
            "client_key": {"type": "path", "no_log": False},
            "connections": {"type": "int", "default": 16},
            "timeout": {"type": "int", "default": 60},
            "log_signing_key": {"type": "path", "no_log": False},
            "log_signing_key_passphrase": {"type": "str", "no_log": True},
        },
    }
}

#: Taken out by the action: hosts never see it.
POLICY: dict = {"policy": {"type": "raw"}}

STATE_DIR = {"state_dir": {"type": "path"}}

RECOVERY_GROUPS = {
    "recovery_groups": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "threshold": {"type": "int", "default": 2},
            "agents": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "encryption_certificate": {"type": "str", "required": True},
                    "signing_certificate": {"type": "str", "required": True},
                    "wrapping_certificate": {"type": "str"},
                },
            },
        },
    },
    "minimum_threshold": {"type": "int", "default": 2},
}

#: Internal: which part of the work the action asks for, and what it relays.
STEP = {"step": {"type": "str"}, "relay": {"type": "str"}}

#: One key that exists already, with its passphrase.
EXISTING_KEY = {
    "key": {"type": "str", "required": True, "no_log": False},
    "passphrase": {"type": "str", "no_log": True},
}

#: One PKCS#11 token, with its user PIN.
TOKEN = {
    "uri": {"type": "str", "required": True},
    "pin": {"type": "str", "no_log": True},
}

#: What private_key takes for a key on a token.
KEY_ON_TOKEN = {
    "pin": {"type": "str", "no_log": True},
    "archive": {"type": "str", "choices": ["required", "possible", "never"], "default": "possible"},
    "unwrap": {"type": "bool", "default": False},
    "request": {
        "type": "dict",
        "options": {
            "subject": {"type": "raw"},
            "subject_alt_name": {"type": "list", "elements": "str", "default": []},
            "extended_key_usage": {"type": "list", "elements": "str", "default": []},
        },
    },
    "accept_findings": {"type": "list", "elements": "str", "default": []},
}

#: What private_key takes.
NEW_KEYS: dict = {
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **EXISTING_KEY,
            "usage": {"type": "str", "choices": USAGES},
            "algorithm": {"type": "str", "choices": ALGORITHMS},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "regenerate": {
                "type": "str",
                "choices": ["never", "fail", "partial_idempotence", "full_idempotence", "always"],
                "default": "fail",
            },
            "mode": {"type": "str", "default": "0600"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "destroy_unarchived": {"type": "bool", "default": False},
            **KEY_ON_TOKEN,
        },
    },
}

#: What key_archive and key_archive_on_token take beside vault, groups, policy and state.
ARCHIVED_KEYS: dict = {
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **EXISTING_KEY,
            "pin": {"type": "str", "no_log": True},
            "usage": {"type": "str", "choices": USAGES},
            "certificates": {"type": "list", "elements": "path", "default": []},
            "accept_declared_usage": {"type": "bool", "default": False},
            "place": {"type": "path"},
        },
    },
    "key_owner": {"type": "str", "required": True, "no_log": False},
    "search": {"type": "list", "elements": "path", "default": []},
    "authorized_keys": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "on_refusal": {"type": "str", "choices": ["fail", "skip"], "default": "fail"},
}

#: The keys of key_rotation and key_rotation_info.
ROTATED_KEYS: dict = {
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **EXISTING_KEY,
            "usage": {"type": "str", "choices": USAGES},
            "algorithm": {"type": "str", "choices": ALGORITHMS},
            "certificate": {"type": "path"},
            "request": {"type": "path"},
            "archive": {"type": "bool", "default": True},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
}

#: The keys of csr.
REQUESTED_KEYS = {
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **EXISTING_KEY,
            "pin": {"type": "str", "no_log": True},
            "path": {"type": "path", "required": True},
            "usage": {"type": "str", "choices": USAGES},
            "subject": {"type": "raw"},
            "subject_alt_name": {"type": "list", "elements": "str", "default": []},
            "extended_key_usage": {"type": "list", "elements": "str", "default": []},
            "certificate_authority": {"type": "bool", "default": False},
            "possession": {
                "type": "dict",
                "options": {
                    **EXISTING_KEY,
                    "pin": {"type": "str", "no_log": True},
                    "certificate": {"type": "path", "required": True},
                },
            },
            "require_receipt": {"type": "bool", "default": True},
            "mode": {"type": "str", "default": "0644"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
}

#: What stands in place of a secret in everything that is returned.
MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def vaults_in(spec: dict) -> list[str]:
    """The options that name a vault, in their order: the controller takes them out before anything reaches a host."""
    return [name for name, option in spec.items() if option.get("options") == VAULT["vault"]["options"]]


def masked(spec: dict, params: dict) -> dict:
    """A copy of ``params`` without secrets: every option that the spec marks ``no_log`` is replaced by MASK.

    Whole values are replaced, never substrings: a short secret would otherwise make holes in key IDs and base64, and
    show itself by them. A container under a ``no_log`` option becomes an empty one of its type. So is everything that
    the spec does not describe, because a secret may be in it: options with a mistyped name, and texts in the place of
    dictionaries (``keys: ['key=/a passphrase=b']``).
    """
    return {name: _masked_option(spec[name], value) if name in spec else MASK for name, value in params.items()}


def _masked_option(option: dict, value: object) -> object:
    if value is None:
        return None
    if option.get("no_log"):
        return {} if isinstance(value, dict) else [] if isinstance(value, (list, tuple)) else MASK
    if "options" not in option:
        return _without_material(value)
    if isinstance(value, (list, tuple)):
        return [masked(option["options"], item) if isinstance(item, dict) else MASK for item in value]
    return masked(option["options"], value) if isinstance(value, dict) else MASK


def _without_material(value: object) -> object:
    """What no option of ours takes, and what is pasted into the wrong one: a private key, a PIN in a key's URI."""
    if isinstance(value, dict):
        return {name: _without_material(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_material(item) for item in value]
    return MASK if isinstance(value, str) and ("PRIVATE KEY-----" in value or "pin-value=" in value) else value


def secrets_in(spec: dict, params: dict) -> Iterator[tuple[str, object]]:
    """Name and value of every option that the spec marks ``no_log`` and that is given."""
    for name, option in spec.items():
        value = params.get(name)
        if option.get("no_log") and value is not None:
            yield name, value
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if "options" in option and isinstance(item, dict):
                yield from ((f"{name}.{inner}", secret) for inner, secret in secrets_in(option["options"], item))
