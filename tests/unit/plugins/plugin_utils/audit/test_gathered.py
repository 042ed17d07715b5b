# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host sends that is no facts is told of that host, and costs no other host a finding."""

from __future__ import annotations

import json

import gathered_facts as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import gathered, judge, outcome
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Moment
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.audit.conftest import told

_ROW = {"key": "/x", "exists": True, "key_id": "b" * 64}
_RUBBISH = [
    *({"not_looked_at": 5}, {"not_looked_at": [5]}, {"public_keys": []}, {"searched": 7}, {"results": [5]}),
    *({"certificates": [{"key_id": "b" * 64, **bad}]} for bad in ({"key_usage": 5}, {"paths": 5}, {"paths": "/x"})),
    *({"certificates": [{"key_id": "b" * 64, "extended_key_usage": True}]}, {"certificates": [None]}),
    *({"results": [{**_ROW, "evidence": bad}]} for bad in ({"ssh_uses": 5}, {"receipt": "x"}, {"ssh_uses": "/x"})),
    *({"authorized_keys": [5]}, {"authorized_keys": "x"}, {"receipts": [5]}, {"certificate_requests": True}),
]


@pytest.mark.parametrize("rubbish", _RUBBISH, ids=str)
def test_rows_that_are_no_facts_are_left_out_and_told(audit, rubbish):
    weak, sound = made.Host(), made.Host()
    weak.key("/weak", algorithm="rsa-1024", public_key=None)
    sound.key("/weak", algorithm="rsa-1024", public_key=None)
    result = sound.result()
    for name, value in rubbish.items():
        there = result.get(name)
        result[name] = [*there, *value] if isinstance(there, list) and isinstance(value, list) else value
    result = audit({"bad": result, "web1": weak})
    assert {("KL026", "bad", ""), ("KL001", "bad", "/weak"), ("KL001", "web1", "/weak")} <= set(told(result))
    assert [row["audited"] for row in result["audit"]["hosts"]] == [False, True]


@pytest.mark.parametrize(
    "failed",
    [
        {"failed": True, "msg": "what the host returned was altered", "results": []},
        # What failed_when: false makes of it.
        {"failed": False, "msg": "what the host returned was altered", "error_class": "RelayError", "results": []},
        {"unreachable": True, "msg": "what the host returned was altered", "results": []},
    ],
)
def test_a_failed_result_is_no_audit(audit, failed):
    result = audit({"web1": failed, "web2": made.Host()}, tokens={"web1": failed, "web2": failed})["audit"]
    found = [(row["id"], row["host"], row["detail"]) for row in result["findings"]]
    assert found == [
        ("KL026", "web1", "What the host returned was altered"),
        ("KL026", "web2", "Its tokens: what the host returned was altered"),
    ]
    assert result["summary"]["hosts_audited"] == 1


@pytest.mark.parametrize("rubbish", [[5], [{"tokens": [5]}], [{"tokens": 5}], [{"tokens": [{"probe": [5]}]}]], ids=str)
def test_rubbish_of_tokens_is_told(audit, rubbish):
    fails = {"tokens": [{"label": "ops", "probe": [{"name": "x", "outcome": "fails"}]}]}
    tokens = {
        "bad": {"results": [*rubbish, fails]},
        "web1": {"results": [fails]},
        "web2": {"skipped": True},
        "web3": {},
    }
    found = told(audit({}, tokens=tokens))
    assert found == [
        ("KL025", "bad", "pkcs11:token=ops"),
        ("KL025", "web1", "pkcs11:token=ops"),
        ("KL026", "bad", ""),
    ]


_LISTS = ("results", "certificates", "certificate_requests", "authorized_keys", "receipts", "not_looked_at")
_MEMBERS = (
    *("key", "exists", "key_id", "algorithm", "public_key", "usage", "evidence", "ssh_uses", "receipt", "paths"),
    *("key_usage", "content", "ca", "extended_key_usage", "not_before", "not_after", "modified", "mode", "owner"),
    *("part", "error", "refusal", "tokens", "probe", "outcome", "certificates", "path", "line", "complete"),
)
_SINGLE = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.just("b" * 64), st.just("rsa-" + "9" * 5000)),
    *(st.text(st.characters(), max_size=9), st.sampled_from(["\ud800", "9999-12-31T23:59:59Z", "fails", "rsa-1024"])),
)
_JSON = st.recursive(
    _SINGLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_MEMBERS), inner, max_size=6)
)
_ROWS = st.lists(st.dictionaries(st.sampled_from(_MEMBERS), _JSON, min_size=3), max_size=3)
_RESULT = st.fixed_dictionaries(
    {"results": _ROWS | _JSON},
    optional=dict.fromkeys((*_LISTS[1:], "public_keys", "searched", "failed", "msg"), _ROWS | _JSON),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(_RESULT | _JSON, _RESULT | _JSON)
def test_whatever_a_host_sends_no_other_host_loses_a_finding(sent, of_tokens):
    weak = made.Host()
    weak.key("/weak", algorithm="rsa-1024", public_key=None, mode="0644")
    wanted = judge.Wanted(
        None, Moment(made.NOW, made.NOW - made.NOW), weak_keys="off", tokens={"bad": of_tokens, "web1": {}}
    )

    def audited(results):
        hosts = gathered.hosts(results, {})
        return outcome.build(hosts, None, wanted, judge.judge(hosts, None, wanted), [])

    def found(results):
        return [row for row in audited(results)["findings"] if row["host"] == "web1"]

    json.dumps(audited({"bad": sent}), ensure_ascii=False).encode()
    assert found({"bad": sent, "web1": weak.result()}) == found({"web1": weak.result()})
