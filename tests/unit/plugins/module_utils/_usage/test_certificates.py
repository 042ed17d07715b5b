# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certificates and requests say, compared with openssl; broken ones; whatever bytes come."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from asn1crypto import keys as asn1keys
from asn1crypto import pem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates

EXTENSIONS = ("keyUsage = critical, keyAgreement, encipherOnly, decipherOnly", "extendedKeyUsage = emailProtection")


@pytest.fixture
def key(workshop):
    return workshop.key("ec")


@pytest.fixture
def key_id(workshop, key) -> str:
    return hashlib.sha256(workshop.run("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER")).hexdigest()


@pytest.mark.parametrize("make", ["certificate", "request"])
def test_facts(workshop, key, key_id: str, make: str) -> None:
    path = getattr(workshop, make)(key, *EXTENSIONS)
    (facts,) = certificates.parse(path.read_bytes(), "here")
    assert (facts.source, facts.key_id) == ("here", key_id)
    assert facts.kind == ("certificate request" if make == "request" else "certificate")
    assert facts.key_usage == ("keyAgreement", "encipherOnly", "decipherOnly")
    assert facts.extended_key_usage == ("1.3.6.1.5.5.7.3.4",)
    assert certificates.parse(facts.der, "here") == (facts,)
    assert certificates.of_der(facts.der, "here") == facts


def test_without_extensions(workshop, key) -> None:
    for path in (workshop.certificate(key), workshop.request(key)):
        (facts,) = certificates.parse(path.read_bytes(), "here")
        assert facts.key_usage is None and facts.extended_key_usage is None


def test_version_1(workshop, key, key_id: str) -> None:
    """X.509 v1, as old authorities made them."""
    request = workshop.request(key)
    sign = ("-signkey", key, "-days", 1, "-out", workshop.keys / "v1.pem")
    workshop.run("openssl", "x509", "-req", "-in", request, *sign)
    assert b"Version: 1" in workshop.run("openssl", "x509", "-in", workshop.keys / "v1.pem", "-noout", "-text")
    (facts,) = certificates.parse((workshop.keys / "v1.pem").read_bytes(), "here")
    assert (facts.key_id, facts.key_usage) == (key_id, None)


def test_several_blocks_with_text_between(workshop, key) -> None:
    one, two = workshop.certificate(key, *EXTENSIONS), workshop.request(key)
    text = workshop.run("openssl", "x509", "-in", one, "-text")
    data = text + key.read_bytes() + b"text\r\n" + two.read_bytes().replace(b"\n", b"\r\n")
    assert [facts.kind for facts in certificates.parse(data, "here")] == ["certificate", "certificate request"]


def test_trusted_certificate(workshop, key, key_id: str) -> None:
    path = workshop.certificate(key, *EXTENSIONS)
    trusted = workshop.run("openssl", "x509", "-in", path, "-trustout", "-addtrust", "emailProtection")
    assert b"TRUSTED" in trusted
    (facts,) = certificates.parse(trusted, "here")
    assert facts.key_id == key_id and facts.der == pem.unarmor(path.read_bytes())[2]


def test_rsassa_pss_names_the_same_key(workshop) -> None:
    """The certificate of an RSASSA-PSS key has the key ID of the RSA key with the same numbers."""
    key, plain = workshop.key("rsassa-pss"), workshop.keys / "plain.pem"
    numbers = asn1keys.PrivateKeyInfo.load(workshop.run("openssl", "pkey", "-in", key, "-outform", "DER"))
    plain.write_bytes(pem.armor("RSA PRIVATE KEY", numbers["private_key"].parsed.dump()))
    (facts,) = certificates.parse(workshop.certificate(key).read_bytes(), "here")
    public = workshop.run("openssl", "pkey", "-in", plain, "-pubout", "-outform", "DER")
    assert facts.key_id == hashlib.sha256(public).hexdigest()


def damage(data: bytes, kind: str) -> bytes:
    der = pem.unarmor(data)[2]
    return {
        "empty": b"",
        "text": b"nothing to see\n",
        "no end": data[:-30],
        "no base64": data.replace(b"MII", b"M*I"),
        "cut off": pem.armor("CERTIFICATE", der[:-9]),
        "cut off DER": der[:-1],
        "bytes behind": der + b"\x00",
        "a key": b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
        "no structure": pem.armor("CERTIFICATE", b"\x30\x03\x02\x01\x00"),
        "twice the same extension": pem.armor("CERTIFICATE", der.replace(b"\x55\x1d\x25", b"\x55\x1d\x0f")),
        "empty block": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "one good, one broken": data + pem.armor("CERTIFICATE", der[:-9]),
    }[kind]


DAMAGE = (
    *("empty", "text", "no end", "no base64", "cut off", "cut off DER", "bytes behind", "a key", "no structure"),
    *("twice the same extension", "empty block", "one good, one broken"),
)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_named_file_is_read_strictly(workshop, key, kind: str) -> None:
    data = workshop.certificate(key, *EXTENSIONS).read_bytes()
    with pytest.raises(_errors.FormatError, match="here"):
        certificates.parse(damage(data, kind), "here")


def test_a_found_file_is_read_as_far_as_it_goes(workshop, key) -> None:
    data = workshop.certificate(key, *EXTENSIONS).read_bytes()
    facts, problems = certificates.parse_found(damage(data, "one good, one broken"), "here")
    assert len(facts) == 1 and len(problems) == 1 and "here" in problems[0]
    (facts,), problems = certificates.parse_found(damage(data, "twice the same extension"), "here")
    assert facts.key_usage is None and not problems


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_changed(ders: list[bytes], data) -> None:
    changed = bytearray(data.draw(st.sampled_from(ders)))
    change = st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(change, max_size=6)):
        changed[place] = value
    certificates.parse_found(bytes(changed), "here")
    with contextlib.suppress(_errors.FormatError):
        certificates.parse(bytes(changed), "here")


@pytest.fixture
def ders(workshop, key) -> list[bytes]:
    paths = [make(key, *EXTENSIONS) for make in (workshop.certificate, workshop.request)]
    return [pem.unarmor(path.read_bytes())[2] for path in paths]


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for start in (b"", b"\x30\x82\x01\x20", b"-----BEGIN CERTIFICATE-----\n"):
        certificates.parse_found(start + data, "here")
