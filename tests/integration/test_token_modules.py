# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules for tokens through ansible-playbook, as talkative as it can be: no PIN anywhere, no short PIN's holes."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from types import SimpleNamespace

import local_play
import token_host
import tokens

from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


def _named(task: dict, name: str) -> dict:
    return {**task, "register": name}


def test_a_play_makes_a_token_and_tells_nobody_its_pins(tmp_path: Path) -> None:
    store = tokens.softhsm(tmp_path / "hsm")
    # Four digits of hexadecimal stand in nearly every digest: masked as substrings they would leave holes.
    pins = {"pin": f"c{secrets.token_hex(2)[1:]}", "so_pin": secrets.token_hex(6)}
    (tmp_path / "plays").mkdir()
    controller = local_play.Controller(
        tmp_path / "plays", environment={**store.environment, "ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log")}
    )
    host = SimpleNamespace(name="host1", vault_path=tmp_path / "vault.db")
    make = local_play.task("hsm_token", tokens=[{"uri": store.uri("ops"), **pins}])
    look = local_play.task("hsm_info", tokens=[{"uri": store.uri("ops"), "pin": pins["pin"], "probe": True}])
    # A play sets the folder once for all of them.
    make["module_defaults"] = look["module_defaults"] = {
        "group/keyops.lifecycle.all": {"state_dir": str(tmp_path / "state")}
    }
    keep = {
        "name": "Keep what was returned",
        "ansible.builtin.copy": {
            "content": "{{ [made, again, looked] | to_json }}",
            "dest": str(tmp_path / "returned"),
            "mode": "0600",
        },
    }
    tasks = [_named(make, "made"), _named(make, "again"), _named(look, "looked"), keep]
    said = controller.run(host, tasks, "-vvvv", "--diff")
    made, again, looked = json.loads((tmp_path / "returned").read_text())
    assert (made["changed"], again["changed"]) == (True, False)
    assert made["results"][0]["serial"] == looked["results"][0]["tokens"][0]["serial"]
    assert {one["outcome"] for one in looked["results"][0]["tokens"][0]["probe"]} == {"holds"}
    assert "***" not in json.dumps([made, again, looked])
    returned = json.dumps([made, again, looked])
    for text in (said, (tmp_path / "ansible.log").read_text(), returned):
        assert pins["so_pin"] not in text
        assert not re.search(rf"(?<![0-9A-Za-z]){pins['pin']}(?![0-9A-Za-z])", text)
    assert '"so_pin": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"' in said


def test_a_pin_in_a_uri_is_refused_and_not_repeated(tmp_path: Path) -> None:
    store = tokens.softhsm(tmp_path / "hsm")
    (tmp_path / "plays").mkdir()
    controller = local_play.Controller(tmp_path / "plays", environment=store.environment)
    host = SimpleNamespace(name="host1", vault_path=tmp_path / "vault.db")
    pin = secrets.token_hex(8)
    wrong = local_play.task("hsm_info", tokens=[{"uri": f"{store.uri('ops')}&pin-value={pin}"}])
    play = controller.start(host, [wrong], "-vvvv")
    assert play.process.wait(timeout=120) != 0
    assert "pin-value is not used" in play.text()
    # What the user wrote stands in the user's own playbook, which -vvvv does not print.
    assert pin not in play.text()


def test_a_play_makes_keys_on_a_token_and_registers_those_that_sign(tmp_path: Path) -> None:
    own = token_host.softhsm(tmp_path)
    (tmp_path / "plays").mkdir()
    controller = local_play.Controller(tmp_path / "plays", environment=own.store.environment)
    host = SimpleNamespace(name="host1", vault_path=tmp_path / "vault.db")
    keys = [
        own.key("sign", usage="authentication"),
        own.key("agree", request={"subject": "CN=agree"}),
        {"key": str(tmp_path / "file.key"), "usage": "signature", "algorithm": "ed25519"},
    ]
    state = {"state_dir": str(own.state)}
    make = _named(local_play.task("private_key", keys=keys, **state), "made")
    requests = [
        {"key": own.uri("sign"), "pin": own.pin, "usage": "authentication", "subject": "CN=sign"},
        {"key": own.uri("agree"), "pin": own.pin, "require_receipt": False},
    ]
    requests = [{**item, "path": str(tmp_path / f"{number}.csr")} for number, item in enumerate(requests)]
    ask = _named(local_play.task("csr", keys=requests, **state), "asked")
    keep = {
        "name": "Keep what was returned",
        "ansible.builtin.copy": {
            "content": "{{ [made, again | default(none), asked | default(none)] | to_json }}",
            "dest": str(tmp_path / "returned"),
            "mode": "0600",
        },
    }
    controller.run(host, [make, {**keep, "check_mode": False}], "--check", "--diff")
    predicted = json.loads((tmp_path / "returned").read_text())[0]
    assert [row["action"] for row in predicted["results"]] == ["created"] * 3
    assert not own.seen()

    said = controller.run(host, [make, {**make, "register": "again"}, ask, keep], "-vvvv", "--diff")
    made, again, asked = json.loads((tmp_path / "returned").read_text())
    assert (made["changed"], again["changed"], asked["changed"]) == (True, False, True)
    assert own.pin not in said and own.pin not in json.dumps([made, again, asked])
    sign, agree, file = made["results"]
    with open_vault({"path": str(host.vault_path)}) as vault:
        ids = [row["key_id"] for row in (sign, agree, file)]
        assert set(signing_register.registered(vault, ids)) == {sign["key_id"], file["key_id"]}
        assert not event_log.verify(vault).problems

    gone = [{"key": item["key"], "state": "absent", "pin": own.pin} for item in keys[:2]]
    play = controller.start(host, [local_play.task("private_key", keys=gone, **state)])
    assert play.process.wait(timeout=120) != 0
    assert "is not archived" in play.text()
    assert set(own.seen()) == {"sign", "agree"}
