# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One of each finding, and nothing beside it."""

from __future__ import annotations

import copy
import json
import random

import gathered_facts as made
import pytest
import story
from cryptography.hazmat.primitives.asymmetric import ed25519

from ansible_collections.keyops.lifecycle.plugins.filter.audit_report import audit_report
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError, PolicyError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes, signing_register
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.audit.conftest import agent, archive, told


def sound_host() -> made.Host:
    """A host on which nothing is wrong: a signing key with its certificate, an authority, an SSH key."""
    host, key = made.Host(), made.new_key()
    host.key("/etc/tls.key", key, usage="authentication")
    host.certificate("/etc/tls.pem", key, subject="www")
    host.certificate("/etc/ssl/ca.pem", made.new_key(), ("keyCertSign",), subject="CA", ca=True)
    ssh = {"certificates": [], "ssh_uses": ["/etc/ssh/ssh_host_ecdsa_key.pub"], "receipt": None}
    host.key("/etc/ssh/ssh_host_ecdsa_key", container="openssh", evidence=ssh)
    return host


def test_a_sound_fleet_has_no_findings(audit, vault):
    host, key = sound_host(), made.new_key()
    host.key("/etc/mail.key", key, usage="key_agreement")
    host.certificate("/etc/mail.pem", key, ("keyAgreement",))
    host.receipts.append(archive(vault, key))
    result = audit({"web1": host, "web2": sound_host()}, fail_at="info", policy="default")
    assert told(result) == [] and not result["reached"] and not result["changed"]
    summary = result["audit"]["summary"]
    assert (summary["keys"], summary["encryption_keys"], summary["archived"]) == (5, 1, 1)
    rows = {(row["host"], row["place"]): row for row in result["audit"]["keys"]}
    assert rows["web1", "/etc/mail.key"]["archived"] is True
    assert rows["web1", "/etc/mail.key"]["usage_from"] == "the key itself, the archive record"
    assert rows["web1", "/etc/ssh/ssh_host_ecdsa_key"]["usage"] == "authentication"


def _one_key(audit, **changed):
    host, key = sound_host(), made.new_key()
    usage = changed.pop("usage", "signature")
    declared = changed.pop("declared", {})
    options = changed.pop("options", {})
    host.key("/k", key, usage=usage, **changed)
    host.certificate("/k.pem", key, days=60)
    return audit({"web1": host}, declared={"web1": [{"key": "/k", **declared}]} if declared else {}, **options)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("KL001", {"algorithm": "rsa-1024", "public_key": None}),
        ("KL001", {"algorithm": "dsa", "public_key": None}),
        ("KL001", {"algorithm": "ec-p192", "public_key": None}),
        ("KL003", {"mode": "0640"}),
        ("KL003", {"mode": "0604"}),
        ("KL003", {"mode": "0644", "options": {"policy": "default"}}),
        ("KL004", {"owner": "4711"}),
        ("KL004", {"owner": "root", "declared": {"owner": "app", "request": {}}}),
        ("KL004", {"declared": {"group": "app", "request": {}}}),
        ("KL004", {"options": {"policy": {"version": 1, "usages": {"signature": {"owners": ["app"]}}}}}),
        ("KL005", {"options": {"policy": {"version": 1, "usages": {"signature": {"encrypted_file": "required"}}}}}),
        ("KL012", {"options": {"policy": {"version": 1, "usages": {"signature": {"originator_usage_period": "5d"}}}}}),
        ("KL023", {"options": {"policy": {"version": 1, "usages": {"signature": {"protection": ["token"]}}}}}),
        (
            "KL023",
            {"options": {"policy": {"version": 1, "usages": {"signature": {"certificate_max_validity": "30d"}}}}},
        ),
        ("KL007", {"usage": "conflict"}),
        ("KL007", {"declared": {"usage": "authentication", "request": {}}}),
        ("KL024", {"key_id": None, "error": {"class": "WrongPassphrase", "message": "needs a passphrase"}}),
    ],
)
def test_one_finding_of_one_key(audit, kind, changed):
    result = _one_key(audit, **changed)
    extra = [("KL013", "web1", "/k.pem")] if kind == "KL024" else []
    assert told(result) == sorted([(kind, "web1", "/k"), *extra])


def test_declared_mode_is_right(audit):
    assert told(_one_key(audit, mode="0640", declared={"mode": "0640", "request": {}})) == []


def test_usages_and_certificates(audit):
    host, dual, unknown, against, lonely = sound_host(), *(made.new_key() for dummy in range(4))
    host.key("/dual", dual)
    host.certificate("/dual.pem", dual, ("digitalSignature", "keyAgreement"))
    host.key("/unknown", unknown)
    host.certificate("/unknown.pem", unknown, None)
    host.key("/against", against, usage="authentication")
    host.certificate("/against.pem", against, ("digitalSignature", "keyAgreement"))
    host.certificate("/lonely.pem", lonely)
    host.key("/bare", usage="signature")
    result = audit({"web1": host}, use_vault=False)
    assert told(result) == [
        ("KL006", "web1", "/unknown"),
        ("KL007", "web1", "/dual"),
        ("KL008", "web1", "/against"),
        ("KL013", "web1", "/lonely.pem"),
        ("KL014", "web1", "/bare"),
    ]
    assert "keyAgreement" in next(row["detail"] for row in result["audit"]["findings"] if row["id"] == "KL008")


def test_certificates_on_another_host_count_for_the_usage(audit):
    one, two, dual, against = made.Host(), made.Host(), made.new_key(), made.new_key()
    one.key("/dual", dual)
    one.certificate("/dual.pem", dual)
    two.certificate("/srv/dual2.pem", dual, ("keyAgreement",))
    one.key("/against", against, usage="key_agreement")
    one.certificate("/against.pem", against, ("keyAgreement",))
    two.certificate("/srv/against2.pem", against)
    two.certificates.append({**one.certificates[1], "paths": ["/srv/copy.pem"]})
    result = audit({"web1": one, "web2": two}, use_vault=False)
    assert told(result) == [("KL007", "web1", "/dual"), ("KL008", "web1", "/against")]
    details = {row["id"]: row["detail"] for row in result["audit"]["findings"]}
    assert "web2:/srv/dual2.pem" in details["KL007"] and "web2:/srv/against2.pem" in details["KL008"]


def test_the_same_key_on_two_hosts_is_one_finding(audit):
    one, two, key = sound_host(), sound_host(), made.new_key()
    for host in (one, two):
        host.key("/k", key, usage="authentication")
    one.certificate("/k.pem", key)
    result = audit({"web1": one, "web2": two})
    # On web2 there is no certificate beside it.
    assert told(result) == [("KL009", "web1", "/k"), ("KL014", "web2", "/k")]
    assert "web1:/k, web2:/k" in next(row["detail"] for row in result["audit"]["findings"] if row["id"] == "KL009")


@pytest.mark.parametrize(
    ("policy", "declared", "severity"),
    [
        (None, {}, "high"),
        ("default", {}, "high"),
        (None, {"archive": False}, None),
        ({"version": 1, "usages": {"key_agreement": {"archive": "allowed"}}}, {}, "low"),
        ({"version": 1, "usages": {"key_agreement": {"archive": "allowed"}}}, {"archive": False}, None),
        ({"version": 1, "usages": {"key_agreement": {"archive": "never"}}}, {}, None),
    ],
)
def test_encryption_key_that_is_not_archived(audit, policy, declared, severity):
    host, key = sound_host(), made.new_key()
    host.key("/mail", key, usage="key_agreement")
    host.certificate("/mail.pem", key, ("keyAgreement",))
    items = {"web1": [{"key": "/mail", "usage": "key_agreement", "request": {}, **declared}]}
    result = audit({"web1": host}, policy=policy, declared=items)
    found = [(row["id"], row["severity"]) for row in result["audit"]["findings"]]
    assert found == ([("KL010", severity)] if severity else [])


def test_receipts_records_and_objects(audit, vault):
    host, key, half, gone = sound_host(), made.new_key(), made.new_key(), made.new_key()
    for path, one in (("/whole", key), ("/half", half)):
        host.key(path, one, usage="key_agreement")
        host.certificate(f"{path}.pem", one, ("keyAgreement",))
    host.receipts += [archive(vault, key), archive(vault, half, parts=False)]
    host.receipts.append({"key_id": made.key_id_of(gone), "usage": "key_agreement", "sealed_key": "5" * 64})
    key_id = made.key_id_of(key)
    vault.create({f"sealed/{'a' * 64}": b"", f"shares/{'b' * 64}/{'c' * 64}": b""})
    vault.create({f"sealed/{'d' * 64}": b""})
    vault.destroy([f"sealed/{'d' * 64}"])
    vault.create({paths.record(key_id, 2): b"junk", paths.record(key_id, 9): b"", "records/junk": b""})
    result = audit({"web1": host})
    assert told(result) == [
        ("KL010", "web1", "/half"),
        ("KL017", "", f"sealed/{'a' * 64}"),
        ("KL017", "", f"shares/{'b' * 64}/{'c' * 64}"),
        ("KL018", "", paths.record(key_id, 9)),
        ("KL018", "", "records/junk"),
        ("KL019", "", paths.record(key_id, 2)),
        ("KL020", "web1", ""),
        ("KL028", "", paths.record(made.key_id_of(half), 1)),
    ]


def test_the_log_went_back_and_does_not_verify(audit, vault):
    head = event_log.append(vault, action="archive", outcome="success", actor="ops", host="h")
    event_log.append(vault, action="archive", outcome="success", actor="ops", host="h")
    host = sound_host()
    host.receipts.append(archive(vault, made.new_key()) | {"log_number": head.number, "log_digest": head.digest})
    assert told(audit({"web1": host})) == []
    vault.tamper(paths.event(1), b"{}")
    later = {"number": 7, "digest": "e" * 64}
    result = audit({"web1": host}, expected_heads=[later])
    assert [row[0] for row in told(result)] == ["KL021", "KL021", "KL022", "KL022"]
    marks = [row.mark for row in event_log.verify(vault).problems]
    result = audit({"web1": host}, expected_heads=[later], known_log_problems=marks)
    assert [row[0] for row in told(result)] == ["KL021", "KL021"]


def test_agents_whose_certificates_end(audit, vault):
    agents = (agent("ann", 5), agent("ben", 20), agent("cleo", 400))
    keys = [made.new_key() for dummy in range(3)]
    host = sound_host()
    host.receipts += [archive(vault, key, agents, threshold=3) for key in keys]
    result = audit({"web1": host})
    assert told(result) == [
        ("KL015", "", "recovery group admins"),
        ("KL016", "", "ann"),
        ("KL016", "", "ben"),
    ]
    found = {row["place"]: row for row in result["audit"]["findings"]}
    assert (found["ann"]["severity"], found["ben"]["severity"]) == ("high", "medium")
    assert "3 archived keys" in found["recovery group admins"]["detail"]


def test_frozen_keys_tokens_and_hosts_that_were_not_audited(audit, vault):
    host, key = sound_host(), made.new_key()
    host.receipts.append(archive(vault, key))
    freezes.freeze(vault, made.key_id_of(key), "somebody said so")
    probe = [
        {"name": "copies_keep_usage", "outcome": "fails", "detail": "a copy may sign"},
        {"name": "x", "outcome": "holds"},
    ]
    tokens = {"web1": {"results": [{"tokens": [{"label": "ops", "probe": probe}]}]}}
    lost = {"failed": True, "msg": "Python libraries are missing"}
    cut = sound_host().result() | {"not_looked_at": ["/srv/x: not looked at, Permission denied", "7 links"]}
    cut["not_looked_at"].append("/srv/gone: is no folder on this host")
    cut["not_looked_at"].append("/srv/y and 3 more folders: not looked at, because of search.max_files; narrow it")
    cut["searched"] = {"complete": False}
    result = audit({"web1": host, "web2": lost, "web3": None, "web4": cut}, tokens=tokens)
    assert told(result) == [
        ("KL025", "web1", "pkcs11:token=ops"),
        ("KL026", "web2", ""),
        ("KL026", "web3", ""),
        ("KL027", "web4", ""),
        ("KL027", "web4", "/srv/gone"),
        ("KL027", "web4", "/srv/x"),
        ("KL027", "web4", "/srv/y and 3 more folders"),
        ("KL029", "web1", "/k"),
    ]
    assert result["audit"]["summary"]["hosts_audited"] == 2
    (ended,) = (row for row in result["audit"]["findings"] if (row["id"], row["place"]) == ("KL027", ""))
    assert ended["severity"] == "high" and ended["detail"].endswith("because of search.max_files")


def test_a_registered_key_that_is_archived_is_frozen(audit, vault):
    key = made.new_key()
    signing_register.register(vault, [story.signing_entry(key, algorithm="ec-p256")])
    host = sound_host()
    host.receipts.append(archive(vault, key))
    result = audit({"web1": host})
    assert told(result) == [("KL011", "web1", "/k")] and result["changed"]
    assert made.key_id_of(key) in freezes.frozen(vault, [made.key_id_of(key)])


def test_registered_keys_alone_are_nothing(audit, vault):
    signing_register.register(vault, [story.signing_entry(ed25519.Ed25519PrivateKey.generate())])
    assert told(audit({"web1": sound_host()})) == []


def test_a_host_that_sends_rubbish_ends_nothing(audit):
    rubbish = {
        "results": [{"exists": True, "key": None, "key_id": 7, "mode": 5, "evidence": 3}, "x", {"exists": True}],
        "certificates": [{"paths": None, "key_usage": "x", "content": "%"}, None],
        **{"receipts": [{"key_id": "../x"}, 3], "authorized_keys": "x", "public_keys": 3, "not_looked_at": None},
    }
    found = told(audit({"bad": rubbish, "web1": sound_host()}))
    assert {row[1] for row in found} == {"bad"} and {row[0] for row in found} == {"KL024", "KL026"}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"accepted": [{"id": "KL999", "host": "h", "reason": "r", "expires": "2027-01-01"}]}, OptionError),
        ({"accepted": [{"id": "KL003", "reason": "r", "expires": "2027-01-01"}]}, OptionError),
        ({"accepted": [{"id": "KL003", "host": "h", "reason": " ", "expires": "2027-01-01"}]}, OptionError),
        ({"accepted": [{"id": "KL003", "host": "h", "reason": "r", "expires": "soon"}]}, OptionError),
        ({"accepted": [{"id": "KL003", "host": "h", "reason": "r", "expires": "2027-02-30"}]}, OptionError),
        ({"trust_anchors": ["no certificate"]}, OptionError),
        ({"log_signing_certificates": ["no certificate"]}, OptionError),
        ({"expected_heads": [{"number": 1, "digest": "x"}]}, OptionError),
        ({"expiring_within": "soon"}, OptionError),
        ({"policy": {"version": 1, "usages": {"signature": {"archive": "required"}}}}, PolicyError),
    ],
)
def test_wrong_options(audit, wrong, error):
    with pytest.raises(error):
        audit({"web1": sound_host()}, **wrong)


def test_accepted_findings_do_not_count_until_they_are_over(audit):
    host = sound_host()
    host.key("/srv/app/a.key", usage="signature", mode="0644")
    item = {"id": "readable-by-others", "host": "web1", "place": "/srv/app/*", "reason": "ticket 4711"}
    other = {"id": "KL001", "host": "web9", "reason": "gone", "expires": "2027-01-01"}
    result = audit({"web1": host}, accepted=[{**item, "expires": "2026-11-22"}, other], fail_at="high")
    found = {row["id"]: row for row in result["audit"]["findings"]}
    assert found["KL003"]["accepted"] == {"reason": "ticket 4711", "expires": "2026-11-22"} and not result["reached"]
    assert result["audit"]["unused_acceptances"] == ["KL001: gone"]
    assert (result["audit"]["summary"]["findings"]["high"], result["audit"]["summary"]["accepted"]) == (0, 1)
    result = audit({"web1": host}, accepted=[{**item, "expires": "2026-11-21"}], fail_at="high")
    found = {row["id"]: row for row in result["audit"]["findings"]}
    assert found["KL003"]["accepted"] is None and result["reached"]
    assert "accepted until 2026-11-21: ticket 4711" in found["KL003"]["detail"]


def test_fingerprints_stay(audit):
    host = sound_host()
    host.key("/a", usage="signature", mode="0644")
    first, second = (audit({"web1": host})["audit"]["findings"] for dummy in range(2))
    assert [row["fingerprint"] for row in first] == [row["fingerprint"] for row in second]
    assert len({row["fingerprint"] for row in first}) == len(first)


def test_repairs_only_narrow_modes_and_name_owners(audit):
    host = made.Host()
    host.key("/a", mode="0664", owner="app", group="app")
    host.key("/b", mode="0640")
    host.key("/c", mode="0600", owner="nobody")
    host.key("pkcs11:token=x;object=y", mode=None, owner=None, group=None)
    items = {"web1": [{"key": "/b", "mode": "0640", "request": {}}, {"key": "/c", "owner": "app", "request": {}}]}
    rows = audit({"web1": host}, declared=items)["audit"]["repairs"]
    assert [{name: row[name] for name in row if name != "key_id"} for row in rows["web1"]] == [
        {"key": "/a", "mode": "0600"},
        {"key": "/c", "owner": "app"},
    ]


_JUNK = (None, True, -1, 7.5, "", "x", "9" * 5000, "9999-12-31T23:59:59Z", "\ud800", [], [None], {}, {"x": []}, [[3]])


def _places(value, path=()):
    """The path to every value of a structure."""
    yield path
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from _places(inner, (*path, name))


def test_whatever_one_host_sends_the_others_are_audited(audit, vault):
    chance, key = random.Random(99), made.new_key()
    receipt = archive(vault, key)
    for dummy in range(400):
        bad = sound_host()
        bad.key("/etc/mail.key", key, usage="key_agreement")
        bad.certificate("/etc/mail.pem", key, ("keyAgreement",))
        bad.authorized.append({"path": "/a", "line": 1, "key_id": made.key_id_of(key)})
        bad.receipts.append(dict(receipt))
        result = copy.deepcopy(bad.result())
        for path in chance.sample([place for place in _places(result) if place], 3):
            inner = result
            try:
                for name in path[:-1]:
                    inner = inner[name]
                inner[path[-1]] = chance.choice(_JUNK)
            except (KeyError, IndexError, TypeError):
                continue
        outcome = audit({"bad": result, "web9": sound_host()}, policy="nist-sp800-57", check_mode=True)["audit"]
        assert not [row for row in outcome["findings"] if row["host"] == "web9"]
        json.dumps(outcome, ensure_ascii=False).encode()
        audit_report(outcome, "page").encode()
        audit_report(outcome, "sarif")
        audit_report(outcome, "metrics").encode()
