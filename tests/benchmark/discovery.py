# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Discovery beside ``find`` with ``openssl pkey`` per hit, on the same tree, in turns.

The tree has 100,000 files in 1,000 folders, 1,000 of them private keys: PEM (PKCS#8 and older), encrypted PEM, DER,
OpenSSH's format. The loop is given all it can use: it looks for PEM only (it cannot see DER), by one ``find`` with as
few ``grep`` as possible, and tells of each hit the key ID, mode and owner. Ours is a new Python process each time, and
tells the same, of DER too. Neither pays for Ansible, which starts both alike, nor for the disk: the tree is read once
before. What the module does beyond that (evidence, judging each key, Ansible's libraries) is shown below.

    python tests/benchmark/discovery.py [--files 100000] [--rounds 3] [--folder /dev/shm]

Fails when ours is not at least 10 times faster, or when it misses a key.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTIONS = CHECKOUT / ".build" / "collections"
TARGET = 10.0
PER_FOLDER, KEYS = 100, 1000

LOOP = r"""
find "$1" -xdev -type f -size -2048 -exec grep -l -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' {} + |
while read -r file; do
    id=$(openssl pkey -in "$file" -passin pass: -pubout -outform DER 2>/dev/null | sha256sum)
    echo "$id $(stat -c '%a %U %G' "$file") $file"
done
"""
#: The search alone, which says what the loop says, and the module's whole flow, which also gathers evidence and judges.
SEARCH = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import search, tree
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect_search
found = search.run(search.Wanted((sys.argv[3],), tree.Bounds()))
mode, owner, group = inspect_search.mode_of, inspect_search.owner_of, inspect_search.group_of
for one in found.keys:
    facts, place = one.key.facts, one.place
    print(facts and facts.key_id, mode(place), owner(place), group(place), place.path)
"""
FLOW = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import discovering
sys.stdout.write(json.dumps(discovering.look(sys.argv[3])))
"""


def key_files() -> list[bytes]:
    """The contents of all key files."""
    pem, der, openssh = serialization.Encoding.PEM, serialization.Encoding.DER, serialization.PrivateFormat.OpenSSH
    pkcs8, old = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
    plain, sealed = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"benchmark")
    rsas = [rsa.generate_private_key(65537, 2048) for _number in range(10)]
    made = []
    for number in range(KEYS):
        key = rsas[number % 10] if number % 4 == 0 else ec.generate_private_key(ec.SECP256R1())
        kind = number % 10
        if kind == 9:
            made.append(ed25519.Ed25519PrivateKey.generate().private_bytes(pem, openssh, plain))
        elif kind == 8:
            made.append(key.private_bytes(der, pkcs8, plain))
        elif kind == 7:
            made.append(key.private_bytes(pem, pkcs8, sealed))
        else:
            made.append(key.private_bytes(pem, old if kind == 6 else pkcs8, plain))
    return made


def make_tree(root: Path, files: int) -> None:
    """Text (this collection's own pages), binary files and keys, small as most files of a system are."""
    chance, keys = random.Random(1), key_files()
    pages = b"".join(path.read_bytes() for path in sorted((CHECKOUT / "docs").glob("*.md")))
    text = pages.replace(b"-----BEGIN", b"")
    noise = random.Random(2).randbytes(1 << 16)
    places = set(chance.sample(range(files), KEYS))
    for folder in range(files // PER_FOLDER):
        path = root / f"{folder % 30}" / f"{folder}"
        path.mkdir(parents=True)
        for number in range(PER_FOLDER):
            size = chance.randrange(100, 4000)
            start = chance.randrange(min(len(noise), len(text)) - size)
            content = text[start : start + size] if number % 3 else b"\x7fELF\0" + noise[start : start + size]
            if folder * PER_FOLDER + number in places:
                content = keys.pop()
            (path / f"file{number}").write_bytes(content)


def timed(command: list) -> tuple[float, str]:
    """Seconds of wall time, and the output."""
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="keyops-discovery-", dir=options.folder))
    lib = Path(__file__).resolve().parents[1] / "lib"
    ours, flow = ([sys.executable, "-c", script, COLLECTIONS, lib, root] for script in (SEARCH, FLOW))
    loop = ["bash", "-c", LOOP, "loop", root]
    try:
        make_tree(root, options.files)
        timed(["grep", "-rc", "", root])
        rounds = [(timed(ours), timed(loop), timed(flow)) for _number in range(options.rounds)]
    finally:
        shutil.rmtree(root)
    found, hits = (rounds[0][side][1].count("\n") for side in (0, 1))
    own, other, whole = ([one[side][0] for one in rounds] for side in (0, 1, 2))
    ratio = statistics.median(theirs / mine for mine, theirs in zip(own, other))
    print(f"{options.files} files, {KEYS} keys; ours found {found}, the loop {hits} (it cannot see DER)")
    print(f"ours {min(own):.2f} to {max(own):.2f} s, the loop {min(other):.2f} to {max(other):.2f} s")
    print(f"the module's whole flow {min(whole):.2f} to {max(whole):.2f} s")
    print(f"ratio of neighbouring runs: {ratio:.1f} (target {TARGET:.0f})")
    judged = rounds[0][2][1].count('"found": true')
    return 0 if ratio >= TARGET and found == judged == KEYS else 1


if __name__ == "__main__":
    sys.exit(main())
