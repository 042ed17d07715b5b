# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pkcs11_uri: the parts of a URI, as strict as the modules."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.filter.pkcs11_uri import pkcs11_uri

NOTHING = dict.fromkeys(("token", "serial", "manufacturer", "model", "object", "id", "module_path", "pin_file"))


def test_the_parts_are_decoded() -> None:
    uri = "pkcs11:token=The%20ops;object=mail;id=%01%ab;type=private?module-path=/usr/lib/p.so&pin-source=file:/etc/pin"
    assert pkcs11_uri(uri) == {
        **NOTHING,
        **{"token": "The ops", "object": "mail", "id": "01ab", "module_path": "/usr/lib/p.so", "pin_file": "/etc/pin"},
    }
    assert pkcs11_uri("pkcs11:") == NOTHING


@pytest.mark.parametrize(
    "value",
    [
        *("", "/etc/key", "pkcs11:slot-id=1", "pkcs11:token=a?pin-value=1234", "pkcs11:token=a?pin-source=|cat"),
        *("pkcs11:token=a;token=b", "pkcs11:token=a b", None, 5),
    ],
)
def test_what_the_modules_refuse_is_an_error(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="pkcs11_uri: ") as caught:
        pkcs11_uri(value)
    assert "1234" not in str(caught.value)
