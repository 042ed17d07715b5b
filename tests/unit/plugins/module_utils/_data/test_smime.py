# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""S/MIME mails of openssl decrypted in place, byte for byte; what is in or around them stays; bombs end."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import encrypted_mail
import pytest
from encrypted_mail import ENTITY, Person

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import ciphers, cms, decryptor, mime, smime
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataNotOpened
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return encrypted_mail.person(tmp_path_factory.mktemp("me"), "me")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return encrypted_mail.person(tmp_path_factory.mktemp("other"), "other", "p256")


def body_of(mail: bytes) -> bytes:
    return mail.split(b"\r\n\r\n" if b"\r\n\r\n" in mail.split(b"\n\n")[0] else b"\n\n", 1)[1]


def header_of(mail: bytes) -> dict[bytes, bytes]:
    return {one.name: one.value.strip() for one in mime.read(mail).fields}


def part(mail: bytes) -> bytes:
    """The mail as a part of another."""
    return re.sub(rb"(?m)^(To|From|Subject|MIME-Version):.*\n", b"", mail.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("crlf", [False, True])
@pytest.mark.parametrize("options", [(), ("-stream",), ("-aes-256-gcm",)])
def test_the_entity_comes_out_byte_for_byte(me: Person, options: tuple[str, ...], crlf: bool) -> None:
    mail = me.mail(ENTITY, *options).replace(b"\r\n", b"\n")
    mail = b"Received: from x\n\tby y\nMessage-ID: <1@x>\n" + mail
    found = smime.recover(mail.replace(b"\n", b"\r\n") if crlf else mail, [me.decryptor()])
    assert (found.status, found.message_id, found.key_ids) == ("decrypted", "<1@x>", (me.decryptor().key_id,))
    assert found.content is not None
    assert found.content.endswith(ENTITY)
    outer = found.content.removesuffix(ENTITY)
    lines = ("Received: from x", "\tby y", "Message-ID: <1@x>", "To: b@example.com", "From: a@example.com")
    assert outer == "".join(f"{one}\r\n" for one in (*lines, "Subject: hello", "MIME-Version: 1.0")).encode()


def test_noise_of_a_wrong_key_does_not_hide_a_mail(me: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = encrypted_mail.person(tmp_path, "second")
    mail = me.mail()
    envelope = cms.read(cms.unarmored(body_of(mail)))
    key = b""
    while not key:
        with contextlib.suppress(DataNotOpened):
            tried = os.urandom(32)
            ciphers.decrypt(envelope.cipher, tried, envelope.pieces)
            key = tried
    monkeypatch.setattr(decryptor, "os", SimpleNamespace(urandom=lambda size: key[:size]))
    wrong, right = second.decryptor(with_certificate=False), me.decryptor(with_certificate=False)
    for keys in ([wrong, right], [right, wrong]):
        found = smime.recover(mail, keys)
        assert (found.status, found.key_ids) == ("decrypted", (right.key_id,))
    assert isinstance(smime.recover(mail, [wrong]).error, DataNotOpened)


def test_openssl_reads_what_came_out(me: Person) -> None:
    signed = me.sign(ENTITY)
    assert b"multipart/signed" in signed
    opaque = me.sign(ENTITY, "-nodetach")
    for inside in (signed, opaque):
        found = smime.recover(me.mail(inside), [me.decryptor()])
        assert found.content is not None
        assert found.content.endswith(inside[inside.index(b"Content-Type") :])
        verified = encrypted_mail.openssl("cms", "-verify", "-noverify", stdin=found.content)
        assert verified == ENTITY
    twice = smime.recover(me.mail(me.mail(ENTITY, subject="inner")), [me.decryptor()])
    assert twice.content is not None
    assert twice.content.endswith(ENTITY)
    assert (twice.status, len(twice.key_ids)) == ("decrypted", 1)


def test_what_was_signed_outside_gives_way(me: Person) -> None:
    mail = me.mail(ENTITY)
    for options in ((), ("-nodetach",)):
        wrapped = b"Subject: signed\nDate: today\n" + me.sign(mail, *options)
        found = smime.recover(wrapped, [me.decryptor()])
        assert found.content is not None
        assert found.content.endswith(ENTITY)
        assert header_of(found.content)[b"date"] == b"today"
        assert b"pkcs7" not in found.content


def test_fields_that_were_encrypted_win(me: Person) -> None:
    inside = b"Subject: the real one\r\nFrom: a@example.com\r\n" + ENTITY
    found = smime.recover(b"Date: now\nX-Spam: no\n" + me.mail(inside, subject="..."), [me.decryptor()])
    assert found.content is not None
    header = header_of(found.content)
    assert (header[b"subject"], header[b"date"], header[b"x-spam"]) == (b"the real one", b"now", b"no")
    assert found.content.lower().count(b"subject:") == 1


def test_parts_are_replaced_where_they_are(me: Person, other: Person) -> None:
    boundary = b"=_a (b)"
    around = (
        b'Subject: list\nContent-Type: multipart/mixed;\n boundary="%s"\n\npreamble\n--%s\n' % (boundary, boundary)
    ).replace(b"\n", b"\r\n")
    footer = b"\r\n--%s  \r\nContent-Type: text/plain\r\n\r\nfooter \xff\r\n--%s--\r\nepilogue" % (boundary, boundary)
    found = smime.recover(around + part(me.mail(ENTITY)) + footer, [me.decryptor()])
    assert (found.status, found.content) == ("decrypted", around + ENTITY + footer)
    forwarded = b"Content-Type: message/rfc822\r\n\r\n" + me.mail(ENTITY, subject="forwarded")
    found = smime.recover(around + forwarded + footer, [me.decryptor()])
    assert found.content is not None
    assert b"Subject: forwarded\r\nMIME-Version: 1.0\r\n" + ENTITY + footer in found.content
    second = b"\r\n--%s\r\n" % boundary + part(other.mail(ENTITY))
    half = smime.recover(around + part(me.mail(ENTITY)) + second + footer, [me.decryptor()])
    assert (half.status, type(half.error).__name__) == ("failed", "NoKeyForData")
    assert half.content == around + ENTITY + second + footer


def test_how_programs_write_it(me: Person) -> None:
    der_form = me.encrypt(ENTITY)
    wire = base64.encodebytes(der_form)
    kinds = (
        b"Content-Type: application/x-pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\n" + wire,
        b'CONTENT-TYPE: Application/PKCS7-Mime;\n\tSMIME-Type="enveloped-data"\ncontent-transfer-encoding: BASE64\n\n'
        + wire,
        b'Content-Type: application/octet-stream\nContent-Disposition: attachment; filename="Smime.P7M"\n'
        b"Content-Transfer-Encoding: base64\n\n" + wire,
        b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: binary\n\n" + der_form,
        b"Content-Type: application/pkcs7-mime\n\n" + wire,
        b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"
        + wire
        + b"\n\n-- \nlist footer?\n"[:2],
    )
    for mail in kinds:
        found = smime.recover(mail, [me.decryptor()])
        assert (found.status, found.content) == ("decrypted", ENTITY), mail[:80]


def test_text_without_a_header(me: Person) -> None:
    for text in (b"just text\r\n", b"text: with colon\nand more\n", "Grüße\n".encode(), b""):
        found = smime.recover(me.mail(text), [me.decryptor()])
        assert found.content is not None
        line_end = b"\r\n" if b"\r\n" in text else b"\n"
        assert found.content.endswith(b"MIME-Version: 1.0" + line_end * 2 + text)


def test_what_is_not_encrypted_is_kept(me: Person) -> None:
    certificates = encrypted_mail.openssl("crl2pkcs7", "-nocrl", "-certfile", me.certificate, "-outform", "DER")
    signing = ("-signer", me.certificate, "-inkey", me.key, "-outform", "DER", "-nodetach", "-binary")
    signed_file = encrypted_mail.openssl("cms", "-sign", *signing, stdin=b"%PDF-1.4\n\xff\xfe")
    mails = (
        *(b"", b"\n", b"no header", b"Subject: x\n\nbody", b"Content-Type: multipart/mixed\n\n--x\n"),
        *(me.sign(ENTITY), me.sign(ENTITY, "-nodetach")),
        b"Content-Type: application/pkcs7-mime; smime-type=certs-only\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(certificates),
        OCTETS + BASE64 + base64.encodebytes(me.der),
        b'Content-Type: application/octet-stream; name="contract.pdf.p7m"\n' + BASE64 + base64.encodebytes(signed_file),
        *(
            b"\nMeeting at noon",
            b"\n0",
            b"\n----- Original message",
            b"Content-Type: message/rfc822\n" + BASE64 + b"TQ==\n",
        ),
    )
    for mail in mails:
        found = smime.recover(mail, [me.decryptor()])
        assert (found.status, found.content) == ("kept", None), mail[:60]


BASE64 = b"Content-Transfer-Encoding: base64\n\n"
OCTETS = b"Content-Type: application/octet-stream\n"


def disguised(me: Person) -> dict[str, bytes]:
    """Mails that mail programs open, and that do not say plainly that they are encrypted."""
    der_form = me.encrypt(ENTITY)
    wire = base64.encodebytes(der_form)
    inner = b"Subject: inner\nContent-Type: application/pkcs7-mime\n" + BASE64 + wire
    pem = b"-----BEGIN CMS-----\n%s-----END CMS-----\n" % wire
    name, file_name = OCTETS[:-1] + b"; name%s\n", OCTETS + b"Content-Disposition: attachment; filename%s\n"
    plain = {
        "character set": file_name % b"*=UTF-8''smime.p7m",
        "percent": file_name % b"*=UTF-8''smime%2Ep%37m",
        "utf-16": file_name % b"*=utf-16le''s%00.%00p%007%00m%00",
        "pieces": file_name % b'*0="smime";\n filename*1=".p7m"',
        "pieces out of order": file_name % b"*1=\".p7m\"; filename*0*=UTF-8''smime",
        "both": file_name % b"=harmless.txt; filename*=''smime.p7m",
        "encoded word": name % b'="=?utf-8?B?c21pbWUucDdt?="',
        "backslash": name % b'="smime.p\\7m"',
        "comment": b"Content-Type: application/pkcs7-mime (a \\) (b) ; name=x); name=x\n",
        "comment before": b"Content-Type: (a)application / (b) pkcs7-mime\n",
        "comment behind": name % b"=smime.p7m(a)",
        "other type": b'Content-Type: application/pdf; name="smime.p7m"\n',
        "x-smime": b'Content-Type: application/x-smime; name="smime.dat"\n',
        "signature": b'Content-Type: application/pkcs7-signature; name="smime.p7s"\n',
        "certificates": b"Content-Type: application/pkcs7-mime; smime-type=certs-only\n",
        "two types": b"Content-Type: text/plain\nContent-Type: application/pkcs7-mime\n",
        "no type": b"",
    }
    found = {how: header + BASE64 + wire for how, header in plain.items()}
    found["comment at the encoding"] = OCTETS + b"Content-Transfer-Encoding: (a) base64 (b)\n\n" + wire
    found["something in front"] = OCTETS + BASE64 + b"*!\n" + wire
    found["as it is"] = OCTETS + b"\n" + der_form
    found["PEM"] = b"Content-Type: text/plain\n\n" + pem
    found["base64 as text"] = b"\n" + wire
    found["PEM twice"] = b"Content-Type: text/plain\n" + BASE64 + base64.encodebytes(pem)
    found["base64 twice"] = OCTETS + BASE64 + base64.encodebytes(wire)
    found["boundary"] = b"Content-Type: multipart/mixed; boundary*=us-ascii''B%42\n\n--BB\n" + inner + b"\n--BB--\n"
    found["boundary and comment"] = b"Content-Type: multipart/mixed; boundary=(a)BB\n\n--BB\n" + inner + b"\n--BB--\n"
    found["parentheses"] = b"Content-Type: multipart/mixed; boundary=_(B)\n\n--_(B)\n" + inner + b"\n--_(B)--\n"
    found["global"] = b"Content-Type: message/global\n\n" + inner
    found["attached mail"] = OCTETS + b'Content-Disposition: attachment; filename="x.EML"\n\n' + inner
    parts = b"Content-Type: multipart/mixed; boundary=BB\n"
    around = {"mail": b"Content-Type: message/rfc822\n", "file": name % b"=x.eml", "parts": parts}
    for what, header in around.items():
        body = b"--BB\n" + inner + b"\n--BB--\n" if what == "parts" else inner
        found[f"{what} in base64"] = header + BASE64 + base64.encodebytes(body)
        quoted = binascii.b2a_qp(body, istext=False)
        found[f"{what} in quoted-printable"] = header + b"Content-Transfer-Encoding: quoted-printable\n\n" + quoted
    octets = der.write(der.OCTET_STRING, zlib.compress(inner))
    info = der.write(der.SEQUENCE, cms.DATA, der.write(0xA0, octets))
    algorithm = der.write(der.SEQUENCE, der.oid("1.2.840.113549.1.9.16.3.8"))
    compressed = cms.wrapped(der.write(der.SEQUENCE, b"\x02\x01\x00", algorithm, info), cms.COMPRESSED_DATA)
    signed = ("cms", "-sign", "-nodetach", "-binary", "-outform", "DER", "-signer", me.certificate, "-inkey", me.key)
    for what, content in (("compressed", compressed), ("signed", encrypted_mail.openssl(*signed, stdin=der_form))):
        found[what] = b"Content-Type: application/pkcs7-mime; name=x.p7z\n" + BASE64 + base64.encodebytes(content)
    return found


def test_what_is_encrypted_is_found_whatever_it_says(me: Person) -> None:
    for how, mail in disguised(me).items():
        found = smime.recover(b"Subject: outer\n" + mail, [me.decryptor()])
        assert (found.status, found.error) == ("decrypted", None), how
        assert found.content is not None
        content = found.content
        if how.endswith(("in base64", "in quoted-printable")):
            body = body_of(content)
            content = base64.b64decode(body) if how.endswith("base64") else binascii.a2b_qp(body)
        assert ENTITY in content, how
        assert b"MII" not in found.content


def test_what_may_be_encrypted_and_does_not_open_is_told(me: Person, other: Person) -> None:
    secret = ("-secretkey", "00" * 32, "-secretkeyid", "01", "-aes256")
    encrypted = encrypted_mail.openssl("cms", "-EncryptedData_encrypt", "-outform", "DER", *secret, stdin=ENTITY)
    zeros = der.write(der.OCTET_STRING, zlib.compress(bytes((128 << 20) + 1)))
    info = der.write(der.SEQUENCE, cms.DATA, der.write(0xA0, zeros))
    bomb = cms.wrapped(der.write(der.SEQUENCE, b"\x02\x01\x00", der.write(der.SEQUENCE), info), cms.COMPRESSED_DATA)
    named = b"Content-Type: application/pdf; name*=''x.P7%4D\n" + BASE64
    cases = {
        "no message": ("DataDamaged", named + b"aGVsbG8=\n"),
        "nothing": ("DataDamaged", named),
        "damaged base64": ("DataDamaged", named + base64.encodebytes(me.encrypt(ENTITY))[:-3]),
        "somebody else's": ("NoKeyForData", OCTETS + BASE64 + base64.encodebytes(other.encrypt(ENTITY))),
        "a key that is not in it": ("DataUnsupported", OCTETS + BASE64 + base64.encodebytes(encrypted)),
        "OpenPGP": ("DataUnsupported", b"\n-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n"),
        "pieces": ("DataUnsupported", b"Content-Type: message/partial; id=1; number=1; total=2\n\n"),
        "compressed bomb": (
            "DataTooLarge",
            b"Content-Type: application/pkcs7-mime\n" + BASE64 + base64.encodebytes(bomb),
        ),
    }
    for how, (reason, mail) in cases.items():
        found = smime.recover(mail, [me.decryptor()])
        assert (found.status, type(found.error).__name__, found.content) == ("failed", reason, None), how


def test_bad_mails_have_a_reason(me: Person, other: Person) -> None:
    mail = me.mail(ENTITY)
    cases = {
        "NoKeyForData": other.mail(ENTITY),
        "DataDamaged": mail[: len(mail) // 2],
        "DataNotOpened": encrypted_mail.altered(me.mail(ENTITY, "-aes-256-gcm")),
        "DataUnsupported": b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x\n\n',
    }
    for reason, one in cases.items():
        found = smime.recover(one, [me.decryptor()])
        assert (found.status, type(found.error).__name__, found.content) == ("failed", reason, None)
        assert found.error is not None
        assert str(found.error)


def test_noise_is_no_mail(me: Person, other: Person) -> None:
    """One wrong key in 256 passes the padding of CBC; what comes out then is not taken for a mail."""

    class Guessing(Decryptor):
        def tried(self, encrypted: object, size: int) -> tuple[bytes, bool]:
            return next(keys), True

    guesses = iter(range(100_000))
    keys = (number.to_bytes(32, "big") for number in guesses)
    key = me.decryptor()
    liar = Guessing("liar", key.private_key, key.certificates)
    mail = me.mail(b"Content-Type: text/plain\r\n\r\nhello\r\n")
    came_out = [smime.recover(mail, [liar]).status for dummy in range(3000)]
    assert set(came_out) == {"failed"}


def test_bombs_end(me: Person) -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (one, one) for one in range(3000))
    same = (
        b"Content-Type: multipart/mixed; boundary=b\n\n"
        + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 20_000
    )
    many = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 300_000
    forwarded = b"Content-Type: message/rfc822\n\n" * 50_000
    layers = ENTITY
    for dummy in range(12):
        layers = me.mail(layers)
    bombs = {
        **{"deep": deep, "same": same, "many": many, "forwarded": forwarded, "layers": layers},
        "header": b"A" * 3_000_000,
        "fields": b"a: b\n" * 500_000 + b"\n",
        "folded": b"Content-Type: multipart/mixed; " + b"\n a=b;" * 300_000 + b"\n\n",
        "quotes": b'Content-Type: multipart/mixed; boundary="' + b"\\" * 1_000_000 + b"\n\n",
        "comments": b"Content-Type: multipart/mixed; " + b"(" * 200_000 + b")" * 150_000 + b"\n\n",
        "escapes": b"Content-Type: multipart/mixed; (" + b'\\"(' * 300_000 + b"\n\n",
        "pieces": b"Content-Type: x/y; " + b"".join(b"\n b*%d*=%%41;" % one for one in range(20_000)) + b"\n\n",
        "words": b'Content-Type: x/y; name="' + b"=?a?B?QQ==?=" * 30_000 + b'"\n\n',
        "half words": b'Content-Type: x/y; name="' + b"=?a?B?" * 50_000 + b'"\n\n',
        "spaces": b"\n" + b" " * 1_000_000,
        "lengths": b"Content-Type: x/y\n\n" + b"\x30" * 1_000_000,
        "walks": (forwarded[:29] + b"Content-Transfer-Encoding: quoted-printable\n\n") * 20 + b"x" * 300_000,
        "near": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b-" * 500_000,
        "base64": b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n" + b"MIAw\n" * 400_000,
    }
    kept = {"header", "fields", "folded", "quotes", "near", "comments", "escapes", "pieces", "words", "half words"}
    kept |= {"spaces", "lengths"}
    for name, bomb in bombs.items():
        started = time.process_time()
        found = smime.recover(bomb, [me.decryptor()])
        assert time.process_time() - started < 3, name
        assert found.status == ("kept" if name in kept else "failed"), name
