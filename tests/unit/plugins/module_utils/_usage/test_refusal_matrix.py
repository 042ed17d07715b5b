# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The refusal matrix: one row per rule, each on real files, through the real way: facts, gather, judge.

A row makes its files in a workshop and says what it expects: a class of refusal, or the usage that is accepted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cryptography
import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import eligibility, evidence, usages

KT, KA = "key_transport", "key_agreement"
KU_RSA, KU_EC = "keyUsage = critical, keyEncipherment, dataEncipherment", "keyUsage = critical, keyAgreement"


#: An ML-DSA key is refused by its type where the library knows it, and as unreadable where it does not: both before
#: anything of it is looked at.
ML_DSA_REFUSAL = "SigningOnlyTypeRefused" if int(cryptography.__version__.split(".")[0]) >= 47 else "KeyUnreadable"


@dataclass(frozen=True)
class Given:
    """What a row has made: the key, what the user says, and what else plays a part."""

    key: Path
    usage: str | None = None
    certificates: tuple[Path, ...] = ()
    accept: bool = False
    search: tuple[Path, ...] = ()
    authorized_keys: tuple[Path, ...] = ()
    registered: bool = False
    frozen: str | None = None


@dataclass(frozen=True)
class Row:
    name: str
    expected: str
    make: Callable = field(repr=False)


def judge(workshop, given: Given) -> str:
    """The way that archiving goes."""
    facts = key_file.facts_of(given.key.read_bytes())
    named = evidence.read_named([str(path) for path in given.certificates])
    subject = evidence.Subject(facts, str(given.key), given.usage, named, given.accept)
    places = workshop.places(*given.authorized_keys)
    gathered = evidence.gather([subject], str(workshop.state), [str(path) for path in given.search], places)
    usage = eligibility.judge(gathered.evidence[0])
    eligibility.judge_against_vault(facts.key_id, given.registered, given.frozen)
    return usage


# --- what the rows are made of ----------------------------------------------------------------------------------------


def key_of(algorithm: str, usage: str | None = None, **given: object) -> Callable:
    return lambda workshop: Given(workshop.key(algorithm), usage, **given)


def bound(algorithm: str, inside: str, usage: str | None = None, **given: object) -> Callable:
    """A key that carries a usage inside itself."""
    return lambda workshop: Given(workshop.bind(workshop.key(algorithm), inside), usage, **given)


def openssh(kind: str, usage: str, *options: str) -> Callable:
    return lambda workshop: Given(workshop.openssh_key(kind, *options), usage, accept=True)


def certified(algorithm: str, *extensions: str, usage: str = KT, named: bool = True, request: bool = False) -> Callable:
    """A key with one certificate (or request), named or lying in the key's own folder."""

    def make(workshop) -> Given:
        key = workshop.key(algorithm)
        path = (workshop.request if request else workshop.certificate)(key, *extensions)
        return Given(key, usage, (path,) if named else ())

    return make


def rsa(*extensions: str, **options: object) -> Callable:
    return certified("rsa", *extensions, **options)


def ec(*extensions: str, **options: object) -> Callable:
    return certified("ec", *extensions, usage=KA, **options)


def with_purpose(*purposes: str, **options: object) -> Callable:
    return rsa(KU_RSA, "extendedKeyUsage = " + ", ".join(purposes), **options)


def ssh_use(place: Callable) -> Callable:
    """A bound RSA key whose public key also stands where ``place(workshop, key)`` puts it."""

    def make(workshop) -> Given:
        key = workshop.bind(workshop.key("rsa"), KT)
        return Given(key, KT, authorized_keys=tuple(place(workshop, key) or ()))

    return make


def in_file(relative: str, before: str = "", after: str = "") -> Callable:
    def place(workshop, key: Path) -> None:
        path = workshop.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# comment\n{before}{workshop.ssh_line(key).strip()}{after}\n")

    return place


def extra_file(workshop, key: Path) -> list[Path]:
    in_file("elsewhere/keys")(workshop, key)
    return [workshop.folder / "elsewhere/keys"]


def configured_file(workshop, key: Path) -> None:
    (workshop.sshd / "sshd_config").write_text("Port 22\nMatch User root\n  AuthorizedKeysFile none %h/.keys/%u\n")
    in_file("home/.keys/root")(workshop, key)


def ssh_certificate(workshop, key: Path) -> None:
    authority = workshop.folder / "ssh-ca"
    workshop.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority)
    public = workshop.folder / "user.pub"
    public.write_text(workshop.ssh_line(key))
    workshop.run("ssh-keygen", "-q", "-s", authority, "-I", "user", "-n", "root", public)
    (workshop.home / ".ssh/authorized_keys").write_bytes((workshop.folder / "user-cert.pub").read_bytes())


def lone_ssh_certificate(workshop, key: Path) -> None:
    """``id_rsa-cert.pub`` beside the key, and the public key gone."""
    ssh_certificate(workshop, key)
    (workshop.home / ".ssh/authorized_keys").unlink()
    (workshop.folder / "user-cert.pub").rename(workshop.keys / "key-cert.pub")


def linked_pub(workshop, key: Path) -> None:
    in_file("elsewhere/any")(workshop, key)
    (workshop.keys / "any.pub").symlink_to(workshop.folder / "elsewhere/any")


def lying_in(folder: str, link: bool = False) -> Callable:
    """A bound key whose file, or the file behind it, lies in this folder."""

    def make(workshop) -> Given:
        key = workshop.bind(workshop.key("rsa"), KT)
        moved = workshop.folder / folder / "any.key"
        moved.parent.mkdir(parents=True, exist_ok=True)
        key.rename(moved)
        if link:
            key.symlink_to(moved)
        return Given(key if link else moved, KT)

    return make


def receipt(algorithm: str, said: str, usage: str | None = None) -> Callable:
    """A key without a usage of its own, for which this host has a receipt."""

    def make(workshop) -> Given:
        key = workshop.key(algorithm)
        key_id = key_file.facts_of(key.read_bytes()).key_id
        _receipts.write_receipts(str(workshop.state), [Receipt(key_id, said, "0" * 64, 0, "0" * 64)])
        return Given(key, usage)

    return make


def signing_receipt(workshop) -> Given:
    """Archiving never writes one."""
    key = workshop.key("rsa")
    key_id = key_file.facts_of(key.read_bytes()).key_id
    said = {"format": "keyops-receipt/1", "key_id": key_id, "usage": "signature", "log_number": 0}
    digests = {"log_digest": "0" * 64, "sealed_key": "0" * 64}
    text = json.dumps({**said, **digests}, sort_keys=True, separators=(",", ":"))
    (workshop.state / "receipts" / f"{key_id}.json").write_text(text)
    return Given(key, KT)


def foreign(workshop) -> Given:
    key, other = workshop.bind(workshop.key("rsa"), KT), workshop.key("rsa", "other.pem")
    return Given(key, KT, (workshop.certificate(other, KU_RSA),))


def chain(workshop) -> Given:
    """The certificate and that of its issuer in one file, as servers want them."""
    key = workshop.key("rsa")
    path = workshop.certificate(key, KU_RSA)
    path.write_bytes(path.read_bytes() + (workshop.folder / "ca.pem").read_bytes())
    return Given(key, KT, (path,))


def second_certificate(workshop) -> Given:
    """A good certificate is named; another one for the same key, beside it, signs."""
    key = workshop.key("rsa")
    workshop.certificate(key, "keyUsage = digitalSignature", where=workshop.keys / "zz-other.crt")
    return Given(key, KT, (workshop.certificate(key, KU_RSA),))


def in_the_key_file(workshop) -> Given:
    key = workshop.bind(workshop.key("rsa"), KT)
    certificate = workshop.certificate(key, "keyUsage = digitalSignature", where=workshop.folder / "one.pem")
    key.write_bytes(key.read_bytes() + certificate.read_bytes())
    return Given(key, KT)


def in_searched_folder(workshop) -> Given:
    key, folder = workshop.bind(workshop.key("rsa"), KT), workshop.folder / "certs"
    folder.mkdir()
    workshop.certificate(key, "keyUsage = digitalSignature", where=folder / "one.pem")
    return Given(key, KT, search=(folder,))


def behind_a_link(workshop) -> Given:
    """As certbot lays it out: the key is a link, and its certificate lies beside the file behind it."""
    key = workshop.bind(workshop.key("rsa"), KT)
    workshop.certificate(key, "keyUsage = digitalSignature")
    link = workshop.folder / "live" / "key.pem"
    link.parent.mkdir()
    link.symlink_to(key)
    return Given(link, KT)


def linked_certificate(workshop) -> Given:
    """The key is a file here, and its certificate a link to another folder."""
    key = workshop.bind(workshop.key("rsa"), KT)
    certificate = workshop.certificate(key, "keyUsage = digitalSignature", where=workshop.folder / "one.pem")
    (workshop.keys / "cert.pem").symlink_to(certificate)
    return Given(key, KT)


def beside(name: str, content: Callable) -> Callable:
    """A bound key, and a file in its folder with content that ``content(workshop, key)`` makes."""

    def make(workshop) -> Given:
        key = workshop.bind(workshop.key("rsa"), KT)
        (workshop.keys / name).write_bytes(content(workshop, key))
        return Given(key, KT, accept=True)

    return make


def certificate_of_another(workshop, form: str = "PEM") -> bytes:
    """What it says is no matter: it stands before something that hides the key's own."""
    path = workshop.certificate(workshop.key("ec", "other.pem"), KU_EC, where=workshop.folder / "other.crt")
    return workshop.run("openssl", "x509", "-in", path, "-outform", form)


LARGE = 1 << 20


def linked_large(workshop) -> Given:
    given = beside("cert.pem", lambda workshop, key: b"")(workshop)
    (workshop.keys / "cert.pem").unlink()
    (workshop.folder / "large.pem").write_bytes(certificate_of_another(workshop) + b"\n" * LARGE)
    (workshop.keys / "cert.pem").symlink_to(workshop.folder / "large.pem")
    return given


def links_to_no_files(workshop) -> Given:
    key = workshop.bind(workshop.key("rsa"), KT)
    for name, target in (("folder", "/usr"), ("none", "/nowhere"), ("device", "/dev/zero"), ("circle", "circle")):
        (workshop.keys / name).symlink_to(target)
    os.mkfifo(workshop.keys / "pipe")
    return Given(key, KT)


def der_with_text(workshop) -> Given:
    key = workshop.bind(workshop.key("rsa"), KT)
    path = workshop.certificate(key, "keyUsage = digitalSignature")
    workshop.run("openssl", "x509", "-in", path, "-outform", "DER", "-out", workshop.keys / "cert.der")
    path.unlink()
    return Given(key, KT)


def microsoft_request(workshop) -> Given:
    """Microsoft's own attribute for the extensions that a request asks for, instead of PKCS#9's."""
    key = workshop.bind(workshop.key("rsa"), KT)
    path = workshop.request(key, "keyUsage = digitalSignature")
    data = workshop.run("openssl", "req", "-in", path, "-outform", "DER")
    path.write_bytes(workshop.with_microsoft_attribute(data))
    return Given(key, KT)


def broken_extension(workshop) -> Given:
    """Whoever breaks an extension does not hide the certificate that way."""
    key = workshop.bind(workshop.key("rsa"), KT)
    workshop.certificate(key, "keyUsage = DER:30:03:01:01:ff")
    return Given(key, KT)


def compressed_point(workshop) -> Given:
    """The same key in another spelling: a request whose public key is a compressed point."""
    key = workshop.key("ec")
    workshop.run("openssl", "ec", "-in", key, "-conv_form", "compressed", "-out", workshop.folder / "compressed.pem")
    workshop.request(workshop.folder / "compressed.pem", "keyUsage = digitalSignature")
    return Given(workshop.bind(key, KA), KA)


def certtool_request(workshop) -> Given:
    key = workshop.key("rsa")
    template = workshop.folder / "template"
    template.write_text('cn = "user"\nencryption_key\nsigning_key\n')
    path = workshop.keys / "request.pem"
    workshop.run("certtool", "--generate-request", "--load-privkey", key, "--template", template, "--outfile", path)
    return Given(key, KT, (path,))


REFUSED = [
    # 1. types that can only sign, whatever is declared
    Row("ed25519", "SigningOnlyTypeRefused", key_of("ed25519", KA, accept=True)),
    Row("ed448", "SigningOnlyTypeRefused", key_of("ed448", KA, accept=True)),
    Row("dsa", "SigningOnlyTypeRefused", lambda workshop: Given(workshop.dsa_key(), KT, accept=True)),
    Row("rsassa-pss", "SigningOnlyTypeRefused", key_of("rsassa-pss", KT, accept=True)),
    Row("ml-dsa-65", ML_DSA_REFUSAL, lambda workshop: Given(workshop.ml_dsa_key(), KT, accept=True)),
    Row("ed25519, nothing declared", "SigningOnlyTypeRefused", key_of("ed25519")),
    Row("ed25519, OpenSSH format", "SigningOnlyTypeRefused", openssh("ed25519", KA)),
    # 2. OpenSSH's own format
    Row("rsa, OpenSSH format", "OpenSshKeyRefused", openssh("rsa", KT, "-b", "2048")),
    Row("ec-p256, OpenSSH format", "OpenSshKeyRefused", openssh("ecdsa", KA, "-b", "256")),
    Row("ec-p384, OpenSSH format", "OpenSshKeyRefused", openssh("ecdsa", KA, "-b", "384")),
    Row("ec-p521, OpenSSH format", "OpenSshKeyRefused", openssh("ecdsa", KA, "-b", "521")),
    # 3. SSH
    Row("authorized_keys", "SshUseRefused", ssh_use(in_file("home/.ssh/authorized_keys"))),
    Row("authorized_keys2", "SshUseRefused", ssh_use(in_file("home/.ssh/authorized_keys2"))),
    Row(
        "authorized_keys, options before it",
        "SshUseRefused",
        ssh_use(in_file("home/.ssh/authorized_keys", 'command="echo \\"a b\\"",no-pty ', " user@host")),
    ),
    Row("AuthorizedKeysFile", "SshUseRefused", ssh_use(configured_file)),
    Row("/etc/ssh/authorized_keys/user", "SshUseRefused", ssh_use(in_file("ssh/authorized_keys/user"))),
    Row("/etc/ssh/authorized_keys", "SshUseRefused", ssh_use(in_file("ssh/authorized_keys"))),
    Row("SSH host key", "SshUseRefused", ssh_use(in_file("ssh/ssh_host_rsa_key.pub"))),
    Row("SSH .pub file beside the key", "SshUseRefused", ssh_use(in_file("keys/key.pem.pub"))),
    Row("id_rsa-cert.pub without id_rsa.pub", "SshUseRefused", ssh_use(lone_ssh_certificate)),
    Row("any .pub file in the key's folder", "SshUseRefused", ssh_use(in_file("keys/any.pub"))),
    Row(".pub file that is a link", "SshUseRefused", ssh_use(linked_pub)),
    Row("key file in .ssh", "SshUseRefused", lying_in("home/.ssh")),
    Row("key file below .ssh", "SshUseRefused", lying_in("home/.ssh/keys")),
    Row("key file behind a link in .ssh", "SshUseRefused", lying_in("home/.ssh", link=True)),
    Row("key file below /etc/ssh", "SshUseRefused", lying_in("ssh/keys")),
    Row("SSH user certificate", "SshUseRefused", ssh_use(ssh_certificate)),
    Row("named authorized_keys file", "SshUseRefused", ssh_use(extra_file)),
    # 4. declared, bound or received signing usage
    *(Row(f"declared {usage}", "SigningUsageRefused", key_of("rsa", usage)) for usage in sorted(usages.SIGNING)),
    *(Row(f"bound {usage}", "SigningUsageRefused", bound("rsa", usage, KT)) for usage in sorted(usages.SIGNING)),
    Row("bound key_transport, declared signature", "SigningUsageRefused", bound("rsa", KT, "signature")),
    Row("receipt of a signature key", "SigningUsageRefused", signing_receipt),
    # 5. no usage known
    Row("rsa, no usage", "UnknownUsageRefused", key_of("rsa", accept=True)),
    Row("ec-p256, no usage", "UnknownUsageRefused", key_of("ec")),
    # 6. an algorithm that cannot have the usage
    Row("rsa, key_agreement", "UsageAlgorithmRefused", key_of("rsa", KA, accept=True)),
    Row("ec-p256, key_transport", "UsageAlgorithmRefused", key_of("ec", KT, accept=True)),
    Row("x25519, key_transport", "UsageAlgorithmRefused", key_of("x25519", KT, accept=True)),
    Row("secp256k1, key_agreement", "UsageAlgorithmRefused", key_of("secp256k1", KA, accept=True)),
    Row("ec-p256, bound key_transport", "UsageAlgorithmRefused", bound("ec", KT)),
    Row("ec-p256, receipt of key_transport", "UsageAlgorithmRefused", receipt("ec", KT)),
    # 7. declared, bound and receipt's usage differ; dual use
    Row("bound to several usages", "UsageConflictRefused", bound("rsa", "digitalSignature, keyEncipherment", KT)),
    Row("bound to both nonsigning usages", "UsageConflictRefused", bound("ec", "keyEncipherment, keyAgreement", KA)),
    # 8. a certificate or request that lets the key sign
    *(
        Row(f"{kind} with {bit}", "SigningCertificateRefused", rsa(f"{KU_RSA}, {bit}", request=kind == "request"))
        for kind in ("certificate", "request")
        for bit in ("digitalSignature", "nonRepudiation", "keyCertSign", "cRLSign")
    ),
    Row("certificate only signs", "SigningCertificateRefused", rsa("keyUsage = digitalSignature", named=False)),
    Row(
        "ec certificate, dual use", "SigningCertificateRefused", certified("ec", f"{KU_EC}, digitalSignature", usage=KA)
    ),
    Row(
        "x25519 certificate, dual use", "SigningCertificateRefused", certified("x25519", f"{KU_EC}, cRLSign", usage=KA)
    ),
    Row("bit beyond the standard", "SigningCertificateRefused", rsa("keyUsage = DER:03:03:05:20:20")),
    Row("second certificate beside the named one", "SigningCertificateRefused", second_certificate),
    Row("certificate inside the key file", "SigningCertificateRefused", in_the_key_file),
    Row("certificate in a searched folder", "SigningCertificateRefused", in_searched_folder),
    Row("certificate behind a link", "SigningCertificateRefused", behind_a_link),
    Row("certificate that is a link to another folder", "SigningCertificateRefused", linked_certificate),
    Row("DER certificate", "SigningCertificateRefused", der_with_text),
    Row("request with Microsoft's attribute", "SigningCertificateRefused", microsoft_request),
    Row("request with a compressed point", "SigningCertificateRefused", compressed_point),
    Row("request by certtool", "SigningCertificateRefused", certtool_request),
    # 9. no key usage
    Row("certificate without key usage", "NoKeyUsageRefused", rsa("basicConstraints = CA:FALSE")),
    Row("certificate with no bit set", "NoKeyUsageRefused", rsa("keyUsage = DER:03:01:00")),
    Row("request without extensions", "NoKeyUsageRefused", rsa(request=True)),
    Row("request without key usage", "NoKeyUsageRefused", rsa("subjectAltName = email:a@b.example", request=True)),
    Row("extended key usage alone", "NoKeyUsageRefused", rsa("extendedKeyUsage = emailProtection")),
    Row("key usage that cannot be read", "NoKeyUsageRefused", broken_extension),
    # 10. extended key usage
    *(
        Row(f"extended key usage {purpose}", "ExtendedKeyUsageRefused", with_purpose(purpose))
        for purpose in (
            *("anyExtendedKeyUsage", "serverAuth", "clientAuth", "codeSigning", "timeStamping", "OCSPSigning"),
            *("ipsecIKE", "msSmartcardLogin", "1.3.6.1.5.5.7.3.36", "1.3.6.1.5.5.7.3.21", "1.2.3.4.5"),
        )
    ),
    Row("one bad among good", "ExtendedKeyUsageRefused", with_purpose("emailProtection", "clientAuth")),
    Row("found, not named", "ExtendedKeyUsageRefused", with_purpose("clientAuth", named=False)),
    Row("request for clientAuth", "ExtendedKeyUsageRefused", with_purpose("clientAuth", request=True)),
    Row("empty extended key usage", "ExtendedKeyUsageRefused", rsa(KU_RSA, "extendedKeyUsage = DER:30:00")),
    # 11. another nonsigning usage in the certificate
    Row("rsa certificate for agreement", "UsageConflictRefused", rsa(KU_EC)),
    Row("ec certificate for transport", "UsageConflictRefused", ec(KU_RSA)),
    # 12. certificate for another key
    Row("certificate for another key", "ForeignCertificateRefused", foreign),
    # 13. what may be a certificate, and cannot be looked at
    Row(
        "large PEM beside the key",
        "EvidenceNotReadable",
        beside("all.pem", lambda workshop, key: certificate_of_another(workshop) + b"\n" * LARGE),
    ),
    Row(
        "large PEM with text before it",
        "EvidenceNotReadable",
        beside("all.pem", lambda workshop, key: b"text\n" * 999 + certificate_of_another(workshop) + b"\n" * LARGE),
    ),
    Row(
        "large DER beside the key",
        "EvidenceNotReadable",
        beside("all.der", lambda workshop, key: certificate_of_another(workshop, "DER") + b"\n" * LARGE),
    ),
    Row(
        "DER that is cut off",
        "EvidenceNotReadable",
        beside("cut.der", lambda workshop, key: certificate_of_another(workshop, "DER")[:-9]),
    ),
    Row(
        "PEM that is cut off",
        "EvidenceNotReadable",
        beside("cut.pem", lambda workshop, key: certificate_of_another(workshop)[:-40]),
    ),
    Row("link to a large PEM", "EvidenceNotReadable", linked_large),
    # 14. nothing but the user's word
    Row("declared only, rsa", "DeclaredUsageOnlyRefused", key_of("rsa", KT)),
    Row("declared only, ec-p256", "DeclaredUsageOnlyRefused", key_of("ec", KA)),
    # the vault's
    Row("in the signing register", "SigningRegisterRefused", bound("rsa", KT, registered=True)),
    Row("frozen", "FrozenRefused", bound("rsa", KT, frozen="a certificate with digitalSignature")),
]

ACCEPTED = [
    Row("bound", KT, bound("rsa", KT)),
    Row("bound and declared", KA, bound("ec", KA, KA)),
    Row("bound with fewer bits", KT, bound("rsa", "keyEncipherment")),
    Row("x25519 without anything", KA, key_of("x25519")),
    Row("x448, declared", KA, key_of("x448", KA)),
    Row("declared, certificate named", KT, rsa(KU_RSA)),
    Row("declared, keyEncipherment only", KT, rsa("keyUsage = keyEncipherment")),
    Row("declared, certificate found", KT, rsa(KU_RSA, named=False)),
    Row("declared, request named", KT, rsa(KU_RSA, request=True)),
    Row("declared, ec request signed once", KA, ec(KU_EC, request=True)),
    Row("declared, encipherOnly", KA, ec(f"{KU_EC}, encipherOnly")),
    Row("x25519 certificate", KA, certified("x25519", KU_EC, usage=KA)),
    Row("chain in the named file", KT, chain),
    Row("receipt only", KT, receipt("rsa", KT)),
    Row("user vouches", KT, key_of("rsa", KT, accept=True)),
    *(
        Row(f"extended key usage {oid}", KT, with_purpose(oid))
        for oid in (
            *("emailProtection", "1.3.6.1.4.1.311.10.3.4", "1.3.6.1.4.1.311.10.3.4.1", "1.3.6.1.4.1.311.67.1.1"),
            "1.3.6.1.4.1.311.80.1",
        )
    ),
    Row("large text beside the key", KT, beside("log", lambda workshop, key: b"text\n" * LARGE)),
    Row("large other DER beside the key", KT, beside("x.der", lambda workshop, key: b"\x30\x84" + b"\x01" * 2 * LARGE)),
    Row("large binary beside the key", KT, beside("core", lambda workshop, key: b"\x7fELF" + b"\1" * 2 * LARGE)),
    Row("small other DER beside the key", KT, beside("y.der", lambda workshop, key: b"\x30\x82\x01\x01\x02\x01\x03")),
    Row("links that lead to no files", KT, links_to_no_files),
    Row(
        "another key's .pub file",
        KT,
        beside("o.pub", lambda workshop, key: workshop.ssh_line(workshop.key("ec", "o")).encode()),
    ),
    Row("commented out in authorized_keys", KT, ssh_use(in_file("home/.ssh/authorized_keys", "# "))),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_refused(workshop, row: Row) -> None:
    with pytest.raises((_errors.ArchiveRefusal, _errors.KeyUnreadable)) as refused:
        judge(workshop, row.make(workshop))
    assert type(refused.value).__name__ == row.expected
    assert 40 < len(str(refused.value)) < 700


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.name)
def test_accepted(workshop, row: Row) -> None:
    assert judge(workshop, row.make(workshop)) == row.expected


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_opened_is_refused(workshop, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """As for a user other than root; only the key's own folder counts."""
    given = beside("secret", lambda workshop, key: b"anything")(workshop)
    (workshop.folder / "far").mkdir(exist_ok=True)
    (workshop.folder / "far" / "secret").write_bytes(b"anything")
    name = "open" if what == "file" else "scandir"
    real = getattr(os, name)

    def forbidden(path: object, *rest: object, **more: object) -> object:
        if str(path).endswith("secret") or (what == "folder" and str(path) == closed):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, name, forbidden)
    closed = str(workshop.keys)
    with pytest.raises(_errors.EvidenceNotReadable, match="Permission denied"):
        judge(workshop, given)
    (workshop.keys / "secret").unlink()
    closed = str(workshop.folder / "far")
    assert judge(workshop, replace(given, search=(workshop.folder / "far",))) == KT


def test_every_class_of_refusal_has_a_row() -> None:
    classes = {cls.__name__ for cls in _errors.ArchiveRefusal.__subclasses__()}
    assert classes - {row.expected for row in REFUSED} == {"DestroyedRefused"}, "DestroyedRefused is the vault's alone"
