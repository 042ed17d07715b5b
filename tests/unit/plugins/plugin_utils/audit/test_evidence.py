# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Retroactive detection: what freezes an archived key, and what anybody could have made and so only alarms."""

from __future__ import annotations

import base64
import hashlib
import random
import subprocess
import time

import gathered_facts as made
import pytest
from cryptography import x509
from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError, VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import evidence as proving
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.audit.conftest import archive, told
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

_CA, _OTHER = made.new_key(), made.new_key()
_ANCHOR = made.certificate(_CA, "root", ("keyCertSign",), ca=True)
_PEM = _ANCHOR.public_bytes(serialization.Encoding.PEM).decode()
_SIGNS = ("digitalSignature",)
_ENCRYPTS = ("keyAgreement",)


def _chain(key, depth):
    """A certificate for the key below ``depth`` authorities of the anchor; with the authorities' certificates."""
    issuer, between = ("root", _CA), []
    for number in range(depth):
        new = made.new_key()
        between.append((new, made.certificate(new, f"sub{number}", ("keyCertSign",), issuer, ca=True)))
        issuer = (f"sub{number}", new)
    return made.certificate(key, "victim", _SIGNS, issuer), between


def _with(certificate=None, request="none", key=None, between=()):
    host = made.Host()
    if certificate is not None:
        host.certificate("/new.pem", key, _SIGNS, made=certificate)
    for number, (own, one) in enumerate(between):
        host.certificate(f"/ca{number}.pem", own, ("keyCertSign",), made=one, ca=True)
    if request != "none":
        host.request("/new.csr", key, request)
    return host


@pytest.mark.parametrize("evidence", ["chain", "chain of three", "self-signed certificate", "request for signing"])
def test_what_nobody_can_forge_freezes(audit, vault, evidence, tmp_path):
    key = made.new_key()
    receipt = archive(vault, key)
    depth = 3 if evidence == "chain of three" else 0
    chained, between = _chain(key, depth)
    host = {
        "chain": lambda: _with(chained, key=key),
        "chain of three": lambda: _with(chained, key=key, between=between),
        "self-signed certificate": lambda: _with(made.certificate(key, "victim", _SIGNS), key=key),
        "request for signing": lambda: _with(request=_SIGNS, key=key),
    }[evidence]()
    host.receipts.append(receipt)
    key_id = made.key_id_of(key)
    predicted = audit({"web1": host}, check_mode=True, trust_anchors=[_PEM])
    assert predicted["changed"] and not freezes.frozen(vault, [key_id]) and event_log.head(vault).number == 0
    result = audit({"web1": host}, trust_anchors=[_PEM])
    assert ("KL011", "web1", "/k") in told(result) and result["changed"]
    frozen = freezes.frozen(vault, [key_id])[key_id]
    kept, *above = map(base64.b64decode, frozen.first.evidence[0].rsplit(": ", 1)[1].split())
    assert made.canonical_key_id(kept) == key_id
    assert (len(above), above[-1:]) == ((depth + 1, [made.der(_ANCHOR)]) if "chain" in evidence else (0, []))
    if above:
        assert _openssl_verifies(tmp_path, kept, above)
    assert [(event.action, event.outcome) for event in event_log.verify(vault).events] == [("audit", "alarm")]
    again = audit({"web1": host}, trust_anchors=[_PEM])
    assert not again["changed"] and event_log.head(vault).number == 1 and told(again) == told(result)


def _openssl_verifies(folder, certificate, above):
    """Whether a reader of the freeze needs nothing but what is in it."""
    *between, anchor = [
        one.public_bytes(serialization.Encoding.PEM) for one in map(x509.load_der_x509_certificate, above)
    ]
    own = x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)
    for name, content in (("own", own), ("between", b"".join(between)), ("anchor", anchor)):
        (folder / name).write_bytes(content)
    untrusted = ["-untrusted", folder / "between"] if between else []
    moment = str(int(made.NOW.timestamp()))
    command = ["openssl", "verify", "-attime", moment, "-CAfile", folder / "anchor", *untrusted, folder / "own"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_lifted_evidence_does_not_freeze_again_and_more_of_it_does(audit, vault, monkeypatch):
    key = made.new_key()
    key_id = made.key_id_of(key)
    first, between = _chain(key, 1)
    host = _with(first, key=key, between=between)
    host.receipts.append(archive(vault, key))
    assert audit({"web1": host}, trust_anchors=[_PEM])["audit"]["responses"][0]["frozen"]
    monkeypatch.setattr(freezes, "_lifted_for", lambda _vault, ids, _revisions: dict.fromkeys(ids, frozenset([1])))
    # The quorum's word: the key is told of, and not frozen; wherever the certificate lies then.
    again = audit({"web2": host}, check_mode=True, trust_anchors=[_PEM])
    assert not again["audit"]["responses"][0]["frozen"] and "KL011" in [row[0] for row in told(again)]
    assert not freezes.frozen(vault, [key_id])
    host.certificate("/more.pem", key, _SIGNS, made=made.certificate(key, "victim", _SIGNS, ("root", _CA)))
    assert audit({"web2": host}, trust_anchors=[_PEM])["audit"]["responses"][0]["frozen"]
    assert len(freezes.contents(vault, [key_id])[key_id]) == 2


def test_a_certificate_that_no_object_has_room_for_freezes_all_the_same(audit, vault):
    """Whoever holds the key signs one of a megabyte."""
    key = made.new_key()
    builder = x509.CertificateBuilder().subject_name(_ANCHOR.subject).issuer_name(_ANCHOR.subject)
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(made.NOW).not_valid_after(made.NOW.replace(year=2030))
    builder = builder.add_extension(made._key_usage(_SIGNS), critical=True)
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x04\x82" * 400_000)
    one = builder.add_extension(large, critical=False).sign(key, hashes.SHA256())
    host = _with(one, key=key)
    host.receipts.append(archive(vault, key))
    assert audit({"web1": host})["audit"]["responses"][0]["frozen"]
    (kept,) = freezes.frozen(vault, [made.key_id_of(key)])[made.key_id_of(key)].first.evidence
    assert hashlib.sha256(made.der(one)).hexdigest() in kept and len(kept) < 1000


def _forged(key):
    """Somebody else's certificate for the key: it names the anchor and was never signed by it."""
    builder = x509.CertificateBuilder().subject_name(_ANCHOR.subject).issuer_name(_ANCHOR.subject)
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(made.NOW).not_valid_after(made.NOW.replace(year=2030))
    builder = builder.add_extension(made._key_usage(_SIGNS), critical=True)
    return builder.sign(_OTHER, hashes.SHA256())


def _below_no_authority(key):
    """A certificate whose issuer has a true certificate of the anchor, but is no authority."""
    end = made.new_key()
    issuer = made.certificate(end, "end", _SIGNS, ("root", _CA))
    return made.certificate(key, "victim", _SIGNS, ("end", end)), [(end, issuer)]


@pytest.mark.parametrize("evidence", ["forged", "other authority", "no authority", "foreign bytes", "ssh", "bound"])
def test_what_anybody_can_make_alarms_and_freezes_nothing(audit, vault, evidence):
    key, host = made.new_key(), made.Host()
    receipt = archive(vault, key)
    if evidence == "forged":
        host = _with(_forged(key), key=key)
    elif evidence == "other authority":
        host = _with(made.certificate(key, "victim", _SIGNS, ("root", _OTHER)), key=key)
    elif evidence == "no authority":
        certificate, between = _below_no_authority(key)
        host = _with(certificate, key=key, between=between)
    elif evidence == "foreign bytes":
        host = _with(made.certificate(_OTHER, "victim", _SIGNS, ("root", _CA)), key=key)
    elif evidence == "ssh":
        host.authorized.append({"path": "/root/.ssh/authorized_keys", "line": 1, "key_id": made.key_id_of(key)})
    else:
        host.key("/copy.key", key, usage="signature")
    host.receipts.append(receipt)
    result = audit({"web1": host}, trust_anchors=[_PEM])
    assert "KL011" in [row[0] for row in told(result)] and result["changed"]
    assert not freezes.frozen(vault, [made.key_id_of(key)])
    events = event_log.verify(vault).events
    assert [(event.action, event.outcome) for event in events] == [("audit", "alarm")]
    assert "not proven" in events[0].keys[0][1]
    assert not audit({"web1": host}, trust_anchors=[_PEM])["changed"], "an alarm is written once"


@pytest.mark.parametrize("request_usage", [None, _ENCRYPTS])
def test_requests_that_prove_possession_are_no_evidence(audit, vault, request_usage):
    key = made.new_key()
    host = _with(request=request_usage, key=key)
    host.certificate("/own.pem", key, _ENCRYPTS)
    host.key("/k", key, usage="key_agreement")
    host.receipts.append(archive(vault, key))
    result = audit({"web1": host}, trust_anchors=[_PEM])
    assert told(result) == []
    assert not freezes.frozen(vault, [made.key_id_of(key)]) and not result["changed"]


def test_nothing_is_written_when_the_response_is_off(audit, vault):
    key = made.new_key()
    host = _with(request=_SIGNS, key=key)
    host.receipts.append(archive(vault, key))
    result = audit({"web1": host}, respond=False)
    assert "KL011" in [row[0] for row in told(result)] and not result["changed"]
    assert not freezes.frozen(vault, [made.key_id_of(key)]) and event_log.head(vault).number == 0


class AuditorsVault(MemoryVault):
    """A vault that lets the auditor do what roles/vault/templates/auditor.hcl.j2 says, and nothing else."""

    def __init__(self, full: MemoryVault) -> None:
        super().__init__()
        self.__dict__.update(full.__dict__)

    def _create(self, objects):
        self._check(objects, ("events/", "signing/", "freezes/"))
        return super()._create(objects)

    def _read(self, paths):
        self._check(paths, ("records/", "requests/", "approvals/", "lifts/", "events/", "signing/", "freezes/"))
        return super()._read(paths)

    def _destroy(self, paths):
        self._check(paths, ())

    def _check(self, names, prefixes):
        if not all(name.startswith(prefixes) for name in names):
            raise VaultForbidden("the policy does not let this credential")


def test_the_auditors_credential_is_enough(audit, vault):
    key = made.new_key()
    host = _with(request=_SIGNS, key=key)
    host.receipts.append(archive(vault, key))
    vault.create({f"sealed/{'a' * 64}": b"orphan"})
    restricted = AuditorsVault(vault)
    result = audit({"web1": host}, vault=restricted)
    assert [row[0] for row in told(result)] == ["KL011", "KL017"] and result["changed"]
    assert made.key_id_of(key) in freezes.frozen(restricted, [made.key_id_of(key)])


def test_authorities_that_certify_each_other_end_nothing(audit, vault):
    """Two names, many certificates each way: following issuers upwards would take for ever."""
    key, one, two = made.new_key(), made.new_key(), made.new_key()
    host = _with(made.certificate(key, "victim", _SIGNS, ("one", one)), key=key)
    for number in range(40):
        for subject, own, issuer, by in (("one", one, "two", two), ("two", two, "one", one)):
            certificate = made.certificate(own, subject, ("keyCertSign",), (issuer, by), ca=True)
            host.certificate(f"/{subject}{number}.pem", own, ("keyCertSign",), made=certificate, ca=True)
    host.receipts.append(archive(vault, key))
    begin = time.monotonic()
    result = audit({"web1": host}, trust_anchors=[_PEM])
    assert time.monotonic() - begin < 5
    assert "KL011" in [row[0] for row in told(result)] and not freezes.frozen(vault, [made.key_id_of(key)])


@pytest.mark.parametrize("decoys", ["false", "renewed", "of one host"])
def test_no_number_of_certificates_hides_a_true_authority(audit, vault, monkeypatch, decoys):
    key, other, false = made.new_key(), made.new_key(), made.Host()
    certificate, between = _chain(key, 1)
    host = _with(certificate, key=key, between=between)
    host.receipts.append(archive(vault, key))
    for number in range(30):
        # Renewed: true certificates of the name's former key. Else nobody but the liar has signed them.
        signer = _CA if decoys == "renewed" else other
        decoy = made.certificate(other, "sub0", ("keyCertSign",), ("root", signer), ca=True)
        false.certificate(f"/{number}.pem", other, ("keyCertSign",), made=decoy, ca=True)
    if decoys == "of one host":
        monkeypatch.setattr(proving, "_AUTHORITIES", 10)
    audit({"a1": false, "web1": host}, trust_anchors=[_PEM])
    assert made.key_id_of(key) in freezes.frozen(vault, [made.key_id_of(key)])


@pytest.mark.parametrize("raised", [InternalError("", []), OverflowError(), x509.DuplicateExtension("", None)])
def test_whatever_the_library_raises_of_a_certificate_is_no_proof(audit, vault, monkeypatch, raised):
    def fail(*_arguments):
        raise raised

    key = made.new_key()
    host = _with(_chain(key, 0)[0], key=key)
    host.receipts.append(archive(vault, key))
    monkeypatch.setattr(proving, "_verify", fail)
    assert "KL011" in [row[0] for row in told(audit({"web1": host}, trust_anchors=[_PEM]))]
    assert not freezes.frozen(vault, [made.key_id_of(key)])


def test_an_anchor_that_cannot_be_read_is_told(audit):
    broken = made.der(made.certificate(_CA, "QQQQ", ("keyCertSign",), ca=True)).replace(b"QQQQ", b"\xff" * 4)
    text = base64.encodebytes(broken).decode()
    with pytest.raises(OptionError, match="trust_anchors"):
        audit({}, trust_anchors=[f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"])


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_mutated_certificates_end_nothing(audit, vault):
    """Whatever a host sends as a certificate: at worst it proves nothing."""
    key, chance = made.new_key(), random.Random(4711)
    host = made.Host()
    host.receipts.append(archive(vault, key))
    sound = [made.der(made.certificate(key, "victim", _SIGNS, ("root", _OTHER))), made.der(_ANCHOR)]
    for number in range(1500):
        data = bytearray(sound[number % 2])
        for dummy in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 2, 5, 0x30, 0x80, 0xFF, chance.randrange(256)))
        host.certificate(f"/{number}.pem", key, _SIGNS, ca=bool(number % 2))
        host.certificates[-1]["content"] = base64.b64encode(bytes(data)).decode()
    result = audit({"web1": host}, trust_anchors=[_PEM])
    assert "KL011" in [row[0] for row in told(result)]
    assert not freezes.frozen(vault, [made.key_id_of(key)])
