# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with the key pairs of an owner, made by openssl, and the flow of key_export on it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.modules.key_export import ARGUMENT_SPEC

#: Of files that are made while a test runs.
PASSWORD = "a password of tests"


def openssl(*words: object, stdin: bytes | None = None) -> bytes:
    """What openssl prints; fails the test when it fails."""
    made = subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout


class Host:
    """A folder with key pairs, one for what is written, and one for the state."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.state = folder, folder / "out", folder / "state"
        self.out.mkdir()

    def pair(
        self, name: str, algorithm: str = "rsa:2048", usage: str = "keyEncipherment", subject: str = "", ca: str = ""
    ) -> Path:
        """A key and its certificate, self-signed or by the pair ``ca``."""
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        kind = ["-pkeyopt", "ec_paramgen_curve:P-256"] if algorithm == "ec" else []
        issuer = ["-CA", self.folder / f"{ca}.pem", "-CAkey", self.folder / f"{ca}.key"] if ca else []
        command = [
            "req",
            "-new",
            "-newkey",
            algorithm,
            *kind,
            "-nodes",
            "-keyout",
            key,
            "-subj",
            f"/CN={subject or name}",
        ]
        more = ["-addext", f"keyUsage=critical,{usage}"]
        request = self.folder / f"{name}.csr"
        if ca:
            openssl(*command, *more, "-out", request)
            copy = ["-copy_extensions", "copy", "-days", "9", "-out", certificate]
            openssl("x509", "-req", "-in", request, *issuer, "-CAcreateserial", *copy)
            request.unlink()
        else:
            openssl(*command, *more, "-x509", "-days", "9", "-out", certificate)
        key.chmod(0o600)
        return key

    def copied(self, folder: Path) -> Host:
        """Another host with the same pairs."""
        other = Host(folder)
        for path in [*self.folder.glob("*.key"), *self.folder.glob("*.pem")]:
            copy = folder / path.name
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o600)
        return other

    def item(self, *names: str, dest: str = "a.p12", **options: object) -> dict:
        """One item of ``exports`` with these pairs."""
        keys = [
            {"key": f"{self.folder}/{n}.key", "certificate": f"{self.folder}/{n}.pem", "usage": "key_transport"}
            for n in names
        ]
        return {"dest": str(self.out / dest), "password": PASSWORD, "keys": keys, **options}

    def run(self, *items: dict, check: bool = False, step: str | None = "export", relay: object = None) -> FlowResult:
        """The flow's result."""
        params = {"exports": list(items), "state_dir": str(self.state)}
        validated = ArgumentSpecValidator(ARGUMENT_SPEC).validate(params)
        assert not validated.error_messages, validated.error_messages
        return export.run(HostTask(validated.validated_parameters, check, step, relay))

    def pem(self, name: str) -> str:
        """A certificate's text."""
        return (self.folder / f"{name}.pem").read_text()

    def snapshot(self) -> dict[str, bytes]:
        """Every file with its content."""
        return {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    def key_id(self, name: str) -> str:
        """The key ID of a pair, as openssl sees its key."""
        spki = openssl("pkey", "-in", self.folder / f"{name}.key", "-pubout", "-outform", "DER")
        return hashlib.sha256(spki).hexdigest()


def keys_in(path: Path, password: str, *options: str) -> tuple[set[str], int]:
    """What openssl finds in a PKCS#12 file: the key IDs, and how many certificates."""
    command = ("pkcs12", "-in", path, "-passin", "stdin", "-nodes", *options)
    text = openssl(*command, stdin=password.encode()).decode()
    end = "-----END PRIVATE KEY-----"
    begin = "-----BEGIN PRIVATE KEY-----"
    keys = [f"{begin}{one.split(end)[0]}{end}\n".encode() for one in text.split(begin)[1:]]
    spkis = [openssl("pkey", "-pubout", "-outform", "DER", stdin=one) for one in keys]
    return {hashlib.sha256(one).hexdigest() for one in spkis}, text.count("-----BEGIN CERTIFICATE-----")


def password_in(path: Path, key: Path) -> str:
    """The password in a message, as openssl opens it with the owner's key."""
    return openssl("cms", "-decrypt", "-inform", "DER", "-in", path, "-inkey", key).decode().splitlines()[0]
