# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that stay on a token although private_key would make them otherwise: recovered ones, or without a request."""

from __future__ import annotations

from pathlib import Path

import token_host


def test_an_archived_key_may_stay_inside(tmp_path: Path) -> None:
    """As key_recovery puts it back: not extractable, and with its receipt."""
    host = token_host.softhsm(tmp_path)
    (row,) = host.run(host.key("mail", archive="never"))["results"]
    wanted = host.key("mail", archive="required")
    refused = host.run(wanted)
    assert refused["error_class"] == "KeyExists", refused
    assert "archive: possible" in refused["msg"] and "no receipt" in refused["msg"]
    assert not host.run(host.key("mail", archive="possible"))["changed"]
    host.archived(row)
    for check in (True, False):
        again = host.run(wanted, check=check)
        assert not again["changed"] and not again["warnings"], again


def test_a_request_for_a_key_that_has_none_is_told(tmp_path: Path) -> None:
    host = token_host.softhsm(tmp_path)
    request = {"request": {"subject": "CN=mail"}}
    assert not host.run(host.key("bare"), host.key("whole", **request))["warnings"]
    again = host.run(host.key("bare", **request), host.key("whole", **request))
    assert not again["changed"]
    (warning,) = again["warnings"]
    assert "object=bare" in warning and "without a request" in warning
