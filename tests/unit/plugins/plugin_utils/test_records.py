# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records, signing register and freezes on top of a vault."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
import story
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DestroyedRefused,
    FormatError,
    PossessionNotProven,
    RecordMismatch,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import (
    RecoveryAgent,
    SealedGroup,
    SealedKey,
    SealedShare,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, numbered, records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.records import RecordProblem
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

TIME = "2026-11-22T08:00:00Z"


def key_and_certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    start = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=9999))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return spki, certificate, request.public_bytes(serialization.Encoding.DER)


def agent(name):
    spki, certificate, _request = key_and_certificate()
    return RecoveryAgent(name, canonical.digest(spki), canonical.digest(spki), certificate, certificate)


@pytest.fixture(scope="module")
def group():
    shares = tuple(
        SealedShare(agent(name), canonical.digest(name.encode()), b"share of " + name.encode()) for name in "abc"
    )
    return SealedGroup("admins", 2, "1" * 32, shares)


@pytest.fixture
def vault():
    return MemoryVault()


@pytest.fixture
def make(group):
    """A function that makes a new record of a new key."""

    def made(**changed):
        spki, certificate, request = key_and_certificate()
        key_id = canonical.digest(spki)
        message = b"sealed " + spki
        sealed = SealedKey(key_id, "alice", "key_agreement", canonical.digest(message), (group,), message)
        facts = KeyFacts(key_id, "ec-p256", spki, "key_agreement", "pkcs8")
        options = {"host": "web1", "place": "/etc/k.pem", "certificates": [request, certificate, request], **changed}
        return records.record_of(sealed, facts, **options)

    return made


def test_record_of_names_everything(make, group):
    one = make(created=TIME)
    assert (one.number, one.host, one.place, one.created, one.key_owner) == (1, "web1", "/etc/k.pem", TIME, "alice")
    assert len(one.certificates) == 2 and list(one.certificates) == sorted(one.certificates, key=canonical.digest)
    assert [each.share for each in one.groups[0].agents] == [canonical.digest(share.message) for share in group.shares]
    assert one.groups[0].share_digests == tuple(share.share_digest for share in group.shares)


def test_objects_of_names_sealed_key_and_shares(group):
    sealed = SealedKey("5" * 64, "alice", "key_agreement", canonical.digest(b"m"), (group,), b"m")
    objects = records.objects_of(sealed)
    assert objects[paths.sealed_key(canonical.digest(b"m"))] == b"m" and len(objects) == 4
    first = group.shares[0]
    assert objects[paths.share(first.agent.agent_id, canonical.digest(first.message))] == first.message


def test_record_of_refuses_what_does_not_belong_together(make, group):
    spki, _certificate, foreign = key_and_certificate()
    with pytest.raises(FormatError):
        make(certificates=[foreign])
    with pytest.raises(FormatError):
        make(certificates=[b"no certificate"])
    facts = KeyFacts(canonical.digest(spki), "ec-p256", spki, "key_agreement", "pkcs8")
    for key_id, message in (("5" * 64, b"m"), (facts.key_id, b"other")):
        sealed = SealedKey(key_id, "alice", "key_agreement", canonical.digest(b"m"), (group,), message)
        with pytest.raises(RecordMismatch):
            records.record_of(sealed, facts, host="h", place="/k")


def test_revisions_count_up_and_are_walked(vault, make):
    one, other = make(), make()
    assert [records.add(vault, one).number for _turn in range(9)] == list(range(1, 10))
    assert records.add(vault, other) == other
    found = records.walk(vault, [one.key_id, other.key_id, "0" * 64])
    assert [revision.number for revision in found[one.key_id]] == list(range(1, 10))
    assert found[one.key_id][4] == replace(one, number=5)
    assert found[other.key_id] == (other,) and found["0" * 64] == ()


def test_many_keys_in_few_rounds(vault, make):
    many = [make() for _turn in range(30)]
    records.add_many(vault, many[:10])
    calls = []
    for name in ("_create", "_exists", "_read"):
        inner = getattr(vault, name)
        setattr(vault, name, lambda given, name=name, inner=inner: calls.append(name) or inner(given))
    added = records.add_many(vault, many)
    assert [added[one.key_id].number for one in many] == [2] * 10 + [1] * 20
    assert len(calls) <= 4
    calls.clear()
    assert all(records.walk(vault, [one.key_id for one in many]).values()) and len(calls) <= 3
    with pytest.raises(RecordMismatch):
        records.add_many(vault, [many[0], many[0]])


def test_another_writer_was_first(vault, make):
    one = make()
    inner = vault._create

    def late(objects):
        inner(dict.fromkeys(objects, b"theirs"))
        vault._create = inner
        return inner(objects)

    vault._create = late
    assert records.add(vault, one).number == 2
    first, second = records.walk(vault, [one.key_id])[one.key_id]
    assert isinstance(first, RecordProblem) and second == replace(one, number=2)


def test_what_was_destroyed_is_not_archived_again(vault, make):
    one, other = make(), make()
    records.add(vault, one)
    vault.destroy([paths.record(one.key_id, 1)])
    with pytest.raises(DestroyedRefused):
        records.add_many(vault, [one, other])
    assert records.walk(vault, [one.key_id, other.key_id]) == {one.key_id: (), other.key_id: (other,)}


def _edited(one, **changed):
    return canonical.dumps({**canonical.loads(record.dump(one)), **changed})


def test_bad_revisions_are_reported_and_hide_nothing(vault, make):
    one, other = make(), make()
    groups = canonical.loads(record.dump(one))["groups"]
    stranger = groups[0]["agents"][0] | {"encryption_certificate": groups[0]["agents"][1]["encryption_certificate"]}
    broken = groups[0]["agents"][0] | {"signing_certificate": canonical.encode(b"no certificate")}
    bad = [
        b"junk",
        record.dump(replace(other, number=2)),
        record.dump(replace(one, number=2)),
        _edited(one, number=4, extra=1),
        _edited(one, number=5, format="keyops-record/3"),
        _edited(one, number=6, key_id=other.key_id),
        _edited(one, number=7, usage="signature"),
        _edited(one, number=8, certificates=[canonical.encode(other.certificates[0])]),
        _edited(one, number=9, certificates=[canonical.encode(b"no certificate")]),
        _edited(one, number=10, groups=[groups[0] | {"agents": [stranger, *groups[0]["agents"][1:]]}]),
        _edited(one, number=11, groups=[groups[0] | {"agents": [broken, *groups[0]["agents"][1:]]}]),
        _edited(one, number=12, groups=[groups[0] | {"threshold": 9}]),
        record.dump(replace(one, number=13)) + b"\n",
    ]
    vault.create({paths.record(one.key_id, number): content for number, content in enumerate(bad, start=1)})
    assert records.add(vault, one).number == len(bad) + 1
    *problems, good = records.walk(vault, [one.key_id])[one.key_id]
    assert good == replace(one, number=len(bad) + 1)
    assert [problem.path for problem in problems] == [paths.record(one.key_id, n) for n in range(1, len(bad) + 1)]
    assert all(isinstance(problem, RecordProblem) and problem.text for problem in problems)


def test_what_lies_beyond_a_gap_is_reported(vault, make):
    one = make()
    records.add(vault, one)
    odd = [f"records/{one.key_id}/{name}" for name in ("3", "01", "0", "x", "1/1")]
    vault.create(dict.fromkeys(odd, b""))
    assert {problem.path for problem in records.beyond_gap(vault, one.key_id, 1)} == set(odd)
    assert records.beyond_gap(vault, "0" * 64, 0) == ()


def test_long_series_are_read_whole(vault):
    vault.create({f"freezes/a/{number}": b"%d" % number for number in [*range(1, 201), 203]})
    series = numbered.read(vault, lambda name, number: f"freezes/{name}/{number}", ["a", "b"])
    assert series == {"a": [b"%d" % number for number in range(1, 201)], "b": []}
    assert numbered.add(vault, lambda name, number: f"freezes/{name}/{number}", {"a": lambda _number: b""}) == {
        "a": 201
    }


def test_signing_register(vault):
    first, second, third = (story.signing_entry(ed25519.Ed25519PrivateKey.generate()) for dummy in range(3))
    assert signing_register.register(vault, [first, second]) == {first.key_id, second.key_id}
    assert signing_register.register(vault, [replace(second, host="x"), third]) == {third.key_id}
    assert signing_register.registered(vault, [second.key_id, "d" * 64]) == {second.key_id}
    stored = canonical.loads(vault.read([paths.signing_key(second.key_id)])[paths.signing_key(second.key_id)])
    assert (stored["format"], stored["key_id"], stored["host"]) == ("keyops-signing-key/1", second.key_id, "h")
    # Whatever lies there counts: nobody can hide a signing key by spoiling its entry. But only proof freezes.
    vault.create({paths.signing_key("d" * 64): b"junk"})
    assert signing_register.registered(vault, ["d" * 64]) == {"d" * 64}
    assert signing_register.proven(vault, ["d" * 64, second.key_id, "e" * 64]) == {second.key_id}


@pytest.mark.parametrize("wrong", [{"usage": "key_transport"}, {"created": "now"}, {"key_id": "A" * 64}])
def test_signing_register_takes_only_entries_of_its_format(vault, wrong):
    entry = story.signing_entry(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(FormatError):
        signing_register.register(vault, [entry, replace(entry, **wrong)])
    assert vault.list("signing/") == []


def test_signing_register_takes_only_what_the_key_has_proven(vault):
    entry, other = (story.signing_entry(ed25519.Ed25519PrivateKey.generate()) for dummy in range(2))
    stranger = canonical.dumps({"format": "keyops-signing-proof/1", "key_id": entry.key_id})
    for proof in (other.proof, b"", entry.proof[:-9], stranger):
        with pytest.raises(PossessionNotProven):
            signing_register.register(vault, [replace(entry, proof=proof)])
    with pytest.raises(PossessionNotProven):
        signing_register.register(vault, [replace(other, key_id=entry.key_id)])
    assert vault.list("signing/") == []


def test_freezes(vault):
    key, other = "a" * 64, "b" * 64
    one = freezes.freeze(vault, key, "signing certificate", ["serial 5"])
    assert freezes.freeze(vault, key, "signing certificate", ["serial 5"]) == one
    assert freezes.freeze(vault, key, "signing certificate", ["serial 6"]).number == 2
    found = freezes.frozen(vault, [key, other])
    assert {name: (frozen.first, frozen.lifted_for) for name, frozen in found.items()} == {key: (one, frozenset())}
    stored = canonical.loads(vault.read([paths.freeze(key, 1)])[paths.freeze(key, 1)])
    assert stored == {
        **{"format": "keyops-freeze/1", "key_id": key, "number": 1, "state": "frozen", "created": one.created},
        **{"reason": "signing certificate", "evidence": ["serial 5"]},
    }


@pytest.mark.parametrize(
    "changed",
    [{"state": "lifted"}, {"key_id": "b" * 64}, {"number": 2}, {"evidence": [1]}, {"created": ""}, {"more": 1}],
)
def test_a_freeze_that_cannot_be_read_holds(vault, changed):
    key = "a" * 64
    sound = {
        "format": "keyops-freeze/1",
        "key_id": key,
        "number": 1,
        "state": "frozen",
        "reason": "",
        "evidence": [],
        "created": TIME,
    }
    vault.create({paths.freeze(key, 1): canonical.dumps({**sound, **changed})})
    assert "cannot be read" in freezes.frozen(vault, [key])[key].reason
