# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sealing: openssl opens what we write, in every form; sizes and doubles are refused; no opening code comes along."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_seal

KINDS = ("rsa", "p256", "p384", "p521")
CONTENT = b"one line\nanother\r\n\x00\xff"


def _openssl_opens(message: bytes, path: Path, *options: object) -> bytes:
    path.write_bytes(message)
    command = ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", path, *options]
    return subprocess.run([str(word) for word in command], capture_output=True, check=True).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_opens_a_message_to_a_certificate(kind: str, recipients: Any, tmp_path: Path) -> None:
    to = recipients[kind]
    message = cms_seal.seal_to_certificate(CONTENT, to.certificate)
    opened = _openssl_opens(message, tmp_path / "m", "-inkey", to.key_file, "-recip", to.certificate_file)
    assert opened == CONTENT


def test_openssl_opens_every_recipient_of_a_sealed_key(tmp_path: Path) -> None:
    keks = [(os.urandom(16).hex(), os.urandom(32)) for dummy in range(5)]
    message = cms_seal.seal_with_keks(CONTENT, keks)
    for kek_id, kek in keks:
        opened = _openssl_opens(message, tmp_path / "m", "-secretkey", kek.hex(), "-secretkeyid", kek_id)
        assert opened == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_opens_a_message_to_a_key_without_certificate(kind: str, recipients: Any, tmp_path: Path) -> None:
    to = recipients[kind]
    message = cms_seal.seal_to_public_key(CONTENT, to.spki)
    assert bytes.fromhex(to.key_id) in message  # the recipient identifier
    assert _openssl_opens(message, tmp_path / "m", "-inkey", to.key_file) == CONTENT


def test_every_message_has_its_own_key_and_nonce() -> None:
    kek = (os.urandom(16).hex(), os.urandom(32))
    messages = {cms_seal.seal_with_keks(CONTENT, [kek])[-60:] for dummy in range(20)}
    assert len(messages) == 20


@pytest.mark.parametrize(
    "keks",
    [
        [],
        [("00" * 16, b"k" * 32), ("00" * 16, b"l" * 32)],
        [("00" * 15, b"k" * 32)],
        [("00" * 16, b"k" * 16)],
    ],
    ids=["none", "same identifier", "short identifier", "short key"],
)
def test_wrong_keks_are_refused(keks: list[tuple[str, bytes]]) -> None:
    with pytest.raises(FormatError):
        cms_seal.seal_with_keks(CONTENT, keks)


@pytest.mark.parametrize("kind", ("rsa-1024", "rsa-pss", "secp256k1", "ed25519"))
def test_weak_and_signing_recipients_are_refused(kind: str, workshop: Any) -> None:
    made = workshop.make(kind)
    with pytest.raises(FormatError):
        cms_seal.seal_to_certificate(CONTENT, made.certificate)
    with pytest.raises(FormatError):
        cms_seal.seal_to_public_key(CONTENT, made.spki)


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"\x30\x02\x30\x00", b"certificate", b"\x30\x80\x00\x00"])
def test_garbage_is_no_recipient(data: bytes) -> None:
    with pytest.raises(FormatError):
        cms_seal.seal_to_certificate(CONTENT, data)
    with pytest.raises(FormatError):
        cms_seal.seal_to_public_key(CONTENT, data)


def test_a_sealing_host_loads_no_opening_code() -> None:
    """What Ansible ships to a host follows the imports: seal_key must reach neither cms_open nor shares_combine."""
    package = "ansible_collections.keyops.lifecycle.plugins.module_utils._sealing"
    script = (
        f"import sys, {package}.seal_key, {package}.groups\n"
        "print([name for name in sys.modules if name.endswith(('cms_open', 'shares_combine', 'open_key'))])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, env=environment)
    assert result.stdout.strip() == "[]"
