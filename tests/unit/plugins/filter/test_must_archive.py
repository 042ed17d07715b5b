# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""must_archive: what a policy wants archived."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.filter.must_archive import must_archive

KEYS = [
    {"key": "/mail", "usage": "key_transport"},
    {"key": "/files", "usage": "key_agreement", "archive": False},
    {"key": "/old", "usage": "key_agreement", "state": "absent"},
    {"key": "/web", "usage": "authentication"},
]


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        ("default", ["/mail", "/files"]),
        ("nist-sp800-57", []),
        ({"usages": {"key_agreement": {"archive": "required"}}}, ["/files"]),
        ({"usages": {"key_agreement": {"archive": {"value": "required", "enforce": False}}}}, []),
    ],
)
def test_the_keys_that_must_be_archived(policy: object, names: list[str]) -> None:
    assert [item["key"] for item in must_archive(KEYS, policy)] == names


@pytest.mark.parametrize(("keys", "policy"), [(KEYS, "nist"), (KEYS, None), (["/mail"], "default")])
def test_what_is_no_policy_and_no_list_of_keys_is_an_error(keys: list, policy: object) -> None:
    with pytest.raises(AnsibleFilterError, match="must_archive: "):
        must_archive(keys, policy)
