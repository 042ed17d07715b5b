# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tokens of a task: which are the same, whose PIN it is, and what is said when they cannot be opened."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import open_tokens
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.open_tokens import Asked, OpenToken, OpenTokens
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library, uri
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

OPS = TokenFacts(0, "", "ops", "maker", "model", "0001", ("TOKEN_INITIALIZED",), "1.0", "2.0")


def asked(text, pin="1234"):
    whole = f"pkcs11:{text}?module-path=/usr/lib/hsm.so"
    return Asked(whole, uri.parse(whole), pin)


@pytest.fixture
def logins(monkeypatch):
    """The PINs of all logins; the library has one token, ``ops`` with the serial number 0001."""
    made = []

    class Session:
        def __init__(self, token, pin, writable):
            made.append(pin)

        def __enter__(self):
            return self

        def __exit__(self, *raised):
            made.append("out")

    monkeypatch.setattr(open_tokens.session, "opened", Session)
    monkeypatch.setattr(library, "load", lambda path: path)
    monkeypatch.setattr(library, "tokens", lambda loaded: [(OPS, SimpleNamespace())])
    return made


def test_a_token_by_two_names_is_logged_in_to_once(logins):
    keys = [asked("token=ops;object=a"), asked("serial=0001;object=b"), asked("token=ops;object=c")]
    with OpenTokens(keys, None) as tokens:
        assert logins == ["1234"]
        assert {id(tokens.of(key.key)) for key in keys} == {id(tokens.all[0])}
        assert [one.uri.label for one in tokens.all[0].asked] == ["a", "b", "c"]
    assert logins == ["1234", "out"]


def test_two_pins_for_one_token_are_refused_before_any_login(logins):
    with (
        pytest.raises(_errors.OptionError, match="another PIN") as caught,
        OpenTokens([asked("token=ops;object=a"), asked("serial=0001;object=b", "5678")], None),
    ):
        pass
    assert "5678" not in str(caught.value)
    assert logins == []


def test_a_missing_token(logins):
    missing = [asked("token=ops;object=a"), asked("token=none;object=b")]
    with pytest.raises(_errors.TokenMissing, match="object=b"), OpenTokens(missing, None):
        pass
    assert logins == []
    with OpenTokens(missing, None, missing_ok=True) as tokens:
        assert tokens.of(missing[0].key) is tokens.all[0]
        assert tokens.of(missing[1].key) is None


def test_a_missing_python_library_is_told_as_such(monkeypatch):
    monkeypatch.setattr(library, "pkcs11", None)
    with (
        pytest.raises(_errors.MissingLibrary, match="Install python-pkcs11 "),
        OpenTokens([asked("token=ops;object=a")], None),
    ):
        pass


def half(kind, label, object_id):
    return TokenObject(kind, label, object_id, "EC", {}, None, None)


def test_the_key_that_a_uri_names():
    token = OpenToken("/usr/lib/hsm.so", OPS, None, "1234")
    token.found = [
        half("private_key", "one", "01"),
        half("public_key", "one", "01"),
        half("private_key", "two", "02"),
        half("private_key", "two", "03"),
        half("public_key", "alone", "04"),
    ]

    def key(text):
        return token.key(asked(f"token=ops;{text}").uri)

    pair = key("object=one")
    assert (pair.private, pair.public) == (token.found[0], token.found[1])
    assert key("object=two;id=%03").private is token.found[3]
    assert key("object=two;id=%03").public is None
    assert key("object=alone") is None
    with pytest.raises(_errors.TokenAmbiguous, match="02, 03"):
        key("object=two")
    with pytest.raises(_errors.KeyExists, match="01"):
        key("object=one;id=%09")
