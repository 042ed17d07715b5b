# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys as ssh-keygen writes them, and the places where they stand."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import ssh

KINDS = [
    *[("rsa", "2048"), ("rsa", "3072"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")],
    ("ed25519", "256"),
]


def key_id(workshop, private: Path) -> str:
    """By openssl, from ssh-keygen's PKCS#8; it cannot write Ed25519's, which is 12 fixed bytes more (RFC 8410)."""
    blob = base64.b64decode(private.with_suffix(".pub").read_text().split()[1])
    if b"ssh-ed25519" in blob:
        return hashlib.sha256(bytes.fromhex("302a300506032b6570032100") + blob[-32:]).hexdigest()
    public = workshop.run("ssh-keygen", "-e", "-m", "PKCS8", "-f", private.with_suffix(".pub"))
    return hashlib.sha256(workshop.run("openssl", "pkey", "-pubin", "-outform", "DER", stdin=public)).hexdigest()


@pytest.mark.parametrize(("kind", "bits"), KINDS, ids=lambda value: value)
def test_key_id(workshop, kind: str, bits: str) -> None:
    private = workshop.openssh_key(kind, "-b", bits)
    wanted = key_id(workshop, private)
    public = private.with_suffix(".pub").read_bytes()
    assert ssh.key_ids(public) == [wanted]
    authority = workshop.folder / "authority"
    workshop.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority)
    workshop.run("ssh-keygen", "-q", "-s", authority, "-I", "user", private.with_suffix(".pub"))
    assert ssh.key_ids((workshop.keys / "id_key-cert.pub").read_bytes()) == [wanted]
    assert ssh.key_ids(b'restrict,command="a b" ' + public + b"\n# " + public) == [wanted]


def test_lines_that_sshd_passes_over() -> None:
    blob = base64.b64encode(b"\x00\x00\x00\x07ssh-rsa\x00\x00\x00\xff").decode()
    assert ssh.key_ids(f"ssh-rsa {blob}\nssh-ed25519 AAAA\n\nssh-dss AAAAB3NzaC1kc3MAAACBAP\n".encode()) == []


@given(st.binary(max_size=200))
def test_any_blob(blob: bytes) -> None:
    for start in (b"", b"\x00\x00\x00\x0bssh-ed25519", b"\x00\x00\x00\x07ssh-rsa"):
        ssh.key_ids(b"x " + base64.b64encode(start + blob))


@pytest.fixture
def key(workshop) -> Path:
    return workshop.openssh_key("ed25519")


def test_places(workshop, key: Path) -> None:
    public = key.with_suffix(".pub").read_text()
    relative = (
        *("home/.ssh/authorized_keys", "home/.ssh/authorized_keys2", "home/.more/root", "central/0"),
        *("ssh/authorized_keys", "ssh/authorized_keys.d/one", "ssh/ssh_host_ed25519_key.pub"),
    )
    for path in relative:
        (workshop.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (workshop.folder / path).write_text(public)
    (workshop.sshd / "sshd_config.d").mkdir()
    (workshop.sshd / "sshd_config.d" / "one.conf").write_text("authorizedkeysfile=.more/%u # more\n")
    central = workshop.folder / "central" / "%U"
    (workshop.sshd / "sshd_config").write_text(f"#AuthorizedKeysFile no\nMatch all\n\tAuthorizedKeysFile {central}\n")
    found = ssh.collect(workshop.places())
    assert set(found.places[key_id(workshop, key)]) == {str(workshop.folder / path) for path in relative}
    assert found.not_looked_at == ()


def test_links_are_followed_as_sshd_does(workshop, key: Path) -> None:
    (workshop.home / ".ssh/authorized_keys").symlink_to(key.with_suffix(".pub"))
    assert list(ssh.collect(workshop.places()).places) == [key_id(workshop, key)]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path)


def large(path: Path) -> None:
    path.write_bytes(b"\n" * (ssh.MAX_SIZE + 1))


@pytest.mark.parametrize("make", [fifo, folder, device, circle, large])
def test_what_cannot_be_read_is_told(workshop, make) -> None:
    make(workshop.home / ".ssh/authorized_keys")
    found = ssh.collect(workshop.places())
    assert found.places == {} and len(found.not_looked_at) == 1
    assert str(workshop.home) in found.not_looked_at[0]


def test_a_host_without_anything(tmp_path: Path) -> None:
    assert ssh.collect(ssh.SshPlaces(str(tmp_path / "passwd"), str(tmp_path / "ssh"))) == ssh.SshKeys()


def test_a_named_file_must_be_there(workshop) -> None:
    with pytest.raises(_errors.FileError):
        ssh.collect(workshop.places(workshop.folder / "none"))
