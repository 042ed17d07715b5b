# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""data_recovery on files, mailboxes and Maildirs: what comes out, what stays, and what a second run does."""

from __future__ import annotations

import json
import mailbox
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import efs_image
import encrypted_mail
import pytest
from encrypted_mail import ENTITY, Person

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors, _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    done,
    efs,
    efs_files,
    maildir,
    mbox,
    ntfs,
    outcome,
    output,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_report, data_singles, recover_data
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


class Scene:
    """A host with two generations of somebody's key, and mails to both and to somebody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = encrypted_mail.person(folder, "old"), encrypted_mail.person(folder, "new", "p256")
        self.stranger = encrypted_mail.person(folder, "stranger", "p256")
        self.mails = {one.name: one.mail(ENTITY).replace(b"\r\n", b"\n") for one in (self.old, self.new, self.stranger)}
        sealed = self.new.mail(ENTITY, "-aes-256-gcm").replace(b"\r\n", b"\n")
        self.broken = [
            sealed[:700],
            encrypted_mail.altered(sealed),
            self.mails["stranger"],
            sealed.replace(sealed.splitlines(keepends=True)[-5], b""),
        ]

    def params(self, *sources: tuple[Path, Path], keys: tuple[Person, ...] | None = None, **options: Any) -> dict:
        """The options of a task; ``state`` is a folder beside the first output."""
        people = (self.old, self.new) if keys is None else keys
        given = [
            {"key": str(one.key), "passphrase": None, "pin": None, "certificates": [str(one.certificate)]}
            for one in people
        ]
        wanted = [{"src": str(src), "dest": str(dest), "kind": "auto", "files": []} for src, dest in sources]
        common = {"report": None, "seal": None, "request_id": None, "state_dir": str(sources[0][1].parent / "state")}
        return {"keys": given, "sources": wanted, **common, **options}

    def run(self, *sources: tuple[Path, Path], check: bool = False, **options: Any) -> FlowResult:
        """One task."""
        return recover_data.run(HostTask(self.params(*sources, **options), check_mode=check))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def seen(folder: Path) -> dict[str, tuple]:
    """Everything below a folder but the state: what it holds, and its metadata."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if "state" not in path.parts:
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (content, status.st_mode, status.st_mtime_ns, status.st_ino)
    return found


def unquoted(mail: bytes) -> bytes:
    return re.sub(rb"(?m)^>(>*From )", rb"\1", mail)


def a_mailbox(scene: Scene, size: int = 400) -> tuple[bytes, list[str]]:
    """A mailbox of which 1 % is broken; and of each mail what is expected of it."""
    parts, expected = [], []
    for number in range(size):
        line = b"From a@example.com Mon Jan  1 00:%02d:00 2024\n" % (number % 60)
        head = b"Message-ID: <%d@example.com>\nStatus: RO\n" % number
        if number % 100 == 50:
            parts.append(line + head + scene.broken[number // 100 % 4] + b"\n")
            expected.append("failed")
        elif number % 5 == 0:
            parts.append(line + head + b"Subject: plain\n\n>From what\nbody \xff\r\n\n")
            expected.append("kept")
        else:
            parts.append(line + head + scene.mails["old" if number % 2 else "new"] + b"\n")
            expected.append("decrypted")
    return b"".join(parts), expected


def test_mbox(scene: Scene, tmp_path: Path) -> None:
    content, expected = a_mailbox(scene)
    src, dest, report = tmp_path / "box", tmp_path / "out/box", tmp_path / "out/report.jsonl"
    src.write_bytes(content)
    before = seen(tmp_path)
    predicted = scene.run((src, dest), check=True, report=str(report))
    assert seen(tmp_path) == before
    done = scene.run((src, dest), report=str(report))
    assert (predicted.changed, predicted.results) == (done.changed, done.results) == (True, done.results)
    (row,) = done.results
    counts = {name: expected.count(name) for name in ("decrypted", "kept", "failed")}
    assert {name: row[name] for name in (*counts, "items", "kind")} == {**counts, "items": 400, "kind": "mbox"}
    assert {one["reason"] for one in row["failures"]} == {"DataDamaged", "DataNotOpened", "NoKeyForData"}
    assert [one["item"] for one in row["failures"]] == ["51", "151", "251", "351"]
    assert done.warnings
    assert src.read_bytes() == content
    assert stat.S_IMODE(dest.stat().st_mode) == stat.S_IMODE(report.stat().st_mode) == 0o600
    assert stat.S_IMODE(dest.parent.stat().st_mode) == 0o700
    # Read by somebody else's code; every mail is compared.
    for number, (was, now) in enumerate(zip(mailbox.mbox(src), mailbox.mbox(dest))):
        assert was["Message-ID"] == now["Message-ID"] == f"<{number}@example.com>"
        assert (was.get_from(), now["Status"]) == (now.get_from(), "RO")
    raw = [found + b"\n" for found in re.split(rb"\n(?=From a@)", dest.read_bytes())]
    raw_before = [found + b"\n" for found in re.split(rb"\n(?=From a@)", content)]
    assert len(raw) == len(raw_before) == 400
    raw[-1], raw_before[-1] = raw[-1][:-1], raw_before[-1][:-1]
    for was_raw, now_raw, status in zip(raw_before, raw, expected):
        if status == "decrypted":
            assert unquoted(now_raw).endswith(b"\r\n" + ENTITY + b"\n\n") or unquoted(now_raw).endswith(
                ENTITY + b"\n\n"
            )
        else:
            assert now_raw == was_raw
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["status"] for line in lines] == expected
    assert content[lines[7]["offset"] :].startswith(b"From a@")
    assert lines[7]["message_id"] == "<7@example.com>"
    # Again: nothing changes, and no key is needed for what is whole.
    after = seen(tmp_path)
    again = scene.run((src, dest), report=str(report))
    assert (again.changed, seen(tmp_path)) == (False, after)
    assert {**again.results[0], "changed": True} == row
    report.unlink()
    assert scene.run((src, dest), report=str(report)).changed
    assert [json.loads(line) for line in report.read_text().splitlines()] == lines


def test_a_missing_generation_comes_later(scene: Scene, tmp_path: Path) -> None:
    src, dest = tmp_path / "box", tmp_path / "out/box"
    box = b"".join(b"From x Mon Jan  1 00:00:00 2024\n" + scene.mails[name] + b"\n" for name in ("old", "new"))
    src.write_bytes(box)
    maildir = tmp_path / "Maildir"
    mailbox.Maildir(maildir).add(scene.mails["old"])
    sources = ((src, dest), (maildir, tmp_path / "out/Maildir"))
    first = scene.run(*sources, keys=(scene.new,))
    assert [row["failed"] for row in first.results] == [1, 1]
    assert first.results[0]["failures"][0]["reason"] == "NoKeyForData"
    assert scene.mails["old"] in dest.read_bytes()
    again = scene.run(*sources, keys=(scene.new,))
    assert not again.changed
    second = scene.run(*sources)
    assert (second.changed, [row["failed"] for row in second.results]) == (True, [0, 0])
    assert unquoted(dest.read_bytes()).count(ENTITY) == 2
    (mail,) = [path for path in (tmp_path / "out/Maildir").rglob("*") if path.is_file()]
    assert mail.read_bytes().endswith(ENTITY)
    # All is done: the keys may be gone.
    assert not scene.run(*sources, keys=(Person("gone", tmp_path / "no.key", tmp_path / "no.pem"),)).changed


def test_maildir(scene: Scene, tmp_path: Path) -> None:
    src, dest = tmp_path / "Maildir", tmp_path / "out/Maildir"
    names = {}
    for folder in ("", ".Sent", ".Archive.2019"):
        box = mailbox.Maildir(src / folder)
        for number in range(12):
            mail = mailbox.MaildirMessage(
                scene.mails[("old", "new", "stranger")[number % 3]] if number % 4 else b"Subject: x\n\ny\n"
            )
            mail.set_subdir("cur" if number % 2 else "new")
            mail.set_flags("FS" if number % 2 else "")
            box.add(mail)
    for number, path in enumerate(
        one for one in sorted(src.rglob("*")) if one.is_file() and one.parent.name in ("cur", "new")
    ):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        names[str(path.relative_to(src))] = (path.stat().st_mtime, path.read_bytes())
    (src / "dovecot-keywords").write_text("0 Work\n")
    (src / "dovecot.index").write_text("index")
    (src / "cur/link").symlink_to("/etc/passwd")
    os.mkfifo(src / "cur/fifo")
    before = seen(src)
    assert scene.run((src, dest), check=True).changed
    assert not dest.exists()
    done = scene.run((src, dest))
    (row,) = done.results
    assert (row["items"], row["kept"], row["failed"], row["kind"]) == (36, 9, 9, "maildir")
    found = {str(one.relative_to(dest)): one for one in dest.rglob("*") if one.is_file()}
    assert found.pop("dovecot-keywords").read_text() == "0 Work\n"
    assert set(found) == set(names)
    for name, path in found.items():
        assert path.stat().st_mtime == names[name][0]
        assert path.read_bytes() == names[name][1] or path.read_bytes().endswith(ENTITY)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sum(path.read_bytes().endswith(ENTITY) for path in found.values()) == row["decrypted"] == 18
    assert len(mailbox.Maildir(dest).get_folder("Sent")) == 12
    assert seen(src) == before
    # A reader moved and flagged a mail: it is no other mail.
    one = next(path for name, path in found.items() if name.startswith("new/"))
    one.rename(dest / "cur" / f"{one.name}:2,S")
    assert not scene.run((src, dest)).changed
    # Without the state all is looked at again, and nothing changes; what is missing comes back.
    for path in (tmp_path / "out/state/data").iterdir():
        path.unlink()
    next(path for name, path in found.items() if name.startswith("cur/")).unlink()
    again = scene.run((src, dest))
    assert again.changed
    assert again.results[0]["failed"] == 9
    assert len([one for one in dest.rglob("*") if one.is_file()]) == 37
    assert not scene.run((src, dest)).changed


def test_two_mails_of_one_name(scene: Scene, tmp_path: Path) -> None:
    """One in cur and one in new: two deliveries, or a kill of a reader that moved it."""
    src, dest = tmp_path / "Maildir", tmp_path / "out/Maildir"
    texts = {"cur/abc:2,S": b"Subject: first\n", "new/abc": b"Subject: second\n", "cur/one:2,S": b"Subject: third\n"}
    for name, head in texts.items():
        (src / name).parent.mkdir(parents=True, exist_ok=True)
        (src / name).write_bytes(head + scene.mails["old"])

    def again(**names: str) -> tuple:
        """What a run without the state makes; and whether every mail is there once, under these names."""
        shutil.rmtree(tmp_path / "out/state")
        done = scene.run((src, dest))
        expected = {names.get(name[-3:], name): head for name, head in texts.items()}
        assert {str(one.relative_to(dest)) for one in dest.rglob("*") if one.is_file()} == set(expected)
        assert all((dest / name).read_bytes().startswith(head.strip()) for name, head in expected.items())
        return done.changed, done.results[0]["failed"], done.results[0]["decrypted"]

    assert scene.run((src, dest)).results[0]["decrypted"] == 3
    assert again() == (False, 0, 3)
    for gone in ("new/abc", "cur/abc:2,S"):  # killed between the two
        (dest / gone).unlink()
        assert again() == (True, 0, 3)
    (dest / "new/abc").rename(dest / "cur/abc:2,F")  # a reader was there
    assert again(abc="cur/abc:2,F") == (False, 0, 3)
    (dest / "cur/abc:2,S").unlink()
    assert again(abc="cur/abc:2,F") == (True, 0, 3)
    (dest / "cur/one:2,S").write_bytes(b"somebody else's")
    shutil.rmtree(tmp_path / "out/state")
    (row,) = scene.run((src, dest)).results
    assert (row["failed"], row["failures"][0]["item"]) == (1, "cur/one:2,S")


def test_a_mail_that_is_too_large_to_be_looked_at_is_compared(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildir, "LARGEST", 10)
    src, dest = tmp_path / "Maildir", tmp_path / "out/Maildir"
    key = mailbox.Maildir(src).add(b"Subject: large\n\nmail\n")
    for check, changed in ((True, True), (False, True), (False, False), (True, False)):
        result = scene.run((src, dest), check=check)
        assert (result.changed, result.results[0]["failures"][0]["reason"]) == (changed, "DataTooLarge")
    (dest / "new" / key).write_bytes(b"Subject: LARGE\n\nmail\n")
    for check in (True, False):
        (row,) = scene.run((src, dest), check=check).results
        assert row["failures"][0]["reason"] == "FileError"
    assert (dest / "new" / key).read_bytes() == b"Subject: LARGE\n\nmail\n"


def test_single_files(scene: Scene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plain = os.urandom(5000)
    made = {
        "message.eml": scene.mails["old"].replace(b"\n", b"\r\n"),
        "cms.p7m": scene.new.encrypt(plain, "-aes-256-gcm"),
        "pem.p7m": scene.old.encrypt(plain, form="PEM"),
        "bare.p7m": b"".join(scene.old.encrypt(plain, form="PEM").splitlines(keepends=True)[1:-1]),
        "plain.eml": b"Subject: nothing\n\nto do\n",
        "stranger.p7m": scene.stranger.encrypt(plain),
        "signed.p7m": scene.old.sign(plain, "-nodetach", "-binary", "-outform", "DER"),
        "noise": os.urandom(3000).replace(b"\n", b""),
        "empty": b"",
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    sources = [(tmp_path / name, out / name) for name in made]
    done = scene.run(*sources)
    rows = {Path(row["src"]).name: row for row in done.results}
    reasons = {name: row["failures"][0]["reason"] for name, row in rows.items() if row["failures"]}
    assert reasons == {
        **{"stranger.p7m": "NoKeyForData", "signed.p7m": "NotEncrypted"},
        **{"noise": "DataDamaged", "empty": "DataDamaged"},
    }
    assert rows["plain.eml"]["kept"] == 1
    assert (out / "message.eml").read_bytes().endswith(ENTITY)
    assert (out / "plain.eml").read_bytes() == made["plain.eml"]
    for name in ("cms.p7m", "pem.p7m", "bare.p7m"):
        assert (out / name).read_bytes() == plain
    written = {path.name for path in out.iterdir()} - {"state"}
    assert written == {"message.eml", "cms.p7m", "pem.p7m", "bare.p7m", "plain.eml"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir() if path.is_file()} == {0o600}
    before = seen(tmp_path)
    assert not scene.run(*sources).changed
    assert seen(tmp_path) == before
    # Another source, the same output: replaced, because it is ours. Somebody else's file stays.
    (tmp_path / "cms.p7m").write_bytes(scene.new.encrypt(b"other"))
    assert scene.run(*sources).changed
    assert (out / "cms.p7m").read_bytes() == b"other"
    (out / "pem.p7m").write_bytes(b"edited")
    row = scene.run(*sources).results[2]
    assert (row["failures"][0]["reason"], (out / "pem.p7m").read_bytes()) == ("FileError", b"edited")


def test_places_that_are_refused(scene: Scene, tmp_path: Path) -> None:
    src = tmp_path / "box"
    src.write_bytes(b"From x\n" + scene.mails["old"])
    for sources in (
        [(src, src)],
        [(src, src / "x")],
        [(tmp_path, tmp_path / "out")],
        [(src, tmp_path / "a"), (src, tmp_path / "a")],
        [(Path("relative"), tmp_path / "out")],
        [(tmp_path / "x/../box", tmp_path / "out")],
    ):
        with pytest.raises(_errors.OptionError):
            scene.run(*sources, state_dir=str(tmp_path / "state"))
    secret = tmp_path / "secret"
    secret.write_text("stays")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "fifo")
    (row,) = scene.run((src, tmp_path / "link"), state_dir=str(tmp_path / "state")).results
    assert row["failures"][0]["reason"] == "FileError"
    assert secret.read_text() == "stays"
    theirs = tmp_path / "theirs"
    theirs.write_text("somebody else's")
    (row,) = scene.run((src, theirs), state_dir=str(tmp_path / "state")).results
    assert (row["failures"][0]["reason"], theirs.read_text()) == ("FileError", "somebody else's")
    assert not (tmp_path / "o").exists()


def test_sources_that_cannot_be_read_are_told_before_a_key_is_opened(scene: Scene, tmp_path: Path) -> None:
    good, dest = tmp_path / "good.eml", tmp_path / "out/good"
    good.write_bytes(scene.mails["old"])
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    nobody = Person("nobody", tmp_path / "no.key", tmp_path / "no.pem")
    for name in ("missing", "link", "fifo", "folder"):
        for kind in ("auto", "message", "cms", "mbox", *(["ntfs", "maildir"] if name == "missing" else [])):
            params = scene.params((good, dest), (tmp_path / name, tmp_path / "out/x"), keys=(nobody,))
            params["sources"][1]["kind"] = kind
            for check in (True, False):
                with pytest.raises(_errors.FileError, match=f"sources: {tmp_path / name}: .*nothing was"):
                    recover_data.run(HostTask(params, check_mode=check))
    with pytest.raises(_errors.FileMissing, match="and 1 more"):
        scene.run((tmp_path / "a", dest), (tmp_path / "b", tmp_path / "out/b"))
    assert [path.name for path in dest.parent.iterdir()] == ["state"]  # for the lock


def test_a_full_disk_is_no_end(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("one.p7m", "box", "Maildir")
    sources = [(tmp_path / name, tmp_path / "out" / name) for name in names]
    content = [b"first", b"second"]

    def full(*arguments: Any) -> Any:
        raise _errors.FileError("the disk is full")

    for number in range(2):
        sources[0][0].write_bytes(scene.new.encrypt(content[number]))
        mail = b"Subject: %d\n" % number + scene.mails["old"]
        sources[1][0].write_bytes(b"From x\n" + mail)
        mailbox.Maildir(sources[2][0]).add(mail)
        with monkeypatch.context() as patch:
            patch.setattr(data_singles, "create", lambda _dir, fresh: dict.fromkeys(fresh, _errors.FileError("full")))
            patch.setattr(maildir, "recover", full)
            patch.setattr(mbox, "recover", full)
            again = scene.run(*sources)
        assert [row["failed"] for row in again.results] == [1, 1, 1]
        result = scene.run(*sources)
        assert [row["failed"] for row in result.results] == [0, 0, 0], result.results
        assert (tmp_path / "out/one.p7m").read_bytes() == content[number]


def test_a_file_that_appears_meanwhile_stays(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dest = tmp_path / "one.p7m", tmp_path / "out/one"
    src.write_bytes(scene.new.encrypt(b"content"))

    def appears(path: str) -> None:
        make(path)
        dest.write_bytes(b"another's")

    make = _files.make_private_folder
    with monkeypatch.context() as patch:
        patch.setattr(
            data_singles._files,
            "make_private_folder",
            lambda path: appears(path) if path == str(dest.parent) else make(path),
        )
        (row,) = scene.run((src, dest), state_dir=str(tmp_path / "state")).results
    assert (row["failures"][0]["reason"], dest.read_bytes()) == ("FileError", b"another's")


def test_the_report_takes_no_place_of_another_file(scene: Scene, tmp_path: Path) -> None:
    src, dest, report = tmp_path / "mail.eml", tmp_path / "out/mail", tmp_path / "out/report"
    src.write_bytes(scene.mails["old"])
    key, certificate = tmp_path / "the.key", tmp_path / "the.pem"
    key.write_bytes(scene.old.key.read_bytes())
    certificate.write_bytes(scene.old.certificate.read_bytes())
    keys = (Person("old", key, certificate),)
    before = seen(tmp_path)
    for place in (src, src / "below", tmp_path, dest, dest / "report", dest.parent, key, certificate):
        for check in (True, False):
            with pytest.raises(_errors.OptionError):
                scene.run((src, dest), report=str(place), keys=keys, check=check)
    with pytest.raises(_errors.OptionError):
        scene.run((src, tmp_path / "out/state/data/mail"), state_dir=str(tmp_path / "out/state"))
    victim = tmp_path / "victim.key"
    victim.write_bytes(key.read_bytes())
    before = seen(tmp_path)
    for sources in ([], [(src, dest)]):
        for check in (True, False):
            params = scene.params((src, dest), keys=keys, report=str(victim), state_dir=str(tmp_path / "state"))
            params["sources"] = params["sources"][: len(sources)]
            with pytest.raises(_errors.FileError, match="no earlier run left it"):
                recover_data.run(HostTask(params, check_mode=check))
    assert seen(tmp_path) == before
    assert scene.run((src, dest), report=str(report)).changed
    # What another one writes there stays, too; and only what is missing or ours is predicted.
    report.write_bytes(report.read_bytes() + b"a note of the case worker's\n")
    for check in (True, False):
        with pytest.raises(_errors.FileError, match="move it away"):
            scene.run((src, dest), report=str(report), check=check)
    report.rename(tmp_path / "kept")
    assert scene.run((src, dest), report=str(report), check=True).changed
    assert scene.run((src, dest), report=str(report)).changed
    src.write_bytes(scene.mails["stranger"])  # another item: the report changes
    assert scene.run((src, dest), report=str(report)).changed
    assert json.loads(report.read_text())["reason"] == "NoKeyForData"
    assert not scene.run((src, dest), report=str(report), check=True).changed


@pytest.mark.parametrize("at", ["_note", "name"])
def test_a_report_of_a_killed_run_is_ours(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    src, dest, report = tmp_path / "mail.eml", tmp_path / "out/mail", tmp_path / "out/report"
    owner = data_report.Report if at == "_note" else output.Output

    class Killed(BaseException):
        pass

    def die(self: object, *arguments: Any, **more: Any) -> None:
        raise Killed

    for content in (scene.mails["old"], scene.mails["stranger"]):
        src.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(owner, at, die)
            with pytest.raises(Killed):
                scene.run((src, dest), report=str(report))
        assert scene.run((src, dest), report=str(report)).changed
    assert json.loads(report.read_text())["reason"] == "NoKeyForData"


def test_where_mails_begin(tmp_path: Path) -> None:
    """The reader is given pieces of every size, so that a line lies across two of them."""
    time_line = b"From a@b Mon Jan  1 00:00:00 2024\n"
    box = b"".join(
        [
            *(
                time_line + b"S: 1\n\nbody\nFrom here on\n\n",
                b"From x\nS: 2\n\nno blank line\n" + time_line + b"S: 3\n\n",
            ),
            *(b"From b\r\nS: 4\r\n\r\nbody\r\n\r\n", b"From c\r\nS: 5\r\n\r\n\n\n\nFrom d\n\n"),
        ]
    )
    path = tmp_path / "box"
    path.write_bytes(box)
    with path.open("rb") as file:
        found = list(mbox.places(file.fileno(), len(box)))
    begins = [box[one.offset : one.offset + 8].split(b"\n")[0] for one in found]
    assert b"".join(box[one.offset : one.offset + one.size] for one in found) == box
    assert begins == [b"From a@b", b"From x", b"From a@b", b"From b\r", b"From c\r", b"From d"]
    long = (time_line + b"S: x\n\n" + b"y" * 5000 + b"\n\n") * 300
    path.write_bytes(long)
    chunk = mbox._CHUNK
    try:
        for size in (1500, 4096, 5041, 5042, 5043, 65536):
            mbox._CHUNK = size
            with path.open("rb") as file:
                assert [one.size for one in mbox.places(file.fileno(), len(long))] == [len(long) // 300] * 300
    finally:
        mbox._CHUNK = chunk


def test_lines_of_many_times_cost_no_more(tmp_path: Path) -> None:
    path = tmp_path / "box"
    times = b"From" + b" 1:11" * 200
    first, second = b"From x\ntext\n" + (times + b"\n") * 2000, times + b" 2024\n"
    path.write_bytes(first + second)
    started = time.process_time()
    with path.open("rb") as file:
        assert [one.size for one in mbox.places(file.fileno(), path.stat().st_size)] == [len(first), len(second)]
    assert time.process_time() - started < 1


def test_memory_does_not_grow_with_the_mailbox(scene: Scene, tmp_path: Path) -> None:
    mail = b"From x Mon Jan  1 00:00:00 2024\n" + scene.mails["old"] + b"\n"
    filler = b"From x Mon Jan  1 00:00:00 2024\nS: x\n\n" + b"z" * 100_000 + b"\n\n"
    code = (
        "import sys,json,resource;"
        f"from {recover_data.__name__} import run;from {HostTask.__module__} import HostTask;"
        "found=run(HostTask(json.load(sys.stdin)));"
        "who=(resource.RUSAGE_SELF,resource.RUSAGE_CHILDREN);"
        "print(json.dumps([max(resource.getrusage(one).ru_maxrss for one in who),found.results[0]['decrypted']]))"
    )
    peaks = []
    for count in (20, 600):
        src = tmp_path / f"box{count}"
        with src.open("wb") as file:
            for dummy in range(count // 20):
                file.write(mail + filler * 19)
        params = json.dumps(scene.params((src, tmp_path / f"out{count}"), state_dir=str(tmp_path / "state")))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=params,
            env=environment,
            text=True,
            capture_output=True,
            check=True,
            timeout=60,
        )
        peak, decrypted = json.loads(done.stdout)
        assert decrypted == count // 20
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 24 * 1024, peaks  # kilobytes; the second mailbox has 57 MB


def begun(folder: Path) -> bool:
    """Whether a run writes its output there."""
    return folder.exists() and any(one.name.startswith(".keyops-") for one in folder.iterdir())


def test_a_killed_run_leaves_nothing_and_the_next_does_it_all(scene: Scene, tmp_path: Path) -> None:
    content, dummy = a_mailbox(scene, 200)
    src, dest = tmp_path / "box", tmp_path / "out/box"
    src.write_bytes(content * 6)
    params = json.dumps(scene.params((src, dest)))
    code = (
        "import sys,json;"
        f"from {recover_data.__name__} import run;from {HostTask.__module__} import HostTask;"
        "print('begun',flush=True);run(HostTask(json.load(sys.stdin)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == b"begun\n"
        run.stdin.write(params.encode())
        run.stdin.close()
        ends = time.monotonic() + 30
        while run.poll() is None and not begun(dest.parent):
            assert time.monotonic() < ends
            time.sleep(0.005)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split() if run.poll() is None else []
        run.send_signal(signal.SIGKILL)
        run.wait()
        while any(Path(f"/proc/{child}/stat").exists() for child in children):  # they end with their parent
            assert time.monotonic() < ends
            time.sleep(0.01)
    left = dest.read_bytes() if dest.exists() else None  # on a busy machine it may have come to its end
    done = scene.run((src, dest))
    assert done.results[0]["items"] == 1200
    assert left in (None, dest.read_bytes())
    assert {path.name for path in dest.parent.iterdir()} == {"box", "state"}


def test_a_mailbox_that_changes_is_an_error(scene: Scene, tmp_path: Path) -> None:
    src = tmp_path / "box"
    src.write_bytes(b"From x\n" + scene.mails["old"])
    with src.open("rb") as file:
        size = src.stat().st_size
        src.write_bytes(b"From x\n")
        with pytest.raises(_errors.FileError, match="shorter"):
            mbox.recover(
                file.fileno(), size, [scene.old.decryptor()], output.Nowhere(), outcome.Tally(), lambda _done: None
            )


def test_an_image_that_changes_is_an_error(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, dest = tmp_path / "image", tmp_path / "out"
    efs_image.make_image(image, [])
    result = scene.run((image, dest))
    assert result.results[0]["failed"] == 0
    (source,) = [outcome.Source(str(image), str(dest), "ntfs", ())]
    known = done.read(str(tmp_path / "state"), source)
    assert known is not None and known.before == output.state_at(str(image))  # which sealing compares

    def while_another_writes(*arguments: Any) -> Iterator[efs.Outcome]:
        yield from recover(*arguments)
        image.write_bytes(image.read_bytes() + b"\0")

    recover = efs.recover
    monkeypatch.setattr(efs, "recover", while_another_writes)
    (row,) = scene.run((image, dest)).results
    assert "it changed while it was read" in row["failures"][0]["detail"]


def test_running_again_takes_nothing_of_the_image_before(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clusters of an image could not be read, the run ended with an error, and a better image came in its place."""
    image, dest, content = tmp_path / "image", tmp_path / "out", efs_image.content_of("one", 30_000)
    efs_image.make_image(image, [efs_image.EfsFile("one.txt", content, [scene.old.certificate.read_text()])])
    good = image.read_bytes()
    with image.open("rb") as file:
        volume = ntfs.Volume(file.fileno())
        (one,) = [one for one in efs_files.find(volume) if isinstance(one, efs_files.EncryptedFile)]
        first = next(volume.extents(one.data))[0]
    assert first is not None
    image.write_bytes(good[: first + 8192] + bytes(8192) + good[first + 16384 :])

    def then_it_ends(*arguments: Any) -> Iterator[efs.Outcome]:
        yield from recover(*arguments)
        raise _errors.FileError("the disk is full")

    recover = efs.recover
    with monkeypatch.context() as patched:
        patched.setattr(efs, "recover", then_it_ends)
        assert scene.run((image, dest)).results[0]["failed"] == 1
    assert (dest / "one.txt").read_bytes()[:8192] == content[:8192]
    assert (dest / "one.txt").read_bytes() != content
    image.write_bytes(good)
    again = scene.run((image, dest))
    assert (again.changed, again.results[0]["decrypted"]) == (True, 1)
    assert (dest / "one.txt").read_bytes() == content
    assert not scene.run((image, dest)).changed
