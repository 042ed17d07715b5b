# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what was recovered of the mail that sent_mail.py made, and looks for the owner's keys everywhere.

    recovered_mail.py SCENARIO FLEET HOST SEALED

SCENARIO is the molecule scenario's folder, with what openssl was given to encrypt (``evidence/expected.json``) and the
private keys as they were before they were lost (``secrets/keys``). SEALED is the sealed folder on HOST of FLEET.
"""

from __future__ import annotations

import base64
import email.parser
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "integration"))

from leak_hunt import key_numbers
from leak_hunt.fleet import Fleet
from leak_hunt.hunter import Haystack, files_below, search
from leak_hunt.needles import Secret


def judge(evidence: Path, sealed: Path) -> None:
    """Every mail and file is there, as it was before it was encrypted; what could not be opened is as it came."""
    known = json.loads((evidence / "expected.json").read_text())
    expected, failing = known["expected"], known["failing"]
    for kind, mails in (("maildir", maildir(sealed)), ("mbox", mbox(sealed))):
        found = dict(numbered(mails))
        assert set(found) == {int(number) for number in (*expected[kind], *failing[kind])}, kind
        for number, content in expected[kind].items():
            head, _blank, body = base64.b64decode(content).partition(b"\r\n\r\n")
            assert body.rstrip() in found[int(number)], f"{kind} {number}: its body is another one"
            assert all(line in found[int(number)] for line in head.split(b"\r\n")), f"{kind} {number}: its head"
        for number in failing[kind]:
            assert b"pkcs7-mime" in found[number], f"{kind} {number}: it was broken and has changed"
            assert b"of message" not in found[number]
    for number, content in expected["files"].items():
        assert (sealed / f"files/report-{number}").read_bytes() == base64.b64decode(content), f"file {number}"
    for path, content in expected["volume"].items():
        assert (sealed / "disk" / path).read_bytes() == base64.b64decode(content), path
    failed = [json.loads(line) for line in (sealed / "report.jsonl").read_text().splitlines()]
    failed = [row for row in failed if row.get("status") == "failed"]
    assert len(failed) == sum(map(len, failing.values())), failed
    ids = {int(re.findall(r"[0-9]+", row["message_id"])[0]) for row in failed}
    assert ids == {number for numbers in failing.values() for number in numbers}
    print(f"{sum(map(len, expected.values()))} came out, {len(failed)} failed")


def maildir(sealed: Path) -> Iterator[bytes]:
    """The mails of the Maildir."""
    for path in sorted(sealed.glob("maildir/*/*")):
        yield path.read_bytes()


def mbox(sealed: Path) -> Iterator[bytes]:
    """The mails of the mailbox."""
    for mail in re.split(rb"(?:^|\n)From .*\n", (sealed / "archive.mbox").read_bytes())[1:]:
        yield re.sub(rb"(?m)^>(>*From )", rb"\1", mail)


def numbered(mails: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Mails by the number in their Message-ID; each is there once."""
    seen = set()
    for mail in mails:
        head = email.parser.BytesHeaderParser().parsebytes(mail)
        number = int(head["Message-ID"].strip("<>").split("@")[0])
        assert number not in seen, f"mail {number} is there twice"
        seen.add(number)
        yield number, mail


def hunt(scenario: Path, fleet: Fleet, hosts: list[str]) -> None:
    """No part of a private key is on a host, in the vault or in what was said."""
    secrets: list[Secret] = []
    for path in sorted((scenario / "secrets/keys").glob("*.key")):
        passphrase = (scenario / "secrets/alice").read_text().strip()
        secrets += key_numbers.secrets_of(path.name, key_numbers.load(path.read_bytes(), passphrase))
    secrets.append(Secret("the passphrase", passphrase.encode(), "text"))
    with tempfile.TemporaryDirectory(dir=scenario) as work:
        planted = Haystack("planted", b"x" + secrets[0].value + b"x")
        sources: list[Iterator[Haystack]] = [files_below(scenario / name, name) for name in ("vault", "said", "tmp")]
        sources += [fleet.haystacks(host, 0) for host in hosts]
        hits = search(itertools.chain([planted], *sources), secrets, Path(work))
    assert "planted" in {hit.place for hit in hits}, "the hunt is blind"
    leaked = [hit for hit in hits if hit.place != "planted"]
    assert not leaked, leaked
    print(f"none of {len(secrets)} secrets was found")


def main() -> None:
    """Judge, and hunt."""
    scenario, name, host, sealed = Path(sys.argv[1]), *sys.argv[2:]
    fleet = Fleet(name, 2)
    judge(scenario / "evidence", fleet.root(host) / sealed.lstrip("/"))
    hunt(scenario, fleet, ["host1", "host2"])


if __name__ == "__main__":
    main()
