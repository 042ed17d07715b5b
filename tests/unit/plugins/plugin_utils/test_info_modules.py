# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_archive_info and lifecycle_log_info: what users see of records and of the event log."""

from __future__ import annotations

import datetime

import pytest
import story
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError, VaultUnavailable
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import looking_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.checking_log import check_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.looking_up import look_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import EmptyVault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault_info_action import VaultInfoAction
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

TIME = "2026-11-22T08:00:00Z"


def certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    start = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=9999))
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, spki, builder.sign(key, hashes.SHA256())


_KEY, _SPKI, _CERTIFICATE = certificate()
_DER = _CERTIFICATE.public_bytes(serialization.Encoding.DER)
_AGENT = RecordedAgent("carol", canonical.digest(_SPKI), _DER, _DER, "1" * 64, "2" * 64)
_GROUPS = (RecordedGroup("admins", 1, "3" * 32, (_AGENT,)),)


def archived(vault, number, owner="alice", host="web1"):
    spki = b"public key %d" % number
    new = Record(
        key_id=canonical.digest(spki),
        number=1,
        key_owner=owner,
        usage="key_transport",
        algorithm="rsa-3072",
        public_key=spki,
        host=host,
        place="/k",
        created=TIME,
        sealed_key="4" * 64,
        groups=_GROUPS,
    )
    return records.add(vault, new).key_id


def task(vault, **params):
    def call(*_arguments, **_keywords):
        raise AssertionError("nothing runs on a host")

    return ControllerTask(params=params, vault=vault, check_mode=False, host="localhost", actor="ops", call=call)


def looked_up(vault, **params):
    return look_up(task(vault, **{**dict.fromkeys(("keys", "request_id", "key_owner", "limit", "after")), **params}))


def checked(vault, **params):
    defaults = {"expected_heads": [], "known_problems": [], "signing_certificates": []}
    defaults |= {"since": 1, "fail_on_problems": False}
    return check_log(task(vault, **{**defaults, **params}))


@pytest.fixture
def vault():
    return MemoryVault()


def test_facts_of_one_key_and_no_ciphertext(vault):
    key = archived(vault, 1)
    archived(vault, 1, host="web2")
    result = looked_up(vault, keys=[{"key_id": key}])
    assert result["complete"] and not result["changed"]
    (row,) = result["results"]
    facts = {
        **{"key_owner": "alice", "usage": "key_transport", "algorithm": "rsa-3072", "place": "/k", "created": TIME},
        **{"sealed_key": "4" * 64, "wrapping": None},
        "groups": [{"name": "admins", "threshold": 1, "agents": [{"name": "carol", "agent_id": _AGENT.agent_id}]}],
    }
    assert row == {
        **facts,
        **{"key_id": key, "archived": True, "number": 2, "host": "web2"},
        "revisions": [{**facts, "number": 1, "host": "web1"}, {**facts, "number": 2, "host": "web2"}],
        **{"freeze_id": None, "lifted_for": [], "requested_place": None},
        **{"frozen": False, "freeze_reason": None, "registered_as_signing": False, "problems": [], "certificates": []},
    }


def test_unknown_frozen_and_registered_keys(vault):
    entry = story.signing_entry(ed25519.Ed25519PrivateKey.generate())
    key, unknown = archived(vault, 1), entry.key_id
    freezes.freeze(vault, key, "it signed")
    signing_register.register(vault, [entry])
    rows = looked_up(vault, keys=[{"key_id": unknown}, {"key_id": key}, {"key_id": key}])["results"]
    assert [row["key_id"] for row in rows] == [unknown, key]
    assert (rows[0]["archived"], rows[0]["number"], rows[0]["registered_as_signing"]) == (False, None, True)
    assert (rows[1]["frozen"], rows[1]["freeze_reason"]) == (True, "it signed")


def test_problems_are_told_beside_what_is_sound(vault):
    key = archived(vault, 1)
    vault.create({paths.record(key, 2): b"junk", paths.record(key, 5): b"", f"records/{key}/x": b""})
    vault.create({"records/junk/1": record.dump(records.walk(vault, [key])[key][0])})
    rows = {row["key_id"]: row for row in looked_up(vault)["results"]}
    assert rows[key]["number"] == 1
    assert [problem["path"].rsplit("/", 1)[1] for problem in rows[key]["problems"]] == ["2", "5", "x"]
    assert not rows["junk"]["archived"] and len(rows["junk"]["problems"]) == 1


def test_all_keys_in_pages_and_by_owner(vault, monkeypatch):
    monkeypatch.setattr(records, "_NAMES", 7)
    monkeypatch.setattr(looking_up, "_KEYS", 3)
    keys = sorted(archived(vault, number, owner=("alice", "bob")[number % 2]) for number in range(20))
    for number in range(20):
        archived(vault, number, owner=("alice", "bob")[number % 2])
    assert [row["key_id"] for row in looked_up(vault)["results"]] == keys
    seen, after = [], None
    while True:
        page = looked_up(vault, limit=6, after=after)
        seen += [row["key_id"] for row in page["results"]]
        after = seen[-1]
        if page["complete"]:
            break
        assert len(page["results"]) == 6
    assert seen == keys
    bobs = looked_up(vault, key_owner="bob")["results"]
    assert len(bobs) == 10 and {row["key_owner"] for row in bobs} == {"bob"}
    assert looked_up(vault, key_owner="bob", limit=10)["complete"]
    assert not looked_up(vault, key_owner="bob", limit=9)["complete"]
    assert looked_up(vault, keys=[])["results"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": [{"key_id": "x"}]},
        {"after": "A" * 64},
        {"limit": 0},
        {"limit": -1},
        {"keys": [], "request_id": "0" * 64},
        {"request_id": "x"},
    ],
)
def test_wrong_options_of_the_archive(vault, wrong):
    with pytest.raises(OptionError):
        looked_up(vault, **wrong)


def test_the_log_and_its_head(vault):
    for turn in range(3):
        last = event_log.append(
            vault,
            action="archive",
            outcome="success",
            actor="ops",
            host="h",
            keys=[("a" * 64, str(turn))],
            signing_key=_KEY,
        )
    pem = _CERTIFICATE.public_bytes(serialization.Encoding.PEM).decode()
    head = {"number": 3, "digest": last.digest}
    result = checked(vault, since=2, expected_heads=[head], signing_certificates=[pem], fail_on_problems=True)
    assert result["valid"] and result["problems"] == [] and result["head"] == head and "failed" not in result
    assert [event["number"] for event in result["events"]] == [2, 3]
    assert result["events"][1]["on_keys"] == [{"key_id": "a" * 64, "detail": "2"}]
    assert result["events"][1]["signed_by"] == canonical.digest(_SPKI)


def test_a_log_that_does_not_verify(vault):
    vault.create({paths.event(1): b"junk"})
    result = checked(vault)
    assert not result["valid"] and [problem["kind"] for problem in result["problems"]] == ["unparsable"]
    assert "failed" not in result
    failed = checked(vault, fail_on_problems=True)
    assert failed["failed"] and failed["error_class"] == "EventLogError" and failed["problems"] == result["problems"]


@pytest.mark.parametrize(
    "wrong", [{"since": 0}, {"expected_heads": [{"number": 1, "digest": "x"}]}, {"signing_certificates": ["x"]}]
)
def test_wrong_options_of_the_log(vault, wrong):
    with pytest.raises(OptionError):
        checked(vault, **wrong)


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_mistyped_path_is_no_empty_vault(tmp_path, check_mode):
    class Task:
        pass

    action = VaultInfoAction.__new__(VaultInfoAction)
    action._task = Task()
    action._task.check_mode = check_mode
    options = {"backend": "sqlite", "path": str(tmp_path / "no" / "vault.db")}
    if check_mode:
        assert isinstance(action._open_vault(options), EmptyVault)
    else:
        with pytest.raises(VaultUnavailable):
            action._open_vault(options)
    assert not (tmp_path / "no").exists()
