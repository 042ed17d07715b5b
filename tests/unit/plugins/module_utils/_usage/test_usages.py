# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The five usages: what belongs together."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors, _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages

SIGNING_BITS = {"digitalSignature", "nonRepudiation", "keyCertSign", "cRLSign"}


def test_every_usage_is_signing_or_nonsigning() -> None:
    assert set(_options.USAGES) == usages.SIGNING | usages.NONSIGNING
    assert not usages.SIGNING & usages.NONSIGNING
    assert set(usages.ALLOWED_EXTENDED_KEY_USAGES) == set(_options.USAGES)


@pytest.mark.parametrize("usage", _options.USAGES)
def test_bits(usage: str) -> None:
    bits = set(usages.key_usage_bits(usage))
    assert bits and (bits <= SIGNING_BITS) == (usage in usages.SIGNING)
    assert (bits <= usages.NONSIGNING_BITS) == (usage in usages.NONSIGNING)


@pytest.mark.parametrize("algorithm", _options.ALGORITHMS)
def test_an_algorithm_that_can_only_sign_has_no_nonsigning_usage(algorithm: str) -> None:
    possible = set(usages.possible_usages(algorithm))
    assert possible and usages.can_only_sign(algorithm) == (not possible & usages.NONSIGNING)
    for usage in _options.USAGES:
        if usage in possible:
            usages.check_algorithm(usage, algorithm)
        else:
            with pytest.raises(_errors.AlgorithmError):
                usages.check_algorithm(usage, algorithm)


@pytest.mark.parametrize(
    "algorithm", ["ec-secp256k1", "dsa", "rsassa-pss", "ml-dsa-65", "2.16.840.1.101.3.4.3.20", "x"]
)
def test_other_types_have_no_usage(algorithm: str) -> None:
    assert usages.possible_usages(algorithm) == ()


#: What OpenSSL calls the OIDs; those that it does not know are checked against their sources in usages.py alone.
OPENSSL_NAMES = {
    "serverAuth": "TLS Web Server Authentication",
    "clientAuth": "TLS Web Client Authentication",
    "codeSigning": "Code Signing",
    "emailProtection": "E-mail Protection",
    "timeStamping": "Time Stamping",
    "OCSPSigning": "OCSP Signing",
    "ipsecIKE": "ipsec Internet Key Exchange",
    "secureShellClient": "SSH Client",
    "secureShellServer": "SSH Server",
    "pkinitClient": "PKINIT Client Auth",
    "pkinitKdc": "Signing KDC Response",
    "smartcardLogon": "Microsoft Smartcard Login",
    "msEFS": "Microsoft Encrypted File System",
}


@pytest.mark.parametrize(("name", "theirs"), OPENSSL_NAMES.items())
def test_openssl_has_the_same_oid(name: str, theirs: str) -> None:
    command = ["openssl", "asn1parse", "-genstr", f"OID:{usages.EXTENDED_KEY_USAGES[name]}"]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert said.rstrip().endswith(f":{theirs}")


@pytest.mark.parametrize("usage", _options.USAGES)
def test_extended_key_usages(usage: str) -> None:
    for name, oid in usages.EXTENDED_KEY_USAGES.items():
        if name in usages.ALLOWED_EXTENDED_KEY_USAGES[usage]:
            assert usages.extended_key_usages(usage, [name]) == usages.extended_key_usages(usage, [oid]) == (oid,)
        else:
            with pytest.raises(_errors.OptionError):
                usages.extended_key_usages(usage, [oid])
    for beyond in (usages.ANY_EXTENDED_KEY_USAGE, "1.2.3", "anyExtendedKeyUsage", ""):
        with pytest.raises(_errors.OptionError):
            usages.extended_key_usages(usage, [beyond])


def test_only_encryption_for_nonsigning_keys() -> None:
    allowed = {"1.3.6.1.5.5.7.3.4", "1.3.6.1.4.1.311.10.3.4", "1.3.6.1.4.1.311.10.3.4.1"}
    assert allowed | {"1.3.6.1.4.1.311.67.1.1", "1.3.6.1.4.1.311.80.1"} == usages.NONSIGNING_EXTENDED_KEY_USAGES
