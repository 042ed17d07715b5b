# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New keys are what openssl, GnuTLS and OpenSSH take them for, and carry their usage; other pairs are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import AlgorithmError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm, file, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import ALGORITHMS, USAGES

#: The larger RSA keys are made in the same way and take seconds.
MADE = [word for word in ALGORITHMS if word == "rsa-2048" or not word.startswith("rsa-")]
PAIRS = [(word, usage) for word in MADE for usage in algorithm.usages_of(word)]

#: The DER of the attribute's BIT STRING, as docs/formats.md and RFC 5280 section 4.2.1.3 give the bits.
BITS = {
    "signature": "030206c0",
    "certificate_signing": "03020106",
    "authentication": "03020780",
    "key_transport": "03020430",
    "key_agreement": "03020308",
}

MAKE = """
import json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate
made = [file.serialize(key, sys.argv[1] or None).decode() for key in generate(json.load(sys.stdin))]
json.dump(made, sys.stdout)
"""


@pytest.fixture(scope="module", params=[sys.executable, "/usr/bin/python3"], ids=["new", "debian"])
def made(request):
    """A new key of every pair, as PEM, by both interpreters."""
    path = os.pathsep.join(entry for entry in sys.path if entry.endswith("collections"))
    ran = subprocess.run(
        [request.param, "-c", MAKE, ""],
        input=json.dumps(PAIRS),
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
    )
    return {tuple(pair): pem.encode() for pair, pem in zip(PAIRS, json.loads(ran.stdout))}


def test_openssl_accepts_every_key_and_sees_the_attribute(made, shell):
    for (word, usage), pem in made.items():
        check = "" if word.startswith("x") else "-check"
        shell(f"openssl pkey -noout {check}", pem)
        shown = shell("openssl asn1parse -dump", pem).decode()
        assert shown.count("X509v3 Key Usage") == 1, (word, usage)
        der = shell("openssl asn1parse -noout -out /dev/stdout", pem)
        assert der.endswith(bytes.fromhex("0603551d0f3104" + BITS[usage])), (word, usage)
        assert der[:8].find(b"\x02\x01\x00") > 0, "version 0"


def test_facts_agree_with_openssl(made, shell):
    for (word, usage), pem in made.items():
        facts = file.facts_of(pem)
        assert (facts.algorithm, facts.bound_usage, facts.container) == (word, usage, "pkcs8")
        assert facts.public_key == shell("openssl pkey -pubout -outform DER", pem)
        file.check_fully(file.load(pem))


def test_gnutls_and_openssh_accept_them(made, shell, tmp_path):
    for (word, _usage), pem in made.items():
        path = tmp_path / "key"
        path.write_bytes(pem)
        path.chmod(0o600)
        if not word.startswith("x"):
            shell(f"certtool --key-info --infile {path}")
        if word.startswith(("rsa", "ec-")):
            shell(f"ssh-keygen -y -P '' -f {path}")


@pytest.mark.parametrize("interpreter", [sys.executable, "/usr/bin/python3"], ids=["new", "debian"])
def test_encrypted_keys_open_with_openssl_and_keep_their_usage(shell, interpreter):
    path = os.pathsep.join(entry for entry in sys.path if entry.endswith("collections"))
    passphrase = "corréct horse"
    ran = subprocess.run(
        [interpreter, "-c", MAKE, passphrase],
        input='[["ec-p256", "key_agreement"]]',
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONUTF8": "1"},
        check=True,
    )
    (pem,) = (text.encode() for text in json.loads(ran.stdout))
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in pem
    shell("openssl pkey -passin env:P -noout -check", pem)
    shown = shell("openssl asn1parse", pem).decode()
    assert all(word in shown for word in ("PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", ":0927C0"))
    assert file.facts_of(pem, passphrase).bound_usage == "key_agreement"


def test_rsa_batches_keep_their_order_and_their_sizes():
    wanted = [
        ("rsa-2048", "signature"),
        ("ec-p256", "signature"),
        ("rsa-3072", "key_transport"),
        ("rsa-2048", "signature"),
    ]
    made = generate(wanted)
    assert [(key.facts.algorithm, key.facts.bound_usage) for key in made] == wanted
    assert len({key.facts.key_id for key in made}) == 4


def test_every_other_pair_is_refused():
    allowed = {(word, usage) for word in ALGORITHMS for usage in algorithm.usages_of(word)}
    assert {(word, usage) for word, usage in allowed if usage in usage_attribute.NONSIGNING} == {
        *((word, "key_transport") for word in ALGORITHMS if word.startswith("rsa-")),
        *((word, "key_agreement") for word in ("ec-p256", "ec-p384", "ec-p521", "x25519", "x448")),
    }
    for word in (*ALGORITHMS, "rsa-1024", "dsa", "ec-secp256k1", ""):
        for usage in (*USAGES, "conflict", ""):
            if (word, usage) not in allowed:
                with pytest.raises(AlgorithmError):
                    generate([("ec-p256", "signature"), (word, usage)])


@pytest.mark.parametrize("word", ["dsa", "rsassa-pss", "ed25519", "ed448", "ml-dsa-65", "1.2.3"])
def test_other_types_can_only_sign(word):
    assert not set(algorithm.usages_of(word)) & set(usage_attribute.NONSIGNING)
