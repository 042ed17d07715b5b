# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NTFS images with EFS files, made for given certificates as Windows would make them; no private key is needed.

mkntfs makes the volume, ntfs-3g (root, FUSE) the files in it: with ``efs_raw`` it takes a file's encrypted content and,
as an extended attribute, the $EFS attribute. Both are made here, after MS-EFSR 2.2.2.1, apart from the product's code
that reads them; ntfsdecrypt, which neither wrote, is the judge of both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # cryptography before 43
    TripleDES = algorithms.TripleDES

USER_USAGE, AGENT_USAGE = "1.3.6.1.4.1.311.10.3.4", "1.3.6.1.4.1.311.10.3.4.1"
#: CryptoAPI's numbers: (number, bytes of the key, bits of strength).
CIPHERS = {"AES-256": (0x6610, 32, 256), "3DES": (0x6603, 24, 168), "DESX": (0x6604, 16, 128)}
_SECTOR = 512
_WORD = 1 << 64


@dataclass(frozen=True)
class EfsFile:
    """A file to put into an image. ``users`` and ``agents`` are certificates in PEM; none at all: not encrypted."""

    path: str
    content: bytes = field(repr=False)
    users: Sequence[str] = ()
    agents: Sequence[str] = ()
    cipher: str = "AES-256"
    links: Sequence[str] = ()


def content_of(name: str, size: int) -> bytes:
    """Known content that does not repeat itself."""
    rows = (hashlib.sha512(f"{name} {number}".encode()).hexdigest() for number in range(size // 128 + 1))
    return "".join(rows).encode()[:size]


def make_image(image: Path, files: Sequence[EfsFile], size: int = 4 << 20, cluster: int = 4096) -> None:
    """Make the image with these files."""
    with image.open("wb") as to:
        to.truncate(size)
    layout = ["-s", "512", "-c", str(cluster), "-p", "0", "-H", "0", "-S", "0"]
    _run("mkntfs", "-F", "-f", "-q", *layout, str(image))
    with _mounted(image) as folder:
        for file in files:
            _add(folder, file)


def _add(folder: Path, file: EfsFile) -> None:
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.users or file.agents:
        key = os.urandom(CIPHERS[file.cipher][1])
        path.write_bytes(_raw(file.cipher, key, file.content))
        os.setxattr(path, "system.ntfs_efsinfo", _metadata(file, key))
    else:
        path.write_bytes(file.content)
    for link in file.links:
        os.link(path, folder / link)


@contextlib.contextmanager
def _mounted(image: Path) -> Iterator[Path]:
    """The volume, mounted; when this ends, everything is in the image."""
    folder = image.with_name(f"{image.name}.mounted")
    folder.mkdir()
    # In the foreground: its end is the moment at which everything is written.
    command = ["ntfs-3g", "-o", "efs_raw,no_detach", str(image), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not os.path.ismount(folder):
            assert process.poll() is None and time.monotonic() < deadline, "ntfs-3g does not mount the image (FUSE?)"
            time.sleep(0.01)
        yield folder
    finally:
        if os.path.ismount(folder):
            _unmount(folder)
            process.wait(timeout=60)
        process.kill()
        process.communicate()
        folder.rmdir()


def _unmount(folder: Path) -> None:
    """Whoever looks through the machine's folders just now keeps it busy for a moment."""
    deadline = time.monotonic() + 60
    while (done := subprocess.run(["umount", folder], capture_output=True, text=True, check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


# --- content ----------------------------------------------------------------------------------------------------------


def _raw(cipher: str, key: bytes, content: bytes) -> bytes:
    """What ntfs-3g wants to be written: encrypted sectors, then the number of bytes that fill the last one."""
    fill = -len(content) % _SECTOR
    whole = content + os.urandom(fill)
    sectors = [_sector(cipher, key, whole[at : at + _SECTOR], at) for at in range(0, len(whole), _SECTOR)]
    return b"".join(sectors) + struct.pack("<H", fill) if content else b""


def _sector(cipher: str, key: bytes, plain: bytes, place: int) -> bytes:
    if cipher == "AES-256":
        starts = (0x5816657BE9161312 + place, 0x1989ADBE44918961 + place)
        mode = modes.CBC(b"".join(struct.pack("<Q", start % _WORD) for start in starts))
        return Cipher(algorithms.AES(key), mode).encryptor().update(plain)
    start = struct.pack("<Q", (0x169119629891AD13 + place) % _WORD)
    if cipher == "3DES":
        return Cipher(TripleDES(key), modes.CBC(start)).encryptor().update(plain)
    return _desx(key, plain, start)


def _desx(key: bytes, plain: bytes, before: bytes) -> bytes:
    """DESX, chained: DES is run in the direction that everybody else calls decryption."""
    one = struct.unpack("<4I", hashlib.md5(key + b"Dan Simon  \0").digest())
    two = hashlib.md5(key + b"Scott Field\0").digest()
    des = Cipher(TripleDES(struct.pack("<2I", one[0] ^ one[1], one[2] ^ one[3]) * 3), modes.ECB()).decryptor()
    made = b""
    for at in range(0, len(plain), 8):
        block = _xor(_xor(plain[at : at + 8], two[8:]), before)
        before = _xor(des.update(block), two[:8])
        made += before
    return made


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right))


# --- $EFS -------------------------------------------------------------------------------------------------------------


def _metadata(file: EfsFile, key: bytes) -> bytes:
    """Header, the users' list, the agents' list."""
    number, dummy, strength = CIPHERS[file.cipher]
    blob = struct.pack("<4I", len(key), strength, number, 0) + key
    users, agents = ([_entry(pem, blob) for pem in certificates] for certificates in (file.users, file.agents))
    lists = [struct.pack("<I", len(one)) + b"".join(one) if one else b"" for one in (users, agents)]
    places = [84 if lists[0] else 0, 84 + len(lists[0]) if lists[1] else 0]
    size = 84 + sum(map(len, lists))
    header = struct.pack("<4I16s32x2I12x", size, 0, 2, 0, uuid.uuid4().bytes_le, *places)
    return header + lists[0] + lists[1]


def _entry(pem: str, blob: bytes) -> bytes:
    """Somebody who can open the file: who, by which certificate, and the file's key for them."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    thumbprint = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER)).digest()
    names = [str(uuid.uuid4()), "Microsoft Enhanced Cryptographic Provider v1.0", certificate.subject.rfc4514_string()]
    facts, places = thumbprint, []
    for name in names:
        places.append(20 + len(facts))
        raw = (name + "\0").encode("utf-16-le")
        facts += raw + bytes(-len(raw) % 4)
    facts = struct.pack("<5I", 20, len(thumbprint), *places) + facts
    sid = struct.pack("<BB6s5I", 1, 5, (5).to_bytes(6, "big"), 21, 111, 222, 333, 1001)
    at = 28 + len(sid)
    credential = struct.pack("<6I4x", _padded(at + len(facts)), 28, 3, len(facts), at, 0) + sid + facts
    credential += bytes(_padded(len(credential)) - len(credential))
    public_key = certificate.public_key()
    encrypted = public_key.encrypt(blob, padding.PKCS1v15())[::-1]  # CryptoAPI's order of bytes
    size = 20 + len(credential) + len(encrypted)
    return struct.pack("<4I4x", size, 20, len(encrypted), 20 + len(credential)) + credential + encrypted


def _padded(size: int) -> int:
    return -(-size // 8) * 8
