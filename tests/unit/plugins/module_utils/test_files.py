# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files are written whole, in the right place and never over another one; every obstacle is one clear error."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FileMissing

NOBODY = 65534


@pytest.fixture(params=["nameless", "hidden"])
def drafts(request, monkeypatch):
    """Both ways of writing: with nameless files, and where a file system has none."""
    if request.param == "hidden":
        monkeypatch.delattr(os, "O_TMPFILE")
    return request.param


@pytest.fixture
def public_folder():
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextlib.contextmanager
def unprivileged():
    """As a user without privileges; whoever runs the tests as such a user is one already."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def test_write_new_creates_with_mode_and_content(tmp_path, drafts):
    files = [_files.NewFile(str(tmp_path / f"{n}"), b"%d" % n, 0o640 if n else 0o600) for n in range(30)]
    assert _files.write_new(files) == [True] * 30
    for number in range(30):
        path = tmp_path / str(number)
        assert path.read_bytes() == b"%d" % number
        assert stat.S_IMODE(path.stat().st_mode) == (0o640 if number else 0o600)
    assert len(os.listdir(tmp_path)) == 30


def test_mode_does_not_depend_on_the_umask(tmp_path, drafts):
    before = os.umask(0o077)
    try:
        _files.write_new([_files.NewFile(str(tmp_path / "a"), b"", 0o660)])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o660


def test_write_new_never_overwrites(tmp_path, drafts):
    (tmp_path / "there").write_bytes(b"old")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    names = ("there", "link", "folder", "new")
    written = _files.write_new([_files.NewFile(str(tmp_path / name), b"new") for name in names])
    assert written == [False, False, False, True]
    assert (tmp_path / "there").read_bytes() == b"old"
    assert not (tmp_path / "nowhere").exists()
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_replace_changes_content_and_mode_at_once(tmp_path, drafts):
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    _files.replace(_files.NewFile(str(path), b"new", 0o600))
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("change", ["replace", "remove", "set_attributes"])
def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path, change):
    path = tmp_path / "key"
    path.write_bytes(b"seen")
    seen = _files.read_existing(str(path))
    path.write_bytes(b"changed")
    with pytest.raises(FileError):
        if change == "replace":
            _files.replace_all([_files.NewFile(str(path), b"new")], [seen])
        elif change == "remove":
            _files.remove(str(path), seen)
        else:
            _files.set_attributes(seen, 0o600, None, None)
    assert path.read_bytes() == b"changed"


def test_two_paths_to_one_folder_do_not_wait_for_each_other(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    _files.replace_all([_files.NewFile(str(tmp_path / way / way), b"") for way in ("real", "link")])
    assert sorted(os.listdir(tmp_path / "real")) == ["link", "real"]


def test_remove_is_idempotent(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"")
    _files.remove(str(path))
    _files.remove(str(path))
    assert not path.exists()


def test_leftovers_of_dead_writers_are_swept_and_of_living_ones_kept(tmp_path):
    dead, living, foreign = (
        tmp_path / name for name in (f".keyops-{'0' * 16}.tmp", f".keyops-{'1' * 16}.tmp", ".x.tmp")
    )
    for path in (dead, living, foreign):
        path.write_bytes(b"")
    with living.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _files.write_new([_files.NewFile(str(tmp_path / "new"), b"")])
    assert not dead.exists()
    assert living.exists()
    assert foreign.exists()


def test_set_attributes_is_idempotent(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"k")
    path.chmod(0o644)
    existing = _files.read_existing(str(path))
    assert _files.needs_attributes(existing, 0o600, None, None)
    _files.set_attributes(existing, 0o600, None, None)
    assert not _files.needs_attributes(_files.read_existing(str(path)), 0o600, None, None)


def test_attributes_do_not_change_through_a_hard_link(tmp_path):
    (tmp_path / "shadow").write_bytes(b"")
    (tmp_path / "shadow").chmod(0o644)
    os.link(tmp_path / "shadow", tmp_path / "key")
    with pytest.raises(FileError):
        _files.needs_attributes(_files.read_existing(str(tmp_path / "key")), 0o600, None, None)


def test_missing_files_and_folders(tmp_path):
    assert _files.read_existing(str(tmp_path / "none")) is None
    assert _files.read_existing(str(tmp_path / "none" / "none")) is None
    with pytest.raises(FileMissing):
        _files.read_file(str(tmp_path / "none"))
    with pytest.raises(FileMissing):
        _files.check_target(str(tmp_path / "none" / "none"))
    with pytest.raises(FileMissing):
        _files.write_new([_files.NewFile(str(tmp_path / "none" / "none"), b"")])


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "device", "large", "below a file", "unreadable"])
def test_what_is_no_readable_regular_file_is_refused(public_folder, kind):
    path = public_folder / "key"
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("/etc/hostname")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "large":
        path.write_bytes(bytes(2048))
    elif kind == "below a file":
        path.write_bytes(b"")
        path = path / "key"
    else:
        path.write_bytes(b"")
        path.chmod(0o000)
    with unprivileged(), pytest.raises(FileError):
        _files.read_file(str(path), 1024)


def test_public_files_may_be_behind_links(tmp_path):
    (tmp_path / "real").write_bytes(b"certificate")
    (tmp_path / "link").symlink_to("real")
    assert _files.read_file(str(tmp_path / "link"), follow_links=True) == b"certificate"


def test_unwritable_folder(public_folder):
    public_folder.chmod(0o555)
    with unprivileged():
        with pytest.raises(FileError):
            _files.check_target(str(public_folder / "key"))
        with pytest.raises(FileError):
            _files.write_new([_files.NewFile(str(public_folder / "key"), b"")])
    assert os.listdir(public_folder) == []


def test_folder_that_everybody_may_write_to(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(FileError):
        _files.check_target(str(tmp_path / "key"))
    with pytest.raises(FileError):
        _files.write_new([_files.NewFile(str(tmp_path / "key"), b"")])
    tmp_path.chmod(0o1777)
    assert _files.write_new([_files.NewFile(str(tmp_path / "key"), b"")]) == [True]


def test_links_on_the_way_are_followed_only_when_they_are_ours(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = str(tmp_path / "link" / "key")
    assert _files.write_new([_files.NewFile(path, b"")]) == [True]
    # The link belongs to whoever runs the test; to somebody else it is another user's.
    monkeypatch.setattr(_folders.os, "geteuid", lambda: 12345)
    if os.lstat(tmp_path / "link").st_uid == 0:
        os.lchown(tmp_path / "link", NOBODY, NOBODY)
    with pytest.raises(FileError):
        _files.check_target(path)


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FileError):
        _files.check_target(str(tmp_path / "a" / "key"))


@pytest.mark.parametrize("option", ["owner", "group"])
def test_unknown_owner_and_group(tmp_path, option):
    with pytest.raises(FileError):
        _files.check_target(str(tmp_path / "key"), **{option: "no-such-name"})


def test_only_root_gives_files_away(public_folder):
    with unprivileged(), pytest.raises(FileError):
        _files.check_target(str(public_folder / "key"), owner="root")


FULL_DISK = """
import os, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError
files = [_files.NewFile(f"{sys.argv[1]}/{n}", bytes(8192)) for n in range(20)]
try:
    _files.write_new(files)
except FileError as error:
    print("refused:", error)
print("left:", os.listdir(sys.argv[1]))
"""


def test_full_disk_leaves_nothing(tmp_path):
    """On a file system of its own, in a mount namespace that ends with the process."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ran = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", str(tmp_path), sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "full" in ran.stdout, ran
    assert "left: []" in ran.stdout


def test_private_folders(tmp_path):
    folder = tmp_path / "a" / "b"
    _files.make_private_folder(str(folder))
    _files.make_private_folder(str(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError):
        _files.make_private_folder(str(tmp_path / "file"))


def test_content_is_not_in_a_repr(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    assert "secret" not in repr(_files.read_existing(str(path)))
    assert "secret" not in repr(_files.NewFile(str(path), b"secret"))
