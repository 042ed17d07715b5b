# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mutated key and certificate files through the whole search: no crash, no hang, no memory, nothing secret told.

Runs until its time is up, always with the same files in the same order. For more of them:

    KEYOPS_FUZZ_FILES=100000 tests/tools/with-env pytest -s tests/integration/test_discovery_fuzz.py
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import cryptography_vectors

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import discovering

WANTED = int(os.environ.get("KEYOPS_FUZZ_FILES", "0"))
SECONDS = 12
BATCH = 500
#: A batch takes less than a second; one that takes as long as this hangs.
SLOWEST_BATCH = 20
MOST_MEGABYTES = 128

VECTORS = Path(cryptography_vectors.__file__).parent
KINDS = ("*.pem", "*.der", "*.key", "*.crt", "*.p12", "*.p7b", "*.pub")


def seeds() -> list[bytes]:
    """Small files of every kind: those of cryptography-vectors, and kinds that it does not have."""
    paths = [path for kind in KINDS for path in sorted(VECTORS.glob(f"**/{kind}")) if path.stat().st_size < 8192]
    found = [path.read_bytes() for path in paths]
    certificate = (VECTORS / "x509" / "v1_cert.pem").read_bytes()
    key = (VECTORS / "asymmetric" / "PKCS8" / "unenc-rsa-pkcs8.pem").read_bytes()
    der = found[0][:200]
    entry = b"\0\0\0\1\0\1a" + b"\0" * 8 + len(der).to_bytes(4, "big") + der + b"\0\0\0\1\0\5X.509"
    keystore = b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1" + entry + len(der).to_bytes(4, "big") + der
    putty = b"PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\nComment: c\nPublic-Lines: 1\nAAAAB3NzaC1yc2E=\n"
    json_key = json.dumps({"private_key": key.decode()}).encode()
    return [*found, *[keystore, putty, json_key, key + certificate * 3] * 20]


def mutated(chance: random.Random, pool: list[bytes]) -> bytes:
    data = bytearray(chance.choice(pool))
    for _step in range(chance.choice((0, 1, 1, 2, 4, 16))):
        if not data:
            break
        place = chance.randrange(len(data))
        what = chance.randrange(8)
        if what == 0:
            data[place] = chance.randrange(256)
        elif what == 1:
            data[place] ^= 1 << chance.randrange(8)
        elif what == 2:
            del data[place:]
        elif what == 3:
            del data[place : place + chance.randrange(1, 64)]
        elif what == 4:
            data[place:place] = data[place : place + chance.randrange(1, 512)] * chance.choice((1, 2, 50))
        elif what == 5:
            data[place:place] = bytes(chance.choice((0x30, 0x80, 0xFF, 0x00, 0x84, 0x02)) for _byte in range(8))
        elif what == 6:
            other = chance.choice(pool)
            data[place:] = other[chance.randrange(len(other)) :]
        else:
            data[place : place + 4] = chance.choice((b"\x84\xff\xff\xff", b"-----", b"\x82\xff\xff0", b"\n\n\n\n"))
    return bytes(data[: 1 << 17])


def check(found: dict) -> None:
    """Everything that is told can go to a terminal, and holds no private key."""
    text = json.dumps(found)
    assert "PRIVATE KEY--" not in text
    for row in found["results"]:
        assert row["key"].isprintable() and (row["key_id"] or row["error"])
    for row in found["certificates"]:
        assert (row["subject"] or "").isprintable() and len(row["subject"] or "") < 8192
    for text in found["not_looked_at"]:
        assert text.isprintable()


def _megabytes(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) // 1024


def test_mutated_files() -> None:
    chance, pool = random.Random(20260101), seeds()
    begin, files, keys, certificates, slowest = time.monotonic(), 0, 0, 0, 0.0
    memory = Path("/dev/shm")
    Path("/proc/self/clear_refs").write_text("5")  # the most that this process uses is counted from here (proc(5))
    before = _megabytes("VmRSS")
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    try:
        while files < WANTED if WANTED else time.monotonic() - begin < SECONDS:
            for number in range(BATCH):
                (folder / f"{number}").write_bytes(mutated(chance, pool))
            tries = ("password", "") if files % (20 * BATCH) == 0 else ()
            start = time.monotonic()
            found = discovering.look(folder, passphrases=tries, max_seconds=3)
            slowest = max(slowest, time.monotonic() - start)
            assert slowest < SLOWEST_BATCH, f"files {files} to {files + BATCH} took {slowest} s"
            assert found["searched"]["files"] == BATCH
            check(found)
            files, keys = files + BATCH, keys + len(found["results"])
            certificates += len(found["certificates"])
    finally:
        shutil.rmtree(folder)
    used = _megabytes("VmHWM") - before
    print(f"\n{files} files, {keys} keys, {certificates} certificates, slowest batch {slowest:.1f} s, {used} MB")
    assert used < MOST_MEGABYTES and keys > files / 50 and certificates > files / 50
