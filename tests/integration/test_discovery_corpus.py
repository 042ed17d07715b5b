# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every key and certificate file of cryptography-vectors: what the search says beside what openssl says."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from pathlib import Path

import badkeys
import cryptography_vectors
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import discovering

VECTORS = Path(cryptography_vectors.__file__).parent
KINDS = (".pem", ".der", ".key", ".crt", ".p7b", ".p12")
PASSPHRASE = "password"

#: Private keys that openssl reads and of which the search tells that they cannot be read, with the reason.
NOT_NAMED = (
    *("dhkey", "dhkey_rfc5114_2"),  # finite-field Diffie-Hellman has no usage here
    *("-explicit-no-seed", "-explicit-seed"),  # elliptic curves by their parameters
    "ec_private_key_non_zero_unused_bits",
    "ec-inconsistent-curve2",  # two different curves in one key
    "wrong-pem-delimiter-rsa",  # a label that says something else
    "enc-rsa-3des",  # PBES2 with triple DES is not opened
)
#: Certificates that openssl reads and the search tells as broken: the public key has a negative modulus.
NOT_READ = ("badasn1time.pem",)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for path in VECTORS.rglob("*"):
        if path.suffix in KINDS and path.is_file():
            shutil.copyfile(path, folder / str(path.relative_to(VECTORS)).replace("/", "+"))
    return folder


@pytest.fixture(scope="module")
def theirs(corpus: Path) -> dict[str, discovering.Opened]:
    return discovering.openssl_reads(corpus, PASSPHRASE)


@pytest.fixture(scope="module")
def ours(corpus: Path) -> dict:
    return discovering.look(corpus, passphrases=[PASSPHRASE])


def test_every_private_key(theirs: dict, ours: dict) -> None:
    rows = defaultdict(list)
    for row in ours["results"]:
        rows[Path(row["key"]).name].append(row)
    assert len(theirs) > 1200 and sum(len(one.keys) for one in theirs.values()) > 450
    for name, opened in theirs.items():
        named = {row["key_id"] for row in rows[name]} - {None}
        assert len(rows[name]) >= len(opened.keys), f"{name}: not found"
        missed = set(opened.keys) - {None} - named
        assert not missed or any(part in name for part in NOT_NAMED), f"{name}: {[r['error'] for r in rows[name]]}"


def test_nothing_else_is_a_private_key(theirs: dict, ours: dict) -> None:
    """What openssl does not read as a key has a reason; what is named and openssl cannot name is of a newer kind."""
    for row in ours["results"]:
        opened = theirs[Path(row["key"]).name]
        if not opened.keys:
            newer = row["container"] == "openssh" or str(row["algorithm"]).startswith("ml-dsa")
            assert row["error"] or newer or "cert-none-key-none" in row["key"], row


def test_every_certificate(theirs: dict, ours: dict) -> None:
    prints = {row["fingerprint"] for row in ours["certificates"]}
    for name, opened in theirs.items():
        missed = set(opened.certificates) - prints
        assert not missed or name.endswith(NOT_READ), name
        assert not missed or name in " ".join(ours["not_looked_at"])
    assert sum(len(one.certificates) for one in theirs.values()) > 900
    assert ours["searched"]["complete"]


def test_the_whole_package_without_a_passphrase(tmp_path: Path) -> None:
    """Text vectors too; nothing is opened, and nothing fails."""
    found = discovering.look(VECTORS)
    assert found["searched"]["complete"] and len(found["results"]) > 500
    assert {row["error"]["class"] for row in found["results"] if row["error"]} == {"KeyUnreadable", "WrongPassphrase"}


def test_weak_keys_reach_badkeys(tmp_path: Path) -> None:
    """What the search says of a public key is what badkeys needs: primes that are too close, and a sound key."""
    form = serialization.PrivateFormat.TraditionalOpenSSL
    for name, key in (("close", close_primes(3 << 1022, 1 << 200)), ("sound", rsa.generate_private_key(65537, 2048))):
        data = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (tmp_path / name).write_bytes(data)
    rows = {Path(row["key"]).name: row["public_key"] for row in discovering.look(tmp_path)["results"]}
    assert "fermat" in badkeys.checkpubkey(rows["close"], ["fermat"])["results"]
    assert not badkeys.checkpubkey(rows["sound"], ["fermat"])["results"]


def close_primes(start: int, distance: int) -> rsa.RSAPrivateKey:
    """An RSA key whose primes are the next after a number, and the next after that and a distance."""

    def prime_after(number: int) -> int:
        number |= 1
        while pow(3, number - 1, number) != 1 or (number - 1) % 65537 == 0:
            number += 2
        return number

    p, q = prime_after(start), prime_after(start + distance)
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPublicNumbers(65537, p * q)
    private = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), numbers)
    return private.private_key(unsafe_skip_rsa_key_validation=True)
