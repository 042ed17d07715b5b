# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_export on a host: what goes out, what is refused, and that no run loses a key or tells a password."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import email
import hashlib
import json
import subprocess
from types import SimpleNamespace

import pytest
from exporting import PASSWORD, Host, keys_in, openssl, password_in

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import (
    exported,
    pkcs12_mac,
    pkcs12_open,
    pkcs12_write,
    profiles,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export, export_wishes
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pbes2


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch):
    """Derivations cost half a second, which nothing here is about."""
    for number, (name, profile) in enumerate(profiles.PROFILES.items()):
        monkeypatch.setitem(profiles.PROFILES, name, dataclasses.replace(profile, iterations=100 + number))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Host:
    """Key pairs, made once."""
    host = Host(tmp_path_factory.mktemp("made"))
    for name in ("new", "old", "owner"):
        host.pair(name, subject="Alice" if name != "owner" else "")
    host.pair("curve", "ec", "keyAgreement")
    host.pair("signs", "ec", "digitalSignature")
    return host


@pytest.fixture
def host(made, tmp_path) -> Host:
    """A host of its own with the same pairs."""
    return made.copied(tmp_path)


def test_history_in_one_file_and_a_second_run_changes_nothing(host):
    item = host.item("new", "old")
    item["keys"][0]["chain"] = [str(host.folder / "owner.pem")]
    predicted = host.run(item, check=True)
    assert predicted.changed
    assert not list(host.out.iterdir())
    assert not host.state.exists()

    result = host.run(item)
    (row,) = result.results
    assert (row["action"], row["profile"], row["mac"], row["certificates"]) == ("created", "modern", "hmac-sha256", 3)
    ids, certificates = keys_in(host.out / "a.p12", PASSWORD)
    assert (ids, certificates) == ({host.key_id("new"), host.key_id("old")}, 3)
    assert [key["key_id"] for key in row["keys"]] == [host.key_id("new"), host.key_id("old")]
    assert hashlib.sha256((host.out / "a.p12").read_bytes()).hexdigest() == row["digest"]
    assert (host.out / "a.p12").stat().st_mode & 0o777 == 0o600

    before = host.snapshot()
    for check in (True, False):
        again = host.run(item, check=check)
        assert (again.changed, again.results[0]["action"]) == (False, "kept")
    assert host.snapshot() == before
    adjusted = host.run({**item, "mode": "0640"})
    assert adjusted.results[0]["action"] == "adjusted"
    assert (host.out / "a.p12").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"profile": "windows"}, ("windows", "hmac-sha256")),
        ({"profile": "legacy"}, ("legacy", "hmac-sha1")),
        ({"mac": "pbmac1"}, ("modern", "pbmac1-sha256")),
        ({"format": "pkcs8"}, ("modern", None)),
        ({"format": "pkcs8", "profile": "legacy"}, ("legacy", None)),
    ],
)
def test_every_form_is_known_again(host, options, told):
    """And what is wanted otherwise is written anew."""
    item = host.item("new", **options)
    host.run(item)
    assert host.run(item).results[0]["action"] == "kept"
    (row,) = host.run(item).results
    assert (row["profile"], row["mac"]) == told
    other = {**item, "profile": "modern" if told[0] != "modern" else "legacy", "mac": "hmac"}
    assert host.run(other).results[0]["action"] == "replaced"
    if item.get("format") == "pkcs8":
        found = openssl(
            "pkey",
            "-in",
            item["dest"],
            "-passin",
            "stdin",
            "-pubout",
            "-outform",
            "DER",
            stdin=PASSWORD.encode(),
        )
        assert hashlib.sha256(found).hexdigest() == host.key_id("new")


def test_a_file_that_holds_another_key_is_not_replaced(host):
    host.run(host.item("new", "old"))
    before = host.snapshot()
    with pytest.raises(_errors.KeyExists, match="would be lost"):
        host.run(host.item("new"))
    assert host.snapshot() == before
    assert host.run(host.item("new", force=True)).results[0]["action"] == "replaced"
    assert host.run(host.item("new", "old")).results[0]["action"] == "replaced"  # it only grows


@pytest.mark.parametrize("kind", ["password", "rubbish", "cut", "flipped"])
def test_what_does_not_open_stays(host, kind):
    item = host.item("new")
    host.run(item)
    path = host.out / "a.p12"
    data = bytearray(path.read_bytes())
    if kind == "password":
        item["password"] = "another password"
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"rubbish": b"rubbish", "cut": bytes(data[:900]), "flipped": bytes(data)}[kind])
    left = path.read_bytes()
    with pytest.raises((_errors.WrongPassphrase, _errors.KeyUnreadable), match="force"):
        host.run(item)
    assert path.read_bytes() == left
    assert host.run({**item, "force": True}).results[0]["action"] == "replaced"
    assert host.run(item).results[0]["action"] == "kept"


def test_a_dest_that_is_something_else_is_told(host):
    path = host.out / "a.p12"
    for content, what in (
        (host.pem("owner").encode(), "a PEM file and no PKCS#12 file"),
        (b"text", "it is no PKCS#12 file"),
    ):
        path.write_bytes(content)
        with pytest.raises(_errors.KeyUnreadable) as told:
            host.run(host.item("new"))
        assert str(told.value).startswith(f"dest: {path}: it is ") and what in str(told.value)
        assert "name another file, move it away, or give force: true" in str(told.value)
        assert path.read_bytes() == content


def test_a_generated_password_reaches_its_owner_and_nobody_else(host):
    to = {"certificate": host.pem("owner"), "dest": str(host.out / "password.p7m")}
    item = host.item("new", password=None, password_to=to)
    result = host.run(item)
    password = password_in(host.out / "password.p7m", host.folder / "owner.key")
    assert len(password) >= 25
    assert keys_in(host.out / "a.p12", password)[0] == {host.key_id("new")}
    told = json.dumps([result.results, result.diff, result.relay, result.warnings])
    assert password not in told
    for path, content in host.snapshot().items():
        assert password.encode() not in content, path
    assert host.run(item).results[0]["action"] == "kept"
    # The owner has taken the message: no new password is made for a file that is there.
    (host.out / "password.p7m").unlink()
    assert host.run(item).results[0]["action"] == "kept"
    assert not (host.out / "password.p7m").exists()
    # A file that somebody exchanged is not believed.
    (host.out / "a.p12").write_bytes(b"another")
    with pytest.raises(_errors.KeyExists, match="force"):
        host.run(item)
    # With the file away, a new one has a new password.
    (host.out / "a.p12").unlink()
    host.run(item)
    assert password_in(host.out / "password.p7m", host.folder / "owner.key") != password


def test_a_password_for_the_vault_is_relayed_until_it_is_there(host):
    to = {"public_key": openssl("pkey", "-in", host.folder / "curve.key", "-pubout").decode(), "vault": True}
    item = host.item("new", password=None, password_to=to)
    relays = [host.run(item).relay["untold"] for dummy in range(2)]
    assert relays[0] == relays[1]
    ((one,),) = relays[:1]
    assert one["key_ids"] == [host.key_id("new")]
    message = host.folder / "message"
    message.write_bytes(base64.b64decode(one["message"]))
    assert keys_in(host.out / "a.p12", password_in(message, host.folder / "curve.key"))[0] == {host.key_id("new")}
    host.run(step="close", relay={"told": [item["dest"]]})
    assert host.run(item).relay["untold"] == []


@pytest.mark.parametrize("owner", ["owner", "curve"])
@pytest.mark.parametrize("form", ["cms", "eml"])
def test_sealed_to_the_owner(host, form, owner):
    item = host.item(
        "new", dest="a.out", encrypt_to={"certificate": host.pem(owner), "form": form, "to": "a@b.example"}
    )
    host.run(item)
    key = host.folder / f"{owner}.key"
    opened = openssl(
        "cms", "-decrypt", "-inform", "SMIME" if form == "eml" else "DER", "-in", item["dest"], "-inkey", key
    )
    if form == "eml":
        part = email.message_from_bytes(opened)
        assert part.get_filename() == "a.p12"
        opened = part.get_payload(decode=True)
        assert b"To: a@b.example\r\n" in (host.out / "a.out").read_bytes()
    (host.folder / "opened").write_bytes(opened)
    assert keys_in(host.folder / "opened", PASSWORD)[0] == {host.key_id("new")}
    assert host.run(item).results[0]["action"] == "kept"


def test_a_key_that_left_its_station_was_delivered(host):
    item = host.item("new")
    host.run(item)
    (host.folder / "new.key").unlink()
    result = host.run(item)
    assert (result.changed, result.results[0]["action"], result.warnings) == (False, "delivered", [])
    with pytest.raises(_errors.KeyNotFound, match="something else"):
        host.run({**item, "profile": "legacy"})
    (host.out / "a.p12").unlink()
    result = host.run(item)
    assert result.results[0]["action"] == "delivered"
    assert "taken away" in result.warnings[0]


@pytest.mark.parametrize("form", ["pem", "der", "openssh", "traditional"])
def test_not_even_force_replaces_a_working_key(host, form):
    found = (host.folder / "old.key").read_bytes()
    path = host.out / "a.p12"
    if form == "openssh":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "some words", "-f", path], check=True)
        found = path.read_bytes()
    elif form == "traditional":
        found = openssl("rsa", "-in", host.folder / "old.key", "-traditional", "-aes128", "-passout", "pass:some words")
    elif form == "der":
        found = openssl("pkey", "-in", host.folder / "old.key", "-outform", "DER")
    path.write_bytes(found)
    to = {"certificate": host.pem("owner"), "dest": str(path)}
    for item in (host.item("new"), host.item("new", dest="b.p12", password=None, password_to=to)):
        with pytest.raises(_errors.KeyExists, match="no export"):
            host.run({**item, "force": True})
        assert path.read_bytes() == found


def test_what_was_sealed_to_a_certificate_that_has_expired_stays(host, monkeypatch):
    old, new = host.pem("owner"), host.pem("curve")

    def item(certificate: str, dest: str = "a.p12") -> dict:
        to = {"certificate": certificate, "dest": str(host.out / f"{dest}.password")}
        return host.item("new", dest=dest, password=None, password_to=to, encrypt_to={"certificate": certificate})

    host.run(item(old))
    later = times.now() + datetime.timedelta(days=30)
    monkeypatch.setattr(export_wishes, "times", SimpleNamespace(now=lambda: later))
    assert host.run(item(old)).results[0]["action"] == "kept"
    with pytest.raises(_errors.OptionError, match="certificate: has expired"):
        host.run(item(old, dest="b.p12"))
    (host.folder / "new.key").unlink()
    assert host.run(item(old)).results[0]["action"] == "delivered"
    assert host.run(item(new)).results[0]["action"] == "delivered"
    with pytest.raises(_errors.KeyNotFound, match="password_to"):
        host.run(host.item("new", encrypt_to={"certificate": old}))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"keys": []}, "OptionError"),
        ({"password": None}, "OptionError"),
        ({"password": "short"}, "OptionError"),
        ({"password": "pässword of tests"}, "OptionError"),
        ({"password_to": {"dest": "/x", "certificate": "x"}}, "OptionError"),
        ({"password": None, "password_to": {"dest": "/x"}}, "OptionError"),
        ({"password": None, "password_to": {"certificate": "x", "vault": True, "dest": "/x"}}, "OptionError"),
        ({"password": None, "password_to": {"certificate": "no certificate", "dest": "/x"}}, "OptionError"),
        ({"password": None, "password_to": {"public_key": "no key", "dest": "/x"}}, "OptionError"),
        ({"dest": "relative"}, "OptionError"),
        ({"dest": "/etc/../x"}, "OptionError"),
        ({"mode": "0644"}, "OptionError"),
        ({"mac": "pbmac1", "profile": "legacy"}, "OptionError"),
        ({"format": "pkcs8", "profile": "windows"}, "OptionError"),
        ({"pin": "1234"}, "OptionError"),
        ({"format": "token"}, "OptionError"),
        ({"encrypt_to": {"certificate": "x"}}, "OptionError"),
        ({"keys": [{"key": "pkcs11:object=x"}]}, "KeyReferenceError"),
        ({"keys": [{"key": "/does/not/exist"}]}, "KeyNotFound"),
    ],
)
def test_wrong_options_are_told_and_nothing_is_written(host, change, error):
    before = host.snapshot()
    with pytest.raises(getattr(_errors, error)):
        host.run({**host.item("new"), **change})
    assert host.snapshot() == before


def test_a_header_cannot_be_smuggled_in(host):
    item = host.item("new", encrypt_to={"certificate": host.pem("owner"), "to": "a@b\r\nBcc: c@d"})
    with pytest.raises(_errors.OptionError):
        host.run(item)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"key": "signs.key", "certificate": "signs.pem", "usage": "authentication"}, "SigningUsageRefused"),
        ({"key": "signs.key", "certificate": "signs.pem", "usage": "key_agreement"}, "SigningCertificateRefused"),
        ({"key": "new.key", "certificate": "old.pem"}, "ForeignCertificateRefused"),
        ({"key": "new.key", "certificate": None, "usage": None}, "UnknownUsageRefused"),
    ],
)
@pytest.mark.parametrize("signing", [[], ["authentication"]])
def test_what_may_not_be_archived_is_not_exported_into_a_file(host, change, error, signing):
    for path in host.folder.glob("*.pem"):  # beside the key they would count by themselves
        (host.folder / "elsewhere").mkdir(exist_ok=True)
        path.rename(host.folder / "elsewhere" / path.name)
    item = host.item("new")
    item["keys"][0].update({k: f"{host.folder}/{v}" if k == "key" else v for k, v in change.items()})
    if change["certificate"]:
        item["keys"][0]["certificate"] = f"{host.folder}/elsewhere/{change['certificate']}"
    item["keys"][0] = {name: value for name, value in item["keys"][0].items() if value is not None}
    with pytest.raises(getattr(_errors, error), match="it is not exported"):
        host.run(item, relay={"signing": signing})
    assert not list(host.out.iterdir())


_CARD = "pkcs11:token=card;object=login?module-path=/usr/lib/p11.so"


@pytest.mark.parametrize(
    ("usage", "purpose", "declared", "error"),
    [
        ("digitalSignature", "clientAuth", "authentication", None),
        ("digitalSignature", None, "authentication", None),
        ("digitalSignature,nonRepudiation", "emailProtection", "signature", None),
        ("keyCertSign,cRLSign", None, "authentication", "UsageConflictRefused"),
        ("digitalSignature,keyCertSign", None, "authentication", "UsageConflictRefused"),
        ("digitalSignature,nonRepudiation", None, "authentication", "UsageConflictRefused"),
        ("digitalSignature", "codeSigning", "authentication", "UsageConflictRefused"),
        ("digitalSignature", "clientAuth,codeSigning", "authentication", "UsageConflictRefused"),
        ("digitalSignature", "clientAuth", "signature", "UsageConflictRefused"),
        (None, None, "authentication", "UsageConflictRefused"),
        ("no certificate", None, "authentication", "DeclaredUsageOnlyRefused"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_signing_key_goes_out_as_what_its_certificates_say(tmp_path, usage, purpose, declared, error, named):
    host = Host(tmp_path)
    key, certificate = tmp_path / "login.key", tmp_path / "login.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    key.chmod(0o600)
    if usage != "no certificate":
        settings = tmp_path / "settings"
        settings.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        more = [f"keyUsage={usage}"] if usage else []
        more += [f"extendedKeyUsage={purpose}"] if purpose else []
        extensions = [word for one in more for word in ("-addext", one)]
        openssl("req", "-x509", "-config", settings, "-key", key, "-subj", "/CN=a", *extensions, "-out", certificate)
    source = {"key": str(key), "usage": declared}
    if named and certificate.exists():
        source["certificate"] = str(certificate)
    asked = {"dest": _CARD, "format": "token", "keys": [source]}
    relay = {"signing": ["authentication", "signature"]}
    if error:
        with pytest.raises(getattr(_errors, error)):
            host.run(asked, step="facts", relay=relay)
        return
    assert host.run(asked, step="facts", relay=relay).results[0]["usage"] == declared


def test_who_vouches_for_a_declared_usage_may_bring_it_into_a_card(tmp_path):
    host = Host(tmp_path)
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "login.key")
    (tmp_path / "login.key").chmod(0o600)
    source = {"key": str(tmp_path / "login.key"), "usage": "authentication", "accept_declared_usage": True}
    asked = {"dest": _CARD, "format": "token", "keys": [source]}
    (row,) = host.run(asked, step="facts", relay={"signing": ["authentication"]}).results
    assert row["usage"] == "authentication"


def test_a_kill_between_message_and_file_is_mended(host, monkeypatch):
    to = {"certificate": host.pem("owner"), "dest": str(host.out / "password.p7m")}
    item = host.item("new", password=None, password_to=to)
    real, calls = export._write, []

    def killed(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(export, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        host.run(item)
    monkeypatch.setattr(export, "_write", real)
    assert sorted(path.name for path in host.out.iterdir()) == ["password.p7m"]
    host.run(item)
    password = password_in(host.out / "password.p7m", host.folder / "owner.key")
    assert keys_in(host.out / "a.p12", password)[0] == {host.key_id("new")}


def test_notes_without_a_vault_do_not_grow_without_end(tmp_path):
    made = ()
    for number in range(60):
        one = exported.Made(f"{number}", {}, [], pending="a" * 20000)
        exported.write(str(tmp_path), "/a", (*made, one))
        made = exported.read(str(tmp_path), "/a")
    assert [one.digest for one in made] == [str(number) for number in range(60 - len(made), 60)]
    assert 10 < len(made) < 30
    exported.write(str(tmp_path), "/a", tuple(dataclasses.replace(one, pending="", told=True) for one in made))
    assert len(exported.read(str(tmp_path), "/a")) == 2


def test_the_note_of_an_export_holds_public_facts_only(host):
    host.run(host.item("new"))
    (note,) = (host.state / "exports").iterdir()
    assert note.stat().st_mode & 0o777 == 0o600
    assert PASSWORD.encode() not in note.read_bytes()
    assert set(json.loads(note.read_bytes())) == {"format", "dest", "made"}
    note.write_bytes(b"{}")
    with pytest.raises(_errors.StateError, match="remove it"):
        host.run(host.item("new"))


@pytest.mark.parametrize("which", ["key", "certificate"])
def test_what_is_read_is_never_overwritten(host, which):
    item = host.item("new", force=True)
    item["dest"] = item["keys"][0][which]
    with pytest.raises(_errors.OptionError, match="overwritten"):
        host.run(item)
    link = host.folder / "link"
    link.symlink_to(host.folder)
    with pytest.raises(_errors.OptionError, match="overwritten"):
        host.run({**item, "dest": str(link / "new.key")})


def test_names_that_are_alike_are_told_apart(host):
    host.run(host.item("new", "old"))
    found = pkcs12_open.read((host.out / "a.p12").read_bytes(), PASSWORD)
    assert {one.friendly_name for one in found.keys} == {f"Alice {host.key_id(name)[:8]}" for name in ("new", "old")}
    item = host.item("new", "old", dest="b.p12")
    for key in item["keys"]:
        key["friendly_name"] = "mine"
    with pytest.raises(_errors.OptionError, match="twice"):
        host.run(item)


def test_damaged_files_are_errors_of_ours_and_cost_little(host):
    """Every byte that is cut or flipped: a wrong password, or no readable file, and never anything else."""
    host.run(host.item("new"))
    data = (host.out / "a.p12").read_bytes()
    assert pkcs12_open.read(data, PASSWORD).profile == "modern"
    for place in range(0, len(data), 9):
        flipped = bytearray(data)
        flipped[place] ^= 0x55
        for damaged in (bytes(flipped), data[:place]):
            with pytest.raises((_errors.WrongPassphrase, _errors.KeyUnreadable)):
                pkcs12_open.read(damaged, PASSWORD)


def test_work_without_measure_is_not_done(host):
    """A file that asks for a billion iterations, in its MAC or for its keys."""
    huge = dataclasses.replace(profiles.PROFILES["modern"], iterations=1_000_000_000)
    for kind in ("hmac", "pbmac1"):
        told = pkcs12_mac.make(b"", PASSWORD, pkcs12_mac.Mac(kind, "sha256", 999))
        assert told.count(b"\x02\x02\x03\xe7") == 1
        with pytest.raises(_errors.FormatError, match="unreasonable"):
            pkcs12_mac.check(der.read(_with_huge(told)), b"", PASSWORD)
    key = b"\x30\x00"
    algorithm = der.read_sequence(pkcs12_write.encrypt(key, PASSWORD, dataclasses.replace(huge, iterations=999)))[0]
    bag = der.write(0x30, _with_huge(algorithm.whole), der.write(0x04, bytes(16)))
    assert profiles.scheme_of(_with_huge(algorithm.whole)).iterations == 0x3B9AC9FF
    with pytest.raises(_errors.FormatError, match="unreasonable"):
        pbes2.decrypt(bag, PASSWORD, (1_000_000, 1, 1))


def _with_huge(data: bytes) -> bytes:
    """The DER, with 999 made a billion wherever it stands, and all lengths around it corrected."""
    element = der.read(data)
    if not element.tag & 0x20:
        return der.write_integer(0x3B9AC9FF) if element.whole == b"\x02\x02\x03\xe7" else element.whole
    return der.write(element.tag, *(_with_huge(child.whole) for child in element.children()))


def test_x25519_has_no_place_in_pkcs12(host):
    openssl("genpkey", "-algorithm", "X25519", "-out", host.folder / "x.key")
    item = {"dest": str(host.out / "x"), "password": PASSWORD, "keys": [{"key": str(host.folder / "x.key")}]}
    item["keys"][0].update(usage="key_agreement", accept_declared_usage=True)
    with pytest.raises(_errors.AlgorithmError, match="pkcs8"):
        host.run(item)
    assert host.run({**item, "format": "pkcs8"}).changed
