# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""People with keys and certificates, and messages to them: all made by openssl, never by our own code."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor

#: What ``openssl req -newkey`` wants for each type.
TYPES = {
    "rsa": ["rsa:2048"],
    **{
        name: ["ec", "-pkeyopt", f"ec_paramgen_curve:{curve}"]
        for name, curve in (("p256", "P-256"), ("p384", "P-384"), ("p521", "P-521"))
    },
}
#: A mail's entity with everything that could be changed on the way: long lines, From_ lines, bytes, no last line end.
ENTITY = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Inside: yes\r\n\r\n"
    b"From here on\r\n>From there\r\nGr\xc3\xbc\xc3\x9fe\r\n.\r\n\r\nFrom a@b Mon Jan  1 00:00:00 2024\r\n"
    + b"x" * 2000
    + b"\r\nend"
)


def openssl(*arguments: object, stdin: bytes | None = None) -> bytes:
    """What openssl prints."""
    command = ["openssl", *(str(one) for one in arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout


@dataclass(frozen=True)
class Person:
    """A key and its certificate, in files."""

    name: str
    key: Path
    certificate: Path

    def decryptor(self, with_certificate: bool = True) -> Decryptor:
        """The key, loaded."""
        return _decryptor(self, with_certificate)

    @property
    def der(self) -> bytes:
        """The certificate."""
        return openssl("x509", "-in", self.certificate, "-outform", "DER")

    def encrypt(self, content: bytes, *options: object, form: str = "DER") -> bytes:
        """A CMS message to this person."""
        return openssl(
            "cms", "-encrypt", "-binary", "-outform", form, "-recip", self.certificate, *options, stdin=content
        )

    def mail(self, entity: bytes = ENTITY, *options: object, subject: str = "hello") -> bytes:
        """An S/MIME mail to this person."""
        header = ("-from", "a@example.com", "-to", "b@example.com", "-subject", subject)
        return self.encrypt(entity, "-aes-256-cbc", *header, *options, form="SMIME")

    def sign(self, content: bytes, *options: object) -> bytes:
        """An S/MIME signature by this person."""
        return openssl("cms", "-sign", "-signer", self.certificate, "-inkey", self.key, *options, stdin=content)


@functools.lru_cache(maxsize=100)
def _decryptor(one: Person, with_certificate: bool) -> Decryptor:
    private_key = load_pem_private_key(one.key.read_bytes(), None)
    return Decryptor(one.name, private_key, [one.der] if with_certificate else [])


def person(folder: Path, name: str, kind: str = "rsa") -> Person:
    """Somebody with a new key and a certificate of their own."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    openssl(
        *("req", "-x509", "-newkey", *TYPES[kind], "-nodes", "-keyout", key, "-out", certificate, "-days", 30),
        *("-subj", f"/O=Tests/CN={name}"),
    )
    key.chmod(0o600)
    return Person(name, key, certificate)


def altered(mail: bytes) -> bytes:
    """The mail with other content in its last whole line of base64."""
    lines = mail.splitlines(keepends=True)
    place = max(number for number, line in enumerate(lines) if len(line.rstrip()) == 64)
    lines[place] = (b"B" if lines[place][:1] != b"B" else b"C") + lines[place][1:]
    return b"".join(lines)


@functools.lru_cache(maxsize=1)
def has_legacy_provider() -> bool:
    """Whether openssl can do what is older than 3DES."""
    listed = subprocess.run(["openssl", "list", "-providers", "-provider", "legacy"], capture_output=True, check=False)
    return listed.returncode == 0
