# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""openCryptoki with its daemon and a TPM 2.0 (swtpm) as tokens: made, looked at, probed, and pulled away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tokens

DEFAULTS = {**dict.fromkeys(("pin", "so_pin", "old_pin", "old_so_pin", "destroy_objects")), "reinitialize": False}


def make(store: tokens.Store, **given: object) -> dict:
    item = {**DEFAULTS, "uri": store.uri("ops"), **store.pins, **given}
    return store.call("hsm_token", tokens=[item], state_dir=str(store.folder / "state"))


def look(store: tokens.Store, **given: object) -> dict:
    return store.call("hsm_info", tokens=[{"uri": store.uri("ops"), "pin": None, "probe": False, **given}])


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


@pytest.mark.parametrize("name", ["opencryptoki", "tpm"])
def test_a_token_that_is_pulled_away_is_one_clear_error(name: str, request: pytest.FixtureRequest) -> None:
    """The last test of each store: its service ends."""
    store = request.getfixturevalue(name)
    store.stop()
    for answer in (look(store), make(store)):
        assert answer["error_class"] == "TokenLibraryError"
        assert "does not start" in answer["msg"] and "services that it needs" in answer["msg"]


def test_a_library_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    store = tokens.Store(tmp_path, str(tmp_path / "libgone.so"), {}, tokens.new_pins())
    for answer in (look(store), make(store)):
        assert answer["error_class"] == "TokenLibraryError"
        assert "there is no PKCS#11 library" in answer["msg"]
