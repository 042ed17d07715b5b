# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key reference is an absolute path with one spelling; everything else is refused, and no PIN is repeated."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/etc/keyops/mail.key", "/etc/keyops/mail.key"),
        ("//etc/./keyops//mail.key", "/etc/keyops/mail.key"),
        ("/with space/and:colon?x=y", "/with space/and:colon?x=y"),
        ("/a/..b/c..", "/a/..b/c.."),
    ],
)
def test_paths(text, path):
    parsed = reference.parse(text)
    assert (parsed.text, parsed.path) == (text, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mail.key",
        "./mail.key",
        "~/mail.key",
        "/",
        "/etc/",
        "/etc/.",
        "/etc/..",
        "/a/../b",
        "/a\0b",
        "/a\nb",
        "C:\\key",
    ],
)
def test_others_are_refused(text):
    with pytest.raises(KeyReferenceError):
        reference.parse(text)


@pytest.mark.parametrize("scheme", ["pkcs11:", "PKCS11:"])
def test_tokens_come_later_and_pins_are_not_repeated(scheme):
    with pytest.raises(KeyReferenceError) as caught:
        reference.parse(f"{scheme}token=ops;object=mail?pin-value=8d10")
    assert "8d10" not in str(caught.value)


def test_a_key_in_place_of_a_path_is_not_repeated():
    with pytest.raises(KeyReferenceError) as caught:
        reference.parse("-----BEGIN PRIVATE KEY----- MIIEvQ")
    assert "MIIEvQ" not in str(caught.value)
