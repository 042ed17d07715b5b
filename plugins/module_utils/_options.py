# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Argument specs that several modules share, each stated once (documented in plugins/doc_fragments/)."""

from __future__ import annotations

from typing import Any

USAGES = ["signature", "certificate_signing", "authentication", "key_transport", "key_agreement"]
ALGORITHMS = [
    *(f"rsa-{bits}" for bits in (2048, 3072, 4096, 6144, 8192)),
    *("ec-p256", "ec-p384", "ec-p521"),
    *("ed25519", "ed448", "x25519", "x448"),
]

#: Taken out by the action before anything reaches a host.
VAULT = {
    "vault": {
        "type": "dict",
        "options": {
            "backend": {"type": "str", "choices": ["sqlite"], "default": "sqlite"},
            "path": {"type": "path"},
            "log_signing_key": {"type": "path", "no_log": False},
            "log_signing_key_passphrase": {"type": "str", "no_log": True},
        },
    }
}

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

#: What stands in place of a secret in everything that is returned.
MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def masked(spec: dict, params: Any) -> Any:
    """A copy of ``params`` in which every option that the argument spec marks ``no_log`` is replaced by MASK.

    Whole values are replaced, never substrings: a short secret would otherwise make holes in key IDs and base64, and
    show itself by them. A container under a ``no_log`` option becomes an empty one of its type.
    """
    if isinstance(params, (list, tuple)):
        return [masked(spec, item) for item in params]
    if not isinstance(params, dict):
        return params
    return {name: _masked_option(spec.get(name, {}), value) for name, value in params.items()}


def _masked_option(option: dict, value: Any) -> Any:
    if option.get("no_log"):
        if isinstance(value, (dict, list)):
            return type(value)()
        return None if value is None else MASK
    return masked(option.get("options", {}), value)
