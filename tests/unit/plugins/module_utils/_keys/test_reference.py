# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key reference is an absolute path with one spelling, or a whole PKCS#11 URI; no message repeats a PIN."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyReference


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


URI = "pkcs11:token=ops;object=mail;type=private?module-path=/usr/lib/hsm.so"


@pytest.mark.parametrize("read", [reference.parse, reference.parse_path])
def test_paths_are_read_alike(read):
    assert read("/etc/keyops/mail.key") == KeyReference("/etc/keyops/mail.key", "/etc/keyops/mail.key")


def test_a_uri_names_library_token_and_object():
    parsed = reference.parse(URI)
    assert (parsed.text, parsed.path) == (URI, "")
    assert (parsed.uri.token, parsed.uri.label, parsed.uri.module_path) == ("ops", "mail", "/usr/lib/hsm.so")


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:",
        "pkcs11:token=ops;object=mail",
        "pkcs11:token=ops?module-path=/usr/lib/hsm.so",
        "pkcs11:object=mail?module-path=/usr/lib/hsm.so",
        "pkcs11:manufacturer=maker;object=mail?module-path=/usr/lib/hsm.so",
    ],
)
def test_a_uri_that_leaves_something_open_is_refused(text):
    with pytest.raises(KeyReferenceError):
        reference.parse(text)


def test_where_only_files_are_taken_a_uri_is_refused():
    with pytest.raises(KeyReferenceError):
        reference.parse_path(URI)


@pytest.mark.parametrize("read", [reference.parse, reference.parse_path])
@pytest.mark.parametrize("scheme", ["pkcs11:", "PKCS11:"])
def test_pins_are_not_repeated(read, scheme):
    with pytest.raises(KeyReferenceError) as caught:
        read(f"{scheme}token=ops;object=mail?module-path=/usr/lib/hsm.so&pin-value=8d10")
    assert "8d10" not in str(caught.value)


def test_a_key_in_place_of_a_path_is_not_repeated():
    with pytest.raises(KeyReferenceError) as caught:
        reference.parse("-----BEGIN PRIVATE KEY----- MIIEvQ")
    assert "MIIEvQ" not in str(caught.value)
