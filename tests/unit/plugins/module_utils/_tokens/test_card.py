# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on a SoftHSM token, used like key objects: openssl encrypts to them, cryptography verifies what they sign.

SoftHSM does RSA-OAEP with SHA-1 only, so what is sealed with SHA-256 goes the way of the bare RSA operation.
"""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
import tokens
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

_USE = """
import base64, json, sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
base = "ansible_collections.keyops.lifecycle.plugins.module_utils."
import importlib
errors = importlib.import_module(base + "_errors")
card, uri = (importlib.import_module(base + "_tokens." + name) for name in ("card", "uri"))
dsse = importlib.import_module(base + "_formats.dsse")
asked = json.load(sys.stdin)
decode, encode = base64.b64decode, lambda data: base64.b64encode(data).decode()
told = {}
try:
    wanted = [card.Asked(name, uri.parse(text), pin) for name, text, pin in asked["keys"]]
    with card.opened(wanted) as keys:
        for (name, dummy, dummy), key in zip(asked["keys"], keys):
            what = asked["what"]
            if what == "public":
                form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                told[name] = key.public_key().public_bytes(*form).decode()
            elif what == "decrypt":
                used = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[asked["hash"]]
                form = padding.OAEP(padding.MGF1(used), used, None)
                told[name] = encode(key.decrypt(decode(asked["message"]), form))
            elif what == "exchange":
                peer = serialization.load_pem_public_key(asked["peer"].encode())
                told[name] = encode(key.exchange(ec.ECDH(), peer))
            else:
                told[name] = dsse.sign(b"a statement", "application/x", key).decode()
except (errors.KeyopsError, ValueError) as error:
    told = {"error": type(error).__name__, "msg": str(error)}
print(json.dumps(told))
"""

_MAKE = """
import json, sys
import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11.util.ec import encode_named_curve_parameters
asked = json.load(sys.stdin)
(token,) = pkcs11.lib(asked["library"]).get_tokens(token_label="card")
with token.open(rw=True, user_pin=asked["pin"]) as session:
    for number, (label, (kind, use)) in enumerate(asked["kinds"].items(), 1):
        named = {"label": label, "id": bytes([number]), "store": True, "capabilities": getattr(MechanismFlag, use)}
        if kind == "rsa":
            session.generate_keypair(KeyType.RSA, 2048, **named)
            continue
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(kind)}
        session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(**named)
print("{}")
"""

KINDS = {
    "open": ("rsa", "DECRYPT"),
    "agree": ("secp256r1", "DERIVE"),
    "agree-521": ("secp521r1", "DERIVE"),
    "sign-rsa": ("rsa", "SIGN"),
    "sign-ec": ("secp384r1", "SIGN"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = tokens.softhsm(tmp_path_factory.mktemp("card") / "hsm")
    store.pins = tokens.new_pins()
    made = ["softhsm2-util", "--init-token", "--free", "--label", "card", "--so-pin", store.pins["so_pin"]]
    assert store.run([*made, "--pin", store.pins["pin"]]).returncode == 0
    store.python(_MAKE, library=store.library, pin=store.pins["pin"], kinds=KINDS)
    return store


def use(store, what, *labels, pin=None, **more):
    keys = [[label, store.uri("card", object=label), pin or store.pins["pin"]] for label in labels]
    return store.python(_USE, keys=keys, what=what, **more)


def public_key(store, label):
    return serialization.load_pem_public_key(use(store, "public", label)[label].encode())


@pytest.mark.parametrize("name", ["sha256", "sha1"])
def test_opens_what_openssl_encrypted(store, name, tmp_path):
    (tmp_path / "pub.pem").write_text(use(store, "public", "open")["open"])
    options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{name}", f"rsa_mgf1_md:{name}"]
    command = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", tmp_path / "pub.pem"]
    command += [word for option in options for word in ("-pkeyopt", option)]
    message = subprocess.run(command, input=b"a content key", capture_output=True, check=True).stdout
    told = use(store, "decrypt", "open", hash=name, message=base64.b64encode(message).decode())
    assert base64.b64decode(told["open"]) == b"a content key"
    # Another hash, an altered message, a message of another size: all look alike.
    other = {"sha1": "sha256", "sha256": "sha1"}[name]
    altered = bytes([message[0] ^ 1]) + message[1:]
    for hashed, data in ((other, message), (name, altered), (name, message[:-1])):
        told = use(store, "decrypt", "open", hash=hashed, message=base64.b64encode(data).decode())
        assert told["error"] == "ValueError"


@pytest.mark.parametrize(("label", "curve"), [("agree", ec.SECP256R1), ("agree-521", ec.SECP521R1)])
def test_agrees_on_the_secret_that_the_other_side_has(store, label, curve):
    peer = ec.generate_private_key(curve())
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    told = use(store, "exchange", label, peer=peer.public_key().public_bytes(*form).decode())
    assert base64.b64decode(told[label]) == peer.exchange(ec.ECDH(), public_key(store, label))


def test_signs_statements_that_verify(store):

    told = use(store, "sign", "sign-rsa", "sign-ec")
    message = b"DSSEv1 13 application/x 11 a statement"
    signatures = {name: base64.b64decode(json.loads(text)["signatures"][0]["sig"]) for name, text in told.items()}
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public_key(store, "sign-rsa").verify(signatures["sign-rsa"], message, pss, hashes.SHA256())
    public_key(store, "sign-ec").verify(signatures["sign-ec"], message, ec.ECDSA(hashes.SHA384()))


@pytest.mark.parametrize(
    ("what", "label", "more"),
    [
        ("sign", "open", {}),
        ("sign", "agree", {}),
        ("decrypt", "sign-rsa", {"hash": "sha256", "message": base64.b64encode(bytes(256)).decode()}),
    ],
)
def test_the_token_refuses_another_use(store, what, label, more):
    told = use(store, what, label, **more)
    assert told["error"] == "TokenError"
    assert "KEY_FUNCTION_NOT_PERMITTED" in told["msg"]


@pytest.mark.parametrize(
    ("text", "pin", "error"),
    [
        ("pkcs11:token=card;object=nobody?module-path=LIBRARY", "right", "KeyNotFound"),
        ("pkcs11:token=card;object=open;id=%09?module-path=LIBRARY", "right", "KeyNotFound"),
        ("pkcs11:token=gone;object=open?module-path=LIBRARY", "right", "TokenMissing"),
        ("pkcs11:token=card;object=open?module-path=LIBRARY", "wrong-one", "WrongPin"),
        ("pkcs11:token=card;object=open?module-path=LIBRARY", None, "OptionError"),
        ("pkcs11:token=card;object=open?module-path=LIBRARY&pin-source=file:/pin", "right", "OptionError"),
    ],
)
def test_what_is_wrong_is_told_with_the_option(store, text, pin, error):
    pin = store.pins["pin"] if pin == "right" else pin
    told = store.python(_USE, keys=[["signing_key", text.replace("LIBRARY", store.library), pin]], what="public")
    assert told["error"] == error
    assert told["msg"].startswith("signing_key: ")
    assert str(pin) not in told["msg"]


def test_one_login_for_both_keys_and_one_pin(store):
    keys = [[label, store.uri("card", object=label), store.pins["pin"]] for label in ("open", "sign-ec")]
    assert set(store.python(_USE, keys=keys, what="public")) == {"open", "sign-ec"}
    keys[1][2] = "another1"
    assert store.python(_USE, keys=keys, what="public")["error"] == "OptionError"
