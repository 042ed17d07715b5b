# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One key has one key ID, however its public half is encoded, and openssl computes the same."""

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, file, identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate

RSA_OF_NOTHING = identity.subject_public_key_info(der.oid(identity.RSA), bytes.fromhex("3000"))
NEW = "openssl req -x509 -nodes -subj /CN=a -outform DER -keyout /dev/null -newkey "


@pytest.mark.parametrize("kind", ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519", "ed448"])
def test_certificates(shell, kind):
    certificate = shell(NEW + kind)
    public_key = shell("openssl x509 -inform DER -noout -pubkey | openssl pkey -pubin -outform DER", certificate)
    assert identity.key_id_of_certificate(certificate) == hashlib.sha256(public_key).hexdigest()


def test_an_rsassa_pss_certificate_is_the_same_key(shell, tmp_path):
    path = tmp_path / "key"
    shell(f"openssl genpkey -algorithm RSA-PSS -out {path}")
    certificate = shell(f"openssl req -x509 -key {path} -subj /CN=a -outform DER")
    assert identity.key_id_of_certificate(certificate) == file.facts_of(path.read_bytes()).key_id


@pytest.mark.parametrize("form", ["compressed", "uncompressed", "hybrid"])
def test_points_have_one_form(shell, form):
    (key,) = generate([("ec-p256", "key_agreement")])
    other = shell(f"openssl pkey -pubout -outform DER -ec_conv_form {form}", file.serialize(key))
    assert (other == key.facts.public_key) == (form == "uncompressed")
    assert identity.key_id(other) == key.facts.key_id


def test_absent_rsa_parameters_are_null():
    (key,) = generate([("rsa-2048", "key_transport")])
    _algorithm, numbers = der.read_sequence(key.facts.public_key)
    other = identity.subject_public_key_info(der.oid(identity.RSA), numbers.bits())
    assert other != key.facts.public_key
    assert identity.key_id(other) == key.facts.key_id


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"garbage", bytes.fromhex("30053003020100"), RSA_OF_NOTHING])
def test_others_are_refused(data):
    for function in (identity.key_id, identity.algorithm_of, identity.canonical):
        with pytest.raises(FormatError):
            function(data)


@pytest.mark.parametrize("data", [b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x02\x05\x00", b""])
def test_no_certificate(data):
    with pytest.raises(FormatError):
        identity.key_id_of_certificate(data)
