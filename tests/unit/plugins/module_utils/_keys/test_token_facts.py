# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The usage that a token key's attributes say: what may sign signs, what may change binds to nothing."""

from __future__ import annotations

import pytest

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
