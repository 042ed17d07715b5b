# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sealed folders, judged by the commands of docs/departed-owner.md (openssl, sha256sum) and by the product."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import sealed_files, sealed_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    FileMissing,
    FormatError,
    SignatureInvalid,
)

PAGE = Path(__file__).resolve().parents[5] / "docs" / "departed-owner.md"
NASTY = [
    "plain",
    "with space",
    "line\nend",
    "back\\slash",
    "\\n",
    "carriage\rreturn",
    "ünïcode",
    os.fsdecode(b"raw\xff"),
]


@dataclass(frozen=True)
class Requester:
    key: object
    der: bytes
    pem: Path


def make_requester(folder: Path) -> Requester:
    key, pem = folder / "requester.key", folder / "requester.pem"
    names = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-subj",
        "/CN=requester",
        "-keyout",
        key,
        "-out",
        pem,
    ]
    subprocess.run(["openssl", "req", "-x509", "-noenc", *names], check=True, capture_output=True)
    der = subprocess.run(["openssl", "x509", "-in", pem, "-outform", "DER"], check=True, capture_output=True).stdout
    return Requester(serialization.load_pem_private_key(key.read_bytes(), None), der, pem)


@pytest.fixture(scope="module")
def requester(tmp_path_factory: pytest.TempPathFactory) -> Requester:
    return make_requester(tmp_path_factory.mktemp("requester"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "case"
    made.mkdir(mode=0o700)
    (made / "mail").mkdir(mode=0o755)
    for name in NASTY:
        (made / "mail" / name).write_text(f"content of {name!r}")
    (made / "report.jsonl").write_text("{}\n")
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    return made


def case_of(requester: Requester) -> sealed_folder.Case:
    key = {"key_id": "ab" * 32, "record": 2, "group": "office", "agents": ["agent1", "agent3"]}
    key["agent_ids"] = ["01" * 32, "03" * 32]
    source = {"src": "/s", "dest": "/d", "kind": "cms", "items": 1}
    reason = 'she said "outputs":{"files":0,"sha256":"' + "0" * 64 + '"}'
    return sealed_folder.Case("cd" * 32, "alice", "host2", reason, [key], [source], [], 0, requester.der)


def sealed(folder: Path, requester: Requester) -> str:
    return sealed_folder.seal(
        str(folder), [sealed_files.Input(str(folder.parent / "source"))], case_of(requester), requester.key
    )


def by_the_page(folder: Path, requester: Requester) -> subprocess.CompletedProcess:
    """What somebody without the product does."""
    found = re.search(r"<!-- step: verify -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    environment = {**os.environ, "FOLDER": str(folder), "CERTIFICATE": str(requester.pem)}
    return subprocess.run(["sh", "-c", found[1]], env=environment, capture_output=True, check=False)


def test_a_sealed_folder_verifies_with_openssl_and_sha256sum(folder: Path, requester: Requester) -> None:
    digest = sealed(folder, requester)
    done = by_the_page(folder, requester)
    assert done.returncode == 0, done.stderr
    assert b"Verified OK" in done.stdout
    found = sealed_folder.verify(str(folder), requester.der)
    assert (found.problems, found.digest) == ((), digest)
    assert found.summary["outputs"]["files"] == len(NASTY) + 2
    assert found.summary["keys"][0]["agents"] == ["agent1", "agent3"]
    modes = {path.lstat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o400}
    assert (folder / "mail").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["mail/plain", "report.jsonl", "outputs.sha256", "sources.sha256", "summary.json"])
def test_a_changed_file_is_told_by_both(folder: Path, requester: Requester, name: str) -> None:
    sealed(folder, requester)
    path = folder / name
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    path.chmod(0o400)
    assert by_the_page(folder, requester).returncode != 0
    if name == "summary.json":
        with pytest.raises(FormatError):
            sealed_folder.verify(str(folder), requester.der)
    else:
        (problem,) = sealed_folder.verify(str(folder), None).problems
        assert name.split(".")[0] in problem or name in problem


def test_what_is_added_gone_or_writable_is_told(folder: Path, requester: Requester) -> None:
    sealed(folder, requester)
    (folder / "mail/added").write_text("")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "mail/line\nend").unlink()
    (folder / "mail/plain").chmod(0o644)
    problems = sealed_folder.verify(str(folder), None).problems
    assert [problem.split(":")[0] for problem in problems] == ["link", "mail/added", "mail/plain", "mail/line\\nend"]


def test_another_requester_did_not_sign_it(folder: Path, requester: Requester, tmp_path: Path) -> None:
    sealed(folder, requester)
    (tmp_path / "other").mkdir()
    other = make_requester(tmp_path / "other")
    with pytest.raises(SignatureInvalid):
        sealed_folder.verify(str(folder), other.der)
    # Signed by one, naming another.
    sealed_folder.seal(str(folder), [], replace(case_of(requester), requester_certificate=other.der), requester.key)
    for certificate in (None, requester.der):
        with pytest.raises(SignatureInvalid):
            sealed_folder.verify(str(folder), certificate)


def test_without_a_summary_it_is_not_sealed(folder: Path, requester: Requester) -> None:
    assert not sealed_folder.is_sealed(str(folder))
    with pytest.raises(FileMissing):
        sealed_folder.verify(str(folder), requester.der)


def test_links_and_special_files_are_not_sealed(folder: Path, requester: Requester) -> None:
    os.mkfifo(folder / "mail/fifo")
    with pytest.raises(FileError):
        sealed(folder, requester)
    assert not sealed_folder.is_sealed(str(folder))


def test_a_link_is_no_source_but_for_a_volume(folder: Path, requester: Requester) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder.parent / "source")
    with pytest.raises(FileError):
        sealed_folder.seal(str(folder), [sealed_files.Input(str(link))], case_of(requester), requester.key)
    assert not sealed_folder.is_sealed(str(folder))
    volume = sealed_files.Input(str(link), is_volume=True)
    sealed_folder.seal(str(folder), [volume], case_of(requester), requester.key)
    assert (folder / "sources.sha256").read_text().endswith(f"  {link}\n")


def test_only_a_folder_of_this_case_is_taken(folder: Path, requester: Requester) -> None:
    dests = [str(folder / "mail"), str(folder / "report.jsonl")]
    sealed_folder.check_free(str(folder), dests)
    sealed_folder.check_free(str(folder.parent / "none"), dests)
    with pytest.raises(FileError):
        sealed_folder.check_free(str(folder), dests[:1])
    for name in (".keyops-evidence.pdf", ".keyops-0123456789abcdef.tmp.pdf", ".keyops-0123456789ABCDEF.tmp"):
        (folder / name).write_text("planted")
        with pytest.raises(FileError):
            sealed_folder.check_free(str(folder), dests)
        (folder / name).unlink()
    # What a killed run left is no reason to stop, and is not sealed; what a living one holds is.
    left = folder / ".keyops-0123456789abcdef.tmp"
    left.write_text("half of a mail")
    sealed_folder.check_free(str(folder), dests)
    with left.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FileError):
            sealed(folder, requester)
    sealed(folder, requester)
    sealed_folder.check_free(str(folder), dests)
    assert not left.exists()
    folder.chmod(0o750)
    with pytest.raises(FileError):
        sealed_folder.check_free(str(folder), dests)
