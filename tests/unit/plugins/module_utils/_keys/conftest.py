# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of keys share: outside tools, the interpreters of hosts, and key files made by others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PASSPHRASE = "corréct horse"

#: name: (how to make it with outside tools ("{out}" is the file), passphrase or None, algorithm, container).
FOREIGN = {
    "rsa-pkcs8": ("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {out}", None, "rsa-2048", "pkcs8"),
    "rsa-pkcs8-der": (
        "openssl genpkey -algorithm RSA | openssl pkcs8 -topk8 -nocrypt -outform DER -out {out}",
        *(None, "rsa-2048", "pkcs8"),
    ),
    "rsa-1024": ("openssl genrsa -out {out} 1024", None, "rsa-1024", "pkcs8"),
    "rsa-pkcs1": ("openssl genrsa -traditional -out {out} 2048", None, "rsa-2048", "traditional"),
    "rsa-pkcs1-der": (
        "openssl genrsa -traditional 2048 | openssl rsa -traditional -outform DER -out {out}",
        *(None, "rsa-2048", "traditional"),
    ),
    "rsa-pkcs1-aes": (
        "openssl genrsa -traditional -aes128 -passout env:P -out {out} 2048",
        *(PASSPHRASE, "rsa-2048", "traditional"),
    ),
    "rsa-pss": ("openssl genpkey -algorithm RSA-PSS -out {out}", None, "rsassa-pss", "pkcs8"),
    "rsa-3-primes": ("openssl genrsa -primes 3 -out {out} 2048", None, "rsa-2048", "pkcs8"),
    "rsa-aes-sha256": (
        "openssl genpkey -algorithm RSA -aes-256-cbc -pass env:P -out {out}",
        *(PASSPHRASE, "rsa-2048", "encrypted-pkcs8"),
    ),
    "ec-aes-sha1": (
        "openssl ecparam -name P-256 -genkey -noout | openssl pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1"
        " -passout env:P -out {out}",
        *(PASSPHRASE, "ec-p256", "encrypted-pkcs8"),
    ),
    "ec-aes-sha512": (
        "openssl ecparam -name P-384 -genkey -noout | openssl pkcs8 -topk8 -v2 aes-192-cbc -v2prf hmacWithSHA512"
        " -outform DER -passout env:P -out {out}",
        *(PASSPHRASE, "ec-p384", "encrypted-pkcs8"),
    ),
    "ec-scrypt": (
        "openssl ecparam -name P-256 -genkey -noout | openssl pkcs8 -topk8 -scrypt -passout env:P -out {out}",
        *(PASSPHRASE, "ec-p256", "encrypted-pkcs8"),
    ),
    "ec-pbes1": (
        "openssl ecparam -name P-256 -genkey -noout | openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -passout env:P -out {out}",
        *(PASSPHRASE, "ec-p256", "encrypted-pkcs8"),
    ),
    "ec-pbes2-3des": (
        "openssl ecparam -name P-256 -genkey -noout | openssl pkcs8 -topk8 -v2 des3 -passout env:P -out {out}",
        *(PASSPHRASE, "ec-p256", "encrypted-pkcs8"),
    ),
    "ec-sec1-with-parameters": ("openssl ecparam -name P-256 -genkey -out {out}", None, "ec-p256", "traditional"),
    "ec-sec1-aes": (
        "openssl ecparam -name P-521 -genkey -noout | openssl ec -aes256 -passout env:P -out {out}",
        *(PASSPHRASE, "ec-p521", "traditional"),
    ),
    "ec-no-public": (
        "openssl ecparam -name P-256 -genkey -noout | openssl ec -no_public -outform DER -out {out}",
        *(None, "ec-p256", "traditional"),
    ),
    "ec-compressed": (
        "openssl ecparam -name P-384 -genkey -noout | openssl ec -conv_form compressed -out {out}",
        *(None, "ec-p384", "traditional"),
    ),
    "ec-secp256k1": ("openssl ecparam -name secp256k1 -genkey -noout -out {out}", None, "ec-secp256k1", "traditional"),
    "ec-unknown-curve": (
        "openssl ecparam -name sect233k1 -genkey -noout -out {out}",
        *(None, "ec-1.3.132.0.26", "traditional"),
    ),
    "ed25519": ("openssl genpkey -algorithm ED25519 -out {out}", None, "ed25519", "pkcs8"),
    "ed448": ("openssl genpkey -algorithm ED448 -outform DER -out {out}", None, "ed448", "pkcs8"),
    "x25519": ("openssl genpkey -algorithm X25519 -out {out}", None, "x25519", "pkcs8"),
    "x448": ("openssl genpkey -algorithm X448 -out {out}", None, "x448", "pkcs8"),
    "dsa": (
        "openssl genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 | openssl genpkey"
        " -paramfile /dev/stdin -out {out}",
        *(None, "dsa", "pkcs8"),
    ),
    "dsa-traditional": (
        "openssl dsaparam -genkey -noout 1024 | openssl dsa -out {out}",
        *(None, "dsa", "traditional"),
    ),
    "ssh-rsa": ("ssh-keygen -q -t rsa -b 2048 -N '' -f {out}", None, "rsa-2048", "openssh"),
    "ssh-ec": ("ssh-keygen -q -t ecdsa -b 384 -N '' -f {out}", None, "ec-p384", "openssh"),
    "ssh-ed25519": ("ssh-keygen -q -t ed25519 -N '' -f {out}", None, "ed25519", "openssh"),
    "ssh-ed25519-aes": ('ssh-keygen -q -t ed25519 -N "$P" -f {out}', PASSPHRASE, "ed25519", "openssh"),
    "with-certificate": (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a -keyout {out} -out {out}.crt; cat {out}.crt >>{out}",
        *(None, "rsa-2048", "pkcs8"),
    ),
}


@pytest.fixture(scope="session")
def formats():
    """FOREIGN, for the tests."""
    return FOREIGN


#: What the interpreter of a host answers about many key files at once: facts, and what a full check says.
ASK = """
import json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file
answers = {}
for path, passphrase in json.load(sys.stdin).items():
    data = open(path, "rb").read()
    answer = answers[path] = {}
    try:
        facts = file.facts_of(data, passphrase)
        answer.update(key_id=facts.key_id, algorithm=facts.algorithm, public_key=facts.public_key.hex(),
                      usage=facts.bound_usage, container=facts.container, encrypted=file.is_encrypted(data))
    except KeyopsError as error:
        answer["error"] = type(error).__name__
    try:
        key = file.load(data, passphrase)
        file.check_fully(key)
        answer["same"] = (key.facts.key_id, key.facts.algorithm) == (answer["key_id"], answer["algorithm"])
    except KeyopsError as error:
        answer["check"] = type(error).__name__
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="session", params=[sys.executable, "/usr/bin/python3"], ids=["new", "debian"])
def ask(request):
    """A function from {path: passphrase} to answers, by the tests' interpreter and by a Debian 12 host's."""

    def ask(wanted):
        path = os.pathsep.join(entry for entry in sys.path if entry.endswith("collections"))
        ran = subprocess.run(
            [request.param, "-c", ASK],
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return ask


@pytest.fixture(scope="session")
def shell():
    """A function that runs an outside tool and gives its standard output in bytes."""

    def shell(command, data=None):
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            input=data,
            capture_output=True,
            check=False,
            env={**os.environ, "P": PASSPHRASE},
        )
        assert ran.returncode == 0, (command, ran.stderr)
        return ran.stdout

    return shell


@pytest.fixture(scope="session")
def foreign(tmp_path_factory, shell):
    """Paths of the key files that others made, by name."""
    folder = tmp_path_factory.mktemp("foreign")
    made = {}
    for name, (command, *_rest) in FOREIGN.items():
        made[name] = Path(folder / name)
        shell(command.format(out=made[name]))
    return made
