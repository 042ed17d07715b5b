# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on real tokens: what private_key and csr make there, and what the token itself then allows.

The token is looked at and used with pkcs11-tool, signatures and ciphertexts are made and judged by openssl.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from pathlib import Path

import pytest
import token_host
from token_host import SEALED, TokenHost

from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import probe


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> TokenHost:
    return token_host.softhsm(tmp_path_factory.mktemp("soft"))


@pytest.fixture(scope="module")
def nss(tmp_path_factory: pytest.TempPathFactory) -> TokenHost:
    return token_host.nss(tmp_path_factory.mktemp("nss"))


@pytest.fixture
def own(tmp_path: Path) -> TokenHost:
    """A token for one test alone."""
    return token_host.softhsm(tmp_path)


def openssl(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False, timeout=60)


def actions(answer: dict) -> list[str]:
    assert "results" in answer, answer
    return [row["action"] for row in answer["results"]]


def failed(answer: dict, error_class: str, *said: str) -> None:
    assert answer.get("error_class") == error_class, answer
    for text in said:
        assert text in answer["msg"]


# --- the plain life of a key -----------------------------------------------------------------------------------------


def test_create_keep_remove(soft: TokenHost) -> None:
    keys = [
        soft.key("life-ed", usage="signature", algorithm="ed25519"),
        soft.key("life-384", usage="authentication", algorithm="ec-p384"),
        soft.key("life-521", usage="certificate_signing", algorithm="ec-p521"),
        soft.key("life-x", algorithm="x25519"),
        soft.key("life-256", archive="required"),
        soft.key("life-rsa", usage="key_transport", algorithm="rsa-3072", archive="never"),
        soft.key("given", key=soft.uri("life-id", id="%01%02")),
    ]
    predicted = soft.run(*keys, check=True)
    assert actions(predicted) == ["created"] * len(keys)
    assert not soft.seen()

    made = soft.run(*keys)
    assert actions(made) == ["created"] * len(keys)
    assert set(made["relay"]["proofs"]) == {row["key_id"] for row in made["results"][:3]}
    for row, item, before in zip(made["results"], keys, predicted["results"]):
        assert (row["algorithm"], row["usage"]) == (item["algorithm"], item["usage"])
        label = item["key"].split("object=")[1].split(";")[0].split("?")[0]
        assert soft.seen()[label] == {"Private": row["object_id"], "Public": row["object_id"]}
        assert row["object_id"] == ("0102" if label == "life-id" else row["key_id"][:40])
        assert {**row, "key_id": None, "public_key": None, "object_id": before["object_id"]} == before
    listed = soft.tool("--list-objects", "--type", "privkey").stdout
    assert listed.count("never extractable") == 4  # the three that sign, and the one that is never archived

    for check in (True, False):
        again = soft.run(*keys, check=check)
        assert not again["changed"]
        assert [row["key_id"] for row in again["results"]] == [row["key_id"] for row in made["results"]]

    gone = [{"key": item["key"], "pin": soft.pin, "state": "absent", "destroy_unarchived": True} for item in keys]
    assert soft.run(*gone, check=True)["changed"]
    assert len(soft.seen()) == len(keys)
    assert actions(soft.run(*gone)) == ["removed"] * len(keys)
    assert not soft.seen()
    assert not soft.run(*gone)["changed"]


def test_another_key_is_replaced_only_when_asked_and_confirmed(soft: TokenHost) -> None:
    (first,) = soft.run(soft.key("mail"))["results"]
    other = soft.key("mail", algorithm="ec-p384")
    failed(soft.run(other), "KeyExists", "ec-p256, not ec-p384")
    failed(soft.run(soft.key("mail", usage="signature")), "KeyExists")
    failed(soft.run(soft.key("mail", archive="never")), "KeyExists", "EXTRACTABLE")
    failed(soft.run(soft.key("mail", key=soft.uri("mail", id="%07"))), "KeyExists", first["object_id"])
    assert soft.run({**other, "regenerate": "never"})["changed"] is False
    other_id = {"key": soft.uri("mail", id="%07"), "pin": soft.pin, "state": "absent", "destroy_unarchived": True}
    assert soft.run(other_id)["changed"] is False

    replace = {**other, "regenerate": "partial_idempotence"}
    asked = soft.run(replace)
    assert asked["relay"]["unconfirmed"] == [{"key": other["key"], "key_id": first["key_id"], "sealed_key": None}]
    confirmed = {"confirmed": {first["key_id"]: SEALED}}
    failed(soft.run(replace, step="confirmed", relay=confirmed), "NotArchivedRefused")
    assert soft.seen()["mail"]["Private"] == first["object_id"]
    soft.archived(first)
    failed(soft.run(replace, step="confirmed", relay={"confirmed": {}}), "NotArchivedRefused")
    done = soft.run(replace, step="confirmed", relay=confirmed)
    assert actions(done) == ["replaced"]
    new = done["results"][0]["object_id"]
    assert soft.seen()["mail"] == {"Private": new, "Public": new}
    assert done["diff"][0]["before"]["key_id"] == first["key_id"]
    assert not list((soft.state / "replaced").iterdir())


def test_keys_in_files_and_on_tokens_in_one_task(soft: TokenHost, tmp_path: Path) -> None:
    path = str(tmp_path / "a.key")
    file = {"key": path, "usage": "signature", "algorithm": "ec-p256"}
    answer = soft.run(soft.key("mixed"), file, soft.key("mixed-2", usage="signature"))
    assert [row["key"] for row in answer["results"]] == [soft.uri("mixed"), path, soft.uri("mixed-2")]
    assert [row["mode"] for row in answer["results"]] == [None, "0600", None]
    assert not soft.run(soft.key("mixed"), file, soft.key("mixed-2", usage="signature"))["changed"]


# --- what the token allows -------------------------------------------------------------------------------------------


def test_the_token_enforces_the_usage(soft: TokenHost, tmp_path: Path) -> None:
    made = soft.run(
        soft.key("use-sign", usage="signature", algorithm="rsa-2048"),
        soft.key("use-decrypt", usage="key_transport", algorithm="rsa-2048", request={"subject": "CN=mail"}),
        soft.key("use-agree", request={"subject": "CN=mail"}),
        soft.key("use-ec", usage="authentication"),
    )
    message, out, public = tmp_path / "message", tmp_path / "out", tmp_path / "public.pem"
    message.write_bytes(secrets.token_bytes(32))
    for row in made["results"]:
        (tmp_path / f"{row['key'].split('object=')[1].split('?')[0]}.pem").write_text(row["public_key"])

    ids = {label: halves["Private"] for label, halves in soft.seen().items()}

    def tool(label: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return soft.tool("--id", ids[label], "--input-file", str(message), "--output-file", str(out), *arguments)

    assert tool("use-sign", "--sign", "--mechanism", "SHA256-RSA-PKCS").returncode == 0
    assert openssl("dgst", "-sha256", "-verify", tmp_path / "use-sign.pem", "-signature", out, message).returncode == 0
    assert tool("use-ec", "--sign", "--mechanism", "ECDSA").returncode == 0
    for label, mechanism in (("use-decrypt", "SHA256-RSA-PKCS"), ("use-agree", "ECDSA")):
        refused = tool(label, "--sign", "--mechanism", mechanism)
        assert refused.returncode != 0
        assert "C_SignInit" in refused.stderr, "the tool has asked the token"

    sealed = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", tmp_path / "use-decrypt.pem", "-in", message).stdout
    plain = message.read_bytes()
    message.write_bytes(sealed)
    assert tool("use-decrypt", "--decrypt", "--mechanism", "RSA-PKCS").returncode == 0
    assert out.read_bytes() == plain
    refused = tool("use-sign", "--decrypt", "--mechanism", "RSA-PKCS")
    assert refused.returncode != 0 and "C_DecryptInit" in refused.stderr

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "other.key")
    message.write_bytes(openssl("pkey", "-in", tmp_path / "other.key", "-pubout", "-outform", "DER").stdout)
    assert tool("use-agree", "--derive", "--mechanism", "ECDH1-DERIVE").returncode == 0
    agreed = ("pkeyutl", "-derive", "-inkey", tmp_path / "other.key", "-peerkey", tmp_path / "use-agree.pem")
    assert out.read_bytes() == openssl(*agreed).stdout
    refused = tool("use-ec", "--derive", "--mechanism", "ECDH1-DERIVE")
    assert refused.returncode != 0 and "C_DeriveKey" in refused.stderr
    assert not public.exists()
    # A usage that could be changed later would be none.
    assert soft.tool("--type", "privkey", "--label", "use-sign", "--set-id", "01").returncode != 0


def test_unwrapping_where_it_is_asked_for(soft: TokenHost, tmp_path: Path) -> None:
    transports = {"usage": "key_transport", "algorithm": "rsa-2048"}
    both = [soft.key("unwraps", **transports, unwrap=True), soft.key("only-decrypts", **transports)]
    made = soft.run(*both)["results"]
    assert not soft.run(*both)["changed"]
    ids = {label: halves["Private"] for label, halves in soft.seen().items()}
    wrapped, public = tmp_path / "wrapped", tmp_path / "public.pem"
    session_key = tmp_path / "session-key"
    session_key.write_bytes(secrets.token_bytes(32))

    def unwrap(label: str, row: dict) -> subprocess.CompletedProcess[str]:
        public.write_text(row["public_key"])
        wrapped.write_bytes(openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public, "-in", session_key).stdout)
        told = ("--mechanism", "RSA-PKCS", "--id", ids[label], "--input-file", str(wrapped), "--key-type", "AES:")
        return soft.tool("--unwrap", *told, "--application-label", f"from-{label}", "--extractable")

    done = unwrap("unwraps", made[0])
    assert done.returncode == 0, done.stderr
    refused = unwrap("only-decrypts", made[1])
    assert refused.returncode != 0 and "C_UnwrapKey" in refused.stderr
    # Its public half wraps nothing: with it, what the token holds could be had in the clear.
    halves = soft.tool("--list-objects", "--type", "pubkey").stdout.split("Public Key Object")
    assert not any("wrap" in half.split("Usage:")[1].split("\n")[0] for half in halves[1:])

    told = soft.run({**both[0], "unwrap": False})
    assert "UNWRAP is true" in told["msg"], told
    told = soft.run({**both[1], "unwrap": True})
    assert "UNWRAP is false" in told["msg"], told
    soft.archived(made[1])  # as one that was recovered: it only decrypts
    assert not soft.run({**both[1], "unwrap": True})["changed"]


def test_requests_of_keys_on_a_token(soft: TokenHost, tmp_path: Path) -> None:
    signing = {"csr-ec": "ec-p256", "csr-rsa": "rsa-2048", "csr-ed": "ed25519"}
    names = {"subject": {"CN": "mail"}, "subject_alt_name": ["email:mail@example.com"]}
    soft.run(*(soft.key(label, usage="authentication", algorithm=word) for label, word in signing.items()))
    agrees, decrypts, bare, curve = soft.run(
        soft.key("csr-agree", request={"subject": "CN=agree"}),
        soft.key("csr-decrypt", usage="key_transport", algorithm="rsa-2048", request=names),
        soft.key("csr-bare"),
        soft.key("csr-x", algorithm="x25519"),
    )["results"]

    def item(label: str, **options: object) -> dict:
        return {"key": soft.uri(label), "pin": soft.pin, "path": str(tmp_path / f"{label}.csr"), **options}

    items = [item(label, usage="authentication", subject="CN=tls") for label in signing]
    items += [item("csr-agree"), item("csr-decrypt", **names)]
    failed(soft.csr(*items), "NotArchivedRefused", "csr-agree")
    for row in (agrees, decrypts, bare, curve):
        soft.archived(row)
    predicted, made = soft.csr(*items, check=True), soft.csr(*items)
    assert [row["changed"] for row in predicted["results"]] == [row["changed"] for row in made["results"]] == [True] * 5
    for row in made["results"]:
        assert b"verify OK" in openssl("req", "-verify", "-noout", "-in", row["path"]).stderr
    text = openssl("req", "-text", "-noout", "-in", tmp_path / "csr-decrypt.csr").stdout.decode()
    assert "Key Encipherment, Data Encipherment" in text and "email:mail@example.com" in text
    assert not soft.csr(*items)["changed"]

    owner = {"key": str(tmp_path / "owner.key"), "certificate": str(tmp_path / "owner.crt")}
    made_by = ("-newkey", "ed25519", "-noenc", "-subj", "/CN=owner", "-days", "2")
    openssl("req", "-x509", *made_by, "-keyout", owner["key"], "-out", owner["certificate"])
    stated = item("csr-x", possession=owner, subject="CN=owner")
    assert soft.csr(stated)["changed"] and not soft.csr(stated)["changed"]
    assert b"X25519" in openssl("req", "-text", "-noout", "-in", stated["path"]).stdout
    failed(soft.csr(item("csr-x", subject="CN=owner")), "AlgorithmError", "possession")
    # The owner's key may be on the token as well.
    with_pin = {"key": soft.uri("csr-rsa"), "pin": soft.pin, "certificate": str(tmp_path / "tls.crt")}
    issued = ("-in", tmp_path / "csr-rsa.csr", "-CA", owner["certificate"], "-CAkey", owner["key"], "-days", "2")
    openssl("x509", "-req", *issued, "-CAcreateserial", "-out", with_pin["certificate"])
    stated = item("csr-x", possession=with_pin, subject="CN=tls")
    assert soft.csr(stated)["changed"] and not soft.csr(stated)["changed"]
    agreeing = {**with_pin, "key": soft.uri("csr-agree")}
    failed(soft.csr(item("csr-x", possession=agreeing, subject="CN=tls")), "OptionError", "possession.key")

    failed(soft.csr(item("csr-agree", subject="CN=other")), "OptionError", 'says subject "CN=agree"; its token')
    others = {"subject": "CN=other", "subject_alt_name": names["subject_alt_name"]}
    told = soft.csr(item("csr-decrypt", **others))["msg"]
    assert "subject_alt_name email:mail@example.com" in told and not set("{}[]") & set(told)
    failed(soft.csr(item("csr-bare", subject="CN=agree")), "OptionError", "without its request")
    failed(soft.csr(item("csr-ec", subject="CN=tls")), "OptionError", "usage")
    failed(soft.csr(item("csr-none", subject="CN=tls", usage="signature")), "KeyNotFound")


# --- tokens that cannot, or must not ---------------------------------------------------------------------------------


def test_a_signing_key_is_not_put_on_a_token_that_breaks_its_promises(nss: TokenHost) -> None:
    signing = nss.key("sign", usage="signature")
    failed(nss.run(signing), "UnsafeTokenRefused", "unextractable_is_not_wrapped", "accept_findings")
    failed(nss.run(signing, check=True), "UnsafeTokenRefused")
    failed(nss.run({**signing, "accept_findings": ["copies_keep_usage"]}), "UnsafeTokenRefused", "copies_stay_inside")
    failed(nss.run({**signing, "accept_findings": ["everything"]}), "OptionError", "accept_findings")
    assert "sign" not in nss.certutil()
    (kept,) = (nss.state / "probes").iterdir()
    accepted = {**signing, "accept_findings": list(probe.NAMES)}
    assert actions(nss.run(accepted)) == ["created"]
    # What is kept is believed for this token and library only.
    asked = json.loads(kept.read_text())
    assert asked["asked"]["library"] == nss.store.library
    kept.write_text(json.dumps({**asked, "asked": {**asked["asked"], "size": 1}}))
    assert not nss.run(nss.key("sign", usage="signature"))["changed"]


def test_what_nss_can_and_cannot(nss: TokenHost) -> None:
    for algorithm in ("ed25519", "x25519"):
        usage = "signature" if algorithm == "ed25519" else "key_agreement"
        failed(nss.run(nss.key("none", usage=usage, algorithm=algorithm)), "AlgorithmError", algorithm)
    keys = [
        nss.key(
            "decrypt", usage="key_transport", algorithm="rsa-2048", archive="required", request={"subject": "CN=a"}
        ),
        nss.key("agree", request={"subject": "CN=b"}),
    ]
    assert actions(nss.run(*keys)) == ["created", "created"]
    assert not nss.run(*keys)["changed"]
    assert "decrypt" in nss.certutil()
    assert "agree" in nss.certutil()


def test_what_could_never_be_archived_is_refused_when_it_is_made(soft: TokenHost) -> None:
    before = soft.seen()
    never = soft.key("never", algorithm="x25519", archive="required")
    failed(soft.run(soft.key("first"), never), "NotWrappable", "'never'")
    failed(soft.run(soft.key("s", usage="signature", archive="required")), "OptionError", "archive")
    for algorithm in ("rsa-6144", "ed448"):
        failed(soft.run(soft.key("s", usage="signature", algorithm=algorithm)), "AlgorithmError", "tokens")
    failed(soft.run(soft.key("x", algorithm="x25519", request={"subject": "CN=a"})), "OptionError", "request")
    failed(soft.run(soft.key("s", usage="signature", request={"subject": "CN=a"})), "OptionError", "csr")
    assert soft.seen() == before


@pytest.mark.parametrize(
    ("options", "error_class", "said"),
    [
        ({"passphrase": "secret"}, "OptionError", "passphrase"),
        ({"unwrap": True}, "OptionError", "unwrap"),
        ({"mode": "0640"}, "OptionError", "mode"),
        ({"pin": None}, "OptionError", "pin"),
        ({"key": "pkcs11:token=ops;object=a"}, "KeyReferenceError", "module-path"),
        ({"key": "pkcs11:token=none;object=a?module-path={library}"}, "TokenMissing", "ops"),
        ({"key": "pkcs11:token=ops;object=a?module-path=/none.so"}, "TokenLibraryError", "/none.so"),
        ({"key": "pkcs11:token=ops;object=a?module-path=/etc/passwd"}, "TokenLibraryError", "is no PKCS#11 library"),
        ({"key": "/etc/keyops/a.key"}, "OptionError", "pin"),
    ],
)
def test_bad_items_are_refused(soft: TokenHost, options: dict, error_class: str, said: str) -> None:
    if "key" in options:
        options = {**options, "key": options["key"].replace("{library}", soft.store.library)}
    answer = soft.run(soft.key("bad", **options))
    failed(answer, error_class, said)
    assert soft.pin not in answer["msg"]


def test_one_key_under_two_names_is_refused(soft: TokenHost) -> None:
    item = {"uri": soft.store.uri("ops"), "pin": None, "probe": False}
    serial = soft.store.call("hsm_info", tokens=[item], state_dir=None)
    named = f"pkcs11:serial={serial['results'][0]['tokens'][0]['serial']};object=twice?module-path={soft.store.library}"
    failed(soft.run(soft.key("twice"), soft.key("twice", key=named)), "OptionError", "twice")
    failed(soft.run(soft.key("a"), soft.key("b", pin="another")), "OptionError", "another PIN")


def test_in_check_mode_a_token_may_still_be_missing(soft: TokenHost) -> None:
    future = soft.key("a", key=f"pkcs11:token=future;object=a?module-path={soft.store.library}")
    assert actions(soft.run(future, check=True)) == ["created"]


def test_a_wrong_pin_is_tried_once(own: TokenHost) -> None:
    answer = own.run(*(own.key(name, pin="wrong-pin") for name in ("a", "b", "c")))
    failed(answer, "WrongPin", "tried once")
    assert "wrong-pin" not in answer["msg"]
    assert not own.seen()
    assert actions(own.run(own.key("a"))) == ["created"]


# --- many, and at once -----------------------------------------------------------------------------------------------


def test_a_thousand_objects(own: TokenHost) -> None:
    labels = [f"many-{number}" for number in range(500)]
    made = own.run(*(own.key(label) for label in labels))
    assert len({row["key_id"] for row in made["results"]}) == 500
    begin = time.monotonic()
    own.store.python("import json; print(json.dumps({}))")
    start = time.monotonic() - begin
    one_pass = own.store.python(_ONE_PASS, library=own.store.library, pin=own.pin)
    assert one_pass["objects"] == 1000
    begin = time.monotonic()
    again = own.run(*(own.key(label) for label in labels[:50]))
    taken = time.monotonic() - begin
    assert not again["changed"]
    # tests/benchmark/tokens.py measures it; a search for each of the 50 keys would take 50 passes.
    assert taken < 10 * one_pass["seconds"] + 5 * start + 1, (taken, one_pass, start)


_ONE_PASS = """
import json, sys, time, pkcs11
asked = json.load(sys.stdin)
session = pkcs11.lib(asked["library"]).get_token(token_label="ops").open(user_pin=asked["pin"])
begin = time.monotonic()
found = [one[pkcs11.Attribute.LABEL] for one in session.get_objects()]
print(json.dumps({"objects": len(found), "seconds": time.monotonic() - begin}))
"""
