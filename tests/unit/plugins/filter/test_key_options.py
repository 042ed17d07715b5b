# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_options: one list of keys, and the part of it that each module takes."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.filter.key_options import key_options

KEYS = [
    {
        "key": "/keys/mail.key",
        "usage": "key_transport",
        "algorithm": "rsa-3072",
        "passphrase": "made for this test",
        "mode": "0640",
        "owner": "mail",
        "certificates": ["/keys/mail.pem"],
        "request": {"path": "/keys/mail.csr", "subject": "CN=mail"},
    },
    {"key": "/keys/spare.key", "usage": "key_agreement", "algorithm": "x25519", "archive": False},
    {"key": "/keys/web.key", "usage": "authentication", "algorithm": "ed25519"},
    {"key": "/keys/old.key", "usage": "key_agreement", "state": "absent"},
]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("private_key", ["mail", "spare", "web", "old"]),
        ("key_archive", ["mail"]),
        ("csr", ["mail"]),
        ("key_recovery", ["mail", "spare", "web"]),
    ],
)
def test_the_keys_that_concern_a_module(module: str, names: list[str]) -> None:
    assert [item["key"] for item in key_options(KEYS, module)] == [f"/keys/{name}.key" for name in names]


def test_a_recovered_key_gets_the_protection_and_the_owner_of_its_place() -> None:
    assert key_options(KEYS, "key_recovery")[0] == {
        "key": "/keys/mail.key",
        "passphrase": "made for this test",
        "mode": "0640",
        "owner": "mail",
    }


TOKEN_KEY = {
    "key": "pkcs11:token=ops;object=mail?module-path=/lib/p11.so",
    "pin": "made for this test",
    "usage": "key_transport",
    "algorithm": "rsa-3072",
    "request": {"path": "/keys/mail.csr", "subject": "CN=mail", "mode": "0644"},
}


@pytest.mark.parametrize(
    ("given", "archive"),
    [({}, None), ({"archive": True}, "required"), ({"archive": False}, "never"), ({"archive": "possible"}, "possible")],
)
def test_a_nonsigning_key_on_a_token_is_made_for_its_archive_and_with_its_request(
    given: dict, archive: str | None
) -> None:
    (item,) = key_options([{**TOKEN_KEY, **given}], "private_key")
    assert item.pop("archive", None) == archive
    assert item == {**TOKEN_KEY, "request": {"subject": "CN=mail"}}
    assert len(key_options([{**TOKEN_KEY, **given}], "key_archive")) == (archive != "never")


def test_a_signing_key_on_a_token_is_made_without_both() -> None:
    signing = {**TOKEN_KEY, "usage": "signature", "archive": True}
    (item,) = key_options([signing], "private_key")
    assert not {"archive", "request"} & set(item)
    assert key_options([signing], "csr")[0]["path"] == "/keys/mail.csr"


def test_a_request_has_a_mode_and_an_owner_of_its_own() -> None:
    assert key_options(KEYS, "csr")[0] == {
        "key": "/keys/mail.key",
        "usage": "key_transport",
        "passphrase": "made for this test",
        "path": "/keys/mail.csr",
        "subject": "CN=mail",
    }


@pytest.mark.parametrize(
    ("keys", "module"),
    [
        (KEYS, "hsm_info"),
        ([{"key": "/keys/a.key", "algorythm": "rsa-3072"}], "private_key"),
        ([{"key": "/keys/a.key", "key_id": "0" * 64}], "private_key"),
    ],
)
def test_what_no_module_takes_is_an_error(keys: list[dict], module: str) -> None:
    with pytest.raises(AnsibleFilterError):
        key_options(keys, module)


def test_rotation_takes_keys_in_files_with_the_path_of_their_request():
    keys = [
        {
            "key": "/k/a.key",
            "usage": "key_transport",
            "algorithm": "rsa-3072",
            "certificate": "/k/a.pem",
            "mode": "0640",
        },
        {"key": "/k/b.key", "usage": "signature", "archive": False, "request": {"path": "/k/b.csr", "subject": "CN=b"}},
        {"key": "/k/c.key", "state": "absent"},
        {"key": "pkcs11:token=t;object=o?module-path=/p11.so", "usage": "signature", "algorithm": "ec-p256"},
    ]
    assert key_options(keys, "key_rotation") == [
        {
            **{"key": "/k/a.key", "usage": "key_transport", "algorithm": "rsa-3072", "certificate": "/k/a.pem"},
            **{"mode": "0640", "archive": True},
        },
        {"key": "/k/b.key", "usage": "signature", "archive": False, "request": "/k/b.csr"},
    ]
