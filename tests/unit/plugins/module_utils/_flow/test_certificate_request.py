# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate requests, judged by openssl and certtool."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import certificate_request
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask

OPTIONS = {
    **{"usage": None, "passphrase": None, "subject": {"CN": "user"}, "subject_alt_name": [], "extended_key_usage": []},
    **{"certificate_authority": False, "require_receipt": True, "mode": "0644", "owner": None, "group": None},
}


class Host:
    """Keys and requests in the folders of a workshop."""

    def __init__(self, workshop) -> None:
        self.workshop = workshop

    def key(self, algorithm: str, usage: str, name: str = "key.pem", passphrase: str | None = None) -> str:
        path = self.workshop.keys / name
        path.write_bytes(key_file.serialize(generate([(algorithm, usage)])[0], passphrase))
        return str(path)

    def archive(self, key: str, usage: str, passphrase: str | None = None) -> None:
        facts = key_file.facts_of(Path(key).read_bytes(), passphrase)
        _receipts.write_receipts(str(self.workshop.state), [Receipt(facts.key_id, usage, "0" * 64, 0, "0" * 64)])

    def path(self, name: str = "request.pem") -> str:
        return str(self.workshop.keys / name)

    def request(self, *items: dict, check_mode: bool = False):
        keys = [{**OPTIONS, "path": self.path(), **item} for item in items]
        return certificate_request.run(HostTask({"state_dir": str(self.workshop.state), "keys": keys}, check_mode))

    def text(self, name: str = "request.pem") -> str:
        """What openssl says of a request that it has verified."""
        text = self.workshop.run("openssl", "req", "-in", self.path(name), "-noout", "-verify", "-text").decode()
        return " ".join(text.split())


@pytest.fixture
def host(workshop) -> Host:
    return Host(workshop)


USAGES = [
    ("rsa-2048", "signature", "Digital Signature, Non Repudiation", "sha256WithRSAEncryption"),
    ("ec-p256", "certificate_signing", "Certificate Sign, CRL Sign", "ecdsa-with-SHA256"),
    ("ec-p384", "authentication", "Digital Signature", "ecdsa-with-SHA384"),
    ("ed25519", "authentication", "Digital Signature", "ED25519"),
    ("ed448", "signature", "Digital Signature, Non Repudiation", "ED448"),
    ("rsa-4096", "key_transport", "Key Encipherment, Data Encipherment", "sha384WithRSAEncryption"),
    ("ec-p521", "key_agreement", "Key Agreement", "ecdsa-with-SHA512"),
]


@pytest.mark.parametrize(("algorithm", "usage", "bits", "signature"), USAGES, ids=lambda value: value)
def test_openssl_reads_what_the_usage_says(host: Host, algorithm: str, usage: str, bits: str, signature: str) -> None:
    key = host.key(algorithm, usage)
    result = host.request({"key": key, "require_receipt": False})
    text = host.text()
    assert f"X509v3 Key Usage: critical {bits} " in text
    assert f"Signature Algorithm: {signature} " in text
    assert result.changed and result.results[0]["request"] == Path(host.path()).read_text()


def test_certtool_reads_everything(host: Host) -> None:
    key = host.key("rsa-2048", "key_transport")
    subject = {"C": "DE", "O": "Example", "OU": ["Mail", "Robots"], "CN": "Robot", "emailAddress": "robot@example.com"}
    names = [
        "email:robot@example.com",
        "DNS:*.example.com",
        "IP:192.0.2.7",
        "IP:2001:db8::1",
        "URI:https://example.com/",
    ]
    item = {
        "key": key,
        "subject": subject,
        "subject_alt_name": names,
        "extended_key_usage": ["emailProtection", "msEFS"],
    }
    host.archive(key, "key_transport")
    host.request(item)
    text = host.workshop.run("certtool", "--crq-info", "--infile", host.path()).decode()
    assert "Subject: EMAIL=robot@example.com,CN=Robot,OU=Robots,OU=Mail,O=Example,C=DE" in text
    assert "Self signature: verified" in text
    for line in (
        "RFC822Name: robot@example.com",
        "DNSname: *.example.com",
        "IPAddress: 192.0.2.7",
        "IPAddress: 2001:db8::1",
    ):
        assert line in text
    assert "URI: https://example.com/" in text and "Email protection." in text and "1.3.6.1.4.1.311.10.3.4" in text


def test_subject_as_a_text_is_rfc_4514(host: Host) -> None:
    host.request({"key": host.key("ec-p256", "authentication"), "subject": "CN=Robot,OU=Mail,O=Example"})
    assert "Subject: O = Example, OU = Mail, CN = Robot" in host.text()


def test_an_authority(host: Host) -> None:
    host.request({"key": host.key("ec-p256", "certificate_signing"), "certificate_authority": True})
    assert "X509v3 Basic Constraints: critical CA:TRUE " in host.text()


def test_empty_subject_makes_the_names_critical(host: Host) -> None:
    key = host.key("ec-p256", "authentication")
    host.request({"key": key, "subject": None, "subject_alt_name": ["DNS:example.com"]})
    assert "X509v3 Subject Alternative Name: critical" in host.text()
    assert not host.request({"key": key, "subject": None, "subject_alt_name": ["DNS:example.com"]}).changed


def test_encrypted_key(host: Host) -> None:
    key = host.key("ec-p256", "key_agreement", passphrase="correct horse")
    host.archive(key, "key_agreement", "correct horse")
    host.request({"key": key, "passphrase": "correct horse"})
    assert "Key Agreement" in host.text()
    with pytest.raises(_errors.WrongPassphrase):
        host.request({"key": key})


# --- idempotence ------------------------------------------------------------------------------------------------------


def full(host: Host) -> dict:
    names = ["DNS:b.example", "DNS:a.example", "IP:192.0.2.1"]
    key = host.key("rsa-2048", "authentication")
    return {"key": key, "subject_alt_name": names, "extended_key_usage": ["serverAuth", "clientAuth"]}


def test_second_run_changes_nothing(host: Host) -> None:
    item = full(host)
    assert host.request(item).changed
    before = Path(host.path()).stat()
    again = host.request(item)
    assert not again.changed and not again.diff
    assert again.results[0]["request"] == Path(host.path()).read_text()
    assert Path(host.path()).stat().st_ino == before.st_ino
    assert not host.request({**item, "subject_alt_name": item["subject_alt_name"][::-1]}).changed


CHANGES = {
    "subject": {"subject": {"CN": "other"}},
    "more in the subject": {"subject": {"CN": "user", "O": "Example"}},
    "names": {"subject_alt_name": ["DNS:a.example"]},
    "no names": {"subject_alt_name": []},
    "purposes": {"extended_key_usage": ["clientAuth"]},
    "no purposes": {"extended_key_usage": []},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_request_is_replaced(host: Host, change: dict) -> None:
    item = full(host)
    host.request(item)
    before = Path(host.path()).read_bytes()
    predicted = host.request({**item, **change}, check_mode=True)
    assert Path(host.path()).read_bytes() == before and predicted.results[0]["request"] is None
    result = host.request({**item, **change})
    assert predicted.changed and result.changed and predicted.diff == result.diff
    assert result.diff[0]["before"] != result.diff[0]["after"]
    assert Path(host.path()).read_bytes() != before
    assert not host.request({**item, **change}).changed


OPENSSL_REQUESTS = {
    "not critical": ("keyUsage = digitalSignature",),
    "more key usage": ("keyUsage = critical, digitalSignature, keyEncipherment",),
    "no key usage": ("basicConstraints = CA:FALSE",),
    "unknown extension": ("keyUsage = critical, digitalSignature", "1.2.3.4 = ASN1:NULL"),
    "unknown name": ("keyUsage = critical, digitalSignature", "subjectAltName = RID:1.2.3"),
    "path length": ("keyUsage = critical, digitalSignature", "basicConstraints = critical, CA:TRUE, pathlen:1"),
}


@pytest.mark.parametrize("extensions", OPENSSL_REQUESTS.values(), ids=OPENSSL_REQUESTS)
def test_what_asks_for_more_is_replaced(host: Host, extensions: tuple[str, ...]) -> None:
    key = host.key("ec-p256", "authentication")
    host.workshop.request(Path(key), *extensions)
    assert host.request({"key": key}).changed


def test_the_same_by_openssl_is_kept(host: Host) -> None:
    key = host.key("ec-p256", "authentication")
    host.workshop.request(Path(key), "keyUsage = critical, digitalSignature")
    assert host.request({"key": key, "mode": "0644"}).changed is False


def test_request_of_another_key_is_replaced(host: Host) -> None:
    item = {"key": host.key("ec-p256", "authentication")}
    first = host.request(item).results[0]["key_id"]
    host.key("ec-p256", "authentication")
    second = host.request(item)
    assert second.changed and second.results[0]["key_id"] != first
    assert second.diff[0]["before"]["key_id"] == first


def test_request_with_a_broken_signature_is_replaced(host: Host) -> None:
    item = {"key": host.key("ed25519", "authentication")}
    host.request(item)
    der = bytearray(host.workshop.run("openssl", "req", "-in", host.path(), "-outform", "DER"))
    der[-1] ^= 1
    Path(host.path()).write_bytes(host.workshop.armor("CERTIFICATE REQUEST", bytes(der)))
    assert host.request(item).changed
    assert "verify OK" in host.workshop.said("openssl", "req", "-in", host.path(), "-noout", "-verify")


def test_mode(host: Host) -> None:
    item = {"key": host.key("ed25519", "authentication")}
    host.request(item)
    assert Path(host.path()).stat().st_mode & 0o777 == 0o644
    before = Path(host.path()).read_bytes()
    predicted = host.request({**item, "mode": "0600"}, check_mode=True)
    assert Path(host.path()).stat().st_mode & 0o777 == 0o644
    result = host.request({**item, "mode": "0600"})
    assert predicted.changed and result.changed
    assert Path(host.path()).stat().st_mode & 0o777 == 0o600 and Path(host.path()).read_bytes() == before
    assert not host.request({**item, "mode": "0600"}).changed


def test_check_mode_without_a_key(host: Host) -> None:
    result = host.request({"key": str(host.workshop.keys / "later.pem"), "usage": "signature"}, check_mode=True)
    assert result.changed and result.results[0]["key_id"] is None and not Path(host.path()).exists()


def test_check_mode_before_the_archive(host: Host) -> None:
    result = host.request({"key": host.key("rsa-2048", "key_transport")}, check_mode=True)
    assert result.changed and len(result.warnings) == 1


# --- refusals: nothing is written -------------------------------------------------------------------------------------


def archived_as(usage: str):
    def make(host: Host) -> dict:
        key = host.key("rsa-2048", "key_transport")
        host.archive(key, usage)
        return {"key": key}

    return make


def unbound(host: Host, **options: object) -> dict:
    return {"key": str(host.workshop.key("rsa")), **options}


def with_key(algorithm: str, bound: str, **options: object):
    return lambda host: {"key": host.key(algorithm, bound), **options}


def signer(**options: object):
    return with_key("ed25519", "authentication", **options)


def garbage(host: Host) -> dict:
    Path(host.path()).write_text("my notes\n")
    return {"key": host.key("ed25519", "authentication")}


def in_place_of_a_key(host: Host) -> dict:
    return {"key": host.key("ed25519", "authentication"), "path": host.key("ed25519", "authentication", "other.pem")}


def in_no_folder(host: Host) -> dict:
    return {"key": host.key("ed25519", "authentication"), "path": str(host.workshop.keys / "missing" / "request.pem")}


REFUSED = {
    "nonsigning, not archived": ("NotArchivedRefused", with_key("rsa-2048", "key_transport")),
    "agreement, not archived": ("NotArchivedRefused", with_key("ec-p256", "key_agreement")),
    "archived with another usage": ("NotArchivedRefused", archived_as("key_agreement")),
    "x25519": ("AlgorithmError", with_key("x25519", "key_agreement", require_receipt=False)),
    "x448": ("AlgorithmError", with_key("x448", "key_agreement", require_receipt=False)),
    "no usage": ("OptionError", unbound),
    "usage against the bound one": ("OptionError", signer(usage="signature")),
    "usage that the algorithm cannot have": ("AlgorithmError", lambda host: unbound(host, usage="key_agreement")),
    "purpose beyond the usage": ("OptionError", signer(extended_key_usage=["codeSigning"])),
    "any purpose": ("OptionError", signer(extended_key_usage=["2.5.29.37.0"])),
    "unknown purpose": ("OptionError", signer(extended_key_usage=["1.2.3.4"])),
    "purpose twice": ("OptionError", signer(extended_key_usage=["clientAuth", "1.3.6.1.5.5.7.3.2"])),
    "authentication for a nonsigning key": (
        "OptionError",
        with_key("rsa-2048", "key_transport", require_receipt=False, extended_key_usage=["serverAuth"]),
    ),
    "authority without certificate_signing": ("OptionError", signer(certificate_authority=True)),
    "no subject and no name": ("OptionError", signer(subject=None)),
    "unknown attribute": ("OptionError", signer(subject={"CommonName": "user"})),
    "attribute is no text": ("OptionError", signer(subject={"CN": None})),
    "subject is no name": ("OptionError", signer(subject="user")),
    "subject is a list": ("OptionError", signer(subject=["CN=user"])),
    "country too long": ("OptionError", signer(subject={"C": "Germany"})),
    "name without a kind": ("OptionError", signer(subject_alt_name=["example.com"])),
    "name of an unknown kind": ("OptionError", signer(subject_alt_name=["dirName:x"])),
    "no IP address": ("OptionError", signer(subject_alt_name=["IP:192.0.2.300"])),
    "no DNS name": ("OptionError", signer(subject_alt_name=["DNS:a b"])),
    "international DNS name": ("OptionError", signer(subject_alt_name=["DNS:müller.example"])),
    "no address": ("OptionError", signer(subject_alt_name=["email:robot"])),
    "mode is no number": ("OptionError", signer(mode="rw")),
    "mode for everybody": ("OptionError", signer(mode="0666")),
    "relative path": ("OptionError", signer(path="request.pem")),
    "no such owner": ("FileError", signer(owner="nobody-knows-me")),
    "no such folder": ("FileMissing", in_no_folder),
    "something else at the path": ("FileError", garbage),
    "a key at the path": ("FileError", in_place_of_a_key),
    "no key": ("KeyNotFound", lambda host: {"key": str(host.workshop.keys / "none.pem")}),
    "relative key": ("KeyReferenceError", lambda host: {"key": "none.pem"}),
    "no key but garbage": ("KeyUnreadable", lambda host: {"key": str(host.workshop.folder / "passwd")}),
}


@pytest.mark.parametrize(("expected", "make"), REFUSED.values(), ids=REFUSED)
def test_refused_before_anything_is_written(host: Host, expected: str, make) -> None:
    good = {"key": host.key("ed25519", "signature", "good.pem"), "path": host.path("good.csr")}
    item = make(host)
    before = {path: path.read_bytes() for path in host.workshop.keys.iterdir()}
    with pytest.raises(_errors.KeyopsError) as refused:
        host.request(good, item)
    assert type(refused.value).__name__ == expected
    assert {path: path.read_bytes() for path in host.workshop.keys.iterdir()} == before


def test_two_requests_in_one_file(host: Host) -> None:
    key = host.key("ed25519", "signature")
    for item in ({"key": key}, {"key": key, "path": key}):
        with pytest.raises(_errors.OptionError):
            host.request({"key": key}, item)


def test_a_public_half_of_another_key_is_not_signed(host: Host) -> None:
    key, other = Path(host.key("ec-p256", "signature")), Path(host.key("ec-p256", "signature", "other.pem"))
    private, public = (host.workshop.run("openssl", "pkey", "-in", path, "-outform", "DER") for path in (key, other))
    key.write_bytes(host.workshop.armor("EC PRIVATE KEY", private[:-65] + public[-65:]))
    with pytest.raises(_errors.KeyUnreadable):
        host.request({"key": str(key), "usage": "signature"})


def test_nothing_of_the_key_is_in_the_result(host: Host) -> None:
    key = host.key("ed25519", "signature", passphrase="7e57pass")
    result = host.request({"key": key, "passphrase": "7e57pass"})
    assert "7e57pass" not in repr(result) and "PRIVATE" not in repr(result)


# --- keys that cannot sign: RFC 9883 ---------------------------------------------------------------------------------


def stated(host: Host, algorithm: str, subject: str = "/CN=user", usage: str = "digitalSignature") -> dict:
    """The option ``possession``: a key that signs, and its certificate."""
    key, certificate = host.key(algorithm, "signature", "owner.pem"), host.path("owner.crt")
    command = ["openssl", "req", "-x509", "-key", key, "-subj", subject, "-days", "2", "-out", certificate]
    host.workshop.run(*command, "-addext", f"keyUsage={usage}", "-addext", "basicConstraints=CA:FALSE")
    return {"key": key, "passphrase": None, "certificate": certificate}


@pytest.mark.parametrize("owner", ["ec-p256", "ec-p521", "rsa-2048", "ed25519"])
@pytest.mark.parametrize("algorithm", ["x25519", "x448"])
def test_another_key_states_the_possession(host: Host, algorithm: str, owner: str) -> None:
    key = host.key(algorithm, "key_agreement")
    item = {"key": key, "possession": stated(host, owner), "subject_alt_name": ["email:user@example.com"]}
    with pytest.raises(_errors.NotArchivedRefused):
        host.request(item)
    host.archive(key, "key_agreement")
    assert host.request(item, check_mode=True).changed
    (row,) = host.request(item).results
    assert (row["key_usage"], row["subject"]) == (["keyAgreement"], "CN=user")

    # openssl cannot verify what another key has signed, so it gets the parts.
    request = host.workshop.keys / "request.der"
    host.workshop.run("openssl", "req", "-in", host.path(), "-outform", "DER", "-out", str(request))
    info, dummy, signature = der.read_sequence(request.read_bytes())
    parts = {"info": info.whole, "signature": signature.bits()}
    for name, content in parts.items():
        (host.workshop.keys / name).write_bytes(content)
    host.workshop.run("openssl", "pkey", "-in", host.path("owner.pem"), "-pubout", "-out", host.path("owner.pub"))
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", host.path("owner.pub"), "-rawin"]
    verify += ["-in", host.path("info"), "-sigfile", host.path("signature")]
    digest = [] if owner == "ed25519" else ["-digest", "sha512" if owner == "ec-p521" else "sha256"]
    assert b"Verified Successfully" in host.workshop.run(*verify, *digest)
    told = host.workshop.run("openssl", "asn1parse", "-inform", "DER", "-in", str(request)).decode()
    assert "1.3.6.1.4.1.22112.2.1" in told
    serial = host.workshop.run("openssl", "x509", "-in", host.path("owner.crt"), "-noout", "-serial").decode()
    assert serial.strip().split("=")[1].lstrip("0") in told

    assert not host.request(item).changed
    # Another certificate of the same key makes another request.
    renewed = {**item, "possession": stated(host, owner)}
    assert host.request(renewed).changed
    assert not host.request(renewed).changed


def test_whose_statement_counts(host: Host) -> None:
    key, signing = host.key("x25519", "key_agreement"), host.key("ed25519", "signature", "good.pem")
    host.archive(key, "key_agreement")
    good = stated(host, "ec-p256")
    host.workshop.run("cp", host.path("owner.crt"), host.path("first.crt"))
    refused = [
        {"key": key, "possession": stated(host, "ec-p256", "/CN=another")},
        {"key": key, "possession": {**stated(host, "ec-p256"), "certificate": host.path("first.crt")}},
        {"key": key, "possession": stated(host, "ec-p256", usage="keyAgreement")},
        {"key": key, "possession": {**good, "certificate": "owner.crt"}},
        {"key": key, "possession": {**good, "certificate": key}},
        {"key": key, "possession": {**good, "key": key}},
        {"key": signing, "possession": good},
    ]
    for item in refused:
        with pytest.raises((_errors.OptionError, _errors.KeyUnreadable)):
            host.request(item)
    assert not (host.workshop.keys / "request.pem").exists()
