# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""1,000 S/MIME mails beside ``openssl cms -decrypt`` once for each, in one run; and memory over a growing mailbox.

- Both sides decrypt the same mails, which openssl made, with the same key; every output is compared with its plaintext.
- openssl: one process for each mail, started without a shell, from a file to a file.
- Ours: what the module does on its host, from its options to the durable output: reading and proving the key, the
  mailbox, one output mailbox. ``start`` is what Python takes to be there before that, imports included.
- CPU seconds are of all processes of a side. They say what the ratio is on a machine that does something else, too.
- Memory: the largest resident set of any of our processes, for mailboxes of two sizes.

    python tests/benchmark/data_recovery.py [--mails 1000] [--rounds 3] [--sizes 100,1000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / ".build" / "collections"), str(CHECKOUT / "tests" / "lib")]

import encrypted_mail

TARGET = 20
DISTINCT = 50
_LINE = b"From owner@example.com Mon Jan  1 00:00:00 2024\n"
_OURS = """
import time
begin = time.perf_counter()
import json, resource, sys
base = "ansible_collections.keyops.lifecycle.plugins.module_utils."
import importlib
flow, module = importlib.import_module(base + "_flow.recover_data"), importlib.import_module(base + "_module")
ready = time.perf_counter()
found = flow.run(module.HostTask(json.load(sys.stdin)))
ended = time.perf_counter()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({
    "start": ready - begin, "seconds": ended - ready, "memory": max(one.ru_maxrss for one in used),
    "decrypted": found.results[0]["decrypted"], "failed": found.results[0]["failed"],
}))
"""


def entity(number: int, size: int) -> bytes:
    """A mail's entity."""
    text = b"".join(b"Line %d of mail %d.\r\n" % (line, number) for line in range(size // 24))
    return b"Content-Type: text/plain\r\n\r\n" + text


def mailbox(path: Path, person: encrypted_mail.Person, mails: int, size: int) -> list[bytes]:
    """Write a mailbox; returns its mails."""
    made = [person.mail(entity(number, size)).replace(b"\r\n", b"\n") for number in range(min(mails, DISTINCT))]
    found = [b"Message-ID: <%d@example.com>\n" % number + made[number % len(made)] for number in range(mails)]
    path.write_bytes(b"".join(_LINE + mail + b"\n" for mail in found))
    return found


def cpu_of_children() -> float:
    """CPU seconds of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loop(folder: Path, person: encrypted_mail.Person, mails: list[bytes]) -> tuple[float, float]:
    """Wall and CPU seconds of openssl, once for each mail."""
    files = []
    for number, mail in enumerate(mails):
        files.append(folder / f"{number}.eml")
        files[-1].write_bytes(mail)
    command = ["openssl", "cms", "-decrypt", "-inkey", str(person.key), "-recip", str(person.certificate), "-in"]
    begin, before = time.perf_counter(), cpu_of_children()
    for file in files:
        process = os.posix_spawnp("openssl", [*command, str(file), "-out", f"{file}.out"], os.environ)
        if os.waitpid(process, 0)[1]:
            raise SystemExit("openssl failed")
    seconds, used = time.perf_counter() - begin, cpu_of_children() - before
    for number, file in enumerate(files):
        if Path(f"{file}.out").read_bytes() != entity(number % DISTINCT, 4096):
            raise SystemExit(f"openssl did not decrypt mail {number}")
    return seconds, used


def ours(box: Path, output: Path, person: encrypted_mail.Person, mails: int) -> dict:
    """What a process of ours says of itself, with the CPU seconds of it and its own."""
    key = {"key": str(person.key), "passphrase": None, "pin": None, "certificates": [str(person.certificate)]}
    source = {"src": str(box), "dest": str(output), "kind": "auto", "files": []}
    params = {
        "keys": [key],
        "sources": [source],
        "state_dir": str(output.parent / "state"),
        "report": None,
        "seal": None,
    }
    for path in [output, *(output.parent / "state").rglob("*")]:
        if path.is_file():
            path.unlink()
    before = cpu_of_children()
    done = subprocess.run(
        [sys.executable, "-c", _OURS],
        input=json.dumps({**params, "request_id": None}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    if (told["decrypted"], told["failed"]) != (mails, 0):
        raise SystemExit(f"{told['decrypted']} of {mails} were decrypted")
    return {**told, "cpu": cpu_of_children() - before}


def check(output: Path, mails: int, size: int) -> None:
    """End the benchmark unless all mails are there as they were encrypted."""
    found = output.read_bytes().split(_LINE)[1:]
    if len(found) != mails:
        raise SystemExit("mails are missing")
    for number, mail in enumerate(found):
        if not mail.endswith(b"MIME-Version: 1.0\r\n" + entity(number % DISTINCT, size) + b"\n"):
            raise SystemExit(f"mail {number} is not what was encrypted")


def compare(folder: Path, kind: str, mails: int, rounds: int) -> float:
    """Print a row; returns the ratio of the best rounds."""
    person = encrypted_mail.person(folder, kind, kind)
    box, output = folder / f"{kind}.mbox", folder / "out" / f"{kind}.mbox"
    written = mailbox(box, person, mails, 4096)
    theirs, own = [], []
    for dummy in range(rounds):  # in turn, so that what else the machine does hits both
        theirs.append(loop(folder, person, written))
        own.append(ours(box, output, person, mails))
    check(output, mails, 4096)
    seconds, used = min(one[0] for one in theirs), min(one[1] for one in theirs)
    best = min(own, key=lambda one: one["seconds"])
    ratio = seconds / best["seconds"]
    print(
        f"| {kind} | {seconds:.2f} | {best['seconds']:.3f} | {best['start']:.2f} | {ratio:.1f} | "
        f"{used:.2f} | {min(one['cpu'] for one in own):.2f} |",
        flush=True,
    )
    return ratio


def memory(folder: Path, megabytes: list[int]) -> list[int]:
    """The largest resident set (kilobytes) for mailboxes of these sizes, each with mails of 100 kB."""
    person = encrypted_mail.person(folder, "large", "p256")
    peaks = []
    for size in megabytes:
        box, output = folder / "large.mbox", folder / "out" / "large.mbox"
        piece = folder / "piece.mbox"
        mailbox(piece, person, DISTINCT, 72_000)
        content = piece.read_bytes()
        with box.open("wb") as file:
            for dummy in range(max(1, size * 1_000_000 // len(content))):
                file.write(content)
        mails = max(1, size * 1_000_000 // len(content)) * DISTINCT
        told = ours(box, output, person, mails)
        peaks.append(told["memory"])
        megabytes_there = box.stat().st_size / 1e6
        row = (f"{megabytes_there:.0f} MB", mails, f"{told['seconds']:.1f}", f"{told['memory'] / 1024:.0f} MiB")
        print("| " + " | ".join(str(one) for one in row) + " |", flush=True)
        box.unlink()
        output.unlink()
    return peaks


def main() -> None:
    """Run both, and fail when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="100,1000", help="sizes of the mailboxes for the memory, in MB")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=CHECKOUT / ".build") as name:
        folder = Path(name)
        print(f"{asked.mails} mails, {os.cpu_count()} cores\n")
        print("| key | openssl, s | ours, s | start, s | times faster | openssl, CPU s | ours with start, CPU s |")
        print("|---|---|---|---|---|---|---|")
        ratios = [compare(folder, kind, asked.mails, asked.rounds) for kind in ("rsa", "p256")]
        print("\n| mailbox | mails | s | largest process |\n|---|---|---|---|")
        peaks = memory(folder, [int(size) for size in asked.sizes.split(",")])
    flat = max(peaks) - min(peaks) < 32 * 1024
    print(f"\nAt least {TARGET} times faster: {min(ratios) >= TARGET}. Memory is flat: {flat}.")
    sys.exit(min(ratios) < TARGET or not flat)


if __name__ == "__main__":
    main()
