# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that are wrong in every way, each with a secret in it: none of their messages may repeat it."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from typing import Any

from leak_hunt import key_numbers
from leak_hunt.world import World, passphrase

_PEM = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n"


def _key(**options: object) -> dict:
    return {"key": "/etc/keyops/none.key", "usage": "signature", "algorithm": "ec-p256", **options}


def _cases(secret: dict[str, Any], key_id: str) -> dict[str, tuple[str, dict]]:
    """Name to module and options; ``secret`` gives each its own."""
    requester = {"signing_key": "/etc/keyops/login.key", "signing_certificate": "/etc/keyops/signature.pem"}
    request = {"keys": [{"key_id": key_id}], "key_owner": "host2", "reason": "none", **requester}
    opened = {"signing_key_passphrase": "{{ leak_passphrases.login }}"}
    wrong = {"key": "/etc/keyops/x448.key", "usage": "key_agreement", "algorithm": "x448"}
    agent = {"request_id": "0" * 64, "expected_owner": "x", "agent": "x", "encryption_key": "/x", "signing_key": "/x"}
    return {
        "a dictionary": ("private_key", {"keys": [_key(passphrase={"a": secret["a dictionary"]})]}),
        "a list": ("private_key", {"keys": [_key(passphrase=[secret["a list"]])]}),
        "a number": ("private_key", {"keys": [_key(passphrase=secret["a number"])]}),
        "mistyped": ("private_key", {"keys": [_key(passphrse=secret["mistyped"])]}),
        "one level up": ("private_key", {"keys": [_key()], "passphrase": secret["one level up"]}),
        "key=value": ("private_key", {"keys": [f"key=/a passphrase={secret['key=value']}"]}),
        "JSON": ("private_key", {"keys": json.dumps([_key(passphrase=secret["JSON"])])}),
        "no list": ("private_key", {"keys": secret["no list"]}),
        "bad choice": ("private_key", {"keys": [_key(algorithm="rsa-1", passphrase=secret["bad choice"])]}),
        "PIN": ("private_key", {"keys": [_key(key=f"pkcs11:token=a?pin-value={secret['PIN']}")]}),
        "key as path": ("private_key_info", {"keys": [{"key": _PEM.format(secret["key as path"])}]}),
        "key as certificate": (
            "recovery_request",
            {**request, **opened, "signing_certificate": _PEM.format(secret["key as certificate"])},
        ),
        "wrong one": ("private_key", {"keys": [{**wrong, "passphrase": secret["wrong one"]}]}),
        "wrong requester": ("recovery_request", {**request, "signing_key_passphrase": secret["wrong requester"]}),
        "no folder": ("private_key", {"keys": [_key(key="/none/a.key", passphrase=secret["no folder"])]}),
        "not my machine": ("recovery_approval", {**agent, "signing_key_passphrase": secret["not my machine"]}),
        "vault as text": ("key_archive_info", {"vault": f"backend=none path={secret['vault as text']}"}),
    }


def play(world: World) -> list[str]:
    """Run them all; returns their names, which the tasks have."""
    file = world.base / "bad.yml"
    names = list(_cases(defaultdict(str), ""))
    chosen: dict[str, Any] = {name: passphrase() for name in names}
    chosen["a number"] = secrets.randbelow(10**12) + 10**12
    for name, value in chosen.items():
        world.add_passphrase(f"bad input, {name}", str(value), file)
    archived = (world.fleet.root("host2") / "etc/keyops/short4.key").read_bytes()
    key_id = key_numbers.key_id(key_numbers.load(archived, None))
    tasks, variables = [], {}
    for number, (name, (module, options)) in enumerate(_cases(chosen, key_id).items()):
        variables[f"bad_{number}"] = options
        values = {option: f"{{{{ bad_{number}['{option}'] }}}}" for option in options}
        if module in ("private_key", "recovery_request", "recovery_approval"):
            values.setdefault("vault", "{{ keyops_vault }}")
        tasks.append({"name": f"Bad: {name}", f"keyops.lifecycle.{module}": values, "ignore_errors": True})
    tasks += _roles(world, variables)
    world.write("bad.yml", variables)
    world.write("cwd/bad.play.yml", [{"name": "Bad input", "hosts": "host2", "gather_facts": False, "tasks": tasks}])
    world.play(world.base / "cwd/bad.play.yml", "-e", f"@{file}", debug=True)
    return [f"Bad: {name}" for name in names]


def _roles(world: World, variables: dict) -> list[dict]:
    """The same for the roles' variables."""
    tasks = []
    for number, name in enumerate(("role text", "role mistyped", "role undefined")):
        text = world.new_passphrase(f"bad input, {name}", world.base / "bad.yml")
        variables[f"bad_role_{number}"] = [
            [f"key=/a passphrase={text}"],
            [_key(passphrse=text)],
            [_key(passphrase=text, algorithm="{{ not_defined_anywhere }}")],
        ][number]
        include = {"name": "keyops.lifecycle.provision"}
        role = {
            "name": name,
            "ansible.builtin.include_role": include,
            "vars": {"keyops_keys": f"{{{{ bad_role_{number} }}}}"},
        }
        tasks.append(
            {"name": f"Try {name}", "block": [role], "rescue": [{"name": "Go on", "ansible.builtin.meta": "noop"}]}
        )
    return tasks
