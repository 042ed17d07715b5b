# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CMS messages that openssl, gpgsm and NSS made, and vectors of cryptography, decrypted; and messages that are bad."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import encrypted_mail
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, x448, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    ber,
    ciphers,
    cms,
    decryptor,
    envelopes,
    smime,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

PLAIN = random.Random(1).randbytes(70_001)
CIPHERS = [
    "aes-128-cbc",
    "aes-192-cbc",
    "aes-256-cbc",
    "aes-128-gcm",
    "aes-192-gcm",
    "aes-256-gcm",
    "des3",
    "camellia-256-cbc",
]
OAEP = ["-keyopt", "rsa_padding_mode:oaep"]
HASHES = ["sha1", "sha224", "sha256", "sha384", "sha512"]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, encrypted_mail.Person]:
    folder = tmp_path_factory.mktemp("people")
    return {kind: encrypted_mail.person(folder, kind, kind) for kind in encrypted_mail.TYPES}


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> encrypted_mail.Person:
    return encrypted_mail.person(tmp_path_factory.mktemp("second"), "second", "rsa")


def opened(message: bytes, *keys: Decryptor) -> bytes:
    return cms.decrypt(cms.unarmored(message), keys).content


def rsa_variants() -> list[list[str]]:
    plain = [[f"-{cipher}", *more] for cipher in CIPHERS for more in ([], ["-stream"], ["-keyid"])]
    oaep = [
        [
            "-aes-256-gcm",
            "-keyopt",
            "rsa_padding_mode:oaep",
            "-keyopt",
            f"rsa_oaep_md:{used}",
            "-keyopt",
            f"rsa_mgf1_md:{mask}",
        ]
        for used, mask in [*((one, one) for one in HASHES), ("sha256", "sha1"), ("sha1", "sha512")]
    ]
    return [*plain, *oaep, ["-aes-128-cbc", *OAEP, "-keyopt", "rsa_oaep_label:6b6579"]]


def ec_variants() -> list[list[str]]:
    kdfs = [["-aes-256-cbc", "-keyopt", f"ecdh_kdf_md:{used}"] for used in HASHES]
    cofactor = [
        ["-aes-256-cbc", "-keyopt", f"ecdh_kdf_md:{used}", "-keyopt", "ecdh_cofactor_mode:1"] for used in HASHES
    ]
    wraps = [["-aes-256-cbc", f"-{wrap}"] for wrap in ("aes128-wrap", "aes192-wrap", "aes256-wrap", "des3-wrap")]
    return [*([f"-{cipher}"] for cipher in CIPHERS), *kdfs, *cofactor, *wraps, ["-aes-128-gcm", "-stream", "-keyid"]]


@pytest.mark.parametrize("kind", list(encrypted_mail.TYPES))
def test_what_openssl_encrypts(people: dict[str, encrypted_mail.Person], kind: str) -> None:
    person = people[kind]
    known, unknown = person.decryptor(), person.decryptor(with_certificate=False)
    for options in rsa_variants() if kind == "rsa" else ec_variants():
        message = person.encrypt(PLAIN, *options)
        assert opened(message, known) == PLAIN, options
        assert opened(message, unknown) == PLAIN, options
    for form in ("PEM", "SMIME"):
        message = person.encrypt(PLAIN, form=form)
        body = message if form == "PEM" else message.partition(b"\n\n")[2]
        assert opened(body, known) == PLAIN


def test_old_ciphers(people: dict[str, encrypted_mail.Person]) -> None:
    assert encrypted_mail.has_legacy_provider()
    for cipher in ("rc2-40-cbc", "rc2-64-cbc", "rc2", "des-cbc"):
        message = people["rsa"].encrypt(PLAIN, "-provider", "legacy", "-provider", "default", f"-{cipher}")
        assert opened(message, people["rsa"].decryptor()) == PLAIN, cipher


def test_the_named_recipient_opens_among_many(people: dict[str, encrypted_mail.Person]) -> None:
    others = [one.certificate for one in people.values()]
    message = encrypted_mail.openssl("cms", "-encrypt", "-binary", "-outform", "DER", "-aes256", *others, stdin=PLAIN)
    keys = [one.decryptor() for one in people.values()]
    for key in keys:
        found = cms.decrypt(memoryview(message), [key])
        assert (found.content, found.by) == (PLAIN, key)
    assert opened(message, *reversed(keys)) == PLAIN
    password = ("-pwri_password", "x", "-secretkey", "00" * 16, "-secretkeyid", "01")
    mixed = encrypted_mail.openssl(
        *("cms", "-encrypt", "-binary", "-outform", "DER", *password, people["p256"].certificate), stdin=PLAIN
    )
    assert opened(mixed, people["p256"].decryptor()) == PLAIN
    with pytest.raises(_errors.NoKeyForData):
        opened(mixed, people["rsa"].decryptor())


def test_a_renewed_certificate_is_tried_only_when_none_is_known(
    people: dict[str, encrypted_mail.Person], tmp_path: Path
) -> None:
    person = people["rsa"]
    encrypted_mail.openssl("req", "-x509", "-key", person.key, "-subj", "/CN=new", "-out", tmp_path / "new.pem")
    renewed = encrypted_mail.Person("new", person.key, tmp_path / "new.pem")
    message = renewed.encrypt(PLAIN)
    with pytest.raises(_errors.NoKeyForData, match="serial number"):
        opened(message, person.decryptor())
    both = Decryptor("both", load_pem_private_key(person.key.read_bytes(), None), [person.der, renewed.der])
    assert opened(message, both) == PLAIN
    assert opened(message, person.decryptor(with_certificate=False)) == PLAIN


def forged(person: encrypted_mail.Person, real: encrypted_mail.Person) -> bytes:
    """A certificate of one's key with the issuer and serial number of the other's."""
    key: Any = load_pem_private_key(person.key.read_bytes(), None)
    like = x509.load_der_x509_certificate(real.der)
    made = x509.CertificateBuilder(like.issuer, like.subject, key.public_key(), like.serial_number)
    made = made.not_valid_before(datetime.datetime(2020, 1, 1)).not_valid_after(datetime.datetime(2040, 1, 1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("cipher", ["-aes-256-cbc", "-aes-256-gcm"])
def test_a_forged_certificate_hides_nothing_from_the_right_key(
    people: dict[str, encrypted_mail.Person], second: encrypted_mail.Person, cipher: str
) -> None:
    right = people["rsa"]
    wrong = Decryptor("wrong", load_pem_private_key(second.key.read_bytes(), None), [second.der, forged(second, right)])
    message = right.encrypt(PLAIN, cipher)
    for key in (right.decryptor(), right.decryptor(with_certificate=False)):
        for keys in ([wrong, key], [key, wrong]):
            found = cms.decrypt(memoryview(message), keys)
            assert (found.content, found.by) == (PLAIN, key)
    with pytest.raises(_errors.DataNotOpened):
        opened(right.encrypt(PLAIN, "-aes-256-gcm"), wrong)


def chance_key(message: bytes) -> bytes:
    """A content key that is not the message's, and with which its content ends like a padding all the same."""
    envelope = cms.read(memoryview(message))
    while True:
        key = os.urandom(32)
        with contextlib.suppress(_errors.DataNotOpened):
            ciphers.decrypt(envelope.cipher, key, envelope.pieces)
            return key


@pytest.mark.parametrize("named", [False, True])
def test_noise_of_a_wrong_key_gives_way_to_the_right_one(
    people: dict[str, encrypted_mail.Person],
    second: encrypted_mail.Person,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    message = people["rsa"].encrypt(PLAIN, "-aes-256-cbc")
    key = chance_key(message)
    monkeypatch.setattr(decryptor, "os", SimpleNamespace(urandom=lambda size: key[:size]))
    certificates = [forged(second, people["rsa"])] if named else []
    wrong = Decryptor("wrong", load_pem_private_key(second.key.read_bytes(), None), certificates)
    right = people["rsa"].decryptor(with_certificate=False)
    assert opened(message, wrong) != PLAIN  # alone it is not told apart: that would be the oracle of RFC 3218
    assert opened(message, wrong, right) == opened(message, right, wrong) == PLAIN
    failing = Decryptor("token", FailingToken(right.private_key.public_key()))
    with pytest.raises(_errors.TokenError):
        opened(message, wrong, failing)


@dataclass(frozen=True)
class FailingToken:
    """The key of a token that was pulled."""

    public: Any

    def public_key(self) -> Any:
        return self.public

    def decrypt(self, encrypted: bytes, scheme: Any) -> bytes:
        raise _errors.TokenError("the token is gone")


def test_tries_are_bounded(people: dict[str, encrypted_mail.Person], monkeypatch: pytest.MonkeyPatch) -> None:
    person = people["rsa"]
    envelope = cms.read(memoryview(person.encrypt(PLAIN, "-aes-256-cbc")))
    wrong = dataclasses.replace(envelope.keys[0], encrypted=bytes(256))
    many = dataclasses.replace(envelope, keys=(wrong,) * 1000)
    tries = []
    real = Decryptor.tried

    def counted(self: Decryptor, encrypted: decryptor.EncryptedKey, size: int) -> tuple[bytes, bool]:
        tries.append(encrypted)
        return real(self, encrypted, size)[0], True

    monkeypatch.setattr(Decryptor, "tried", counted)
    monkeypatch.setattr(envelopes, "_MOST_BYTES_TRIED", 40 * len(PLAIN))
    for key, most in ((person.decryptor(), 40), (person.decryptor(with_certificate=False), 40)):
        tries.clear()
        with contextlib.suppress(_errors.DataNotOpened):
            cms.open_envelope(many, [key])
        assert len(tries) <= most


def test_a_foreign_certificate_is_refused(people: dict[str, encrypted_mail.Person]) -> None:
    key = load_pem_private_key(people["rsa"].key.read_bytes(), None)
    for certificate in (people["p256"].der, b"0\x03\x02\x01\x00", b""):
        with pytest.raises(_errors.OptionError):
            Decryptor("x", key, [certificate])


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Iterator[Path]:
    """GnuPG's folder, and no agent of it left behind."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    yield home
    run(["gpgconf", "--homedir", str(home), "--kill", "all"])


def test_gpgsm_and_nss(people: dict[str, encrypted_mail.Person], home: Path, tmp_path: Path) -> None:
    person = people["rsa"]
    print_of = encrypted_mail.openssl("x509", "-in", person.certificate, "-noout", "-fingerprint", "-sha1").decode()
    (home / "trustlist.txt").write_text(print_of.strip().split("=")[1] + " S relax\n")
    gpgsm = ["gpgsm", "--homedir", str(home), "--batch", "--quiet", "--disable-crl-checks"]
    run([*gpgsm, "--import"], person.certificate.read_bytes())
    for armor in ([], ["--armor"], ["--base64"]):
        for cipher in ("AES256", "AES", "3DES"):
            always = ["--encrypt", "--cipher-algo", cipher, "--recipient", person.name]
            assert opened(run([*gpgsm, *armor, *always], PLAIN), person.decryptor()) == PLAIN, (armor, cipher)
    run(["certutil", "-N", "-d", str(home), "--empty-password"])
    run(["certutil", "-A", "-d", str(home), "-n", "me", "-t", "P,P,P", "-i", str(person.certificate), "-a"])
    run(["certutil", "-M", "-d", str(home), "-n", "me", "-t", "CTP,CTP,CTP"])
    (tmp_path / "plain").write_bytes(PLAIN)
    made = run(["cmsutil", "-E", "-d", str(home), "-r", "me", "-i", str(tmp_path / "plain")])
    assert opened(made, person.decryptor()) == PLAIN


def run(command: list[str], stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout


@pytest.mark.parametrize("kind", [x25519.X25519PrivateKey, x448.X448PrivateKey])
def test_x25519_and_x448(kind: type) -> None:
    """RFC 8418, which openssl 3.0 cannot write: built here from the RFC's words."""
    key, ephemeral = kind.generate(), kind.generate()
    wrap = der.write(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.1.45"))
    public = ephemeral.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    sized = der.write(0xA2, der.write(der.OCTET_STRING, (256).to_bytes(4, "big")))
    derived = HKDF(hashes.SHA256(), 32, None, der.write(der.SEQUENCE, wrap, sized)).derive(
        ephemeral.exchange(key.public_key())
    )
    content_key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(content_key).encrypt(nonce, PLAIN, None)
    named = der.write(0xA0, der.write(der.OCTET_STRING, b"some key identifier"))
    infos = der.write(der.SEQUENCE, named, der.write(der.OCTET_STRING, aes_key_wrap(derived, content_key)))
    originator = der.write(der.SEQUENCE, der.write(der.SEQUENCE, der.oid("1.3.101.110")), der.write_bits(public))
    recipient = der.write(
        0xA1,
        der.write_integer(3),
        der.write(0xA0, der.write(0xA1, originator[2:])),
        der.write(der.SEQUENCE, der.oid("1.2.840.113549.1.9.16.3.19"), wrap),
        der.write(der.SEQUENCE, infos),
    )
    cipher = der.write(
        der.SEQUENCE,
        der.oid("2.16.840.1.101.3.4.1.46"),
        der.write(der.SEQUENCE, der.write(der.OCTET_STRING, nonce), der.write_integer(16)),
    )
    envelope = der.write(
        der.SEQUENCE,
        der.write_integer(0),
        der.write(der.SET, recipient),
        der.write(der.SEQUENCE, cms.DATA, cipher, der.write(0x80, sealed[:-16])),
        der.write(der.OCTET_STRING, sealed[-16:]),
    )
    message = der.write(der.SEQUENCE, cms.AUTH_ENVELOPED_DATA, der.write(0xA0, envelope))
    assert opened(message, Decryptor("x25519", key)) == PLAIN


def test_signed_content_gets_its_content_info(people: dict[str, encrypted_mail.Person], tmp_path: Path) -> None:
    person = people["rsa"]
    signed = person.sign(PLAIN, "-binary", "-nodetach", "-outform", "DER")
    dummy, explicit = der.read_sequence(signed)
    message = person.encrypt(explicit.body).replace(cms.DATA, cms.SIGNED_DATA)
    opened = cms.decrypt(memoryview(message), [person.decryptor()])
    found = cms.wrapped(opened.content, opened.content_type)
    assert found == signed


# --- bad input -------------------------------------------------------------------------------------------------------


def test_wrong_key_and_wrong_padding_are_told_alike(people: dict[str, encrypted_mail.Person], tmp_path: Path) -> None:
    """Whoever sends altered messages and reads the reports learns nothing of the padding (RFC 3218)."""
    person, other = people["rsa"], encrypted_mail.person(tmp_path, "other")
    message = person.encrypt(PLAIN, "-aes-256-gcm")
    envelope = cms.read(memoryview(message))
    place = message.index(envelope.keys[0].encrypted)
    told = set()
    altered = [
        message[:place] + bytes([one]) + message[place + 1 :] for one in range(0, 100, 7) if one != message[place]
    ]
    # A sound padding around a key of the wrong size, around none, and around another key.
    public = load_pem_private_key(person.key.read_bytes(), None).public_key()
    for content in (b"", b"short", os.urandom(32), os.urandom(33)):
        found = public.encrypt(content, padding.PKCS1v15())
        altered.append(message[:place] + found + message[place + len(found) :])
    for one in altered:
        for keys in ([person.decryptor()], [person.decryptor(with_certificate=False)]):
            with pytest.raises(_errors.DataNotOpened) as caught:
                opened(one, *keys)
            told.add(str(caught.value))
    with pytest.raises(_errors.DataNotOpened) as caught:
        opened(message, other.decryptor(with_certificate=False))
    told.add(str(caught.value))
    assert len(told) == 1


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_altered_and_truncated_messages_have_a_reason(people: dict[str, encrypted_mail.Person], kind: str) -> None:
    person, chance = people[kind], random.Random(7)
    keys = [person.decryptor(), person.decryptor(with_certificate=False)]
    for options in (["-aes-256-gcm"], ["-aes-256-cbc", "-stream"]):
        message = person.encrypt(PLAIN[:3000], *options)
        came_out = 0
        ends = time.monotonic() + 3
        for count in range(400):
            if time.monotonic() > ends:
                break
            altered = bytearray(message)
            if count % 4 == 0:
                del altered[chance.randrange(len(altered)) :]
            for dummy in range(chance.randrange(1, 4)) if count % 4 else ():
                altered[chance.randrange(min(len(altered), 700 if count % 2 else 10**6))] ^= 1 << chance.randrange(8)
            try:
                came_out += opened(bytes(altered), keys[count % 2]) == PLAIN[:3000]
            except _errors.DataError as error:
                assert str(error)
        # What is not protected (versions, and in CBC nearly everything) may be altered; an authenticated content never.
        assert came_out <= count / 2


def without_length(tag: int, *content: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(content) + b"\0\0"


def test_millions_of_empty_pieces_are_no_work(
    people: dict[str, encrypted_mail.Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = people["rsa"].decryptor()
    cipher = cms.DATA + b"\x30\x1d" + der.oid("2.16.840.1.101.3.4.1.42") + b"\x04\x10" + bytes(16)

    def message(recipients: bytes, content: bytes) -> bytes:
        parts = (b"\x02\x01\x00", without_length(0x31, recipients), without_length(0x30, cipher, content))
        return without_length(0x30, cms.ENVELOPED_DATA, without_length(0xA0, without_length(0x30, *parts)))

    monkeypatch.setattr(ber, "_MOST_STEPS", 500_000)
    many = 1_200_000
    bombs = [
        message(b"", without_length(0xA0, b"\x04\x00" * many)),
        message(b"", der.write(0xA0, b"\x24\x00" * many)),
        message(b"", without_length(0xA0, without_length(0x24, b"\x04\x00" * 40_000) * 30)),
        message(without_length(0x30, b"\x04\x00" * 900) * 1_000, b""),
    ]
    for bomb in bombs:
        started = time.process_time()
        with pytest.raises(_errors.DataTooLarge, match="pieces"):
            opened(bomb, key)
        mail = smime.recover(b"Content-Type: application/pkcs7-mime\n\n" + bomb, [key])
        assert isinstance(mail.error, _errors.DataTooLarge)
        assert time.process_time() - started < 3


def test_bombs_take_no_time(people: dict[str, encrypted_mail.Person]) -> None:
    key = people["rsa"].decryptor()
    enveloped = cms.ENVELOPED_DATA
    version, many = b"\x02\x01\x00", der.write(der.SET, b"\xa3\x00" * 300_000)
    bombs = [
        b"\x30\x80" * 1_000_000,
        b"\x30\x80" + enveloped + b"\xa0\x80" + b"\x30\x80" * 500_000,
        b"\x30\x88" + b"\xff" * 8 + enveloped,
        b"\x30\x84\xff\xff\xff\xff" + enveloped + b"\xa0\x84\xff\xff\xff\xf0\x30\x84\xff\xff\xff\xe0",
        der.write(der.SEQUENCE, enveloped, der.write(0xA0, der.write(der.SEQUENCE, b"\x02\x01\x00" * 300_000))),
        der.write(der.SEQUENCE, enveloped, der.write(0xA0, der.write(der.SEQUENCE, version, many, b"\x30\x00"))),
        b"\x30\x80" + enveloped + b"\xa0\x80\x30\x80\x02\x01\x00\x31\x00\x30\x80" + cms.DATA + b"\x24\x80" * 400_000,
        b"-----BEGIN CMS-----\n" + b"MIAG\n" * 400_000,
        b"-----BEGIN CMS-----" * 100_000,
        b"M" * 2_000_000,
        b"",
        b"\x30",
    ]
    for bomb in bombs:
        started = time.process_time()
        with pytest.raises(_errors.DataError):
            opened(bomb, key)
        assert time.process_time() - started < 3, bomb[:40]
