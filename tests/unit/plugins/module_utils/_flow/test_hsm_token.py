# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making tokens and setting PINs, on SoftHSM; judged by pkcs11-tool."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
import tokens

DEFAULTS = {
    **dict.fromkeys(("pin", "so_pin", "old_pin", "old_so_pin", "destroy_objects")),
    "reinitialize": False,
}


@pytest.fixture
def store(tmp_path):
    return tokens.softhsm(tmp_path / "hsm")


@pytest.fixture
def pins():
    return tokens.new_pins()


def make(store, *, check=False, token="ops", uri=None, **given):
    item = {**DEFAULTS, "uri": uri or store.uri(token), **given}
    return store.call("hsm_token", check, tokens=[item], state_dir=str(store.folder / "state"))


def tool(store, *arguments):
    return store.run(["pkcs11-tool", "--module", store.library, *arguments])


def login(store, pin, who="user"):
    if who == "user":
        return tool(store, "--token-label", "ops", "--login", "--pin", pin, "--list-objects").returncode == 0
    # The tool has nothing that only logs a security officer in; the new PIN is the one that it has.
    officer = ["--login", "--login-type", "so", "--so-pin", pin]
    return tool(store, "--token-label", "ops", *officer, "--change-pin", "--new-pin", pin).returncode == 0


def generate(store, pin):
    done = tool(store, "--token-label", "ops", "--login", "--pin", pin, "--keypairgen", "--key-type", "EC:secp256r1")
    assert done.returncode == 0, done.stderr


def serial(store):
    (one,) = make(store)["results"]
    return one["serial"]


def test_makes_a_token_once(store, pins):
    made = make(store, **pins)
    assert made["changed"] and made["results"][0]["action"] == "initialized"
    assert made["results"][0]["label"] == "ops"
    assert made["diff"][0]["before"]["initialized"] is False
    assert login(store, pins["pin"]) and login(store, pins["so_pin"], "so")
    again = make(store, **pins)
    assert not again["changed"] and again["results"][0]["action"] == "kept"
    assert again["results"][0]["serial"] == made["results"][0]["serial"]
    assert tool(store, "--list-slots").stdout.count("token label") == 1
    assert not any(pin in str([made, again]) for pin in pins.values())


def test_several_new_tokens_in_one_task_are_several_tokens(store, pins):
    labels = ["ops", "mail", "new"]
    items = [{**DEFAULTS, "uri": store.uri(label), **pins} for label in labels]
    made = store.call("hsm_token", tokens=items, state_dir=str(store.folder / "state"))
    assert [row["action"] for row in made["results"]] == ["initialized"] * 3
    assert len({row["serial"] for row in made["results"]}) == 3
    seen = [line for line in tool(store, "--list-slots").stdout.splitlines() if "token label" in line]
    assert sorted(line.split(":")[1].strip() for line in seen) == sorted(labels)
    again = store.call("hsm_token", tokens=items, state_dir=str(store.folder / "state"))
    assert not again["changed"]


def test_check_mode_makes_nothing(store, pins):
    predicted = make(store, check=True, **pins)
    assert predicted["changed"] and predicted["results"][0]["action"] == "initialized"
    assert "token label" not in tool(store, "--list-slots").stdout
    assert not (store.folder / "state").exists()
    make(store, **pins)
    assert not make(store, check=True, **pins)["changed"]


def test_changes_both_pins(store, pins):
    make(store, **pins)
    new = tokens.new_pins()
    changed = make(store, **new, old_pin=pins["pin"], old_so_pin=pins["so_pin"])
    assert changed["changed"] and changed["results"][0]["action"] == "pin_changed"
    assert login(store, new["pin"]) and login(store, new["so_pin"], "so")
    assert not login(store, pins["pin"])
    assert not make(store, **new, old_pin=pins["pin"], old_so_pin=pins["so_pin"])["changed"]


def test_a_wrong_pin_is_an_error_that_tells_of_the_tries(store, pins):
    make(store, **pins)
    wrong = make(store, pin="wrong-pin")
    assert wrong["error_class"] == "WrongPin"
    assert "tried once" in wrong["msg"] and "some tries are left" in wrong["msg"]
    assert "wrong-pin" not in wrong["msg"]
    assert login(store, pins["pin"])


def test_a_killed_run_is_finished_by_the_next(store, pins):
    """Between C_InitToken and C_InitPIN there is a token without a user PIN."""
    done = tool(store, "--slot-index", "0", "--init-token", "--label", "ops", "--so-pin", pins["so_pin"])
    assert done.returncode == 0, done.stderr
    healed = make(store, **pins)
    assert healed["results"][0]["action"] == "pin_set"
    assert login(store, pins["pin"])


def test_a_token_with_objects_is_wiped_only_when_told_twice(store, pins):
    make(store, **pins)
    generate(store, pins["pin"])
    number = serial(store)
    refused = make(store, **pins, reinitialize=True)
    assert refused["error_class"] == "TokenNotEmpty"
    assert "holds 2 objects" in refused["msg"] and number in refused["msg"]
    unseen = make(store, so_pin=pins["so_pin"], reinitialize=True)
    assert unseen["error_class"] == "TokenNotEmpty"
    other = make(store, **pins, reinitialize=True, destroy_objects="0123456789abcdef")
    assert other["error_class"] == "OptionError"
    assert serial(store) == number
    wiped = make(store, **pins, reinitialize=True, destroy_objects=number)
    assert wiped["results"][0]["action"] == "initialized"
    assert "Private Key Object" not in tool(store, "--login", "--pin", pins["pin"], "--list-objects").stdout


def test_an_empty_token_is_made_again_when_told_once(store, pins):
    make(store, **pins)
    again = make(store, **pins, reinitialize=True)
    assert again["changed"] and again["results"][0]["action"] == "initialized"
    assert login(store, pins["pin"])


def test_wiping_needs_the_security_officer(store, pins):
    make(store, **pins)
    number = serial(store)
    refused = make(store, pin=pins["pin"], so_pin="not-the-pin", reinitialize=True)
    assert refused["error_class"] == "WrongPin" and "so_pin" in refused["msg"]
    assert serial(store) == number


def test_processes_at_once_make_one_token(store, pins):
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _number: make(store, **pins), range(6)))
    assert sorted(one["results"][0]["action"] for one in made) == ["initialized"] + ["kept"] * 5
    assert tool(store, "--list-slots").stdout.count("token label") == 1


def test_the_pin_may_come_from_a_file(store, pins, tmp_path):
    file = tmp_path / "pin"
    file.write_text(pins["pin"] + "\n")
    file.chmod(0o600)
    uri = f"{store.uri('ops')}&pin-source=file:{file}"
    assert make(store, uri=uri, so_pin=pins["so_pin"])["changed"]
    assert login(store, pins["pin"])
    file.chmod(0o644)
    assert "others can read" in make(store, uri=uri)["msg"]


@pytest.mark.parametrize(
    ("uri", "given", "said"),
    [
        ("pkcs11:token=ops", {}, "name the token and its PKCS#11 library"),
        ("pkcs11:?module-path=LIBRARY", {}, "name the token and its PKCS#11 library"),
        ("pkcs11:token=ops;object=a?module-path=LIBRARY", {}, "nothing else names a token"),
        ("pkcs11:token=ops?module-path=LIBRARY&pin-value=secret-1", {}, "pin-value is not used"),
        ("pkcs11:token=ops?module-path=/nowhere.so", {}, "there is no PKCS#11 library"),
        ("pkcs11:token=ops?module-path=/etc/passwd", {}, "/etc/passwd is no PKCS#11 library"),
        (f"pkcs11:token={'x' * 33}?module-path=LIBRARY", {}, "at most 32 bytes"),
        ("pkcs11:token=ops?module-path=LIBRARY", {}, "so_pin: is needed"),
        ("pkcs11:token=ops?module-path=LIBRARY", {"so_pin": "secret-1"}, "pin: is needed"),
        ("pkcs11:token=ops?module-path=LIBRARY", {"so_pin": "secret-1", "pin": "secret-1"}, "the same as so_pin"),
        ("pkcs11:token=ops?module-path=LIBRARY", {"destroy_objects": "x"}, "without reinitialize"),
        ("pkcs11:token=ops;serial=77?module-path=LIBRARY", {"so_pin": "secret-1", "pin": "2222"}, "none to initialise"),
    ],
)
def test_refuses(store, uri, given, said):
    refused = make(store, uri=uri.replace("LIBRARY", store.library), **given)
    assert said in refused["msg"]
    assert "secret-1" not in refused["msg"]
    assert "token label" not in tool(store, "--list-slots").stdout


def test_names_a_token_once(store, pins):
    item = {**DEFAULTS, "uri": store.uri("ops"), **pins}
    refused = store.call("hsm_token", tokens=[item, item], state_dir=str(store.folder / "state"))
    assert refused["error_class"] == "OptionError"


def test_two_tokens_of_one_name_are_told_apart_by_serial_number(store, pins):
    for _number in range(2):
        command = ["softhsm2-util", "--init-token", "--free", "--label", "ops", "--so-pin", secrets.token_hex(4)]
        assert store.run([*command, "--pin", pins["pin"]]).returncode == 0
    ambiguous = make(store, pin=pins["pin"])
    assert ambiguous["error_class"] == "TokenAmbiguous"
    number = ambiguous["msg"].rsplit(" ", 1)[1]
    (one,) = make(store, uri=store.uri("ops", serial=number), pin=pins["pin"])["results"]
    assert (one["serial"], one["action"]) == (number, "kept")
