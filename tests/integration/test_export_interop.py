# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exported files in the programs that their owners have, and the files of those programs here (docs/delivery.md).

The table there is this test's: what opens and, as far as these versions go, what does not.
"""

from __future__ import annotations

import email
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs12
from exporting import PASSWORD, Host, keys_in, openssl

from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import pkcs12_open

#: Profile and MAC of every kind of file.
KINDS = [("modern", "hmac"), ("modern", "pbmac1"), ("windows", "hmac"), ("legacy", "hmac")]


def run(*command: object, stdin: str = PASSWORD + "\n") -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def done(*command: object, stdin: str = PASSWORD + "\n") -> str:
    made = run(*command, stdin=stdin)
    assert made.returncode == 0, f"{command[0]}: {made.stderr}{made.stdout}"
    return made.stdout


def read_back(path: Path) -> set[str]:
    """The key IDs that our reader finds in a file."""
    return {one.key_id for one in pkcs12_open.read(path.read_bytes(), PASSWORD).keys}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Two generations of Alice's keys below one authority, and Bob's on a curve; a file of each kind."""
    made = Host(tmp_path_factory.mktemp("interop"))
    made.pair("ca", usage="keyCertSign")
    for name in ("new", "old"):
        made.pair(name, subject="Alice", ca="ca")
    made.pair("curve", "ec", "keyAgreement", subject="Bob")
    (made.folder / "password").write_text(PASSWORD)
    items = []
    for profile, mac in KINDS:
        item = made.item("new", "old", dest=f"{profile}-{mac}.p12", profile=profile, mac=mac)
        item["keys"][0]["chain"] = [str(made.folder / "ca.pem")]
        items.append(item)
        items.append(made.item("new", dest=f"{profile}-{mac}-one.p12", profile=profile, mac=mac))
    items.append(made.item("curve", dest="curve.p12"))
    items[-1]["keys"][0]["usage"] = "key_agreement"
    items.append(made.item("new", dest="new.pem", format="pkcs8"))
    items.append(made.item("new", dest="new-legacy.pem", format="pkcs8", profile="legacy"))
    assert all(row["action"] == "created" for row in made.run(*items).results)
    return made


def by_openssl(host: Host, path: Path) -> set[str]:
    ids, certificates = keys_in(path, PASSWORD, "-legacy")
    assert certificates == 3
    return ids


def by_cryptography(host: Host, path: Path) -> set[str]:
    """With the OpenSSL in its wheel; it gives out one key of a file."""
    found = pkcs12.load_pkcs12(path.read_bytes(), PASSWORD.encode())
    assert len(found.additional_certs) == 2
    spki = found.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(spki).hexdigest() in {host.key_id("new"), host.key_id("old")}
    return {host.key_id("new"), host.key_id("old")}


def by_certtool(host: Host, path: Path) -> set[str]:
    text = done("certtool", "--p12-info", "--inder", "--infile", path, "--password", PASSWORD)
    assert "MAC: unknown" not in text
    assert text.count("-----BEGIN CERTIFICATE-----") == 3
    end, found = "-----END ENCRYPTED PRIVATE KEY-----", set()
    for number, one in enumerate(text.split("-----BEGIN ENCRYPTED PRIVATE KEY-----")[1:]):
        key = path.with_suffix(f".{number}.key")
        key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----" + one.split(end)[0] + end + "\n")
        told = done("certtool", "--key-info", "--pkcs8", "--password", PASSWORD, "--infile", key)
        found |= set(re.findall(r"sha256:([0-9a-f]{64})", told))
    return found


def by_nss(host: Host, path: Path) -> set[str]:
    """Imported, and exported again, by the names that the keys have."""
    base = path.with_suffix(".nss")
    base.mkdir()
    done("certutil", "-N", "-d", f"sql:{base}", "--empty-password")
    done("pk12util", "-i", path, "-d", f"sql:{base}", "-w", host.folder / "password")
    keys = done("certutil", "-K", "-d", f"sql:{base}")
    found = set()
    for number, name in enumerate(sorted(set(re.findall(r"(Alice [0-9a-f]{8})", keys)))):
        again = base / f"{number}.p12"
        done("pk12util", "-o", again, "-d", f"sql:{base}", "-n", name, "-w", host.folder / "password")
        found |= read_back(again)
    return found


def by_keytool(host: Host, path: Path) -> set[str]:
    """Imported into a keystore that Java writes; an integrity check that fails ends it."""
    again = path.with_suffix(".java.p12")
    word = host.folder / "password"
    done(
        *("keytool", "-importkeystore", "-noprompt", "-srckeystore", path, "-srcstoretype", "PKCS12"),
        *("-srcstorepass:file", word, "-destkeystore", again, "-deststoretype", "PKCS12", "-deststorepass:file", word),
    )
    return read_back(again)


@pytest.fixture
def gpg(host: Host) -> Iterator[Path]:
    """A home of GnuPG; its path is short, because the agent's socket lies there."""
    with tempfile.TemporaryDirectory(prefix="g") as home:
        yield Path(home)
        run("gpgconf", "--homedir", home, "--kill", "all")


def gpgsm(home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    base = ("gpgsm", "--homedir", home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase-fd", "0")
    return run(*base, *words)


READERS: dict[str, Callable[[Host, Path], set[str]]] = {
    **{"openssl": by_openssl, "cryptography": by_cryptography, "certtool": by_certtool},
    **{"nss": by_nss, "keytool": by_keytool},
}
#: Which of them open PBMAC1 in these versions.
PBMAC1 = {"cryptography"}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("profile", "mac"), KINDS, ids=str)
def test_every_profile_opens(host: Host, reader: str, profile: str, mac: str) -> None:
    path = host.out / f"{profile}-{mac}.p12"
    wanted = {host.key_id("new"), host.key_id("old")}
    if mac == "pbmac1" and reader not in PBMAC1:
        with pytest.raises(AssertionError):
            READERS[reader](host, path)
    else:
        assert READERS[reader](host, path) == wanted


@pytest.mark.parametrize(("profile", "mac"), KINDS, ids=str)
def test_gpgsm_opens_legacy_and_nothing_else(host: Host, gpg: Path, profile: str, mac: str) -> None:
    imported = gpgsm(gpg, "--import", host.out / f"{profile}-{mac}-one.p12")
    assert ("secret keys imported: 1" in imported.stderr) == (profile == "legacy"), imported.stderr
    if profile == "legacy":
        ident = re.search(r"ID: 0x([0-9A-F]+)", gpgsm(gpg, "--list-secret-keys").stdout)
        assert ident
        again = gpg / "again.p12"
        exported = gpgsm(gpg, "--output", again, "--export-secret-key-p12", f"0x{ident.group(1)}")
        assert exported.returncode == 0, exported.stderr
        assert read_back(again) == {host.key_id("new")}


def test_a_key_on_a_curve_opens(host: Host) -> None:
    path = host.out / "curve.p12"
    assert keys_in(path, PASSWORD)[0] == {host.key_id("curve")}
    again = path.with_suffix(".java.p12")
    assert by_keytool(host, path) == read_back(again) == {host.key_id("curve")}


@pytest.mark.parametrize("name", ["new", "new-legacy"])
def test_pkcs8_opens(host: Host, name: str) -> None:
    path = host.out / f"{name}.pem"
    assert host.key_id("new") in done("certtool", "--key-info", "--pkcs8", "--password", PASSWORD, "--infile", path)
    openssl("pkey", "-in", path, "-passin", "stdin", "-noout", "-check", stdin=PASSWORD.encode())


def test_files_of_openssl_and_certtool_are_read(host: Host) -> None:
    key, certificate, ca = (host.folder / name for name in ("new.key", "new.pem", "ca.pem"))
    base = ("openssl", "pkcs12", "-export", "-inkey", key, "-in", certificate, "-certfile", ca, "-passout", "stdin")
    forms = {
        "today": (),
        "old": ("-legacy",),  # RC2 with 40 bits for the certificates
        "older": ("-legacy", "-descert", "-macalg", "sha1"),
        "sha512": ("-macalg", "sha512", "-iter", "30000"),
    }
    for name, options in forms.items():
        path = host.out / f"openssl-{name}.p12"
        done(*base, "-out", path, "-name", "Alice", *options)
        opened = pkcs12_open.read(path.read_bytes(), PASSWORD)
        assert [one.key_id for one in opened.keys] == [host.key_id("new")], name
        assert opened.keys[0].friendly_name == "Alice", name
        assert (opened.keys[0].certificate is not None, len(opened.chain), opened.profile) == (True, 1, "other"), name
    made = ("certtool", "--to-p12", "--load-privkey", key, "--load-certificate", certificate, "--outder")
    for number, cipher in enumerate(("aes-256", "3des-pkcs12")):
        path = host.out / f"certtool-{number}.p12"
        done(*made, "--p12-name", "Alice", "--password", PASSWORD, "--pkcs-cipher", cipher, "--outfile", path)
        assert read_back(path) == {host.key_id("new")}


def test_a_mail_opens_where_mail_is_read(host: Host, gpg: Path) -> None:
    """By gpgsm and by NSS, which read no more than CMS; openssl takes the whole mail (test_export.py)."""
    item = host.item("new", dest="mail.eml", encrypt_to={"certificate": host.pem("old"), "to": "a@b.example"})
    host.run(item)
    message = host.folder / "smime.p7m"
    message.write_bytes(email.message_from_bytes((host.out / "mail.eml").read_bytes()).get_payload(decode=True))
    p12 = host.folder / "old.p12"
    done(
        *("openssl", "pkcs12", "-export", "-legacy", "-inkey", host.folder / "old.key", "-in", host.folder / "old.pem"),
        *("-name", "old", "-passout", "stdin", "-out", p12),
    )
    base = host.folder / "mail.nss"
    base.mkdir()
    done("certutil", "-N", "-d", f"sql:{base}", "--empty-password")
    done("pk12util", "-i", p12, "-d", f"sql:{base}", "-w", host.folder / "password")
    assert 'filename="mail.p12"' in done("cmsutil", "-D", "-d", f"sql:{base}", "-i", message)
    assert "secret keys imported: 1" in gpgsm(gpg, "--import", p12).stderr
    opened = gpgsm(gpg, "--decrypt", message)
    assert 'filename="mail.p12"' in opened.stdout, opened.stderr
