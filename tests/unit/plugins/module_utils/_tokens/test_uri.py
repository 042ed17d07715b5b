# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#11 URIs (RFC 7512)."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri, parse

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (
            f"pkcs11:token=ops;object=mail;type=private?module-path={LIBRARY}&pin-source=file:/etc/keyops/pin",
            TokenUri(token="ops", label="mail", module_path=LIBRARY, pin_file="/etc/keyops/pin"),
        ),
        # From RFC 7512 section 3, without what is refused here.
        (
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
            "object=my-certificate;id=%69%95%3E%5C%F4%BD%EC%91;serial=",
            None,
        ),
        (
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
            "object=my-key;id=%69%95%3E%5C%F4%BD%EC%91;serial=4a",
            TokenUri(
                "The Software PKCS#11 Softtoken",
                "Snake Oil, Inc.",
                "1.0",
                "4a",
                "my-key",
                bytes.fromhex("69953e5cf4bdec91"),
            ),
        ),
        ("pkcs11:object=a?pin-source=/etc/pin", TokenUri(label="a", pin_file="/etc/pin")),
        ("pkcs11:object=a?pin-source=file:///etc/pin", TokenUri(label="a", pin_file="/etc/pin")),
        ("PKCS11:id=%00%01", TokenUri(object_id=b"\0\1")),
        ("pkcs11:object=%C3%A9%3B%3D", TokenUri(label="é;=")),
        ("pkcs11:", TokenUri()),
    ],
)
def test_reads(text, meant):
    if meant is None:
        with pytest.raises(KeyReferenceError, match="serial"):
            parse(text)
    else:
        assert parse(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/etc/key.pem", "begins with pkcs11:"),
        ("pkcs11:object=a?pin-value=geheim", "pin-value is not used"),
        ("pkcs11:object=a?module-name=softhsm2", "module-name is not used"),
        ("pkcs11:object=a?pin-source=%7Ccat%20/etc/geheim", "starts no programs"),
        ("pkcs11:object=a?pin-source=|cat", "starts no programs"),
        ("pkcs11:object=a?pin-source=geheim", "absolute path"),
        ("pkcs11:object=a?module-path=lib.so", "absolute path"),
        ("pkcs11:slot-id=1;object=a", "slot-id is not used"),
        ("pkcs11:object=a;object=b", "stands twice"),
        ("pkcs11:object", "no attribute"),
        ("pkcs11:geheim%20geheim=a", "what stands there is no attribute"),
        ("pkcs11:object=a;x-vendor=1", "x-vendor is no attribute"),
        ("pkcs11:object=a;;token=b", "no attribute"),
        ("pkcs11:object=a b", "percent-encoded"),
        ("pkcs11:object=a%2", "percent-encoded"),
        ("pkcs11:object=%FF", "not UTF-8"),
        ("pkcs11:object=a%00", "zero byte"),
        ("pkcs11:token=", "empty"),
        ("pkcs11:object=a;type=cert", "type="),
        ("pkcs11:object=a;pin-source=/x", "no attribute"),
    ],
)
def test_refuses(text, said):
    with pytest.raises(KeyReferenceError, match=said) as caught:
        parse(text)
    assert "geheim" not in str(caught.value)
