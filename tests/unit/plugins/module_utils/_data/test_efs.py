# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS files of real NTFS images (mkntfs, ntfs-3g), for certificates that openssl made with genuine EFS usages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import efs_image
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from efs_image import AGENT_USAGE, USER_USAGE, EfsFile, content_of

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    efs,
    efs_files,
    efs_metadata,
    efs_write,
    ntfs,
    ntfsdecrypt,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.efs_files import EncryptedFile
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.ntfs_record import LOGGED_STREAM
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import DECRYPTED, FAILED, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataNotOpened,
    DataUnsupported,
    FormatError,
    HostError,
)

#: Who there is: extended key usage.
PEOPLE = {
    "anna": USER_USAGE,
    "agent": AGENT_USAGE,
    "both": f"{AGENT_USAGE},{USER_USAGE}",
    "ben": USER_USAGE,
    "none": "",
}
MANY = [f"{number:02} {'name ' * 30}" for number in range(30)]

LINKED = f"shared/{MANY[0]}"


@dataclass(frozen=True)
class TokenKey:
    """A key like those of ``_tokens.card``: it decrypts, and is nowhere to be had."""

    inner: Any
    on_token = True

    def public_key(self) -> Any:
        return self.inner.public_key()

    def decrypt(self, encrypted: bytes, scheme: Any) -> bytes:
        return self.inner.decrypt(encrypted, scheme)


@dataclass(frozen=True)
class World:
    folder: Path
    image: Path
    files: dict[str, EfsFile]

    def key(self, name: str, certificates: bool = True, token: bool = False) -> Decryptor:
        key: Any = serialization.load_pem_private_key((self.folder / f"{name}.key").read_bytes(), None)
        der = x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        return Decryptor(name, TokenKey(key) if token else key, [der] if certificates else [])


def certificate(folder: Path, name: str, usage: str) -> str:
    key, path = folder / f"{name}.key", folder / f"{name}.pem"
    if not key.exists():
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    extension = ["-addext", f"extendedKeyUsage={usage}"] if usage else []
    command = ["openssl", "req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-days", "30", "-out", path]
    subprocess.run([*map(str, command), *extension], check=True, capture_output=True)
    return path.read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("efs")
    pem = {name: certificate(folder, name, usage) for name, usage in PEOPLE.items()}
    anna, ben, agent = ([pem[name]] for name in ("anna", "ben", "agent"))
    files = [
        EfsFile("Users/anna/Aufträge/größe.txt", content_of("one", 700), anna),
        EfsFile("Users/anna/large.bin", content_of("large", 70001), ben + anna, agent),
        EfsFile("Users/anna/triple.txt", content_of("triple", 5000), anna, cipher="3DES"),
        EfsFile("Users/anna/desx.txt", content_of("desx", 1024), anna, cipher="DESX"),
        EfsFile("Users/anna/empty.txt", b"", anna),
        EfsFile("Users/ben/own.txt", content_of("own", 513), ben),
        EfsFile("shared/both.txt", content_of("both", 2000), [pem["both"]], agent),
        EfsFile("shared/no usage.txt", content_of("none", 10), [pem["none"]]),
        EfsFile("shared/linked.txt", content_of("linked", 12345), anna, links=[f"shared/{name}" for name in MANY]),
        EfsFile("shared/plain.txt", b"everybody reads this"),
    ]
    efs_image.make_image(folder / "volume.ntfs", files)
    return World(folder, folder / "volume.ntfs", {min([file.path, *file.links]): file for file in files})


def run(
    image: Path, dest: Path, *keys: Decryptor, files: tuple[str, ...] = (), check: bool = False, **known: Any
) -> dict:
    outcomes = list(efs.recover(Source(str(image), str(dest), "ntfs", files), keys, check, **known))
    assert len({one.item.name for one in outcomes}) == len(outcomes)
    return {one.item.name: one for one in outcomes}


def decrypted(outcomes: dict) -> set[str]:
    return {name for name, one in outcomes.items() if one.item.status == DECRYPTED}


def reasons(outcomes: dict) -> dict[str, str]:
    return {name: one.item.reason for name, one in outcomes.items() if one.item.status == FAILED}


def of(world: World, person: str) -> set[str]:
    pem = (world.folder / f"{person}.pem").read_text()
    return {path for path, file in world.files.items() if pem in (*file.users, *file.agents)}


def require_same(world: World, dest: Path, names: set[str]) -> None:
    for name in names:
        assert (dest / name).read_bytes() == world.files[name].content, name


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("person", sorted(PEOPLE))
def test_each_key_opens_its_files_and_no_others(world: World, tmp_path: Path, person: str) -> None:
    before = digest(world.image), world.image.stat().st_mtime_ns
    found = run(world.image, tmp_path / "out", world.key(person))
    empty = {"Users/anna/empty.txt"}
    assert decrypted(found) == of(world, person) | empty
    assert set(reasons(found).values()) == {"NoKeyForData"}
    assert set(found) == set(world.files) - {"shared/plain.txt"}
    require_same(world, tmp_path / "out", decrypted(found))
    assert (digest(world.image), world.image.stat().st_mtime_ns) == before


def test_outputs_are_private_and_have_the_original_time(world: World, tmp_path: Path) -> None:
    run(world.image, tmp_path / "out", world.key("anna"))
    for path in (tmp_path / "out").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or abs(path.stat().st_mtime - world.image.stat().st_mtime) < 60


def facts(folder: Path) -> dict:
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (one.st_ino, one.st_mtime_ns, one.st_ctime_ns) for path, one in found.items()}


def test_a_second_run_changes_nothing(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(world.image, out, world.key("anna"))
    assert {one.changed for one in first.values() if one.item.status == DECRYPTED} == {True}
    before = facts(out)
    again = run(world.image, out, world.key("anna"))
    assert decrypted(again) == decrypted(first) and not any(one.changed for one in again.values())
    assert facts(out) == before


def test_what_is_missing_comes_and_what_is_another_file_stays(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(world.image, out, world.key("anna"))
    (out / "Users/anna/desx.txt").unlink()
    (out / "Users/anna/triple.txt").write_bytes(b"somebody's work")
    again = run(world.image, out, world.key("anna"))
    assert {name for name, one in again.items() if one.changed} == {"Users/anna/desx.txt"}
    assert again["Users/anna/triple.txt"].item.reason == "FileError"
    assert (out / "Users/anna/triple.txt").read_bytes() == b"somebody's work"


def damaged_copy(world: World, image: Path, path: str) -> None:
    """The image as ``dd conv=noerror,sync`` leaves it where two clusters of a file cannot be read."""
    content = bytearray(world.image.read_bytes())
    with world.image.open("rb") as file:
        volume = ntfs.Volume(file.fileno())
        (one,) = [one for one in efs_files.find(volume) if isinstance(one, EncryptedFile) and one.name == path]
        place = next(volume.extents(one.data))[0]
    assert place is not None
    content[place + 8192 : place + 16384] = bytes(8192)
    image.write_bytes(content)


@pytest.mark.parametrize("device", [False, True])
def test_outputs_of_an_earlier_image_are_made_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: bool
) -> None:
    """Whether it is an image or a device, which has no state by which a change would show."""
    image, out, large = tmp_path / "pc.ntfs", tmp_path / "out", "Users/anna/large.bin"

    def work(check: bool = False, files: tuple[str, ...] = ()) -> dict:
        state = {} if device else efs.state_of(str(image))
        notes = str(tmp_path / "state/notes")
        return run(image, out, world.key("anna"), check=check, files=files, notes=notes, state=state)

    damaged_copy(world, image, large)
    work()
    assert (out / large).read_bytes() != world.files[large].content
    foreign = out / "Users/anna/desx.txt"  # as large and as old as ours, and not made here
    (tmp_path / "theirs").write_bytes(bytes(1024))
    os.utime(tmp_path / "theirs", ns=(1, foreign.stat().st_mtime_ns))
    (tmp_path / "theirs").replace(foreign)
    with (tmp_path / "state/notes").open("ab") as notes:
        notes.write(b'\n{"cut')
    image.write_bytes(world.image.read_bytes())
    before = facts(out)
    assert {name for name, one in work(check=True).items() if one.changed} == {large}
    found = work()
    assert {name for name, one in found.items() if one.changed} == {large}
    assert found["Users/anna/desx.txt"].item.reason == "FileError" and foreign.read_bytes() == bytes(1024)
    require_same(world, out, decrypted(found))
    assert {path for path, one in facts(out).items() if one[0] != before[path][0]} == {out / large}
    with monkeypatch.context() as patched:
        patched.setattr(efs_write.Writer, "_decrypt", None)  # nothing is decrypted a second time
        if not device:
            assert decrypted(work(files=("Users/anna/large.bin", "shared"))) >= {large, LINKED}
    assert not any(one.changed for one in work().values())


def test_outputs_that_this_image_does_not_give_are_told(world: World, tmp_path: Path) -> None:
    image, out, notes = tmp_path / "pc.ntfs", tmp_path / "out", str(tmp_path / "notes")
    image.write_bytes(world.image.read_bytes())
    first = run(image, out, world.key("anna"), notes=notes, state=efs.state_of(str(image)))
    os.utime(image, ns=(1, 1))
    again = run(image, out, world.key("ben"), files=("Users",), notes=notes, state=efs.state_of(str(image)))
    told = {name for name, one in again.items() if "another state of the image" in one.item.detail}
    assert told == decrypted(first) - {"Users/anna/large.bin", "Users/anna/empty.txt"}  # which come out again
    assert set(reasons(again)) == told


def test_check_mode_tells_and_writes_nothing(world: World, tmp_path: Path) -> None:
    found = run(world.image, tmp_path / "out", world.key("anna"), check=True)
    assert found["Users/anna/desx.txt"].changed and not (tmp_path / "out").exists()


def test_several_generations_together(world: World, tmp_path: Path) -> None:
    keys = [world.key(name) for name in PEOPLE]
    found = run(world.image, tmp_path / "out", *keys)
    assert not reasons(found)
    require_same(world, tmp_path / "out", set(found))
    ids = {key.name: key.key_id for key in keys}
    assert found["Users/ben/own.txt"].item.key_ids == (ids["ben"],)
    # A user's key comes before an agent's, whatever the order of the keys.
    assert found["shared/both.txt"].item.key_ids == (ids["both"],)


def test_a_key_on_a_token_decrypts_all_ciphers(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ntfsdecrypt, "_PLACES", "/nowhere")
    found = run(world.image, tmp_path / "out", world.key("anna", token=True))
    assert decrypted(found) == of(world, "anna")
    require_same(world, tmp_path / "out", decrypted(found))


def test_a_key_without_certificates_is_tried(world: World, tmp_path: Path) -> None:
    found = run(world.image, tmp_path / "out", world.key("anna", certificates=False))
    assert decrypted(found) == of(world, "anna")
    require_same(world, tmp_path / "out", decrypted(found))


def test_an_altered_file_key_does_not_open(world: World, tmp_path: Path) -> None:
    """Neither with ntfsdecrypt nor on a token, and the reason does not tell what is wrong."""
    name = "Users/anna/desx.txt"
    with world.image.open("rb") as image:
        volume = ntfs.Volume(image.fileno())
        entry = next(
            one for one in map(volume.entry, volume.containing(b"$\0E\0")) if volume.paths(one)[0][-1] == "desx.txt"
        )
        (holder,) = efs_metadata.holders(volume.read(entry.find(LOGGED_STREAM, "$EFS"), efs_metadata.LONGEST))
    content = world.image.read_bytes()
    # The middle of it: the ends of a block in a record stand elsewhere.
    piece = holder.key.encrypted[::-1][64:128]
    assert content.count(piece) == 1
    image = tmp_path / "altered.ntfs"
    image.write_bytes(content.replace(piece, piece[:-1] + bytes([piece[-1] ^ 1])))
    for token in (False, True):
        found = run(image, tmp_path / "out", world.key("anna", token=token), files=(name,))
        assert reasons(found) == {name: "DataNotOpened"}


@pytest.mark.parametrize(
    ("size", "cipher", "error"),
    [
        (32, 0x6610, None),
        (24, 0x6603, None),
        (16, 0x6604, None),
        (16, 0x660E, DataUnsupported),
        (8, 0x6601, DataUnsupported),
        (31, 0x6610, DataNotOpened),
        (32, 0x1234, DataNotOpened),
    ],
)
def test_ciphers_of_files(size: int, cipher: int, error: type | None) -> None:
    blob = struct.pack("<4I", size, 0, cipher, 0) + bytes(size)
    if error is None:
        assert efs_metadata.open_blob(blob).key == bytes(size)
        return
    with pytest.raises(error):
        efs_metadata.open_blob(blob)


def test_metadata_that_is_no_metadata() -> None:
    chance = random.Random(5)
    for dummy in range(3000):
        content = bytearray(chance.randbytes(chance.choice((0, 80, 90, 400))))
        if len(content) > 84:
            content[8:12], content[64:68], content[84:88] = b"\2\0\0\0", b"\x54\0\0\0", b"\1\0\0\0"
        with contextlib.suppress(DataDamaged, DataUnsupported):
            assert len(efs_metadata.holders(bytes(content))) <= 1


def test_a_renewed_certificate_alone_does_not_open(world: World, tmp_path: Path) -> None:
    shutil.copy(world.folder / "anna.key", tmp_path)
    certificate(tmp_path, "anna", USER_USAGE)
    found = run(world.image, tmp_path / "out", World(tmp_path, world.image, {}).key("anna"))
    one = found["Users/anna/desx.txt"].item
    old = x509.load_pem_x509_certificate((world.folder / "anna.pem").read_bytes())
    thumbprint = hashlib.sha1(old.public_bytes(serialization.Encoding.DER)).hexdigest()
    assert one.reason == "NoKeyForData" and thumbprint in one.detail and "user CN=anna" in one.detail


def test_files_and_folders_that_were_asked_for(world: World, tmp_path: Path) -> None:
    names = (
        "C:\\users\\ANNA\\Aufträge",
        "/Users/anna/desx.txt",
        f"shared/{MANY[7]}",
        "Users/nobody",
        "shared/plain.txt",
    )
    found = run(world.image, tmp_path / "out", world.key("anna"), files=names)
    assert decrypted(found) == {"Users/anna/Aufträge/größe.txt", "Users/anna/desx.txt", LINKED}
    assert reasons(found) == {"Users/nobody": "NotEncrypted", "shared/plain.txt": "NotEncrypted"}


def ends_of(volume: ntfs.Volume) -> dict[str, int]:
    """Per file, where in the image the last of what it needs ends."""
    ends = {}
    for entry in map(volume.entry, volume.containing(b"$\0E\0")):
        pieces = [sum(one) for kind in entry.attributes if kind.runs for one in volume.extents(kind)]
        ends["/".join(min(volume.paths(entry)))] = max([0, *pieces])
    return ends


@pytest.mark.parametrize("token", [False, True])
def test_a_truncated_image_gives_what_is_in_it(world: World, tmp_path: Path, token: bool) -> None:
    with world.image.open("rb") as image:
        ends = ends_of(ntfs.Volume(image.fileno()))
    cut = ends["Users/anna/large.bin"] - 8192
    short = tmp_path / "short.ntfs"
    short.write_bytes(world.image.read_bytes()[:cut])
    found = run(short, tmp_path / "out", world.key("anna", token=token))
    there = {name for name, end in ends.items() if end <= cut}
    assert decrypted(found) == there & of(world, "anna")
    assert reasons(found)["Users/anna/large.bin"] == "DataDamaged"
    require_same(world, tmp_path / "out", decrypted(found))
    assert not (tmp_path / "out/Users/anna/large.bin").exists()


def record_of(volume: ntfs.Volume, image: Path, number: int) -> int:
    """Where in the image the record is."""
    content = image.read_bytes()
    wanted = [
        place
        for place in range(0, len(content), 1024)
        if content[place : place + 4] == b"FILE"
        and int.from_bytes(content[place + 44 : place + 48], "little") == number
    ]
    return wanted[0]


@pytest.mark.parametrize("token", [False, True])
def test_what_was_never_written_is_zeros(world: World, tmp_path: Path, token: bool) -> None:
    image = Path(shutil.copy(world.image, tmp_path))
    name = "Users/anna/large.bin"
    with image.open("r+b") as opened:
        volume = ntfs.Volume(opened.fileno())
        number = next(n for n in volume.containing(b"$\0E\0") if "/".join(volume.paths(volume.entry(n))[0]) == name)
        place = record_of(volume, image, number)
        opened.seek(place)
        record = opened.read(1024)
        sizes = (70001).to_bytes(8, "little") * 2  # data size, initialized size
        assert record.count(sizes) == 1
        opened.seek(place + record.index(sizes) + 8)
        opened.write((1000).to_bytes(8, "little"))
    run(image, tmp_path / "out", world.key("anna", token=token), files=(name,))
    assert (tmp_path / "out" / name).read_bytes() == world.files[name].content[:1000] + bytes(69001)


def test_clusters_of_one_sector(world: World, tmp_path: Path) -> None:
    image = tmp_path / "small.ntfs"
    efs_image.make_image(image, list(world.files.values()), cluster=512)
    found = run(image, tmp_path / "out", world.key("anna"))
    assert decrypted(found) == of(world, "anna")
    require_same(world, tmp_path / "out", decrypted(found))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends at byte 0"),
        (bytes(4096), "no NTFS volume"),
        (b"\xeb\x58\x90-FVE-FS-" + bytes(499) + b"\x55\xaa", "BitLocker"),
        (bytes(510) + b"\x55\xaa", "name the partition"),
        (b"\xeb\x52\x90NTFS    " + bytes(501), "cluster size"),
    ],
)
def test_something_else_than_a_volume(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(FormatError, match=words):
        run(tmp_path / "image", tmp_path / "out")


def test_damaged_volumes_end_in_reasons(world: World, tmp_path: Path) -> None:
    """Bytes of the volume's table and boot sector are changed: every file has an outcome, and no output is huge."""
    original = world.image.read_bytes()
    used = [place for place in range(0, len(original), 1024) if original[place : place + 4] == b"FILE"]
    chance = random.Random(17)
    key = world.key("anna", token=True)
    image = tmp_path / "image"
    for number in range(40):
        content = bytearray(original)
        for dummy in range(chance.choice((1, 3, 20))):
            place = chance.choice(used) + chance.randrange(1024) if chance.random() < 0.8 else chance.randrange(90)
            content[place] = chance.choice((0, 0xFF, content[place] ^ 1 << chance.randrange(8), chance.randrange(256)))
        image.write_bytes(content)
        out = tmp_path / f"out{number}"
        try:
            found = run(image, out, key)
        except FormatError:
            continue
        assert all(one.item.status in (DECRYPTED, FAILED) for one in found.values())
        assert all(path.stat().st_size <= len(original) for path in out.rglob("*"))


class FakeProgram:
    """A program in ntfsdecrypt's place, which notes how it was called."""

    def __init__(self, folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        program = folder / "ntfsdecrypt"
        note = (
            f'cat /proc/$$/environ >{folder}/environ; echo "$@" >{folder}/arguments; ps -o tty= -p $$ >{folder}/tty\n'
        )
        program.write_text(f"#!/bin/sh\n{note}read password\necho $password >{folder}/password\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr(ntfsdecrypt, "_PLACES", f"{folder}:{ntfsdecrypt._PLACES}")


@pytest.mark.parametrize("script", ["head -c 512 /dev/zero", "head -c 2000 /dev/zero", "true", "exit 1", "kill -9 $$"])
def test_a_program_that_does_not_do_all_of_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Also when it exits with 0, as ntfsdecrypt does when it stops half way."""
    FakeProgram(tmp_path, script, monkeypatch)
    found = run(world.image, tmp_path / "out", world.key("anna"), files=("Users/anna/desx.txt",))
    assert reasons(found) == {"Users/anna/desx.txt": "DataDamaged"}
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_the_key_is_in_memory_only(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeProgram(
        tmp_path,
        f'readlink "$4" >{tmp_path}/where; cat "$4" >{tmp_path}/identity; readlink "$5" >{tmp_path}/volume\n'
        "head -c 1024 /dev/zero",
        monkeypatch,
    )
    found = run(world.image, tmp_path / "out", world.key("anna"), files=("Users/anna/desx.txt",))
    assert decrypted(found) == {"Users/anna/desx.txt"}
    password = (fake.folder / "password").read_text().strip()
    assert len(password) == 32
    said = (fake.folder / "arguments").read_text() + (fake.folder / "environ").read_text()
    assert password not in said and "LC_ALL" in said
    assert (fake.folder / "tty").read_text().strip() == "?"
    assert (fake.folder / "where").read_text().startswith("/memfd:")
    assert (fake.folder / "volume").read_text().strip() == str(world.image)
    # certtool, a second opinion on what ntfsdecrypt is given.
    command = ["certtool", "--p12-info", "--inder", "--infile", tmp_path / "identity", "--password", password]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert seen.count("Certificate") >= 2 and "PKCS #8" in seen
    anna = (world.folder / "anna.pem").read_text().split("-----")[2]
    assert anna.strip() in seen


def test_without_the_program(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ntfsdecrypt, "_PLACES", "/nowhere")
    with pytest.raises(HostError, match="ntfs-3g"):
        run(world.image, tmp_path / "out", world.key("anna"))


def test_nothing_stays_open(world: World, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    run(world.image, tmp_path / "out", world.key("anna"))
    with pytest.raises(FormatError):
        run(world.folder / "anna.pem", tmp_path / "out", world.key("anna"))
    assert set(os.listdir("/proc/self/fd")) == before
