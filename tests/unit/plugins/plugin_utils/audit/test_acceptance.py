# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be accepted, and for how long."""

from __future__ import annotations

import datetime

import gathered_facts as made
import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import acceptance

_KEY = made.new_key()
_TODAY = made.NOW.date()
_ITEM = {"id": "KL003", "reason": "ticket 4711", "expires": "2027-01-01"}


@pytest.mark.parametrize(
    "place", ["*", "**", "/*", "//*", "?*", "*.key", "[!x]*", "/[a-z]*", "/s*", "/s?v/*", "/*/x.key", "r*", "pkcs11:*"]
)
def test_a_place_that_fits_all_needs_a_host_or_a_key(place):
    with pytest.raises(OptionError, match=r"accepted\[0\]\.place"):
        acceptance.read([{**_ITEM, "place": place}], _TODAY)
    with pytest.raises(OptionError, match=r"accepted\[0\]\.place"):
        acceptance.read([{**_ITEM, "place": place, "host": ""}], _TODAY)
    for name in ("host", "key_id", "fingerprint"):
        assert acceptance.read([{**_ITEM, "place": place, name: "x"}], _TODAY)


@pytest.mark.parametrize("place", ["/srv/*", "/s/*", "/etc/x.key", "records/*", "pkcs11:token=ops;*"])
def test_a_place_with_a_folder_is_narrow_enough(place):
    assert acceptance.read([{**_ITEM, "place": place}], _TODAY)[0].place == place


def _fingerprints(audit, *hosts):
    rows = audit({f"web{number}": host for number, host in enumerate(hosts)})["audit"]["findings"]
    return {row["id"]: row["fingerprint"] for row in rows}


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("KL003", {"mode": "0640"}, {"mode": "0666"}),
        ("KL003", {"mode": "0640", "owner": "root"}, {"mode": "0640", "owner": "mallory"}),
        ("KL004", {"owner": "4711"}, {"owner": "4712"}),
    ],
)
def test_what_got_worse_is_another_finding(audit, kind, first, second):
    def of(changed):
        host = made.Host()
        host.key("/k", _KEY, **changed)
        return _fingerprints(audit, host)[kind]

    assert of(first) == of(first) != of(second)


def test_a_further_copy_is_another_finding(audit):
    pair, further = made.Host(), made.Host()
    for host, places in ((pair, ("/a", "/b")), (further, ("/stolen",))):
        for place in places:
            host.key(place, _KEY)
    one = _fingerprints(audit, pair)["KL009"]
    assert one != _fingerprints(audit, pair, further)["KL009"]
    assert one == _fingerprints(audit, pair)["KL009"]


def test_nothing_is_accepted_for_longer_than_a_year():
    last = _TODAY + datetime.timedelta(days=366)
    assert acceptance.read([{**_ITEM, "host": "h", "expires": last.isoformat()}], _TODAY)[0].expires == last
    for late in (last + datetime.timedelta(days=1), datetime.date.max):
        with pytest.raises(OptionError, match="longer than a year"):
            acceptance.read([{**_ITEM, "host": "h", "expires": late.isoformat()}], _TODAY)
