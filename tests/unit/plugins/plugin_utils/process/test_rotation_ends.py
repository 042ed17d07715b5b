# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of old keys, whatever lies beside them, whoever goes back by hand, and whatever a host says."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path

import pytest
import story
from outside import key_id, look_at_vault
from rotating import Rotated, make_authority

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    FormatError,
    OptionError,
    StateError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times


@pytest.fixture
def one(scene: story.Scene) -> Rotated:
    return Rotated(scene, scene.machine("mail1"), make_authority(scene.folder))


def clock(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Of host and controller."""
    moment = times.now() + datetime.timedelta(days=days)
    monkeypatch.setattr(times, "now", lambda: moment)


def retired(one: Rotated, **options: object) -> list[str]:
    return [old["key"] for row in one.plan(**options).values() for old in row["old"] if old["retire"]]


def warnings(one: Rotated, **options: object) -> str:
    return "\n".join(one.host.run("key_rotation_info", keys=one._rotation_keys(), **options)["warnings"])


def old_of(one: Rotated, name: str) -> Path:
    return one.host.folder / f"{name}.key.{one.made[name][1][:16]}"


def switched(one: Rotated, name: str = "tls") -> dict:
    """A rotation whose services have not been told, as a notification that fails leaves it."""
    path = one.host.folder / name
    item = {"key": f"{path}.key", "certificate": f"{path}.pem", "request": f"{path}.csr"}
    (made,) = (of for of in one.items(".next") if of["key"] == f"{path}.key.next")
    one._make([made])
    one.certify(f"{path}.csr.next", f"{path}.pem.next")
    assert one.host.run("key_rotation", keys=[item])["results"][0]["state"] == "switched"
    return item


@pytest.mark.parametrize("ending", ["2026112212000000", "0123456789abcdef"])
def test_a_key_that_is_only_named_like_an_old_one_stays(one: Rotated, ending: str) -> None:
    """A CA's key with a date behind its name, and a note."""
    ca, note = one.host.folder / f"tls.key.{ending}", one.host.folder / f"mail.key.{ending}"
    one.host.run("private_key", keys=[{"key": str(ca), "usage": "certificate_signing", "algorithm": "ec-p256"}])
    note.write_text("a note")
    before = ca.read_bytes()
    assert [row["old"] for row in one.plan(keep="1d").values()] == [[], [], []]
    assert all(str(path) in warnings(one) for path in (ca, note))
    one.rotate()
    assert retired(one, keep="0d") == [str(old_of(one, name)) for name in ("mail", "plain")]
    assert (ca.read_bytes(), note.read_text()) == (before, "a note")


def test_a_key_that_no_rotation_here_has_noted_stays(one: Rotated) -> None:
    one.rotate()
    notes = (one.host.folder / "state" / "replaced").iterdir()
    (path,) = (path for path in notes if b"plain.key" in path.read_bytes())
    noted = path.read_bytes()
    path.unlink()
    assert retired(one, keep="0d") == [str(old_of(one, "mail"))]
    assert f"{old_of(one, 'plain')}: no rotation" in warnings(one)
    path.write_bytes(noted[:-2])
    with pytest.raises(StateError, match="remove it and run again"):
        one.plan()


def test_without_its_note_an_old_key_is_not_destroyed(one: Rotated) -> None:
    """And the log does not say that it was."""
    item = switched(one)
    for note in (one.host.folder / "state" / "replaced").iterdir():
        note.unlink()
    result = one.host.run("key_rotation", keys=[item], state="announced")
    assert "not noted" in result["warnings"][0]
    assert old_of(one, "tls").read_bytes() == one.made["tls"][0]
    assert not [key for event in events(one) for key in event["keys"] if "destroyed" in key["detail"]]


def test_the_way_back_by_hand_loses_nothing(one: Rotated) -> None:
    item, folder = switched(one), one.host.folder
    old, there = old_of(one, "tls"), folder / "tls.key"
    there.unlink()
    assert one.plan(keep="0d")["tls"]["state"] == "missing"
    assert (retired(one, keep="0d"), f"{old} is an old one" in warnings(one)) == ([], True)
    assert not one.host.run("key_rotation", keys=[item], state="announced")["changed"]
    assert old.read_bytes() == one.made["tls"][0]
    there.write_bytes(old.read_bytes())  # and the old name stays as well
    there.chmod(0o600)
    assert (one.plan(keep="0d")["tls"]["state"], retired(one, keep="0d")) == ("current", [])
    assert not one.host.run("key_rotation", keys=[item], state="announced")["changed"]
    assert old.exists()


def test_an_old_key_stays_while_a_rotation_is_under_way(one: Rotated) -> None:
    one.rotate()
    gone = [str(old_of(one, name)) for name in ("mail", "plain")]
    assert retired(one, keep="0d") == gone
    (one.host.folder / "mail.key").rename(one.host.folder / "away")
    assert retired(one, keep="0d") == gone[1:]
    # The old key itself in use again: its other name is no predecessor of it.
    (one.host.folder / "mail.key").write_bytes(one.made["mail"][0])
    (one.host.folder / "mail.key").chmod(0o600)
    assert retired(one, keep="0d") == gone[1:]
    # Nor without a receipt, whatever the key says of itself.
    (one.host.folder / "state" / "receipts" / f"{one.made['plain'][1]}.json").unlink()
    assert retired(one, keep="0d") == []
    assert "no receipt" in warnings(one, keep="0d")


def test_what_is_done_to_a_file_does_not_make_its_time_longer(one: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(one.host.folder / "plain.key")
    one.host.run("private_key", keys=[{"key": f"{path}.next", "usage": "key_agreement", "algorithm": "x25519"}])
    one.scene.archive(one.host, "plain.key.next")
    clock(monkeypatch, -40)
    for state in ("switched", "announced"):
        assert one.host.run("key_rotation", keys=[{"key": path}], state=state)["changed"]
    clock(monkeypatch, 40)
    old = old_of(one, "plain")
    old.chmod(0o400)
    os.link(old, one.host.folder / "backup")
    assert (retired(one, keep="50d"), retired(one, keep="30d")) == ([], [str(old)])


def test_the_certificate_of_a_destroyed_key_still_verifies(one: Rotated, tmp_path: Path) -> None:
    folder = one.host.folder
    (tmp_path / "text").write_text("signed before")
    signed = ("-sha256", "-sign", folder / "tls.key", "-out", tmp_path / "signature", tmp_path / "text")
    story.openssl("dgst", *signed)
    one.rotate()
    assert not old_of(one, "tls").exists()
    certificate = folder / f"tls.pem.{one.made['tls'][1][:16]}"
    (tmp_path / "public").write_bytes(story.openssl("x509", "-noout", "-pubkey", "-in", certificate))
    checked = ("-verify", tmp_path / "public", "-signature", tmp_path / "signature", tmp_path / "text")
    assert b"Verified OK" in story.openssl("dgst", "-sha256", *checked)


def test_no_moment_that_has_not_come(one: Rotated) -> None:
    with pytest.raises(OptionError, match="has not come"):
        one.plan(before=times.text(times.now() + datetime.timedelta(minutes=5)))
    # Clocks differ a little: that is waited for, so that what is made now is not due again.
    soon = times.text(times.now() + datetime.timedelta(seconds=2))
    assert one.rotate(before=soon)
    assert {row["state"] for row in one.plan(before=soon).values()} == {"current"}


def test_the_new_key_belongs_to_whom_the_old_one_did(one: Rotated) -> None:
    path = one.host.folder / "mail.key"
    mine = [group for group in os.getgroups() if group != path.stat().st_gid]
    group = 65534 if os.geteuid() == 0 else [*mine, path.stat().st_gid][0]
    os.chown(path, -1, group)
    path.chmod(0o640)
    one.rotate()
    assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (group, 0o640)
    assert path.read_bytes() != one.made["mail"][0]


def test_an_item_says_whose_the_new_key_is(one: Rotated) -> None:
    path = one.host.folder / "plain.key"
    made = {"key": f"{path}.next", "usage": "key_agreement", "algorithm": "x25519"}
    one.host.run("private_key", keys=[made])
    one.scene.archive(one.host, "plain.key.next")
    for wrong in ({"mode": "0644"}, {"group": "no such group"}):
        with pytest.raises((OptionError, FileError)):
            one.host.run("key_rotation", keys=[{"key": str(path), **wrong}])
    path.chmod(0o640)
    one.host.run("key_rotation", keys=[{"key": str(path), "mode": "0660", "group": str(os.getegid())}])
    assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (os.getegid(), 0o660)


def answers(one: Rotated, step: str, change: dict) -> None:
    """The host says something else of the third key in this step."""

    def lies(called: str, results: list, relay: object) -> tuple:
        return ([*results[:2], {**results[2], **change}] if called == step else results), relay

    one.host.on_reply = lies


def events(one: Rotated) -> list[dict]:
    return [event for event in look_at_vault(one.scene.vault_path).events() if event["action"] == "rotate"]


@pytest.mark.parametrize(
    "change",
    [
        *({"key": name} for name in (None, ["x"], "/etc/other.key")),
        *({"state": name} for name in (None, ["x"], "due", {"x": 1})),
        *({"old": value} for value in (None, "old", [None], [{}], [{"key_id": ["x"]}])),
        *({"key_id": value} for value in (["x"], "../..", {"x": 1}, None)),
        *({"modified": value} for value in ("yesterday", 5, None)),
        {"more": 1},
    ],
)
def test_a_malformed_answer_is_an_error_of_its_own(one: Rotated, change: dict) -> None:
    switched(one)
    before = events(one)
    answers(one, "look", change)
    for module, options in (
        ("key_rotation_info", {"before": times.text(times.now())}),
        ("key_rotation", {}),
        ("key_rotation", {"state": "announced"}),
    ):
        with pytest.raises(FormatError, match="run again"):
            one.host.run(module, keys=one._rotation_keys(), **options)
    assert events(one) == before
    assert old_of(one, "tls").exists()


def test_a_lying_host_logs_the_end_of_its_own_keys_only(one: Rotated, scene: story.Scene) -> None:
    """A host says that it has replaced, and destroyed, a key of another host: the log says who says so."""
    other = scene.machine("other")
    path = other.folder / "ca.key"
    other.run("private_key", keys=[{"key": str(path), "usage": "certificate_signing", "algorithm": "ec-p256"}])
    foreign = key_id(path)
    switched(one)
    row = one.host.run("key_rotation", keys=one._rotation_keys(), check_mode=True)["results"][2]
    assert row["changed"]
    old = {
        **{"key": str(old_of(one, "tls")), "key_id": foreign, "modified": times.text(times.now()), "signs": True},
        **{"archived": None, "replaced": times.text(times.now())},
    }
    answers(one, "look", {"old": [old], "old_key_id": foreign})
    one.host.run("key_rotation", keys=one._rotation_keys(), state="announced")
    told = [key["detail"] for event in events(one) for key in event["keys"] if key["key_id"] == foreign]
    assert told == [f"the host says: destroyed: {one.host.folder}/tls.key"]
    one.host.on_reply = None
    assert key_id(one.host.folder / "tls.key") != one.made["tls"][1]
