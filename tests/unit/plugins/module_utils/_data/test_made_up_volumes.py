# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NTFS volumes that no system ever wrote: made up to cost time, memory or disk, or to lead out of the folder."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    efs,
    efs_cipher,
    efs_files,
    efs_keys,
    efs_metadata,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import FAILED, Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError


def run(image: Path, dest: Path) -> dict:
    outcomes = list(efs.recover(Source(str(image), str(dest), "ntfs", ()), []))
    return {one.item.name: one for one in outcomes}


def made_up(
    path: Path, table_size: int, table_runs: list[bytes], *files: tuple[int, list[bytes]], lists: tuple[bytes, ...] = ()
) -> Path:
    """An image of 64 KiB that claims 2^50 bytes: its table's first clusters are 4 and 5, and the files are in it."""
    image = bytearray(64 * 1024)
    image[3:11] = b"NTFS    "
    struct.pack_into("<HB", image, 0x0B, 512, 8)
    struct.pack_into("<QQ", image, 0x28, (1 << 50) // 512, 4)
    image[0x40] = 0xF6
    rows = [record([outside(table_size, table_runs, 0)])]
    metadata = struct.pack("<22I", 0, 0, 2, *[0] * 19)
    for number, (size, runs) in enumerate(files):
        name = bytearray(0x44)
        struct.pack_into("<Q", name, 0, 5)
        name[0x40:0x44] = b"\x01\x01" + chr(ord("a") + number).encode("utf-16-le")
        efs_file = [inside(0x30, "", bytes(name)), outside(size, runs, 0x4000), inside(0x100, "$EFS", metadata)]
        rows.append(record([*lists, *efs_file]))
    image[4 * 4096 : 4 * 4096 + 1024 * len(rows)] = b"".join(rows)
    path.write_bytes(image)
    return path


def record(attributes: list[bytes]) -> bytes:
    made = bytearray(b"FILE" + bytes(0x34) + b"".join(attributes) + b"\xff" * 4).ljust(1024, b"\0")
    struct.pack_into("<HH", made, 4, 0x30, 3)
    struct.pack_into("<HH", made, 0x14, 0x38, 1)
    made[0x30:0x32] = b"\x01\x00"
    for block in (1, 2):
        end = block * 512
        made[0x30 + 2 * block : 0x32 + 2 * block] = made[end - 2 : end]
        made[end - 2 : end] = b"\x01\x00"
    return bytes(made)


def outside(size: int, runs: list[bytes], flags: int, kind: int = 0x80) -> bytes:
    raw = b"".join(runs) + b"\0"
    head = struct.pack(
        "<IIBBHHHQQHHIQQQ", kind, (0x47 + len(raw)) // 8 * 8, 1, 0, 0x40, flags, 0, 0, 0, 0x40, 0, 0, *[size] * 3
    )
    return (head + raw).ljust((0x47 + len(raw)) // 8 * 8, b"\0")


def inside(kind: int, name: str, value: bytes) -> bytes:
    start = (0x1F + 2 * len(name)) // 8 * 8
    length = (start + len(value) + 7) // 8 * 8
    head = struct.pack("<IIBBHHHIHH", kind, length, 0, len(name), 0x18, 0, 0, len(value), start, 0)
    return ((head + name.encode("utf-16-le")).ljust(start, b"\0") + value).ljust(length, b"\0")


def clusters(count: int, start: int | None = None) -> bytes:
    """A run; ``start`` counts from the start of the run before it."""
    size = count.to_bytes(8, "little")
    return b"\x08" + size if start is None else b"\x18" + size + start.to_bytes(1, "little", signed=True)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([clusters(1, 4), clusters(1 << 37)], "holes"),
        ([clusters(12, 4), clusters(12, 0)], "several times"),
        ([clusters(1, 4), clusters(1 << 37, 1)], ""),
    ],
)
def test_a_made_up_table_costs_nothing(tmp_path: Path, runs: list[bytes], words: str) -> None:
    image = made_up(tmp_path / "image", 1 << 49, runs)
    started = time.process_time()
    with pytest.raises(FormatError, match=words) if words else contextlib.nullcontext():
        assert run(image, tmp_path / "out") == {}
    assert time.process_time() - started < 3


def test_made_up_files_fill_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = made_up(
        tmp_path / "image",
        8192,
        [clusters(2, 4)],
        (1 << 46, [clusters(1 << 34)]),
        (1 << 17, [clusters(16, 0), clusters(16, 0)]),
        (1 << 33, [clusters(1 << 21)]),
        (12 * 4096, [clusters(12, 4)]),
        (12 * 4096, [clusters(12, 4)]),
        (3 * 4096 - 100, [clusters(1, 4), clusters(1), clusters(1, 1)]),
    )
    file_key = efs_metadata.FileKey("AES-256", bytes(32))
    monkeypatch.setattr(
        efs_keys,
        "opened",
        lambda file, keys: SimpleNamespace(
            by=SimpleNamespace(key_id="0" * 64, on_token=True), certificate=None, file_key=file_key
        ),
    )
    monkeypatch.setattr(efs_files, "_MAPPED_EACH", 1)
    found = run(image, tmp_path / "out")
    assert {name: one.item.detail.split(";")[0] for name, one in found.items() if one.item.status == FAILED} == {
        "a": "it has more holes than any file",
        "b": "it is damaged: by the volume's table, parts of the image are in it several times",
        "e": "by the volume's table, it lies where other files lie",
    }
    made = {path.name: path.stat() for path in (tmp_path / "out").iterdir()}
    assert {name: one.st_size for name, one in made.items()} == {"c": 1 << 33, "d": 12 * 4096, "f": 3 * 4096 - 100}
    assert made["c"].st_blocks * 512 < 1 << 20
    raw = image.read_bytes()
    first, last = (efs_cipher.decrypt(file_key, raw[n * 4096 :][:4096], place) for n, place in ((4, 0), (5, 8192)))
    assert (tmp_path / "out/f").read_bytes() == (first + bytes(4096) + last)[:-100]


def test_lists_of_attributes_are_not_read_for_ever(tmp_path: Path) -> None:
    lists = (outside(12 * 4096, [clusters(12, 0)], 0, kind=0x20),)
    image = made_up(tmp_path / "image", 5 * 4096, [clusters(5, 4)], *[(4096, [clusters(1, 4)])] * 19, lists=lists)
    details = [one.item.detail for one in run(image, tmp_path / "out").values()]
    assert len(details) == 19
    assert 10 <= details.count("the lists of attributes of the volume are larger than the volume") < 19


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    parts = ("..", "", "a/b", "x" * 300, "ö" * 200, "\0", ".keyops-0123456789abcdef.tmp", "fine.txt")
    file = efs_files.EncryptedFile(77, parts, (), efs_files.Attribute(0x80, "", 0, 0, 0), 0, ())
    assert efs_files.relative_path(file) == "/".join(["record-77"] * 7 + ["fine.txt"])
