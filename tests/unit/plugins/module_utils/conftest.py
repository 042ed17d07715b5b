# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real keys, certificates and requests, made at run time by openssl, ssh-keygen and certtool: never by our own code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from asn1crypto import core, csr, parser, pem, x509

from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import ssh

_ALGORITHMS = {
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsassa-pss": ("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"),
    "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "secp256k1": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
    "ed25519": ("-algorithm", "ED25519"),
    "ed448": ("-algorithm", "ED448"),
    "x25519": ("-algorithm", "X25519"),
    "x448": ("-algorithm", "X448"),
}
_BITS = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "non_repudiation",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}
_USAGES = {
    "signature": "digitalSignature, nonRepudiation",
    "certificate_signing": "keyCertSign, cRLSign",
    "authentication": "digitalSignature",
    "key_transport": "keyEncipherment, dataEncipherment",
    "key_agreement": "keyAgreement",
}
_made: dict[tuple[str, str], bytes] = {}


def run(*command: object, stdin: bytes | None = None) -> bytes:
    return subprocess.run([str(word) for word in command], input=stdin, capture_output=True, check=True).stdout


def _sequence(*parts: bytes) -> bytes:
    return parser.emit(0, 1, 16, b"".join(parts))


class Workshop:
    """Makes files in one folder that stands for a host: keys and certificates, a home, sshd's folder, the state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.home = folder / "home"
        self.sshd = folder / "ssh"
        self.state = folder / "state"
        for place in (self.keys, self.home / ".ssh", self.sshd, self.state / "receipts"):
            place.mkdir(parents=True)
        (folder / "passwd").write_text(f"root:x:0:0:root:{self.home}:/bin/sh\n")

    run = staticmethod(run)
    armor = staticmethod(pem.armor)

    @staticmethod
    def said(*command: object) -> str:
        """What a tool says on standard error."""
        return subprocess.run([str(word) for word in command], capture_output=True, check=True).stderr.decode()

    def places(self, *extra: Path) -> ssh.SshPlaces:
        return ssh.SshPlaces(str(self.folder / "passwd"), str(self.sshd), tuple(str(path) for path in extra))

    def key(self, algorithm: str, name: str = "key.pem") -> Path:
        """A key; each test run makes one per algorithm and name, since making RSA keys is slow."""
        if (algorithm, name) not in _made:
            _made[algorithm, name] = run("openssl", "genpkey", *_ALGORITHMS[algorithm])
        path = self.keys / name
        path.write_bytes(_made[algorithm, name])
        return path

    def dsa_key(self) -> Path:
        parameters, path = self.folder / "dsa-parameters.pem", self.keys / "key.pem"
        run(
            "openssl",
            "genpkey",
            "-genparam",
            "-algorithm",
            "DSA",
            "-pkeyopt",
            "dsa_paramgen_bits:1024",
            "-out",
            parameters,
        )
        run("openssl", "genpkey", "-paramfile", parameters, "-out", path)
        return path

    def openssh_key(self, kind: str, *options: str) -> Path:
        path = self.keys / "id_key"
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path, *options)
        return path

    def ml_dsa_key(self) -> Path:
        """A PKCS#8 with a seed (RFC 9881 section 6): written by hand, since this openssl knows no ML-DSA."""
        path = self.keys / "key.pem"
        algorithm = _sequence(core.ObjectIdentifier("2.16.840.1.101.3.4.3.18").dump())
        seed = core.OctetString(parser.emit(2, 0, 0, os.urandom(32))).dump()
        path.write_bytes(pem.armor("PRIVATE KEY", _sequence(core.Integer(0).dump(), algorithm, seed)))
        return path

    def bind(self, key: Path, inside: str) -> Path:
        """Put a usage, or any row of key usage bits, into the key as its X.509 keyUsage attribute, as Windows does."""
        bits = {_BITS[bit] for bit in _USAGES.get(inside, inside).split(", ")}
        plain = run("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", key, "-outform", "DER")
        usage = parser.emit(0, 1, 17, x509.KeyUsage(bits).dump())
        attribute = _sequence(core.ObjectIdentifier("2.5.29.15").dump(), usage)
        bound = _sequence(parser.parse(plain)[4], parser.emit(2, 1, 0, attribute))
        key.write_bytes(pem.armor("PRIVATE KEY", bound))
        return key

    def with_microsoft_attribute(self, request: bytes) -> bytes:
        """The request with szOID_CERT_EXTENSIONS in place of PKCS#9's extensionRequest, as certreq writes it."""
        whole = csr.CertificationRequest.load(request)
        info = whole["certification_request_info"]
        kind = core.ObjectIdentifier("1.3.6.1.4.1.311.2.1.14").dump()
        attributes = parser.emit(2, 1, 0, _sequence(kind, info["attributes"][0]["values"].dump()))
        fixed = (info[name].dump() for name in ("version", "subject", "subject_pk_info"))
        signature = (whole[name].dump() for name in ("signature_algorithm", "signature"))
        return pem.armor("CERTIFICATE REQUEST", _sequence(_sequence(*fixed, attributes), *signature))

    def public_key(self, key: Path) -> Path:
        path = self.folder / (key.name + ".spki")
        path.write_bytes(run("openssl", "pkey", "-in", key, "-pubout"))
        return path

    def ssh_line(self, key: Path) -> str:
        """The public key as ssh-keygen writes it for authorized_keys."""
        public = self.public_key(key)
        return run("ssh-keygen", "-i", "-m", "PKCS8", "-f", public).decode()

    def certificate(self, key: Path, *extensions: str, where: Path | None = None) -> Path:
        """A certificate for the key's public key with exactly these extensions, issued by a CA of its own."""
        path = where or self.keys / "cert.pem"
        authority, settings = self._authority(), self._settings(extensions)
        issue = (
            "-subj",
            "/CN=user",
            "-force_pubkey",
            self.public_key(key),
            "-CA",
            authority[0],
            "-CAkey",
            authority[1],
        )
        run("openssl", "x509", "-new", *issue, "-extfile", settings, "-extensions", "wanted", "-days", 30, "-out", path)
        return path

    def request(self, key: Path, *extensions: str, where: Path | None = None) -> Path:
        path = where or self.keys / "request.pem"
        settings = self._settings(extensions)
        wanted = ("-reqexts", "wanted") if extensions else ()
        run("openssl", "req", "-new", "-key", key, "-subj", "/CN=user", "-config", settings, *wanted, "-out", path)
        return path

    def _settings(self, extensions: tuple[str, ...]) -> Path:
        path = self.folder / "extensions.cnf"
        path.write_text("[req]\ndistinguished_name = name\n[name]\n[wanted]\n" + "\n".join(extensions) + "\n")
        return path

    def _authority(self) -> tuple[Path, Path]:
        certificate, key = self.folder / "ca.pem", self.folder / "ca.key"
        if not certificate.exists():
            run("openssl", "genpkey", *_ALGORITHMS["ec"], "-out", key)
            subject = ("-subj", "/CN=authority", "-config", self._settings(()), "-days", 30)
            run("openssl", "req", "-x509", "-new", "-key", key, *subject, "-out", certificate)
        return certificate, key


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)
