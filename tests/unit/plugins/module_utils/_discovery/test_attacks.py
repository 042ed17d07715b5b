# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody may lay into a folder that a search walks: nothing hangs it, leads it astray or speaks through it."""

from __future__ import annotations

import base64
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

import pytest
from asn1crypto import pem, x509

sys.path.insert(0, str(Path(__file__).resolve().parents[5] / "lib"))

import discovering

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import contents, search, tree
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import ber, der

MEGABYTE = 1 << 20


def told(found: dict) -> str:
    return "\n".join(found["not_looked_at"])


def quick(*folders: Path, **options: object) -> dict:
    """A search that ends soon."""
    start = time.monotonic()
    found = discovering.look(*folders, **options)
    assert time.monotonic() - start < 30
    return found


def test_what_is_no_regular_file(workshop) -> None:
    key = workshop.key("ec")
    os.mkfifo(workshop.keys / "fifo.pem")
    (workshop.keys / "zero").symlink_to("/dev/zero")
    (workshop.keys / "proc").symlink_to("/proc/self")
    found = quick(workshop.keys)
    assert [row["key"] for row in found["results"]] == [str(key)] and "2 symbolic links" in told(found)


def test_a_fifo_that_takes_the_place_of_a_file(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    (workshop.keys / "key.pem").write_text("text")
    opened = os.open

    def swapped(path, flags, *mode, dir_fd=None):
        if path == "key.pem":
            os.unlink(workshop.keys / "key.pem")
            os.mkfifo(workshop.keys / "key.pem")
        return opened(path, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    assert quick(workshop.keys)["results"] == []


def test_a_link_that_takes_the_place_of_a_file_or_folder(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = workshop.folder / "outside"
    outside.mkdir()
    workshop.key("ec").rename(outside / "key.pem")
    (workshop.keys / "a" / "b").mkdir(parents=True)
    (workshop.keys / "a" / "b" / "key.pem").write_text("text")
    (workshop.keys / "key.pem").write_text("text")
    opened = os.open

    def swapped(path, flags, *mode, dir_fd=None):
        if path == "key.pem" and not (workshop.keys / "key.pem").is_symlink():
            os.unlink(workshop.keys / "key.pem")
            os.symlink(outside / "key.pem", workshop.keys / "key.pem")
        if path == str(workshop.keys / "a" / "b"):
            os.rename(workshop.keys / "a", workshop.keys / "c")
            os.makedirs(workshop.keys / "a")
            os.symlink(outside, workshop.keys / "a" / "b")
        return opened(path, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    assert quick(workshop.keys)["results"] == []


def test_a_folder_that_takes_the_place_of_another_through_its_parent(workshop, monkeypatch) -> None:
    """The last part is no link, and leads elsewhere all the same."""
    outside = workshop.folder / "outside"
    (outside / "b").mkdir(parents=True)
    workshop.key("ec").rename(outside / "b" / "key.pem")
    (workshop.keys / "a" / "b").mkdir(parents=True)
    opened = os.open

    def swapped(path, flags, *mode, dir_fd=None):
        if path == str(workshop.keys / "a" / "b"):
            os.rename(workshop.keys / "a", workshop.keys / "c")
            os.symlink(outside, workshop.keys / "a")
        return opened(path, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    found = quick(workshop.keys)
    assert found["results"] == [] and "it was replaced meanwhile" in told(found)


def test_large_and_sparse_files(workshop) -> None:
    text = workshop.key("ec", "inside.pem").read_text()
    (workshop.keys / "log").write_text("line\n" * 1000 + text + "line\n" * 400_000)
    for name, begin in (
        ("text", b"text\n" * 1000),
        ("der", b"\x30\x84\x7f\xff\xff\xff\x02\x01\x00\x30"),
        ("zero", b""),
    ):
        with (workshop.keys / name).open("wb") as file:
            file.write(begin)
            file.truncate(10 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = quick(workshop.keys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert {Path(row["key"]).name for row in found["results"]} == {"inside.pem", "log"} and "over 1 MiB" in told(found)


def test_a_file_that_changes_while_it_is_read(workshop) -> None:
    """A writer that never rests, and one that lets it grow."""
    contents_of = [workshop.key("rsa", f"{number}.pem").read_bytes() * 4 for number in range(2)]
    path, stop = workshop.keys / "moving.pem", threading.Event()

    def write() -> None:
        while not stop.is_set():
            path.write_bytes(contents_of[0])
            path.write_bytes(contents_of[1] * 3)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _round in range(6):
            rows = quick(workshop.keys)["results"]
            assert all(row["key_id"] or row["error"] for row in rows)
    finally:
        stop.set()
        writer.join()


def test_names_that_speak_to_terminals(workshop) -> None:
    name = b"\x1b]0;owned\x07\n\xff\xe2\x80\xae.pem"
    os.rename(workshop.key("ec"), bytes(workshop.keys) + b"/" + name)
    folder = bytes(workshop.keys) + b"/\x1b[31m\n"
    os.mkdir(folder)
    with open(folder + b"/authorized_keys", "wb") as file:
        file.write(workshop.run("ssh-keygen", "-y", "-f", workshop.openssh_key("ed25519")))
    found = quick(workshop.keys)
    texts = [*(row["key"] for row in found["results"]), *(row["path"] for row in found["authorized_keys"])]
    assert len(found["authorized_keys"]) == 1 and all(text.isprintable() for text in texts)


def test_a_subject_that_speaks_to_terminals(workshop) -> None:
    key = workshop.key("ec")
    name = ("-subj", "/CN=" + "A" * 20 + "\x1b[2J\u202e", "-utf8", "-x509", "-days", 1)
    workshop.run("openssl", "req", "-new", "-key", key, *name, "-out", workshop.keys / "cert.pem")
    (row,) = quick(workshop.keys)["certificates"]
    assert row["subject"].isprintable() and "x1b" in row["subject"] and row["self_signed"]


def test_deep_trees(workshop) -> None:
    """Deeper than a path may be long."""
    here = os.open(workshop.keys, os.O_RDONLY)
    for _depth in range(60):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    found = quick(workshop.keys)
    assert "File name too long" in told(found) and found["searched"]["folders"] > 30


def test_hard_links_and_the_same_folder_twice(workshop) -> None:
    key = workshop.key("ec")
    (workshop.keys / "sub").mkdir()
    os.link(key, workshop.keys / "sub" / "second.pem")
    found = quick(workshop.keys, workshop.keys / "sub", workshop.keys)
    assert [row["hard_links"] for row in found["results"]] == [2] and found["searched"]["folders"] == 2


def test_exclusions(workshop) -> None:
    for name in ("a/cache/1.pem", "b/cache/2.pem", "b/keep/3.pem", "node_modules/4.pem"):
        path = workshop.keys / name
        path.parent.mkdir(parents=True)
        workshop.key("ec", "new.pem").rename(path)
    found = quick(workshop.keys, exclude=[f"{workshop.keys}/*/cache", "node_modules"])
    assert [Path(row["key"]).name for row in found["results"]] == ["3.pem"]
    with pytest.raises(_errors.OptionError):
        quick(workshop.keys, exclude=["relative/path"])


def test_the_kernels_own_file_systems_are_not_entered() -> None:
    found = quick(Path("/proc"), Path("/sys/kernel"), one_file_system=False)
    assert found["searched"]["files"] == 0 and "it is the kernel's" in told(found)


def test_time_is_up(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (workshop.keys / f"{number}").write_text("text")
    wanted = search.Wanted((str(workshop.keys),), tree.Bounds(deadline=time.monotonic() - 1), ssh=workshop.places())
    found = search.run(wanted)
    assert not found.complete and "search.max_seconds" in " ".join(found.not_looked_at)


def test_more_than_may_be_returned(workshop) -> None:
    """The certificates of keys that were found come first, wherever they lie."""
    key = workshop.key("ec", "z.pem")
    mine = workshop.certificate(key, where=workshop.keys / "zz.pem")
    for number in range(4):
        path = workshop.certificate(workshop.key("ec", "other.pem"), where=workshop.keys / f"{number}.pem")
        (workshop.keys / "other.pem").unlink()
    assert path.exists()
    found = quick(workshop.keys, max_results=2)
    assert len(found["certificates"]) == 2 and str(mine) in found["certificates"][0]["paths"]
    assert "3 more certificates" in told(found) and not found["searched"]["complete"]


def test_copies_of_a_key_beside_many_certificates_for_it(workshop) -> None:
    """Their product is not returned. Nothing verifies a signature, so the certificates are one with many serials."""
    key = workshop.key("ec")
    made = pem.unarmor(workshop.certificate(key, where=workshop.folder / "cert.pem").read_bytes())[2]
    serial = x509.Certificate.load(made).serial_number
    place = made.index(der.write_integer(serial)) + 4
    for number in range(1200):
        data = made[:place] + number.to_bytes(2, "big") + made[place + 2 :]
        (workshop.keys / f"{number}.crt").write_bytes(data)
        if number % 6 == 0:
            (workshop.keys / f"{number}.key").write_bytes(key.read_bytes())
    found = quick(workshop.keys)
    assert len(found["results"]) == 201 and len(found["certificates"]) == 1000
    assert {len(row["evidence"]["certificates"]) for row in found["results"]} == {32}
    assert len(json.dumps(found)) < 4 * MEGABYTE and not found["searched"]["complete"]


def heavy_files() -> dict[str, bytes]:
    """Files of one MiB that are cheap to make and would be dear to read by a careless reader."""
    many = b"\x30\x00" * (MEGABYTE // 2 - 64)
    nested = b"\x30\x80" * (MEGABYTE // 2)
    oid = der.write(der.OID, b"\x81" * (MEGABYTE - 200) + b"\x01")
    number = der.write(der.INTEGER, b"\x7f" + b"\xff" * (MEGABYTE - 200))
    fields = [b"\xa0\x03\x02\x01\x02", b"\x02\x01\x01", *[b"\x30\x00"] * 4]
    signature = b"\x30\x03\x06\x01\x2a" + b"\x03\x02\x00\x00"

    def certificate(spki: bytes, rest: bytes = b"") -> bytes:
        return der.write(0x30, der.write(0x30, *fields, spki, rest), signature)

    usage = der.write(0x30, b"\x06\x03\x55\x1d\x0f", der.write(4, der.write(3, b"\0" + b"\xff" * (MEGABYTE - 500))))
    ec = der.write(0x30, der.write(0x30, der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7")), b"\x03\x02\0\4")
    dsa = der.write(0x30, *[der.write_integer((1 << 8000) - 1)] * 3)
    return {
        "begins": b"-----BEGIN CERTIFICATE-----\n" * (MEGABYTE // 28),
        "key begins": b"-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAA\n" * (MEGABYTE // 60),
        "encoded": base64.b64encode(b"-----BEGIN PRIVATE KEY-----\n" * 20_000),
        "many children": certificate(der.write(0x30, many[: MEGABYTE - 400])),
        "many fields": der.write(0x30, der.write(0x30, *fields, many[: MEGABYTE - 400])),
        "nested": nested,
        "nested pkcs12": b"\x30\x80\x02\x01\x03" + nested[: MEGABYTE - 16],
        "long identifier": certificate(der.write(0x30, der.write(0x30, oid), b"\x03\x02\0\4")),
        "long identifier in a key": der.write(0x30, b"\x02\x01\x00", der.write(0x30, oid), b"\x04\x00"),
        "huge modulus": certificate(
            der.write(
                0x30,
                der.write(0x30, der.oid("1.2.840.113549.1.1.1"), b"\5\0"),
                der.write_bits(der.write(0x30, number, b"\x02\x01\x03")),
            )
        ),
        "huge RSA key": der.write(0x30, b"\x02\x01\x00", number, *[b"\x02\x01\x03"] * 7),
        "many usage bits": certificate(ec, der.write(0xA3, der.write(0x30, usage))),
        "slow DSA": der.write(0x30, b"\x02\x01\x00", der.write(0x30, der.oid("1.2.840.10040.4.1"), dsa), b"\4\3\2\1\1"),
        "options": b"," * MEGABYTE + b" ssh-rsa AAAA",
        "option lines": (b'command="' + b"\\" * 8000 + b'" x\n') * 128,
        "keystore": b"\xfe\xed\xfe\xed\0\0\0\2\x7f\xff\xff\xff" + b"\0\0\0\1\0\0" * (MEGABYTE // 6),
    }


def test_files_that_are_dear_to_read(workshop) -> None:
    for name, data in heavy_files().items():
        folder = workshop.folder / "heavy" / name
        folder.mkdir(parents=True)
        (folder / "authorized_keys").write_bytes(data[:MEGABYTE])
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = discovering.look(folder)
        assert time.process_time() - start < 2, name
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024, name
        assert len(json.dumps(found)) < 100_000, name


@pytest.mark.parametrize(
    ("scheme", "asked", "asks"),
    [
        (("-iter", 70_000), b"\x02\x03\x01\x11\x70", b"\x02\x03\x7f\xff\xff"),
        (("-scrypt",), b"\x02\x02\x40\x00\x02\x01\x08", b"\x02\x02\x40\x00\x02\x01\x7f"),
    ],
    ids=["PBKDF2, 8 million rounds", "scrypt, 260 MB"],
)
def test_work_that_encrypted_files_ask_for(workshop, scheme: tuple, asked: bytes, asks: bytes) -> None:
    """Refused before it begins, and the same file opens when it asks for less."""
    key, path = workshop.key("ec"), workshop.keys / "sealed.der"
    form = ("-passout", "pass:x", *scheme, "-outform", "DER", "-out", path)
    workshop.run("openssl", "pkcs8", "-topk8", "-in", key, *form)
    rows = discovering.look(workshop.keys, passphrases=["wrong", "x"])["results"]
    assert len({row["key_id"] for row in rows}) == 1 and rows[1]["encrypted"]
    assert path.read_bytes().count(asked) == 1
    path.write_bytes(path.read_bytes().replace(asked, asks))
    start = time.process_time()
    row = discovering.look(workshop.keys, passphrases=["x"])["results"][1]
    assert time.process_time() - start < 1 and row["error"]["class"] == "WrongPassphrase" and row["encrypted"]


@pytest.mark.parametrize(
    "data", [b"", b"\x30", b"\x30\x80", b"\x30\x80\x00", b"\x04\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff"]
)
def test_ber_that_is_cut_off(data: bytes) -> None:
    with pytest.raises(_errors.FormatError):
        ber.to_der(data)


def test_text_about_keys_is_no_key() -> None:
    for text in (
        b'marker = "-----BEGIN PRIVATE KEY-----"',
        b"-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----\n",
        b"grep -r '-----BEGIN EC PRIVATE KEY-----' /etc\n-----BEGIN CERTIFICATE-----",
    ):
        assert contents.read(text) == contents.Contents()
