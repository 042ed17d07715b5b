# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown of a task's options holds no secret, however wrong they are."""

from __future__ import annotations

import json

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.modules.private_key import ARGUMENT_SPEC

SECRET = "p4ss"


@pytest.mark.parametrize(
    "params",
    [
        {"keys": [{"key": "/a", "passphrase": SECRET}]},
        {"keys": [{"key": "/a", "passphrase": {"a": SECRET}}]},
        {"keys": [{"key": "/a", "passphrase": [SECRET]}]},
        {"keys": [{"key": "/a", "passphrase": {SECRET: 1}}]},
        {"keys": [{"key": "/a", "passphrse": SECRET}]},
        {"keys": [{"key": "/a", "passphrse": {"a": [SECRET]}}]},
        {"keys": {"key": "/a", "passphrase": SECRET}},
        {"keys": [f"key=/a passphrase={SECRET}"]},
        {"keys": f'[{{"key": "/a", "passphrase": "{SECRET}"}}]'},
        {"keys": [[{"passphrase": SECRET}]]},
        {"passphrase": SECRET},
        {"vault": f"path=/a token={SECRET}"},
        {"keys": [{"key": f"pkcs11:token=a?pin-value={SECRET}"}]},
        {"keys": [{"key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"}]},
        {"keys": [{"key": "/a", "mode": [f"-----BEGIN EC PRIVATE KEY-----{SECRET}"]}]},
    ],
)
def test_no_secret_is_shown(params: dict) -> None:
    assert SECRET not in json.dumps(_options.masked(ARGUMENT_SPEC, params))


def test_the_rest_is_shown_as_it_is() -> None:
    params = {"keys": [{"key": "/etc/p4ss.key", "passphrase": None, "mode": "0600"}], "vault": {"path": "/v"}}
    assert _options.masked(ARGUMENT_SPEC, params) == params


def test_secrets_in_names_each_place() -> None:
    params = {"keys": [{"key": "/a", "passphrase": SECRET}, {"key": "/b"}, "x", {"passphrase": 7}]}
    assert list(_options.secrets_in(ARGUMENT_SPEC, params)) == [("keys.passphrase", SECRET), ("keys.passphrase", 7)]
