# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hsm_info tells, on SoftHSM and on NSS's softokn; keys made by pkcs11-tool, judged by openssl."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import tokens

from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys

PROMISES = {
    "signing_key_does_not_decrypt",
    "decryption_key_does_not_sign",
    "signing_key_does_not_agree",
    "agreement_key_does_not_sign",
    "usage_cannot_be_changed",
    "copies_keep_usage",
    "copies_stay_inside",
    "sensitive_is_not_read",
    "unextractable_is_not_wrapped",
    "wrap_with_trusted",
}


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    store = tokens.softhsm(tmp_path_factory.mktemp("soft") / "hsm")
    store.pins = tokens.new_pins()
    command = ["softhsm2-util", "--init-token", "--free", "--label", "ops", "--so-pin", store.pins["so_pin"]]
    assert store.run([*command, "--pin", store.pins["pin"]]).returncode == 0
    return store


@pytest.fixture(scope="module")
def nss(tmp_path_factory):
    return tokens.nss(tmp_path_factory.mktemp("nss") / "db")


def look(store, uri=None, pin=None, probe=False):
    item = {"uri": uri or store.uri("ops"), "pin": pin, "probe": probe}
    return store.call("hsm_info", tokens=[item], state_dir=str(store.folder / "state"))


def outcomes(answer):
    return {one["name"]: one["outcome"] for one in answer["results"][0]["tokens"][0]["probe"]}


def tool(store, *arguments):
    done = store.run(["pkcs11-tool", "--module", store.library, "--token-label", "ops", *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_softhsm_keeps_every_promise(soft):
    answer = look(soft, pin=soft.pins["pin"], probe=True)
    assert outcomes(answer) == dict.fromkeys(PROMISES, "holds")
    assert not answer["changed"]
    assert soft.pins["pin"] not in str(answer)
    # Nothing is left.
    assert "Object" not in tool(soft, "--login", "--pin", soft.pins["pin"], "--list-objects")


def test_nss_breaks_what_it_is_known_to_break(nss):
    uri = nss.uri("NSS%20Certificate%20DB")
    found = outcomes(look(nss, uri, nss.pins["pin"], probe=True))
    broken = {name for name, outcome in found.items() if outcome == "fails"}
    assert set(found) == PROMISES
    assert broken == {
        "signing_key_does_not_agree",
        "copies_keep_usage",
        "copies_stay_inside",
        "unextractable_is_not_wrapped",
        "wrap_with_trusted",
    }
    assert set(found.values()) == {"holds", "fails"}


def test_tells_of_every_token_without_a_login(soft, nss):
    (one,) = look(soft, soft.uri())["results"]
    assert [token["label"] for token in one["tokens"]] == ["ops", ""]
    assert [token["initialized"] for token in one["tokens"]] == [True, False]
    assert "RSA_PKCS_OAEP" in one["tokens"][0]["mechanisms"]
    (other,) = look(nss, nss.uri())["results"]
    assert "NSS Certificate DB" in [token["label"] for token in other["tokens"]]


@pytest.mark.parametrize("kind", ["rsa:2048", "EC:secp256r1", "EC:secp384r1", "EC:secp521r1"])
def test_tells_the_key_id_that_openssl_tells(soft, kind):
    pin, name = ["--login", "--pin", soft.pins["pin"]], kind.replace(":", "-")
    object_id = hashlib.sha256(kind.encode()).hexdigest()[:8]
    usage = "--usage-decrypt" if kind.startswith("rsa") else "--usage-derive"
    tool(soft, *pin, "--keypairgen", "--key-type", kind, "--label", name, "--id", object_id, usage)
    # pkcs11-tool 0.23 does not export public keys on P-384.
    uri = f"pkcs11:token=ops;object={name};type=public"
    exported = soft.run(["p11tool", "--provider", soft.library, "--export", uri]).stdout
    spki = soft.run(["openssl", "pkey", "-pubin", "-outform", "PEM"], exported).stdout
    expected = hashlib.sha256(_der(spki)).hexdigest()
    seen = look(soft, pin=soft.pins["pin"])["results"][0]["tokens"][0]["objects"]
    private = [one for one in seen if one["kind"] == "private_key" and one["label"] == name]
    assert [one["key_id"] for one in private] == [expected]
    assert private[0]["id"] == object_id
    assert private[0]["attributes"]["sensitive"] and not private[0]["attributes"]["extractable"]
    # Without a login the private half is not seen.
    public = look(soft)["results"][0]["tokens"][0]["objects"]
    assert {one["kind"] for one in public} == {"public_key"}


def _der(pem):
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


@pytest.mark.parametrize(
    ("uri", "given", "said"),
    [
        ("pkcs11:token=ops", {}, "name the PKCS#11 library"),
        ("pkcs11:token=other?module-path=LIBRARY", {}, "no token fits"),
        ("pkcs11:token=ops;object=a?module-path=LIBRARY", {}, "name the token only"),
        ("pkcs11:token=ops?module-path=LIBRARY", {"probe": True}, "needs the user PIN"),
        ("pkcs11:?module-path=LIBRARY", {"pin": "secret-1"}, "it is for one token"),
        ("pkcs11:token=ops?module-path=LIBRARY&pin-source=file:/nowhere", {}, "/nowhere"),
        ("pkcs11:token=ops?module-path=LIBRARY", {"pin": "secret-1"}, "tried once"),
    ],
)
def test_refuses(soft, uri, given, said):
    refused = look(soft, uri.replace("LIBRARY", soft.library), **given)
    assert said in refused["msg"]
    assert "secret-1" not in refused["msg"]


def test_nss_without_its_parameters_is_told(nss):
    nameless = tokens.Store(nss.folder, nss.library, {})
    refused = look(nameless, nameless.uri())
    assert refused["error_class"] == "TokenLibraryError"
    assert "environment variables" in refused["msg"]


@pytest.mark.parametrize("flow", ["hsm_info", "inspect"])
def test_who_logs_in_waits_for_the_lock_of_the_library(soft, tmp_path, flow):
    """Or runs side by side would each try a PIN before any of them sees that the others' were wrong."""
    state = str(tmp_path / "state")
    item = {"uri": soft.uri("ops"), "pin": soft.pins["pin"], "probe": False}
    more = {} if flow == "hsm_info" else {"keys": [], "search": None, "authorized_keys": []}
    with ThreadPoolExecutor() as runs:
        with keys.locked(state, soft.library):
            public = runs.submit(soft.call, flow, tokens=[{**item, "pin": None}], state_dir=state, **more)
            secret = runs.submit(soft.call, flow, tokens=[item], state_dir=state, **more)
            checked = runs.submit(soft.call, flow, True, tokens=[item], state_dir=state, **more)
            assert "error_class" not in public.result()
            assert not wait([secret, checked], timeout=1).done
        assert "error_class" not in secret.result() and "error_class" not in checked.result()
    elsewhere = tmp_path / "elsewhere"
    assert "error_class" not in soft.call(flow, True, tokens=[item], state_dir=str(elsewhere), **more)
    assert not elsewhere.exists()
