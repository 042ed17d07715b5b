# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong before a row acts: broken files, other vaults, full disks, certificates that do not fit."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import story
from bad_input.bench import Bench
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from story import openssl


def make_material(folder: Path) -> None:
    """Certificates that do not fit, for agents and keys."""
    folder.mkdir()
    for name, algorithm in (("rsa-1024", "RSA:1024"), ("secp256k1", "EC:secp256k1"), ("p-224", "EC:P-224")):
        story.make_certificate(folder / f"{name}.key", folder / f"{name}.pem", name, algorithm, "keyAgreement")
    story.make_certificate(folder / "good.key", folder / "good.pem", "good", "EC:P-256", "keyAgreement")
    openssl("genpkey", "-algorithm", "X25519", "-out", folder / "x25519.key")
    openssl("pkey", "-in", folder / "x25519.key", "-pubout", "-out", folder / "x25519.pub")
    signed = ("-key", folder / "good.key", "-subj", "/CN=x", "-days", 30)
    openssl("x509", "-new", "-force_pubkey", folder / "x25519.pub", *signed, "-out", folder / "x25519.pem")
    for name, begin, end in (("expired", -10, -1), ("early", 1, 10)):
        (folder / f"{name}.pem").write_bytes(_dated(begin, end))
    (folder / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def _dated(begin: int, end: int) -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dated")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days=begin))
    builder = builder.not_valid_after(now + datetime.timedelta(days=end))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def material(bench: Bench, name: str) -> str:
    """A certificate's text."""
    return (bench.scene.folder.parent / "material" / f"{name}.pem").read_text()


def holds(name: str, content: bytes) -> Callable[[Bench], None]:
    """A file of the host has this content."""

    def prepare(bench: Bench) -> None:
        path = bench.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
        path.chmod(0o600)

    return prepare


def cut(name: str) -> Callable[[Bench], None]:
    """A file of the host lost its second half."""
    return lambda bench: os.truncate(bench.folder / name, (bench.folder / name).stat().st_size // 2)


def damaged(pattern: str) -> Callable[[Bench], None]:
    """The one file of that pattern in the state folder lost its second half."""

    def prepare(bench: Bench) -> None:
        (path,) = (bench.folder / "state").glob(pattern)
        os.truncate(path, path.stat().st_size // 2)

    return prepare


def vault_replaced(change: Callable[[Path], object]) -> Callable[[Bench], None]:
    """Something else is where the vault should be."""

    def prepare(bench: Bench) -> None:
        bench.scene.vault_path.unlink()
        for path in bench.scene.vault_path.parent.iterdir():
            path.unlink()
        change(bench.scene.vault_path)

    return prepare


def foreign_database(path: Path) -> None:
    """Another application's."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()
    path.chmod(0o600)


def written(content: bytes) -> Callable[[Path], None]:
    """A file with this content, mode 0600."""

    def write(path: Path) -> None:
        path.write_bytes(content)
        path.chmod(0o600)

    return write


def read_only_disk(bench: Bench) -> None:
    """A folder that cannot be written to, by root neither."""
    folder = bench.small_disk("64k")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


def full_disk(bench: Bench) -> None:
    """No room for a byte more."""
    folder = bench.small_disk("16k")
    (folder / "requests").mkdir(mode=0o700)
    folder.joinpath("filler").write_bytes(b"x" * 16384)


def two_halves(bench: Bench) -> None:
    """A key file whose public half belongs to another private half (SEC1: a field of its own)."""
    one, other = (ec.generate_private_key(ec.SECP256R1()) for dummy in range(2))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    der = one.private_bytes(serialization.Encoding.DER, *form)
    point = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    mixed = der.replace(one.public_key().public_bytes(*point), other.public_key().public_bytes(*point))
    assert mixed != der
    holds("bad.key", mixed)(bench)


def bad_one_time_key(bench: Bench) -> None:
    """An open request that is whole but for the key in it."""
    (path,) = (bench.folder / "state" / "requests").glob("*.json")
    value = {**json.loads(path.read_bytes()), "one_time_key": "AAAA"}
    path.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")))


def nothing(bench: Bench) -> None:
    """No preparation."""


def dual(bench: Bench) -> None:
    """A certificate for both jobs."""
    folder = bench.scene.folder.parent / "material"
    usage = "keyAgreement,digitalSignature"
    story.make_certificate(folder / "dual.key", folder / "dual.pem", "dual", "EC:P-256", usage)


def agent_pem(number: int, kind: str) -> Callable[[Bench], str]:
    """An agent's certificate, when there is a bench."""
    return lambda bench: (bench.scene.agents[number].folder / f"{kind}.pem").read_text()
