# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery agents whose keys and certificates openssl makes at run time, and the openssl that opens what we seal."""

from __future__ import annotations

import datetime
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, pkcs8
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import RecoveryAgent, RecoveryGroup

NOW = datetime.datetime.now(datetime.timezone.utc)
KINDS = ("rsa", "p256", "p384", "p521")
ALGORITHMS = {
    "rsa": ("rsa", "rsa_keygen_bits:2048"),
    "rsa-1024": ("rsa", "rsa_keygen_bits:1024"),
    "rsa-pss": ("rsa-pss", "rsa_keygen_bits:2048"),
    "p256": ("ec", "ec_paramgen_curve:P-256"),
    "p384": ("ec", "ec_paramgen_curve:P-384"),
    "p521": ("ec", "ec_paramgen_curve:P-521"),
    "secp256k1": ("ec", "ec_paramgen_curve:secp256k1"),
    "x25519": ("x25519", None),
    "x448": ("x448", None),
    "ed25519": ("ed25519", None),
    "ed448": ("ed448", None),
}


def openssl(*arguments: object, data: bytes | None = None, check: bool = True) -> bytes:
    command = ["openssl", *(str(argument) for argument in arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=check).stdout


@dataclass(frozen=True)
class Made:
    """A key with its certificate, as files and as objects."""

    key_file: Path
    certificate_file: Path
    pem: str
    certificate: bytes
    private_key: Any
    spki: bytes

    @property
    def key_id(self) -> str:
        return identity.key_id(self.spki)

    @property
    def pkcs8(self) -> bytes:
        return openssl("pkcs8", "-topk8", "-nocrypt", "-in", self.key_file, "-outform", "DER")


class Workshop:
    """Makes keys and certificates with openssl; the plain ones once per test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def path(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count}-{name}"

    def key(self, kind: str) -> Path:
        path = self.path(f"{kind}.key")
        algorithm, option = ALGORITHMS[kind]
        options = ("-pkeyopt", option) if option else ()
        openssl("genpkey", "-algorithm", algorithm, *options, "-out", path)
        return path

    def make(self, kind: str, *extensions: str, days: int = 30, key_file: Path | None = None) -> Made:
        """A key with a certificate; extensions as ``keyUsage=critical,digitalSignature``."""
        key_file = key_file or self.key(kind)
        certificate_file = self.path(f"{kind}.crt")
        options = [item for extension in extensions for item in ("-addext", extension)]
        # An X25519 key cannot sign its request, so an authority issues here; -new makes nothing from a key without it.
        if kind in ("x25519", "x448"):
            return self._made_without_certificate(key_file)
        subject = f"/O=keyops test/CN={certificate_file.stem}"
        openssl(
            *("req", "-x509", "-new", "-key", key_file, "-subj", subject, "-days", days, "-out", certificate_file),
            *options,
        )
        pem = certificate_file.read_text()
        certificate = openssl("x509", "-in", certificate_file, "-outform", "DER")
        return Made(key_file, certificate_file, pem, certificate, self.load(key_file), self.spki(key_file))

    def _made_without_certificate(self, key_file: Path) -> Made:
        return Made(key_file, key_file, "", b"", self.load(key_file), self.spki(key_file))

    @staticmethod
    def load(key_file: Path) -> Any:
        return serialization.load_pem_private_key(key_file.read_bytes(), None)

    @staticmethod
    def spki(key_file: Path) -> bytes:
        return openssl("pkey", "-in", key_file, "-pubout", "-outform", "DER")

    def private_key(self, kind: str, usage: str | None = None) -> PrivateKey:
        """A PrivateKey as the file layer hands it on, bound to the usage if one is given."""
        made = self.make(kind)
        info = pkcs8.parse(made.pkcs8)
        data = pkcs8.compose(pkcs8.with_usage(info, usage) if usage else info)
        return PrivateKey(data, KeyFacts(made.key_id, identity.algorithm_of(made.spki), made.spki, usage, "pkcs8"))

    def agent(self, name: str, kind: str, keys: dict[str, Made]) -> RecoveryAgent:
        """An agent whose encryption key is kept in ``keys`` under its agent ID; its signing key is a P-256 one."""
        encryption, signing = self.make(kind), self.make("p256")
        keys[encryption.key_id] = encryption
        return RecoveryAgent(name, encryption.key_id, signing.key_id, encryption.certificate, signing.certificate)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def recipients(workshop: Workshop) -> dict[str, Made]:
    """One key and certificate of every kind that shares can be sealed to."""
    return {kind: workshop.make(kind) for kind in KINDS}


@dataclass(frozen=True)
class Cast:
    """Six agents, and their keys by agent ID."""

    agents: tuple[RecoveryAgent, ...]
    keys: dict[str, Made]

    def group(self, name: str, threshold: int, count: int) -> RecoveryGroup:
        return RecoveryGroup(name, threshold, self.agents[:count])


@pytest.fixture(scope="session")
def cast(workshop: Workshop) -> Cast:
    keys: dict[str, Made] = {}
    kinds = ("rsa", "p256", "p384", "p521", "rsa", "p256")
    return Cast(tuple(workshop.agent(f"agent-{n}", kind, keys) for n, kind in enumerate(kinds, start=1)), keys)


@pytest.fixture(name="openssl", scope="session")
def _openssl() -> Any:
    return openssl
