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

from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import gathered, judge, outcome
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Moment
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.audit.conftest import archive, told

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


_HOSTILE = "\x1b]0;evil\x07\x1b[2J\r\n\u202eevil\u2028\x9b\ud800"


def _strings(value):
    if isinstance(value, dict):
        return [text for item in value.items() for one in item for text in _strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    return [value] if isinstance(value, str) else []


def test_every_text_of_a_host_is_escaped(audit, vault):
    """Whatever text it is: what the audit returns is shown on terminals and pages, and kept."""
    host, key = made.Host(), made.new_key()
    host.receipts.append(archive(vault, key))
    row = {"usage": _HOSTILE, "container": _HOSTILE, "owner": _HOSTILE, "group": _HOSTILE, "modified": _HOSTILE}
    evidence = {
        "certificates": [{"source": _HOSTILE, "kind": _HOSTILE, "subject": _HOSTILE, "not_after": _HOSTILE}],
        **{"ssh_uses": [_HOSTILE], "receipt": None},
    }
    host.key(f"/srv/{_HOSTILE}", key, **row, algorithm=_HOSTILE, mode="0666", evidence=evidence)
    host.key("/x", key_id=None, error={"message": _HOSTILE})
    host.key("/y", refusal={"message": _HOSTILE}, usage="key_agreement")
    host.certificate(f"/{_HOSTILE}", key)
    host.certificates[0].update(subject=_HOSTILE, not_before=_HOSTILE, extended_key_usage=[_HOSTILE], more=_HOSTILE)
    host.authorized.append({"path": _HOSTILE, "line": _HOSTILE, "key_id": made.key_id_of(key)})
    host.public_keys[_HOSTILE] = _HOSTILE
    result = host.result()
    result["not_looked_at"] = [f"/{_HOSTILE}: {_HOSTILE}"]
    tokens = {"bad": {"results": [{"tokens": [{"label": _HOSTILE, "probe": [
        {"name": _HOSTILE, "detail": _HOSTILE, "outcome": "fails"}
    ]}]}]}}  # fmt: skip
    failed = {"failed": True, "msg": _HOSTILE, "results": []}
    found = audit({"bad": result, "worse": failed}, tokens=tokens)
    texts = _strings(found)
    assert [text for text in texts if share_text.shown(text) != text] == []
    shown = share_text.shown(_HOSTILE)
    assert {f"/srv/{shown}", f"pkcs11:token={shown}", shown[:1].upper() + shown[1:]} <= set(texts)
    assert {"KL003", "KL011", "KL024", "KL025", "KL026", "KL027", "KL030"} <= {row[0] for row in told(found)}
    assert [
        text for one in freezes.evidence(vault, [made.key_id_of(key)]).values() for text in one if "\x1b" in text
    ] == []


@pytest.mark.parametrize(
    "word", ["dsa", "ec-p192", "ec-sect163k1", "ec-1.3.132.0.1", "rsassa-pss", "ml-dsa-65", "1.2.3.4"]
)
def test_an_algorithm_that_is_one_keeps_its_name(audit, word):
    host = made.Host()
    host.key("/k", algorithm=word, public_key=None)
    assert audit({"web1": host})["audit"]["keys"][0]["algorithm"] == word


def test_a_host_that_makes_names_of_algorithms_up_makes_no_series_of_metrics(audit):
    words, sizes = made.Host(), made.Host()
    for number in range(200):
        words.key(f"/{number}", algorithm=f'rsa-5"}}\nkeyops_audit_hosts 99\\{number}', public_key=None)
        sizes.key(f"/{number}", algorithm=f"rsa-{3000 + number}", public_key=None)
    result = audit({"words": words, "sizes": sizes})
    algorithms = {row["algorithm"] for row in result["audit"]["keys"]}
    assert "unknown" in algorithms and len(algorithms) <= 34
    assert [row["audited"] for row in result["audit"]["hosts"]] == [False, True]


def test_a_key_id_without_its_public_key_is_counted_as_no_key(audit, vault):
    """A host can say any key ID: of keys that are nowhere, and of others' keys, with another usage."""
    key, true, liar = made.new_key(), made.Host(), made.Host()
    archive(vault, key)
    true.key("/k", key, usage="key_agreement")
    for number in range(20):
        liar.key(f"/{number}", usage="key_transport", key_id=f"{number:064x}", public_key=None)
    liar.key("/other", key, usage="signature", public_key=None)
    summary = audit({"web1": true, "zz": liar})["audit"]["summary"]
    counted = {name: summary[name] for name in ("places", "keys", "encryption_keys", "archived")}
    assert counted == {"places": 22, "keys": 1, "encryption_keys": 1, "archived": 1}


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
