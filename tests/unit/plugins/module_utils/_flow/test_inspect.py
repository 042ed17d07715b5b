# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""private_key_info: facts, evidence, discovery; keys by openssl and ssh-keygen."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import ssh

SEARCH = {"recursive": True, "exclude": [], "one_file_system": True, "max_files": 1000, "max_seconds": 60}
SEARCH |= {"max_results": 1000, "passphrases": [], "contents": False, "missing_paths": "fail"}
KU_RSA = "keyUsage = critical, keyEncipherment, dataEncipherment"


@pytest.fixture
def look(workshop, monkeypatch: pytest.MonkeyPatch):
    """Run the flow on the workshop, which stands for the whole host."""
    places = workshop.places()
    monkeypatch.setattr(ssh.SshPlaces.__init__, "__defaults__", (places.accounts, places.folder, ()))

    def run(*keys: object, search: dict | None = None, authorized_keys: tuple = ()):
        items = [key if isinstance(key, dict) else {"key": str(key)} for key in keys]
        keys = [{"passphrase": None, "usage": None, "certificates": [], **item} for item in items]
        options = search and {**SEARCH, **search}
        params = {"keys": keys, "search": options, "state_dir": str(workshop.state), "authorized_keys": authorized_keys}
        result = inspect.run(HostTask(params))
        json.dumps([result.results, result.extra]).encode()
        assert not result.changed and "PRIVATE" not in repr(result.results)
        return result

    return run


def key_id(workshop, key: Path) -> str:
    der = workshop.run("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER")
    return hashlib.sha256(der).hexdigest()


def test_facts(workshop, look) -> None:
    key = workshop.bind(workshop.key("rsa"), "key_transport")
    key.chmod(0o640)
    row = look(key).results[0]
    assert row["key_id"] == key_id(workshop, key)
    assert (row["algorithm"], row["usage"], row["container"]) == ("rsa-2048", "key_transport", "pkcs8")
    assert (row["mode"], row["owner"], row["encrypted"]) == ("0640", key.owner(), False)
    assert row["public_key"] == workshop.public_key(key).read_text()
    assert row["archivable"] and row["refusal"] is None and row["error"] is None and not row["found"]


def test_evidence(workshop, look) -> None:
    key = workshop.key("rsa")
    named = workshop.certificate(key, KU_RSA, "extendedKeyUsage = emailProtection, 1.2.3.4")
    found = workshop.request(key, "keyUsage = digitalSignature")
    (workshop.home / ".ssh/authorized_keys").write_text(workshop.ssh_line(key))
    _receipts.write_receipts(
        str(workshop.state), [Receipt(key_id(workshop, key), "key_transport", "1" * 64, 7, "2" * 64)]
    )
    row = look({"key": str(key), "certificates": [str(named)]}).results[0]
    first, second = row["evidence"]["certificates"]
    assert (first["source"], first["kind"], first["named"]) == (str(named), "certificate", True)
    assert first["key_usage"] == ["keyEncipherment", "dataEncipherment"]
    assert first["extended_key_usage"] == ["emailProtection", "1.2.3.4"]
    end = workshop.run("openssl", "x509", "-in", named, "-noout", "-enddate", "-dateopt", "iso_8601").decode()
    assert (first["subject"], first["not_after"]) == ("CN=user", end.strip().split("=")[1].replace(" ", "T"))
    assert (second["source"], second["kind"], second["not_after"]) == (str(found), "certificate request", None)
    assert row["evidence"]["ssh_uses"] == [str(workshop.home / ".ssh/authorized_keys")]
    assert row["evidence"]["receipt"] == {"usage": "key_transport", "sealed_key": "1" * 64, "log_number": 7}
    assert not row["archivable"] and row["refusal"]["class"] == "SshUseRefused"


def test_declared_usage_and_further_authorized_keys(workshop, look) -> None:
    key = workshop.key("rsa")
    item = {"key": str(key), "usage": "key_transport", "certificates": [str(workshop.certificate(key, KU_RSA))]}
    assert look(item).results[0]["archivable"]
    extra = workshop.folder / "extra"
    extra.write_text(workshop.ssh_line(key))
    assert look(item, authorized_keys=(str(extra),)).results[0]["refusal"]["class"] == "SshUseRefused"
    with pytest.raises(_errors.FileError):
        look(item, authorized_keys=(str(extra) + "2",))


def encrypted(workshop) -> dict:
    path = workshop.keys / "encrypted.pem"
    workshop.run("openssl", "pkey", "-in", workshop.key("ec"), "-aes256", "-passout", "pass:right", "-out", path)
    return {"key": str(path)}


def link(workshop) -> dict:
    path = workshop.keys / "link.pem"
    path.symlink_to(workshop.key("ec"))
    return {"key": str(path)}


def garbage(workshop) -> dict:
    path = workshop.keys / "garbage.pem"
    path.write_bytes(b"\x30\x82\x01\x00garbage")
    return {"key": str(path)}


def broken_certificate(workshop) -> dict:
    path = workshop.keys / "broken.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    return {"key": str(workshop.key("ec")), "certificates": [str(path)]}


UNREADABLE = {
    "no passphrase": ("WrongPassphrase", encrypted),
    "wrong passphrase": ("WrongPassphrase", lambda workshop: {**encrypted(workshop), "passphrase": "wrong"}),
    "symbolic link": ("FileError", link),
    "garbage": ("KeyUnreadable", garbage),
    "folder": ("FileError", lambda workshop: {"key": str(workshop.keys)}),
    "broken certificate": ("FormatError", broken_certificate),
    "missing certificate": (
        "FileMissing",
        lambda workshop: {"key": str(workshop.key("ec")), "certificates": [str(workshop.keys / "none.pem")]},
    ),
}


@pytest.mark.parametrize(("expected", "make"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_told_and_no_failure(workshop, look, expected: str, make) -> None:
    item = make(workshop)
    good = workshop.key("ec", "good.pem")
    row, other = look(item, good).results
    assert row["exists"] and not row["archivable"] and row["refusal"] is None
    assert row["error"]["class"] == expected and row["error"]["message"]
    assert other["key_id"] == key_id(workshop, good)


def test_encrypted_key(workshop, look) -> None:
    row = look({**encrypted(workshop), "passphrase": "right"}).results[0]
    assert row["encrypted"] and row["container"] == "encrypted-pkcs8" and row["algorithm"] == "ec-p256"
    assert look(encrypted(workshop)).results[0]["encrypted"]


def test_missing_key(workshop, look) -> None:
    for path in (workshop.keys / "none.pem", workshop.keys / "no-folder" / "none.pem"):
        row = look(path).results[0]
        assert not row["exists"] and row["error"] is None and row["key_id"] is None


# --- discovery --------------------------------------------------------------------------------------------------------


def test_discovery(workshop, look) -> None:
    named, deep = workshop.key("ec"), workshop.keys / "a" / "b"
    deep.mkdir(parents=True)
    openssh = workshop.openssh_key("ed25519")
    der, old, sealed = deep / "key.der", deep / "old.pem", deep / "sealed.der"
    source = workshop.key("rsa", "other.pem")
    workshop.run("openssl", "pkey", "-in", source, "-outform", "DER", "-out", der)
    workshop.run("openssl", "pkey", "-in", source, "-traditional", "-out", old)
    workshop.run("openssl", "pkcs8", "-topk8", "-in", source, "-passout", "pass:x", "-outform", "DER", "-out", sealed)
    workshop.certificate(source, KU_RSA, where=deep / "cert.pem")
    public = deep / "public.der"
    workshop.run("openssl", "pkey", "-in", source, "-pubout", "-outform", "DER", "-out", public)
    (deep / "not-a-key.der").write_bytes(b"\x30\x06\x02\x01\x00\x02\x01\x00")
    result = look(named, search={"paths": [str(workshop.keys)]})
    rows = {row["key"]: row for row in result.results}
    assert set(rows) == {str(path) for path in (named, openssh, source, der, old, sealed)}
    assert [row["found"] for row in result.results] == [False] + [True] * 5
    assert {rows[str(path)]["key_id"] for path in (source, der, old)} == {key_id(workshop, source)}
    assert rows[str(old)]["container"] == "traditional" and rows[str(openssh)]["container"] == "openssh"
    assert rows[str(sealed)]["error"]["class"] == "WrongPassphrase" and rows[str(sealed)]["encrypted"]
    assert rows[str(source)]["evidence"]["certificates"][0]["source"] == str(deep / "cert.pem")


def test_discovery_is_bounded(workshop, look) -> None:
    for number in range(5):
        (workshop.keys / f"{number}.txt").write_text("text")
    outside = workshop.folder / "outside"
    outside.mkdir()
    workshop.key("ec").rename(outside / "key.pem")
    (workshop.keys / "link").symlink_to(outside)
    (workshop.keys / "circle").symlink_to(workshop.keys)
    with (workshop.keys / "large.pem").open("w") as large:
        large.write("text\n" * 1000)
        large.truncate(2 << 20)
    result = look(search={"paths": [str(workshop.keys)], "max_files": 4})
    assert result.results == [] and not result.extra["searched"]["complete"]
    assert "search.max_files" in " ".join(result.extra["not_looked_at"])
    result = look(search={"paths": [str(workshop.keys), str(workshop.keys)]})
    told = " ".join(result.extra["not_looked_at"])
    assert "1 files over 1 MiB" in told and "2 symbolic links" in told and result.extra["searched"]["complete"]
    assert result.extra["searched"]["files"] == 6


def test_a_name_of_any_bytes(workshop, look) -> None:
    key = workshop.key("ec")
    os.rename(bytes(key), bytes(workshop.keys) + b"/\xff\x1b[31m\n.pem")
    row = look(search={"paths": [str(workshop.keys)]}).results[0]
    assert row["algorithm"] == "ec-p256" and row["key"].isprintable()


@pytest.mark.parametrize("paths", [["relative"], ["/no/such/folder"]])
def test_search_wants_folders(look, paths: list[str]) -> None:
    with pytest.raises(_errors.OptionError):
        look(search={"paths": paths})


def test_a_search_goes_on_without_folders_that_are_missing(workshop, look) -> None:
    key, gone, file, link = workshop.key("ec"), workshop.keys / "gone", workshop.keys / "file", workshop.keys / "link"
    file.write_text("")
    link.symlink_to(gone)
    paths = [str(one) for one in (workshop.keys, gone, file, link)]
    for wanted, told in (("tell", paths[1:]), ("ignore", paths[2:])):
        result = look(search={"paths": paths, "missing_paths": wanted})
        assert [row["key"] for row in result.results] == [str(key)] and result.extra["searched"]["complete"]
        missing = [text for text in result.extra["not_looked_at"] if "is no folder" in text]
        assert missing == [f"{path}: is no folder on this host" for path in told]
        with pytest.raises(_errors.OptionError):
            look(search={"paths": [*paths, "relative"], "missing_paths": wanted})


def test_a_broken_receipt_is_told(workshop, look) -> None:
    key = workshop.key("ec")
    (workshop.state / "receipts" / f"{key_id(workshop, key)}.json").write_text("{}")
    result = look(key)
    assert result.results[0]["evidence"]["receipt"] is None and len(result.extra["not_looked_at"]) == 1
