# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a key on a token may be, by its usage, and what is believed of what the token then tells."""

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import TokenMisbehaved
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import USAGES
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, templates
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

ALLOWED = {
    "signature": ({"SIGN"}, {"VERIFY"}),
    "certificate_signing": ({"SIGN"}, {"VERIFY"}),
    "authentication": ({"SIGN"}, {"VERIFY"}),
    "key_transport": ({"DECRYPT"}, {"ENCRYPT"}),
    "key_agreement": ({"DERIVE"}, set()),
}
PRIVATE_USES = {"DECRYPT", "SIGN", "SIGN_RECOVER", "UNWRAP", "DERIVE"}
PUBLIC_USES = {"ENCRYPT", "VERIFY", "VERIFY_RECOVER", "WRAP"}


def template(made):
    return {name.name: value for name, value in made.items()}


def told(usage, **changed):
    """What an honest token tells of a private key."""
    attributes = {name.lower(): name in ALLOWED[usage][0] for name in PRIVATE_USES}
    attributes.update(sensitive=True, extractable=False, modifiable=False, private=True)
    return {name: value for name, value in {**attributes, **changed}.items() if value is not None}


def half(kind="private_key", object_id="", label="mail", public_key=None, **attributes):
    return TokenObject(kind, label, object_id, "EC", attributes, public_key, None)


@pytest.mark.parametrize("usage", USAGES)
def test_every_use_is_stated_and_one_is_allowed(usage):
    private, public = template(templates.private_template(usage, False)), template(templates.public_template(usage))
    assert {name for name in PRIVATE_USES if private[name]} == ALLOWED[usage][0]
    assert {name for name in PUBLIC_USES if public[name]} == ALLOWED[usage][1]
    assert (private["SENSITIVE"], private["PRIVATE"], private["EXTRACTABLE"]) == (True, True, False)
    assert (private["MODIFIABLE"], public["MODIFIABLE"]) == (False, False)


@pytest.mark.parametrize("usage", USAGES)
def test_what_an_honest_token_tells_is_believed(usage):
    templates.check(half(**told(usage)), usage)
    templates.check(half(**told(usage, sign_recover=None, unwrap=None, derive=None, decrypt=None)), usage)


@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("name", [*sorted(name.lower() for name in PRIVATE_USES), "modifiable"])
def test_a_use_that_is_otherwise_is_a_fault(usage, name):
    attributes = told(usage)
    with pytest.raises(TokenMisbehaved, match=name.upper()):
        templates.check(half(**{**attributes, name: not attributes[name]}), usage)


@pytest.mark.parametrize("name", ["sign", "modifiable", "sensitive", "extractable"])
def test_what_the_token_does_not_tell_is_a_fault(name):
    with pytest.raises(TokenMisbehaved, match=name.upper()):
        templates.check(half(**told("key_transport", **{name: None})), "key_transport")


def test_signing_keys_never_leave_and_others_as_asked():
    for usage in ("signature", "certificate_signing", "authentication"):
        assert templates.faults(told(usage, extractable=True), usage)
        assert templates.faults(told(usage, extractable=True), usage, extractable=True)
    assert not templates.faults(told("key_agreement", extractable=True), "key_agreement")
    assert templates.faults(told("key_agreement", extractable=True), "key_agreement", extractable=False)
    assert templates.faults(told("key_agreement"), "key_agreement", extractable=True)


def test_only_what_a_killed_run_left_is_an_orphan():
    public = b"any SubjectPublicKeyInfo"
    own = hashlib.sha256(public).hexdigest()[:40]
    left = {"kind": "public_key", "object_id": own, "public_key": public, "modifiable": False}
    assert keys.is_orphan(half(**left), set())
    assert not keys.is_orphan(half(**left), {own})
    assert not keys.is_orphan(half(**{**left, "modifiable": True}), set())
    assert not keys.is_orphan(half(**{**left, "kind": "private_key"}), set())
    # Somebody's public key under the same label, with an ID of its own.
    assert not keys.is_orphan(half(**{**left, "object_id": "01"}), set())
    assert keys.is_orphan(half(**{**left, "object_id": "01"}), set(), "01")
