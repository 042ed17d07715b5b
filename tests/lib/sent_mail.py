# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the departed owner's mail and files with openssl, many at a time, and keeps what they say.

    sent_mail.py CERTIFICATES FOLDER COUNT [VOLUME]

CERTIFICATES holds the owner's certificates, one ``.pem`` per generation of keys. In FOLDER come to lie:

- ``mail/maildir`` and ``mail/archive.mbox``: COUNT messages, in turn under each generation;
- ``files``: CMS files in DER and PEM;
- ``VOLUME``, if asked for (root): an NTFS image with EFS files of the owner's RSA keys;
- ``expected.json``: what openssl was given to encrypt, by the place of each; and the places of what cannot be opened.

One message in a hundred is broken, and five more are for somebody else.
"""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from efs_image import CIPHERS as EFS_CIPHERS
from efs_image import EfsFile, content_of, make_image

CIPHERS = ("-aes-256-cbc", "-aes-128-cbc", "-des3", "-aes-256-gcm")
#: Every so manyth message lies in the mbox file, and is signed by its sender before it is encrypted.
IN_MBOX, SIGNED = 3, 10


def openssl(*arguments: object, stdin: bytes = b"") -> bytes:
    """What openssl prints."""
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


class Sender:
    """Somebody with a certificate of his own, to whom each message is encrypted as well."""

    def __init__(self, folder: Path, recipients: list[Path]) -> None:
        self.recipients = recipients
        self.key, self.certificate = folder / "sender.key", folder / "sender.pem"
        self.stranger = folder / "stranger.pem"
        for key, certificate in ((self.key, self.certificate), (folder / "stranger.key", self.stranger)):
            names = ["-subj", f"/CN={certificate.stem}", "-keyout", key, "-out", certificate]
            openssl("req", "-x509", "-newkey", "rsa:2048", "-noenc", *names)

    def content(self, number: int) -> bytes:
        """What one message says: MIME, with something attached to every seventh."""
        dice = random.Random(number)
        text = "".join(f"line {line} of message {number}: {dice.getrandbits(160):040x}\r\n" for line in range(10))
        plain = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}".encode()
        if number % 7:
            return plain
        attached = base64.encodebytes(dice.randbytes(20_000)).replace(b"\n", b"\r\n")
        head = b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (number, number)
        part = (
            b"\r\n--b%d\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" % number
        )
        return head + plain + part + attached + b"--b%d--\r\n" % number

    def message(self, number: int, stranger: bool) -> tuple[bytes, bytes]:
        """A message as it came by mail, and what is encrypted in it."""
        content = self.content(number)
        if number % SIGNED == 0:
            signer = ["-signer", self.certificate, "-inkey", self.key]
            content = openssl("cms", "-sign", "-nodetach", "-outform", "SMIME", *signer, stdin=content)
            content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # as it will be encrypted
        headers = ["-from", "sender@example.org", "-to", "alice@example.com", "-subject", f"Message {number}"]
        sealed = openssl("cms", "-encrypt", "-outform", "SMIME", *headers, *self._to(number, stranger), stdin=content)
        return b"Message-ID: <%d@example.org>\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" % number + sealed, content

    def file(self, number: int) -> tuple[bytes, bytes]:
        """A CMS file, DER and PEM in turn, and what is in it."""
        content = random.Random(-number).randbytes(50_000)
        form = "DER" if number % 2 else "PEM"
        return openssl("cms", "-encrypt", "-binary", "-outform", form, *self._to(number, False), stdin=content), content

    def _to(self, number: int, stranger: bool) -> list:
        recipient = self.stranger if stranger else self.recipients[number % len(self.recipients)]
        options = ["-recip", recipient]
        if number % 2 and b"rsaEncryption" in recipient.with_suffix(".txt").read_bytes():
            options += ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"]
        return [CIPHERS[number % len(CIPHERS)], "-recip", self.certificate, *options]


def broken(message: bytes, number: int) -> bytes:
    """The message cut off, with a first line that is no CMS, or with bits turned over in its content."""
    head, separator, body = message.partition(b"\n\n")
    lines = body.splitlines(keepends=True)
    if number % 3 == 0:
        return head + separator + b"".join(lines[: len(lines) // 2])
    place = 0 if number % 3 == 1 else len(lines) * 3 // 4
    lines[place] = lines[place].swapcase()
    return head + separator + b"".join(lines)


def make_volume(image: Path, certificates: list[Path]) -> dict[str, str]:
    """An image with a file for each certificate and cipher; what is in each, in base64, by its path."""
    files = [
        EfsFile(
            f"Users/alice/{one.stem}/{cipher}.bin",
            content_of(f"{one.stem} {cipher}", 30_000),
            [one.read_text()],
            (),
            cipher,
        )
        for one in certificates
        for cipher in EFS_CIPHERS
    ]
    make_image(image, files)
    return {one.path: base64.b64encode(one.content).decode() for one in files}


def make(certificates: Path, folder: Path, count: int, volume: str = "") -> dict:
    """Make everything; returns what is in ``expected.json``."""
    for name in ("mail/maildir/cur", "mail/maildir/new", "mail/maildir/tmp", "files", "sender"):
        (folder / name).mkdir(parents=True)
    recipients = sorted(certificates.glob("*.pem"))
    sender = Sender(folder / "sender", recipients)
    for one in [*recipients, sender.stranger]:
        one.with_suffix(".txt").write_bytes(openssl("x509", "-in", one, "-noout", "-text"))
    numbers = range(count)
    bad = {number for number in numbers if number % 100 == 51}  # all of them under AES-GCM, which tells
    foreign = {number for number in numbers if number % (count // 5) == 7}
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        messages = list(pool.map(lambda number: sender.message(number, number in foreign), numbers))
        files = list(pool.map(sender.file, range(12)))
    expected: dict[str, dict] = {"maildir": {}, "mbox": {}, "files": {}}
    failing: dict[str, list] = {"maildir": [], "mbox": []}
    with (folder / "mail/archive.mbox").open("wb") as mbox:
        for number, (message, content) in enumerate(messages):
            kind = "mbox" if number % IN_MBOX == 0 else "maildir"
            message = broken(message, number) if number in bad else message
            if kind == "mbox":
                mbox.write(b"From sender@example.org Mon Nov  2 10:00:00 2026\n" + message.rstrip(b"\n") + b"\n\n")
            else:
                (folder / f"mail/maildir/cur/{number:04}.host:2,S").write_bytes(message)
            if number in bad | foreign:
                failing[kind].append(number)
            else:
                expected[kind][number] = base64.b64encode(content).decode()
    for number, (sealed, content) in enumerate(files):
        (folder / f"files/report-{number}.{'p7m' if number % 2 else 'pem'}").write_bytes(sealed)
        expected["files"][number] = base64.b64encode(content).decode()
    if volume:
        with_rsa = [one for one in recipients if b"rsaEncryption" in one.with_suffix(".txt").read_bytes()]
        expected["volume"] = make_volume(folder / volume, with_rsa)
    known = {"expected": expected, "failing": failing}
    (folder / "expected.json").write_text(json.dumps(known))
    return known


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
