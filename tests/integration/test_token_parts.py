# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private keys of which SoftHSM was killed over the numbers: it crashes when it works with one, so nothing does.

Without a look at them every flow here ended with SoftHSM's segmentation fault. What is on the token afterwards is asked
of ``pkcs11-tool``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import softhsm_object
import story
import token_host
import token_scene
from token_host import TokenHost

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

AGREES = ("mail", "ec-p256", "key_agreement")
KEYS = (AGREES, ("letters", "rsa-2048", "key_transport"), ("login", "ec-p384", "authentication"))
LABELS = [key[0] for key in KEYS]


def take_numbers(folder: Path) -> int:
    """Make all private keys below the folder unfinished; returns how many there were."""
    return sum(softhsm_object.take_numbers(path) for path in folder.glob("tokens/*/*.object") if path.stem != "token")


@pytest.fixture
def host(tmp_path: Path) -> TokenHost:
    made = token_host.softhsm(tmp_path)
    rows = made.run(*wishes(made))["results"]
    assert [row["action"] for row in rows] == ["created"] * 3
    assert take_numbers(tmp_path / "hsm") == 3
    return made


def wishes(host: TokenHost) -> list[dict]:
    return [host.key(label, algorithm=algorithm, usage=usage) for label, algorithm, usage in KEYS]


def test_who_looks_is_told_and_nobody_works_with_one(host: TokenHost) -> None:
    options = {"state_dir": str(host.state), "search": None, "authorized_keys": []}
    named = [{"key": host.uri(label), "pin": host.pin} for label in LABELS]
    told = host.store.call("inspect", keys=named, tokens=[], **options)["results"]
    assert {row["error"]["class"] for row in told} == {"KeyUnreadable"}
    assert "has only a part of the private key 'mail'" in told[0]["error"]["message"]
    assert not any(row["archivable"] for row in told)
    token = {"uri": host.store.uri("ops"), "pin": host.pin}
    discovered = host.store.call("inspect", keys=[], tokens=[token], **options)["results"]
    assert [row["error"]["class"] for row in discovered] == ["KeyUnreadable"] * 3

    asked = {"key": host.uri("login"), "pin": host.pin, "path": "/nowhere", "usage": "authentication"}
    assert host.csr(asked)["error_class"] == "KeyUnreadable"
    # What is on a card signs and opens for agents and requesters.
    assert host.store.python(_USED, uri=host.uri("login"), pin=host.pin)["told"].startswith(
        "signing_key: the token has"
    )


_USED = """
import json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import card, uri
asked = json.load(sys.stdin)
try:
    with card.opened([card.Asked("signing_key", uri.parse(asked["uri"]), asked["pin"])]):
        told = ""
except KeyUnreadable as error:
    told = str(error)
print(json.dumps({"told": told}))
"""


def test_private_key_removes_its_own_and_makes_the_keys(host: TokenHost) -> None:
    ids = {label: halves["Private"] for label, halves in host.seen().items()}
    predicted = host.run(*wishes(host), check=True)
    assert [row["action"] for row in predicted["results"]] == ["created"] * 3
    assert {label: halves["Private"] for label, halves in host.seen().items()} == ids, "check mode removed one"

    done = host.run(*wishes(host)[:2])
    assert [row["action"] for row in done["results"]] == ["created"] * 2
    assert len(done["warnings"]) == 2 and "only a part of the private key 'letters'" in "".join(done["warnings"])
    seen = host.seen()
    assert all(seen[label]["Private"] == seen[label]["Public"] != ids[label] for label in LABELS[:2])
    assert seen["login"]["Private"] == ids["login"], "it is not of this task"

    gone = {"key": host.uri("login"), "pin": host.pin, "state": "absent"}
    assert host.run(gone)["warnings"] and "login" not in host.seen()
    assert not host.run(*wishes(host)[:2])["changed"]


def test_key_recovery_removes_its_own_and_recovers_the_key(tmp_path: Path) -> None:
    """From an archive of a file as well as of a token; and somebody else's stays."""
    folder = tmp_path / "story"
    folder.mkdir()
    scene = story.Scene(folder, token_scene.agents(tmp_path / "agents"))
    host = token_scene.Host(scene, "mail1", ("ops", "new"))
    mail = host.make({"algorithm": "ec-p256", "usage": "key_agreement", "label": "mail"})[0]
    letters = host.make({"algorithm": "rsa-2048", "usage": "key_transport", "label": "letters"})[0]
    groups = {"key_owner": "mail1", "recovery_groups": scene.groups()}
    host.machine.run("key_archive", keys=[host.key("mail"), host.key("letters")], **groups)

    def recover() -> dict:
        items = [{"key_id": canonical.digest(one), **host.key(None, "new")} for one in (mail, letters)]
        about = {"key_owner": "mail1", "reason": "the token was lost", **scene.requester(host.machine)}
        request_id = host.machine.run("recovery_request", keys=items, **about)["request_id"]
        for agent in scene.agents[:2]:
            agent.approve(scene.vault_path, request_id, "mail1")
        return dict(host.machine.run("key_recovery", request_id=request_id, keys=items))

    assert not recover()["warnings"]
    assert take_numbers(host.machine.folder / "hsm") == 4  # on both tokens
    # Nobody asks for those on ops: they stay as they are.
    again = recover()
    assert again["changed"] and len(again["warnings"]) == 2, again
    assert all("only a part of the key" in one for one in again["warnings"])
    listed = host.objects("new")
    assert listed.count("Private Key Object") == listed.count("Public Key Object") == 2
    assert token_scene.agreed(host, tmp_path, mail, "new")
    letter = token_scene.encrypted(tmp_path, letters, b"dear all")
    assert token_scene.decrypted(host, letter, letters, "new") == b"dear all"
    assert not recover()["changed"]
