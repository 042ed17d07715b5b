# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""private_key_info on a SoftHSM token: facts, attributes as evidence, and what archiving would say."""

from __future__ import annotations

import hashlib
import subprocess

import pytest
import tokens

_MAKE = """
import json, sys
import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters
asked = json.load(sys.stdin)
(token,) = pkcs11.lib(asked["library"]).get_tokens(token_label="ops")
with token.open(rw=True, user_pin=asked["pin"]) as session:
    for number, (label, (kind, uses, more)) in enumerate(asked["kinds"].items(), 1):
        told = {getattr(Attribute, name): value for name, value in more.items()}
        flags = MechanismFlag(0)
        for use in uses:
            flags |= getattr(MechanismFlag, use)
        named = {"label": label, "id": bytes([number]), "store": True, "capabilities": flags}
        if kind == "rsa":
            session.generate_keypair(KeyType.RSA, 2048, **named, private_template=told)
            continue
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(kind)}
        session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(**named, private_template=told)
    for public in list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "lone"})):
        public.destroy()
    if asked["certificate"]:
        session.create_object({
            Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509,
            Attribute.TOKEN: True, Attribute.LABEL: "certified", Attribute.SUBJECT: b"0\\0",
            Attribute.VALUE: bytes.fromhex(asked["certificate"]),
        })
print("{}")
"""

FIXED = {"MODIFIABLE": False, "SIGN_RECOVER": False}
KINDS = {
    "mail": ("rsa", ["DECRYPT"], FIXED),
    "talk": ("secp256r1", ["DERIVE"], FIXED),
    "login": ("secp384r1", ["SIGN"], FIXED),
    "dual": ("rsa", ["SIGN", "DECRYPT"], FIXED),
    "recovers": ("rsa", ["DECRYPT"], {**FIXED, "SIGN_RECOVER": True}),
    "loose": ("rsa", ["DECRYPT"], {**FIXED, "MODIFIABLE": True}),
    "certified": ("rsa", ["DECRYPT"], FIXED),
    "lone": ("secp256r1", ["DERIVE"], FIXED),
}


def public_key(store, label):
    """SubjectPublicKeyInfo in DER, exported by another tool."""
    uri = f"pkcs11:token=ops;object={label};type=public"
    exported = store.run(["p11tool", "--provider", store.library, "--export", uri]).stdout
    command = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    return subprocess.run(command, input=exported.encode(), capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = tokens.softhsm(tmp_path_factory.mktemp("info") / "hsm")
    store.pins = tokens.new_pins()
    made = ["softhsm2-util", "--init-token", "--free", "--label", "ops", "--so-pin", store.pins["so_pin"]]
    assert store.run([*made, "--pin", store.pins["pin"]]).returncode == 0
    asked = {"library": store.library, "pin": store.pins["pin"]}
    store.python(_MAKE, **asked, kinds=KINDS, certificate="")
    # A CA certifies the key "certified" for signatures: somebody uses it for what its attributes do not allow.
    (store.folder / "pub.pem").write_bytes(public_key(store, "certified"))
    ca = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-noenc",
        "-subj",
        "/CN=ca",
    ]
    ca += ["-keyout", store.folder / "ca.key", "-out", store.folder / "ca.pem"]
    subprocess.run(ca, check=True, capture_output=True)
    (store.folder / "extensions").write_text("keyUsage=critical,digitalSignature\n")
    issue = ["openssl", "x509", "-new", "-subj", "/CN=certified", "-force_pubkey", store.folder / "pub.pem"]
    issue += ["-CA", store.folder / "ca.pem", "-CAkey", store.folder / "ca.key", "-outform", "DER"]
    issue += ["-extfile", store.folder / "extensions"]
    certificate = subprocess.run(issue, check=True, capture_output=True).stdout
    store.python(_MAKE, **asked, kinds={}, certificate=certificate.hex())
    return store


def info(store, *labels, pin="right", searched=(), **more):
    pin = store.pins["pin"] if pin == "right" else pin
    plain = {"passphrase": None, "usage": None, "certificates": []}
    items = [{**plain, "key": store.uri("ops", object=label), "pin": pin, **more} for label in labels]
    params = {"keys": items, "search": None, "tokens": list(searched), "authorized_keys": []}
    return store.call("inspect", **params, state_dir=str(store.folder / "state"))


def rows(store, *labels, **more):
    return dict(zip(labels, info(store, *labels, **more)["results"]))


def test_facts_and_verdicts(store):
    found = rows(store, *KINDS)
    verdicts = {label: (row["usage"], (row["refusal"] or {}).get("class")) for label, row in found.items()}
    assert verdicts == {
        "mail": ("key_transport", None),
        "talk": ("key_agreement", None),
        "login": ("signature", "SigningAttributeRefused"),
        "dual": ("signature", "SigningAttributeRefused"),
        "recovers": ("signature", "SigningAttributeRefused"),
        "loose": (None, "UnknownUsageRefused"),
        "certified": ("key_transport", "SigningCertificateRefused"),
        "lone": (None, None),
    }
    assert [label for label, row in found.items() if row["archivable"]] == ["mail", "talk"]
    assert found["lone"]["error"]["class"] == "KeyUnreadable" and found["lone"]["exists"]
    mail = found["mail"]
    assert mail["key_id"] == hashlib.sha256(public_key(store, "mail")).hexdigest()
    assert (mail["algorithm"], mail["container"], mail["mode"]) == ("rsa-2048", "token", None)
    assert mail["token"]["object"] == "mail" and mail["token"]["id"] == "01"
    assert mail["token"]["attributes"]["decrypt"] and not mail["token"]["attributes"]["sign"]
    assert store.pins["pin"] not in str(found)


@pytest.mark.parametrize("usage", ["key_transport", "key_agreement"])
def test_no_declaration_makes_a_signing_key_archivable(store, usage):
    found = rows(store, "login", "dual", "recovers", usage=usage)
    assert {row["refusal"]["class"] for row in found.values()} == {"SigningAttributeRefused"}


def test_a_loose_key_needs_more_than_its_attributes(store):
    assert rows(store, "loose", usage="key_transport")["loose"]["refusal"]["class"] == "DeclaredUsageOnlyRefused"


def test_the_whole_token_is_discovered(store):
    token = {"uri": store.uri("ops"), "pin": store.pins["pin"]}
    # The PIN may stand in one place; what was named is not found once more.
    answer = info(store, "mail", pin=None, searched=[token])
    assert [row["found"] for row in answer["results"]] == [False] + [True] * (len(KINDS) - 1)
    assert {row["token"]["object"] for row in answer["results"]} == set(KINDS)
    # The reference of a found key names it.
    (talk,) = [row for row in answer["results"] if row["token"]["object"] == "talk"]
    plain = {"passphrase": None, "usage": None, "certificates": [], "pin": store.pins["pin"]}
    again = store.call(
        "inspect",
        keys=[{**plain, "key": talk["key"]}],
        search=None,
        tokens=[],
        authorized_keys=[],
        state_dir=str(store.folder / "state"),
    )
    assert talk["key_id"]
    assert again["results"][0]["key_id"] == talk["key_id"]


def test_what_stands_in_the_way_is_told_per_key(store):
    found = rows(store, "nobody", "mail")
    assert not found["nobody"]["exists"] and found["nobody"]["error"] is None
    assert found["mail"]["exists"]
    hidden = rows(store, "mail", pin=None)["mail"]
    assert hidden["error"]["class"] == "KeyUnreadable" and "give pin" in hidden["error"]["message"]
    gone = store.call(
        "inspect",
        keys=[],
        search=None,
        authorized_keys=[],
        tokens=[{"uri": store.uri("gone"), "pin": "none-there"}],
        state_dir=str(store.folder / "state"),
    )
    assert gone["results"] == [] and "no token fits" in gone["extra"]["not_looked_at"][0]


def test_a_wrong_pin_ends_the_task(store):
    refused = info(store, "mail", "talk", pin="wrong-one")
    assert refused["error_class"] == "WrongPin" and "wrong-one" not in refused["msg"]


def test_a_passphrase_is_not_a_pin(store):
    assert info(store, "mail", passphrase="a passphrase")["error_class"] == "OptionError"
