# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A request that somebody else signs says what the key itself would have signed; a wrong signature is no request."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import TokenMisbehaved
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import foreign_request, profiles

NAMES = {
    "subject": {"O": "Example", "CN": "mail"},
    "subject_alt_name": ["email:mail@example.com"],
    "extended_key_usage": ["emailProtection"],
    "certificate_authority": False,
}
KINDS = [
    ("rsa-2048", "key_transport"),
    ("rsa-4096", "signature"),
    ("ec-p256", "key_agreement"),
    ("ec-p384", "signature"),
    ("ec-p521", "key_agreement"),
    ("ed25519", "signature"),
]


def signed(private_key, hash_name, message):
    if hash_name is None:
        return private_key.sign(message)
    digest = profiles.hash_object(hash_name)
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return private_key.sign(message, ec.ECDSA(digest))
    return private_key.sign(message, padding.PKCS1v15(), digest)


def info_of(request):
    encoded = x509.load_pem_x509_csr(request).public_bytes(serialization.Encoding.DER)
    return der.read_sequence(encoded)[0].whole


@pytest.mark.parametrize(("algorithm", "usage"), KINDS)
def test_the_same_is_signed(algorithm, usage):
    key = generate([(algorithm, usage)])[0]
    private_key = file.to_cryptography(key)
    content = profiles.wanted(NAMES, usage, key.facts.key_id, algorithm)

    def sign(message):
        return signed(private_key, content.signature_hash, message)

    written = foreign_request.write(content, key.facts.public_key, algorithm, sign)
    assert profiles.read(written) == content
    assert info_of(written) == info_of(profiles.write(content, private_key))


@pytest.mark.parametrize(
    "wrong", [lambda sign: lambda message: sign(message + b" "), lambda sign: lambda message: b"\0"]
)
def test_a_wrong_signature_is_no_request(wrong):
    key = generate([("ec-p256", "signature")])[0]
    private_key = file.to_cryptography(key)
    content = profiles.wanted(NAMES, "signature", key.facts.key_id, "ec-p256")
    sign = wrong(lambda message: signed(private_key, "sha256", message))
    with pytest.raises(TokenMisbehaved):
        foreign_request.write(content, key.facts.public_key, "ec-p256", sign)
