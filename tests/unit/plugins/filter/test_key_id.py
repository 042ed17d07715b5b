# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_id: one name for a key, its certificates and its requests, as openssl and ssh-keygen make them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.filter.key_id import key_id


def run(*arguments: object, stdin: bytes | None = None) -> bytes:
    return subprocess.run([*map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key")
    key, subject = folder / "key", ("-subj", "/CN=test")
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    key.chmod(0o600)
    run("openssl", "pkey", "-in", key, "-pubout", "-out", folder / "public.pem")
    run("openssl", "req", "-new", "-key", key, *subject, "-out", folder / "request.pem")
    run("openssl", "req", "-x509", "-key", key, *subject, "-out", folder / "certificate.pem")
    (folder / "ssh.pub").write_bytes(run("ssh-keygen", "-y", "-f", key))
    return folder


@pytest.mark.parametrize("name", ["public.pem", "request.pem", "certificate.pem", "ssh.pub"])
def test_one_key_has_one_name(made: Path, name: str) -> None:
    der = run("openssl", "pkey", "-pubin", "-in", made / "public.pem", "-outform", "DER", "-pubout")
    assert key_id((made / name).read_text()) == hashlib.sha256(der).hexdigest()
    assert key_id("some text\n" + (made / name).read_text()) == hashlib.sha256(der).hexdigest()


def test_a_private_key_is_refused_and_not_repeated(made: Path) -> None:
    text = (made / "key").read_text()
    with pytest.raises(AnsibleFilterError, match="private key") as caught:
        key_id(text)
    assert text.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize("value", ["", "x", None, 5, "ssh-ed25519 AAAA", "é"])
def test_what_is_no_public_key_is_an_error(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="give one public key"):
        key_id(value)


@pytest.mark.parametrize("name", ["public.pem", "request.pem", "certificate.pem", "ssh.pub"])
def test_two_keys_and_half_a_key_are_errors(made: Path, name: str) -> None:
    text = (made / name).read_text()
    (made / "other").unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made / "other")
    two = text * 2 if name.endswith(".pem") else text + (made / "other.pub").read_text()
    for wrong in (two, text[: len(text) // 2]):
        with pytest.raises(AnsibleFilterError, match="give one public key"):
            key_id(wrong)
