# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The usage that a token key's attributes say: what may sign signs, what may change binds to nothing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import token_facts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

OFF = dict.fromkeys(("sign", "sign_recover", "decrypt", "unwrap", "derive", "modifiable"), False)


@pytest.mark.parametrize(
    ("attributes", "usage"),
    [
        ({**OFF, "sign": True}, "signature"),
        ({**OFF, "sign_recover": True}, "signature"),
        ({**OFF, "sign": True, "decrypt": True}, "signature"),
        ({**OFF, "sign": True, "derive": True, "modifiable": True}, "signature"),
        ({**OFF, "decrypt": True}, "key_transport"),
        ({**OFF, "decrypt": True, "unwrap": True}, "key_transport"),
        ({**OFF, "unwrap": True}, "key_transport"),
        ({**OFF, "derive": True}, "key_agreement"),
        ({**OFF, "derive": True, "decrypt": True}, "conflict"),
        (OFF, "conflict"),
        ({**OFF, "decrypt": True, "modifiable": True}, None),
        ({"sign": False, "decrypt": True}, None),
        ({"decrypt": True, "modifiable": False}, "conflict"),
        ({}, "conflict"),
    ],
)
def test_usage(attributes, usage):
    assert token_facts.usage_of_attributes(attributes) == usage


def test_a_key_without_its_public_half_has_no_facts():
    lone = TokenObject("private_key", "lone", "01", "EC", OFF, None, None)
    with pytest.raises(KeyUnreadable, match="lone"):
        token_facts.facts_of(lone)


@pytest.mark.parametrize(
    ("others", "usage"),
    [
        ([], "key_transport"),
        ([{**OFF, "unwrap": True}], "key_transport"),
        ([{**OFF, "sign": True}, {}], "signature"),
        ([{**OFF, "sign_recover": True}], "signature"),
        ([{}, {**OFF, "decrypt": True, "modifiable": True}], "conflict"),
        ([{**OFF, "decrypt": True, "modifiable": True}], None),
        ([{**OFF, "derive": True}], "conflict"),
    ],
)
def test_what_all_objects_of_a_key_may_do_counts(others, usage):
    public_key = rsa.generate_private_key(65537, 2048).public_key()
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    mine = TokenObject("private_key", "mine", "01", "RSA", {**OFF, "decrypt": True}, der, None)
    twins = [TokenObject("private_key", "twin", "02", "RSA", one, der, None) for one in others]
    stranger = TokenObject("private_key", "stranger", "01", "RSA", {**OFF, "sign": True}, b"another", None)
    half = TokenObject("public_key", "mine", "01", "RSA", {"verify": True}, der, None)
    pool = token_facts.Pool([mine, *twins, stranger, half])
    assert pool.facts(token_facts.facts_of(mine)).bound_usage == usage
