# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provisioning: everything is decided before anything changes, and no key goes that nobody asked to go."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    FileError,
    FileMissing,
    KeyExists,
    KeyReferenceError,
    KeyUnreadable,
    NotArchivedRefused,
    OptionError,
    WrongPassphrase,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt

SEALED = "cd" * 32


def openssl(command, path):
    made = subprocess.run(f"openssl {command} -out {path}", shell=True, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr


def archive(host, row):
    """Pretend that the key was archived."""
    receipt = Receipt(row["key_id"], row["usage"], SEALED, 1, "ef" * 32)
    _receipts.write_receipts(str(host.state), [receipt])


# --- the plain life of a key -----------------------------------------------------------------------------------------


def test_create_keep_remove(host):
    keys = [
        host.key("a", mode="0640"),
        host.key("b", algorithm="rsa-2048", usage="key_transport", passphrase="secret"),
        host.key("c", algorithm="x25519", usage="key_agreement"),
    ]
    predicted = host.run(*keys, check=True)
    assert predicted.changed
    assert [(row["action"], row["key_id"]) for row in predicted.results] == [("created", None)] * 3
    assert host.snapshot() == {}

    made = host.run(*keys)
    assert [row["action"] for row in made.results] == ["created"] * 3
    assert [row["encrypted"] for row in made.results] == [False, True, False]
    assert [row["mode"] for row in made.results] == ["0640", "0600", "0600"]
    for row, item in zip(made.results, keys):
        facts = key_file.facts_of(_files.read_file(row["key"]), item.get("passphrase"))
        assert (row["key_id"], row["algorithm"], row["usage"]) == (facts.key_id, item["algorithm"], item["usage"])
        assert row["public_key"].startswith("-----BEGIN PUBLIC KEY-----\n")
    for row, before in zip(made.results, predicted.results):
        assert {**row, "key_id": None, "public_key": None} == before

    for check in (True, False):
        again = host.run(*keys, check=check)
        assert not again.changed
        assert again.diff == []
        assert [row["key_id"] for row in again.results] == [row["key_id"] for row in made.results]

    before = host.snapshot()
    gone = [{"key": item["key"], "state": "absent", "passphrase": item.get("passphrase")} for item in keys]
    gone = [{**item, "destroy_unarchived": True} for item in gone]
    assert host.run(*gone, check=True).changed
    assert host.snapshot() == before
    removed = host.run(*gone)
    assert [(row["action"], row["key_id"]) for row in removed.results] == [
        ("removed", row["key_id"]) for row in made.results
    ]
    assert host.snapshot() == {}
    assert [row["action"] for row in host.run(*gone).results] == ["absent"] * 3


def test_mode_is_adjusted_and_the_key_stays(host):
    (made,) = host.run(host.key()).results
    for check, changed in ((True, True), (False, True), (False, False)):
        result = host.run(host.key(mode="0440"), check=check)
        assert result.changed is changed
        assert result.results[0]["key_id"] == made["key_id"]
        assert result.results[0]["mode"] == "0440"
        assert result.results[0]["action"] == ("adjusted" if changed else "kept")


def test_the_diff_holds_facts_only(host):
    result = host.run(host.key(passphrase="top secret"))
    text = json.dumps(result.diff)
    assert result.results[0]["key_id"] in text
    assert "PRIVATE" not in text + json.dumps(result.results)
    assert "top secret" not in text + json.dumps(result.results)


# --- an existing key that is another one -----------------------------------------------------------------------------


@pytest.fixture
def existing(host):
    """Ways in which an existing key differs from ``host.key()``: options under which it is made, or a command."""
    return {
        "algorithm": {"algorithm": "ec-p384"},
        "usage": {"usage": "authentication"},
        "encryption": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "format": "ecparam -name P-256 -genkey -noout",
    }


@pytest.mark.parametrize("kind", ["algorithm", "usage", "encryption", "format"])
@pytest.mark.parametrize("regenerate", ["never", "fail", "partial_idempotence", "full_idempotence", "always"])
def test_regenerate(host, existing, kind, regenerate):
    if isinstance(existing[kind], dict):
        host.run(host.key(**existing[kind]))
    else:
        openssl(existing[kind], host.keys / "a.key")
    before = host.snapshot()
    item = host.key(regenerate=regenerate, destroy_unarchived=True)
    replaces = regenerate in ("full_idempotence", "always") or (
        regenerate == "partial_idempotence" and kind in ("algorithm", "usage")
    )
    if regenerate == "fail":
        for check in (True, False):
            with pytest.raises(KeyExists):
                host.run(item, host.key("new"), check=check)
        assert host.snapshot() == before
        return
    predicted, done = host.run(item, check=True), host.run(item)
    assert predicted.changed is done.changed is replaces
    assert bool(done.warnings) is not replaces
    if not replaces:
        assert {name: content for name, (content, dummy, dummy) in host.snapshot().items()} == {
            name: content for name, (content, dummy, dummy) in before.items()
        }
    else:
        assert done.results[0]["action"] == "replaced"
        assert (done.results[0]["algorithm"], done.results[0]["usage"]) == ("ec-p256", "signature")
        assert host.run(host.key()).changed is False


def test_always_replaces_a_key_that_fits(host):
    ids = {host.run(host.key(regenerate="always")).results[0]["key_id"] for dummy in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("regenerate", ["never", "fail", "partial_idempotence", "full_idempotence", "always"])
@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize(
    "content", ["empty", "garbage", "truncated", "passphrase", "missing passphrase", "directory", "link"]
)
def test_what_is_no_readable_key_is_never_overwritten(host, state, regenerate, content):
    path = host.keys / "a.key"
    if content == "directory":
        path.mkdir()
    elif content == "link":
        path.symlink_to("elsewhere")
    else:
        host.run(host.key(passphrase="right" if "passphrase" in content else None))
    if content in ("empty", "garbage", "truncated"):
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "garbage": b"garbage", "truncated": data[:-40]}[content])
    before = host.snapshot()
    expected = {"directory": FileError, "link": FileError}.get(
        content, WrongPassphrase if "passphrase" in content else KeyUnreadable
    )
    passphrase = "wrong" if content == "passphrase" else None
    with pytest.raises(expected):
        host.run(
            host.key("new"),
            host.key(state=state, regenerate=regenerate, passphrase=passphrase, destroy_unarchived=True),
        )
    assert host.snapshot() == before


def test_a_file_with_more_than_a_key_is_not_replaced(host):
    path = host.keys / "a.key"
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", path)
    path.write_bytes(path.read_bytes() + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(KeyExists):
        host.run(host.key(regenerate="always", destroy_unarchived=True))


# --- nonsigning keys are archived before they go ---------------------------------------------------------------------


NONSIGNING = {"usage": "key_agreement", "algorithm": "ec-p256"}


def going(host, way):
    """An item that makes the nonsigning key a.key go."""
    if way == "absent":
        return {"key": host.key()["key"], "state": "absent"}
    return host.key(**{**NONSIGNING, "algorithm": "ec-p384"}, regenerate="partial_idempotence")


@pytest.mark.parametrize("way", ["absent", "replace"])
def test_an_unconfirmed_key_stays_and_so_does_everything_else(host, way):
    (made,) = host.run(host.key(**NONSIGNING)).results
    before = host.snapshot()
    result = host.run(going(host, way), host.key("new"))
    assert not result.changed
    assert result.relay == {"unconfirmed": [{"key": made["key"], "key_id": made["key_id"], "sealed_key": None}]}
    archive(host, made)
    assert host.run(going(host, way)).relay["unconfirmed"][0]["sealed_key"] == SEALED
    assert host.snapshot() == before


@pytest.mark.parametrize("way", ["absent", "replace"])
@pytest.mark.parametrize("lie", ["no receipt", "nothing", "other digest", "other key"])
def test_receipt_and_record_must_agree(host, way, lie):
    (made,) = host.run(host.key(**NONSIGNING)).results
    if lie != "no receipt":
        archive(host, made)
    confirmed = {
        "no receipt": {made["key_id"]: SEALED},
        "nothing": {},
        "other digest": {made["key_id"]: "00" * 32},
        "other key": {"00" * 32: SEALED},
    }[lie]
    before = host.snapshot()
    with pytest.raises(NotArchivedRefused):
        host.run(going(host, way), host.key("new"), step="confirmed", relay={"confirmed": confirmed})
    assert host.snapshot() == before


@pytest.mark.parametrize("way", ["absent", "replace"])
def test_a_confirmed_key_goes(host, way):
    (made,) = host.run(host.key(**NONSIGNING)).results
    archive(host, made)
    result = host.run(going(host, way), step="confirmed", relay={"confirmed": {made["key_id"]: SEALED}})
    assert result.changed
    assert result.results[0]["action"] == {"absent": "removed", "replace": "replaced"}[way]


@pytest.mark.parametrize("relay", [None, [], {}, "x"])
def test_a_confirmation_without_content_confirms_nothing(host, relay):
    host.run(host.key(**NONSIGNING))
    with pytest.raises(NotArchivedRefused):
        host.run(going(host, "absent"), step="confirmed", relay=relay)


def test_unknown_steps_are_refused(host):
    with pytest.raises(OptionError):
        host.run(host.key(), step="else")


@pytest.mark.parametrize(
    ("command", "asks"),
    [
        ("genpkey -algorithm RSA", True),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", True),
        ("genpkey -algorithm X25519", True),
        ("genpkey -algorithm ED25519", False),
        ("genpkey -algorithm RSA-PSS", False),
    ],
)
def test_a_key_of_unknown_usage_may_have_encrypted(host, command, asks):
    openssl(command, host.keys / "a.key")
    result = host.run({"key": host.key()["key"], "state": "absent"})
    assert bool(result.relay) is asks
    assert result.changed is not asks


def test_signing_keys_go_without_an_archive(host):
    host.run(host.key())
    assert host.run({"key": host.key()["key"], "state": "absent"}).changed


def test_the_receipt_says_the_usage_when_a_tool_has_dropped_it(host):
    (made,) = host.run(host.key(**NONSIGNING)).results
    archive(host, made)
    path = host.keys / "a.key"
    openssl(f"pkey -in {path}", f"{path}.new && mv {path}.new {path}")
    assert key_file.facts_of(path.read_bytes()).bound_usage is None
    result = host.run(host.key(**NONSIGNING))
    assert (result.changed, result.results[0]["usage"]) == (False, "key_agreement")


# --- bad options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"usage": None}, OptionError),
        ({"algorithm": None}, OptionError),
        ({"usage": "key_transport"}, AlgorithmError),
        ({"usage": "key_agreement", "algorithm": "ed25519"}, AlgorithmError),
        ({"key": "relative"}, KeyReferenceError),
        ({"key": "pkcs11:token=x"}, KeyReferenceError),
        ({"key": "/no/such/folder/key"}, FileMissing),
        ({"passphrase": ""}, OptionError),
        ({"mode": "0644"}, OptionError),
        ({"mode": "4600"}, OptionError),
        ({"mode": "0000"}, OptionError),
        ({"mode": "u=rw"}, OptionError),
        ({"mode": 0o600}, OptionError),
        ({"mode": 0o640}, OptionError),
        ({"mode": 0o660}, OptionError),
        ({"owner": "no-such-user"}, FileError),
        ({"group": "no-such-group"}, FileError),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_bad_item_changes_nothing(host, options, error, check):
    with pytest.raises(error):
        bad = {name: value for name, value in {**host.key("bad"), **options}.items() if value is not None}
        host.run(host.key("good"), bad, check=check)
    assert host.snapshot() == {}


def test_one_file_has_one_item(host):
    (host.keys.parent / "link").symlink_to(host.keys)
    for other in (host.keys / "a", f"{host.keys}/./a", f"{host.keys.parent}/link/a"):
        with pytest.raises(OptionError):
            host.run(host.key("a"), {**host.key(), "key": str(other)})
    assert host.snapshot() == {}


# --- two runs at once ------------------------------------------------------------------------------------------------


def test_two_runs_at_once_make_one_key_each(host):
    """Eight processes want the same six keys: each key is created once, and all of them report the same key IDs."""
    items = [host.key(str(number)) for number in range(6)]
    children = []
    for dummy in range(8):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            rows = host.run(*items).results
            os.write(writing, json.dumps([(row["action"], row["key_id"]) for row in rows]).encode())
            os._exit(0)
        os.close(writing)
        children.append((pid, reading))
    answers = []
    for pid, reading in children:
        with os.fdopen(reading) as pipe:
            answers.append(json.load(pipe))
        assert os.waitpid(pid, 0)[1] == 0
    for number in range(6):
        assert sorted(answer[number][0] for answer in answers) == ["created"] + ["kept"] * 7
        assert len({answer[number][1] for answer in answers}) == 1


@pytest.mark.parametrize(("other", "fits"), [({}, True), ({"usage": "authentication"}, False)])
def test_a_run_that_comes_second_takes_what_fits_and_refuses_what_does_not(host, monkeypatch, other, fits):
    write_new = _files.write_new

    def after_another_run(files):
        monkeypatch.setattr(_files, "write_new", write_new)
        assert host.run(host.key(**other)).changed
        return write_new(files)

    monkeypatch.setattr(_files, "write_new", after_another_run)
    if fits:
        result = host.run(host.key())
        assert (result.changed, result.results[0]["action"]) == (False, "kept")
    else:
        with pytest.raises(KeyExists):
            host.run(host.key())
