# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every format, as other programs write it: openssl, certtool, NSS, puttygen, ssh-keygen, kubectl, cloud consoles."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import sys
from pathlib import Path

import pytest
from asn1crypto import pem

sys.path.insert(0, str(Path(__file__).resolve().parents[5] / "lib"))

import discovering

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import authorized

KU_RSA = "keyUsage = critical, keyEncipherment, dataEncipherment"


def key_id(workshop, key: Path) -> str:
    return hashlib.sha256(workshop.run("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER")).hexdigest()


@pytest.fixture
def pair(workshop) -> tuple[Path, Path]:
    """A key and its certificate, outside of the folder that is searched."""
    key = workshop.key("rsa", "pair.pem").rename(workshop.folder / "pair.key")
    return key, workshop.certificate(key, KU_RSA, where=workshop.folder / "pair.crt")


def pkcs12(workshop, pair, *options: object, passphrase: str = "right") -> Path:
    path = workshop.keys / "bundle"
    inputs = ("-inkey", pair[0], "-in", pair[1])
    workshop.run("openssl", "pkcs12", "-export", *inputs, *options, "-passout", f"pass:{passphrase}", "-out", path)
    return path


MODERN = ("-keypbe", "AES-256-CBC", "-certpbe", "AES-128-CBC", "-macalg", "sha256")
MIXED = ("-keypbe", "AES-128-CBC", "-certpbe", "PBE-SHA1-3DES", "-iter", 5000)
OLD = ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1")


@pytest.mark.parametrize("options", [MODERN, OLD, MIXED], ids=["AES", "3DES", "mixed"])
def test_pkcs12_by_openssl(workshop, pair, options: tuple) -> None:
    pkcs12(workshop, pair, *options)
    closed = discovering.look(workshop.keys, passphrases=["wrong", "Wröng €"])
    (row,) = closed["results"]
    assert (row["container"], row["encrypted"], row["key_id"]) == ("pkcs12", True, None) and not closed["certificates"]
    opened = discovering.look(workshop.keys, passphrases=["wrong", "right"])
    (row,), (certificate,) = opened["results"], opened["certificates"]
    assert row["key_id"] == certificate["key_id"] == key_id(workshop, pair[0]) and row["encrypted"]
    assert row["error"] is None and row["evidence"]["certificates"][0]["source"] == row["key"]


def test_pkcs12_with_a_passphrase_of_any_letters(workshop, pair) -> None:
    for options in (MODERN, OLD):
        pkcs12(workshop, pair, *options, passphrase="Füße 𝄞")
        assert discovering.look(workshop.keys, passphrases=["Füße 𝄞"])["results"][0]["key_id"]


def test_pkcs12_that_is_not_encrypted(workshop, pair) -> None:
    pkcs12(workshop, pair, "-keypbe", "NONE", "-certpbe", "NONE", "-nomac")
    found = discovering.look(workshop.keys)
    (row,) = found["results"]
    assert (row["key_id"], row["encrypted"]) == (key_id(workshop, pair[0]), False) and len(found["certificates"]) == 1


def test_pkcs12_of_certificates_alone_is_no_key(workshop, pair) -> None:
    path = workshop.keys / "trust"
    workshop.run(
        *("openssl", "pkcs12", "-export", "-nokeys", "-in", pair[1], "-certpbe", "NONE", "-passout", "pass:x"),
        *("-out", path),
    )
    found = discovering.look(workshop.keys)
    assert found["results"] == [] and len(found["certificates"]) == 1


def test_pkcs12_by_certtool(workshop, pair) -> None:
    path = workshop.keys / "bundle.p12"
    inputs = ("--load-privkey", pair[0], "--load-certificate", pair[1], "--p12-name", "n", "--password", "right")
    workshop.run("certtool", "--to-p12", *inputs, "--outder", "--outfile", path)
    assert discovering.look(workshop.keys, passphrases=["right"])["results"][0]["key_id"] == key_id(workshop, pair[0])


def test_pkcs12_and_certificates_by_nss(workshop, pair) -> None:
    database, secret = workshop.folder / "nss", workshop.folder / "secret"
    database.mkdir()
    secret.write_text("right\n")
    common = ("-d", f"sql:{database}")
    workshop.run("certutil", "-N", *common, "-f", secret)
    source = workshop.keys / "source.p12"
    pkcs12(workshop, pair, *MODERN, "-name", "mine").rename(source)
    workshop.run("pk12util", "-i", source, *common, "-k", secret, "-w", secret)
    source.unlink()
    out = workshop.keys / "nss.p12"
    workshop.run("pk12util", "-o", out, "-n", "mine", *common, "-k", secret, "-w", secret)
    (workshop.keys / "nss.der").write_bytes(workshop.run("certutil", "-L", "-n", "mine", *common, "-r"))
    found = discovering.look(workshop.keys, passphrases=["right"])
    assert found["results"][0]["key_id"] == key_id(workshop, pair[0])
    assert {row["key_id"] for row in found["certificates"]} == {key_id(workshop, pair[0])}


@pytest.mark.parametrize("form", ["DER", "PEM"])
def test_pkcs7(workshop, pair, form: str) -> None:
    workshop.run("openssl", "crl2pkcs7", "-nocrl", "-certfile", pair[1], "-outform", form, "-out", workshop.keys / "x")
    (row,) = discovering.look(workshop.keys)["certificates"]
    assert row["key_id"] == key_id(workshop, pair[0])


def test_ber_with_indefinite_lengths(workshop, pair) -> None:
    """As Windows streams it."""
    message = workshop.keys / "streamed"
    text = workshop.folder / "text"
    text.write_bytes(os.urandom(5000))
    signing = ("-signer", pair[1], "-inkey", pair[0], "-outform", "DER", "-stream", "-nodetach")
    workshop.run("openssl", "cms", "-sign", "-in", text, "-binary", *signing, "-out", message)
    assert message.read_bytes()[:2] == b"\x30\x80"
    (row,) = discovering.look(workshop.keys)["certificates"]
    assert row["key_id"] == key_id(workshop, pair[0])


def test_certificate_by_certtool(workshop) -> None:
    key, template = workshop.key("ec"), workshop.folder / "template"
    template.write_text(
        'cn = "Müller, \\"M\\" + Co"\nca\ncert_signing_key\nexpiration_days = 10\nserial = 4660\nactivation_date = '
        '"2026-01-02 03:04:05 UTC"\nexpiration_date = "2051-01-02 03:04:05 UTC"\n'
    )
    made = workshop.run("certtool", "--generate-self-signed", "--load-privkey", key, "--template", template)
    (workshop.keys / "cert").write_bytes(made)
    (row,) = discovering.look(workshop.keys)["certificates"]
    assert row["self_signed"] and row["ca"] and row["serial"] == "1234" and row["key_usage"] == ["keyCertSign"]
    assert (row["not_before"], row["not_after"]) == ("2026-01-02T03:04:05Z", "2051-01-02T03:04:05Z")
    said = workshop.run(
        *("openssl", "x509", "-in", workshop.keys / "cert", "-noout", "-subject"), "-nameopt", "RFC2253,utf8,-esc_msb"
    )
    assert "subject=" + row["subject"] == said.decode().strip()
    assert row["fingerprint"] == hashlib.sha256(pem.unarmor(made[made.index(b"-----BEGIN") :])[2]).hexdigest()


def test_names_as_openssl_says_them(workshop) -> None:
    key = workshop.key("ec")
    subject = "/C=DE/ST=Bayern/O=Example \\+ Sons\\, Ltd./OU=a<b>c;d/CN=#x y /UID=u"
    workshop.run(*("openssl", "req", "-new", "-x509", "-key", key, "-subj", subject, "-out", workshop.keys / "c"))
    (row,) = discovering.look(workshop.keys)["certificates"]
    said = workshop.run("openssl", "x509", "-in", workshop.keys / "c", "-noout", "-subject", "-nameopt", "RFC2253")
    assert "subject=" + row["subject"] == said.decode().rstrip("\n")


def test_several_keys_in_one_file(workshop) -> None:
    keys = [workshop.key(kind, f"{kind}.pem") for kind in ("rsa", "ec", "ed25519")]
    names = [key_id(workshop, key) for key in keys]
    together = workshop.keys / "all"
    together.write_bytes(b"text\n".join(key.read_bytes() for key in keys))
    for key in keys:
        key.unlink()
    rows = discovering.look(workshop.keys)["results"]
    assert [(row["part"], row["key_id"]) for row in rows] == list(zip((1, 2, 3), names))


def test_keys_inside_other_files(workshop) -> None:
    """A cloud account's JSON, a kubeconfig, indented YAML, an OpenVPN profile, Windows's line ends and mark."""
    text = workshop.key("rsa").read_text()
    files = {
        "account.json": json.dumps({"type": "service_account", "private_key": text}),
        "kubeconfig": "    client-key-data: " + base64.b64encode(text.encode()).decode() + "\n",
        "secret.yml": "key: |\n" + "".join(f"    {line}\n" for line in text.splitlines()),
        "profile.ovpn": f"client\n<key>\n{text}</key>\n",
        "windows.pem": "\ufeff" + text.replace("\n", "\r\n"),
        "trailing.pem": text + "\0" * 100,
    }
    for name, content in files.items():
        (workshop.keys / name).write_bytes(content.encode())
    rows = discovering.look(workshop.keys)["results"]
    assert {Path(row["key"]).name for row in rows} == {*files, "key.pem"}
    assert len({row["key_id"] for row in rows}) == 1 and not [row for row in rows if row["error"]]


def test_the_old_encryption_of_pem(workshop) -> None:
    key, path = workshop.key("ec"), workshop.keys / "old"
    workshop.run("openssl", "ec", "-in", key, "-aes128", "-passout", "pass:right", "-out", path)
    assert b"Proc-Type" in path.read_bytes()
    rows = discovering.look(workshop.keys, passphrases=["wrong", "right"])["results"]
    assert len({row["key_id"] for row in rows}) == 1 and [row["encrypted"] for row in rows] == [False, True]


@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_putty(workshop, passphrase: str) -> None:
    plain, new = workshop.openssh_key("ed25519"), workshop.folder / "new"
    new.write_text(passphrase)
    path = workshop.keys / "key.ppk"
    workshop.run("puttygen", plain, "-O", "private", "-o", path, "--new-passphrase", new)
    (workshop.folder / "public").write_bytes(workshop.run("ssh-keygen", "-y", "-f", plain))
    rows = {Path(row["key"]).name: row for row in discovering.look(workshop.keys)["results"]}
    row = rows.pop("key.ppk")
    assert (row["container"], row["encrypted"]) == ("putty", bool(passphrase))
    assert row["key_id"] == rows[plain.name]["key_id"] and row["refusal"]


def test_java_keystore(workshop, pair) -> None:
    """Its form is written here; that keytool's own is read was tried by hand (docs/discovery.md)."""
    certificate = pem.unarmor(pair[1].read_bytes())[2]

    def text(value: bytes, size: str = ">H") -> bytes:
        return struct.pack(size, len(value)) + value

    chain = text(b"X.509") + text(certificate, ">I")
    entries = struct.pack(">I", 1) + text(b"mine") + b"\0" * 8 + text(b"sealed", ">I") + struct.pack(">I", 1) + chain
    entries += struct.pack(">I", 2) + text(b"root") + b"\0" * 8 + chain
    (workshop.keys / "store").write_bytes(b"\xfe\xed\xfe\xed" + struct.pack(">II", 2, 2) + entries + b"\0" * 20)
    found = discovering.look(workshop.keys)
    (row,), (listed,) = found["results"], found["certificates"]
    assert (row["container"], row["encrypted"], row["key_id"]) == ("jks", True, key_id(workshop, pair[0]))
    assert listed["key_id"] == row["key_id"]


def test_what_is_named_and_not_opened(workshop) -> None:
    (workshop.keys / "pgp").write_bytes(
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBGV\n-----END PGP PRIVATE KEY BLOCK-----\n"
    )
    (workshop.keys / "ssh1").write_bytes(b"SSH PRIVATE KEY FILE FORMAT 1.1\n\0" + b"\0" * 100)
    (workshop.keys / "store").write_bytes(b"\xce\xce\xce\xce" + struct.pack(">III", 2, 1, 3) + b"\0" * 50)
    rows = discovering.look(workshop.keys)["results"]
    assert {row["container"] for row in rows} == {"openpgp", "ssh1", "jceks"}
    assert all(row["error"]["class"] == "KeyUnreadable" and row["mode"] for row in rows)


def test_authorized_keys(workshop) -> None:
    line = workshop.ssh_line(workshop.key("rsa")).strip()
    secret = "echo hunter2"
    lines = [
        "# a comment",
        f'command="{secret} \\"ssh-rsa AAAA\\" b",no-pty,unknown="hunter2" {line} hunter2',
        f'environment="TOKEN=hunter2",cert-authority {line}',
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIA== yubi",
        "no key at all",
        line,
    ]
    (workshop.keys / "authorized_keys2").write_text("\n".join(lines))
    found = discovering.look(workshop.keys)
    rows = found["authorized_keys"]
    assert [row["line"] for row in rows] == [2, 3, 4, 6] and rows[0]["mode"] and rows[0]["owner"]
    assert [row["options"] for row in rows] == [["command", "no-pty"], ["environment", "cert-authority"], [], []]
    assert rows[0]["key_id"] == key_id(workshop, workshop.keys / "key.pem") and rows[2]["key_id"] is None
    assert "hunter2" not in json.dumps(found)
    # The same places as OpenSSH itself finds.
    said = workshop.run("ssh-keygen", "-l", "-f", workshop.keys / "authorized_keys2").splitlines()
    assert len(said) >= 3


def test_an_entry_in_a_quoted_option_is_none() -> None:
    (entry,) = authorized.read(b'command="x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==" ssh-rsa AAAAB3NzaC1yc2EAAAA=')
    assert entry.kind == "ssh-rsa" and entry.options == ("command",)
