# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""openCryptoki with its daemon and a TPM 2.0 (swtpm) as tokens: made, looked at, probed, keys on them, pulled away.

What they cannot do is refused with its own error; docs/token-opencryptoki.md and docs/token-tpm2.md say the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokens
from token_host import TokenHost

DEFAULTS = {**dict.fromkeys(("pin", "so_pin", "old_pin", "old_so_pin", "destroy_objects")), "reinitialize": False}


def make(store: tokens.Store, **given: object) -> dict:
    item = {**DEFAULTS, "uri": store.uri("ops"), **store.pins, **given}
    return store.call("hsm_token", tokens=[item], state_dir=str(store.folder / "state"))


def look(store: tokens.Store, **given: object) -> dict:
    item = {"uri": store.uri("ops"), "pin": None, "probe": False, **given}
    return store.call("hsm_info", tokens=[item], state_dir=str(store.folder / "state"))


def found_out(store: tokens.Store) -> dict[str, str]:
    (result,) = look(store, pin=store.pins["pin"], probe=True)["results"]
    return {one["name"]: one["outcome"] for one in result["tokens"][0]["probe"]}


@pytest.fixture(scope="module")
def opencryptoki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tokens.Store]:
    with tokens.opencryptoki(tmp_path_factory.mktemp("ock") / "hsm") as store:
        store.pins = tokens.new_pins()
        refused = make(store)
        assert refused["error_class"] == "WrongPin" and "give that one as old_so_pin" in refused["msg"]
        store.pins["old_so_pin"] = "87654321"
        assert make(store)["results"][0]["action"] == "initialized"
        yield store


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tokens.Store]:
    with tokens.tpm(Path(tmp_path_factory.mktemp("tpm")) / "hsm") as store:
        store.pins = tokens.new_pins()
        assert make(store)["results"][0]["action"] == "initialized"
        yield store


@pytest.mark.parametrize("name", ["opencryptoki", "tpm"])
def test_a_token_is_made_once_and_found(name: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(name)
    assert make(store)["results"][0]["action"] == "kept"
    (result,) = look(store)["results"]
    assert result["tokens"][0]["label"] == "ops" and result["tokens"][0]["initialized"]
    listed = store.run(["pkcs11-tool", "--module", store.library, "--list-token-slots"])
    assert "ops" in listed.stdout, listed.stderr


def test_what_opencryptoki_enforces(opencryptoki: tokens.Store) -> None:
    assert found_out(opencryptoki) == {
        "signing_key_does_not_decrypt": "holds",
        "decryption_key_does_not_sign": "holds",
        "signing_key_does_not_agree": "unknown",  # no elliptic curves
        "agreement_key_does_not_sign": "unknown",
        "usage_cannot_be_changed": "holds",
        "copies_keep_usage": "fails",
        "copies_stay_inside": "holds",
        "sensitive_is_not_read": "holds",
        "unextractable_is_not_wrapped": "holds",
        "wrap_with_trusted": "unknown",  # it does not know the attribute
    }


def test_a_tpm_tells_nothing_of_session_keys_and_says_so(tpm: tokens.Store) -> None:
    assert set(found_out(tpm).values()) == {"unknown"}


def test_a_pin_of_another_length_is_told(opencryptoki: tokens.Store) -> None:
    refused = make(opencryptoki, pin="123456789012", old_pin=opencryptoki.pins["pin"])
    assert refused["error_class"] == "WrongPin" or "length" in refused["msg"]
    assert "123456789012" not in refused["msg"]


def test_no_number_of_runs_locks_a_token_that_counts(opencryptoki: tokens.Store) -> None:
    """openCryptoki locks after three wrong PINs, and a task that changes a PIN has two to try."""
    for number in range(4):
        refused = make(opencryptoki, pin=f"999{number}", old_pin=f"888{number}")
        assert refused["error_class"] == "WrongPin", refused
    assert "not tried" in refused["msg"]
    login = ["pkcs11-tool", "--module", opencryptoki.library, "--token-label", "ops", "--login", "--list-objects"]
    opencryptoki.run([*login, "--pin", opencryptoki.pins["pin"]])  # what the message says
    assert make(opencryptoki)["results"][0]["action"] == "kept"


def test_the_security_officer_sets_a_locked_pin_anew(opencryptoki: tokens.Store) -> None:
    login = ["pkcs11-tool", "--module", opencryptoki.library, "--token-label", "ops", "--login", "--list-objects"]
    for dummy in range(4):
        opencryptoki.run([*login, "--pin", "00000000"])
    assert "USER_PIN_LOCKED" in look(opencryptoki)["results"][0]["tokens"][0]["flags"]
    refused = make(opencryptoki, so_pin=None, old_so_pin=None)
    assert refused["error_class"] == "WrongPin" and "security officer" in refused["msg"]
    assert make(opencryptoki)["results"][0]["action"] == "pin_set"
    assert make(opencryptoki)["results"][0]["action"] == "kept"


SIGNING = {"usage": "signature", "algorithm": "rsa-2048"}
OPENING = {"usage": "key_transport", "algorithm": "rsa-2048"}


def said(answer: dict) -> tuple[str, str]:
    """Error class and message, or the action."""
    if "error_class" in answer:
        return answer["error_class"], answer["msg"]
    (row,) = answer["results"]
    return row["action"], ""


def test_keys_on_opencryptoki(opencryptoki: tokens.Store, tmp_path: Path) -> None:
    host = TokenHost(opencryptoki, "ops", tmp_path / "state")
    refused = said(host.run(host.key("sign", **SIGNING)))
    assert refused[0] == "UnsafeTokenRefused" and "copies_keep_usage" in refused[1]
    request = {"subject": "CN=mail"}
    signs = host.key("sign", **SIGNING, accept_findings=["copies_keep_usage"])
    opens = host.key("mail", **OPENING, request=request)
    made = host.run(signs, opens)
    assert [row["action"] for row in made["results"]] == ["created", "created"]
    assert [row["action"] for row in host.run(signs, opens)["results"]] == ["kept", "kept"]
    assert set(host.seen()) == {"sign", "mail"}

    # The requests are judged by openssl; the nonsigning key made its own when it was generated.
    host.archived(made["results"][1])
    asked = [
        {"key": host.uri(name), "pin": host.pin, "path": str(tmp_path / f"{name}.csr")} for name in ("sign", "mail")
    ]
    done = host.csr({**asked[0], "usage": "signature", "subject": "CN=sign"}, {**asked[1], "subject": "CN=mail"})
    assert [row["changed"] for row in done["results"]] == [True, True]
    for item in asked:
        command = ["openssl", "req", "-verify", "-noout", "-in", item["path"]]
        assert "verify OK" in subprocess.run(command, capture_output=True, text=True, check=True).stderr
    # The token itself refuses to sign with it.
    tried = host.tool(
        "--sign", "--id", made["results"][1]["object_id"], "--mechanism", "RSA-PKCS", "--input-file", __file__
    )
    assert tried.returncode != 0 and "CKR_KEY_FUNCTION_NOT_PERMITTED" in tried.stderr

    plain = {"passphrase": None, "usage": None, "certificates": [], "pin": host.pin}
    found = opencryptoki.call(
        "inspect",
        keys=[{**plain, "key": host.uri(name)} for name in ("sign", "mail")],
        search=None,
        tokens=[],
        authorized_keys=[],
        state_dir=str(host.state),
    )
    assert [row["usage"] for row in found["results"]] == ["signature", "key_transport"]
    assert [row["archivable"] for row in found["results"]] == [False, True]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, "AlgorithmError", "makes no keys of the type ec-p256"),
        ({"algorithm": "x25519"}, "AlgorithmError", "makes no keys of the type x25519"),
        ({**SIGNING, "algorithm": "ed25519"}, "AlgorithmError", "makes no keys of the type ed25519"),
        # It wraps, and cannot prove to the agents what it wrapped.
        ({**OPENING, "archive": "required"}, "NotWrappable", "makes no AES-CMAC"),
    ],
)
def test_what_opencryptoki_cannot_do(
    given: dict, error: str, text: str, opencryptoki: tokens.Store, tmp_path: Path
) -> None:
    host = TokenHost(opencryptoki, "ops", tmp_path / "state")
    refused = said(host.run(host.key("never", **given)))
    assert refused[0] == error and text in refused[1]
    assert "never" not in host.seen()


@pytest.mark.parametrize("given", [SIGNING, OPENING, {}, {"algorithm": "x25519"}, {**SIGNING, "algorithm": "ec-p256"}])
def test_a_tpm_makes_no_key_for_one_use_only(given: dict, tpm: tokens.Store, tmp_path: Path) -> None:
    host = TokenHost(tpm, "ops", tmp_path / "state")
    refused = said(host.run(host.key("never", **given)))
    assert refused[0] == "AlgorithmError" and "choose another, or a token" in refused[1]
    assert not host.seen()


def test_a_key_that_another_tool_made_on_a_tpm_may_sign(tpm: tokens.Store, tmp_path: Path) -> None:
    host = TokenHost(tpm, "ops", tmp_path / "state")
    made = host.tool("--keypairgen", "--key-type", "rsa:2048", "--label", "foreign", "--id", "0a0b")
    assert made.returncode == 0, made.stderr
    searched = [{"uri": tpm.uri("ops"), "pin": host.pin}]
    found = tpm.call(
        "inspect", keys=[], search=None, tokens=searched, authorized_keys=[], state_dir=str(tmp_path / "state")
    )
    (row,) = found["results"]
    assert row["token"]["object"] == "foreign" and row["algorithm"] == "rsa-2048"
    assert row["refusal"]["class"] == "SigningAttributeRefused"


#: An agent's approval that has opened its card, and signs when a line comes.
_SIGN_LATER = """
import importlib, json, sys
base = "ansible_collections.keyops.lifecycle.plugins.module_utils."
errors = importlib.import_module(base + "_errors")
card, uri = (importlib.import_module(base + "_tokens." + name) for name in ("card", "uri"))
dsse = importlib.import_module(base + "_formats.dsse")
asked = json.loads(sys.stdin.readline())
try:
    with card.opened([card.Asked("signing_key", uri.parse(asked["uri"]), asked["pin"])]) as (key,):
        dsse.sign(b"before", "application/x", key)
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps({"signed": bool(dsse.sign(b"after", "application/x", key))}))
except errors.KeyopsError as error:
    print(json.dumps({"error_class": type(error).__name__, "msg": str(error)}))
"""


def signs_while_it_is_pulled_away(store: tokens.Store, label: str) -> dict:
    environment = {**os.environ, **store.environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*store.prefix, sys.executable, "-c", _SIGN_LATER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as child:
        assert child.stdin and child.stdout
        child.stdin.write(json.dumps({"uri": store.uri("ops", object=label), "pin": store.pins["pin"]}) + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n", child.communicate(timeout=60)
        store.stop()
        answer, problem = child.communicate("go on\n", timeout=60)
    assert child.returncode == 0, problem
    told: dict = json.loads(answer)
    return told


@pytest.mark.parametrize(("name", "label"), [("opencryptoki", "sign"), ("tpm", "foreign")])
def test_a_token_that_is_pulled_away_is_one_clear_error(name: str, label: str, request: pytest.FixtureRequest) -> None:
    """The last test of each store: its service ends while a key is in use."""
    store = request.getfixturevalue(name)
    answer = signs_while_it_is_pulled_away(store, label)
    # openCryptoki's library has all that it needs once it is open; a chip that is gone does nothing more.
    assert answer == {"signed": True} if name == "opencryptoki" else answer["error_class"] == "TokenError"
    if name == "tpm":
        assert "signing with the key 'foreign'" in answer["msg"] and "still there" in answer["msg"]
    for answer in (look(store), make(store)):
        assert answer["error_class"] == "TokenLibraryError"
        assert "does not start" in answer["msg"] and "services that it needs" in answer["msg"]


def test_a_library_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    store = tokens.Store(tmp_path, str(tmp_path / "libgone.so"), {}, tokens.new_pins())
    for answer in (look(store), make(store)):
        assert answer["error_class"] == "TokenLibraryError"
        assert "there is no PKCS#11 library" in answer["msg"]
