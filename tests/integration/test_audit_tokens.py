# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit of tokens: keys on a real token stand in the inventory, and a token that breaks its promises is found."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import local_play
import tokens


def test_keys_on_tokens_and_a_token_that_does_not_enforce(tmp_path: Path) -> None:
    sound, unsound = tokens.softhsm(tmp_path / "softhsm"), tokens.nss(tmp_path / "nss")
    pins = tokens.new_pins()
    for name in ("plays", "keys"):
        (tmp_path / name).mkdir()
    environment = {**sound.environment, **unsound.environment}
    controller = local_play.Controller(tmp_path / "plays", environment=environment)
    host = SimpleNamespace(name="host1", vault_path=tmp_path / "vault.db")
    state = str(tmp_path / "state")
    key = {"key": sound.uri("ops", object="sign"), "pin": pins["pin"], "usage": "signature", "algorithm": "ec-p256"}
    audited = [
        {"uri": sound.uri("ops"), "pin": pins["pin"], "probe": True},
        {"uri": unsound.uri("NSS%20Certificate%20DB"), "pin": unsound.pins["pin"], "probe": True},
    ]
    audit = {
        "ansible.builtin.include_role": {"name": "keyops.lifecycle.audit"},
        "vars": {
            **{
                "keyops_audit_tokens": audited,
                "keyops_audit_paths": [str(tmp_path / "keys")],
                "keyops_state_dir": state,
            },
            **{"keyops_audit_dir": str(tmp_path / "audit"), "keyops_audit_fail_at": "never"},
        },
    }
    make = local_play.task("hsm_token", tokens=[{"uri": sound.uri("ops"), **pins}], state_dir=state)
    said = controller.run(host, [make, local_play.task("private_key", keys=[key], state_dir=state), audit])
    outcome = json.loads((tmp_path / "audit" / "audit.json").read_text())
    (row,) = outcome["keys"]
    assert (row["protection"], row["usage"], row["algorithm"]) == ("token", "signature", "ec-p256")
    assert row["place"].startswith("pkcs11:") and "object=sign" in row["place"]
    assert {finding["id"] for finding in outcome["findings"]} == {"KL025"}, outcome["findings"]
    assert {finding["place"] for finding in outcome["findings"]} == {"pkcs11:token=NSS Certificate DB"}
    for pin in (*pins.values(), *unsound.pins.values()):
        assert pin not in said and pin not in json.dumps(outcome)
