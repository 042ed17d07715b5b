# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""archivable: what may have an archive, as far as a usage and an algorithm say."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.test.archivable import archivable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("key_transport", True),
        ("key_agreement", True),
        *((usage, False) for usage in ("signature", "certificate_signing", "authentication", "conflict")),
        ({"key": "/k", "usage": "key_transport", "algorithm": "rsa-3072"}, True),
        ({"usage": "key_transport", "algorithm": "rsa-1024"}, True),
        ({"usage": "key_transport", "algorithm": "ec-p256"}, False),
        ({"usage": "key_agreement", "algorithm": "ed25519"}, False),
        ({"usage": "key_agreement", "algorithm": "ec-secp256k1"}, False),
        ({"usage": None, "algorithm": "rsa-3072"}, False),
        ({"usage": "key_transport", "algorithm": "rsa-3072", "archivable": False}, False),
        ({"usage": None, "algorithm": "x25519", "archivable": True}, True),
    ],
)
def test_what_may_have_an_archive(value: object, expected: bool) -> None:
    assert archivable(value) is expected


@pytest.mark.parametrize("value", [None, 5, "encryption", [], {}, {"usage": "encryption"}, {"algorithm": "rsa-3072"}])
def test_what_is_no_key_is_an_error(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="archivable: "):
        archivable(value)
