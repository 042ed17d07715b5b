# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on real tokens (SoftHSM2, NSS): archived, lost with their token, recovered into another one; and every refusal.

Each step on a host runs in a process of its own. What the recovered keys can do is asked of pkcs11-tool and openssl.
"""

from __future__ import annotations

import re

import pytest
import story
import token_scene
from token_scene import Host

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

RSA = {"algorithm": "rsa-2048", "usage": "key_transport", "label": "mail"}
EC = {"algorithm": "ec-p256", "usage": "key_agreement", "label": "notes"}


@pytest.fixture(name="scene", scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> story.Scene:
    folder = tmp_path_factory.mktemp("tokens")
    return story.Scene(folder, token_scene.agents(folder / "agents"))


@pytest.fixture(name="host", scope="module")
def _host(scene: story.Scene) -> Host:
    return Host(scene, "mail1", ("ops", "new", "spare"))


def _archive(scene: story.Scene, host: Host, *keys: dict, **more: object) -> dict:
    common = {"key_owner": host.machine.name, "recovery_groups": scene.groups()}
    return host.machine.run("key_archive", keys=list(keys), **{**common, **more})


def _ask(scene: story.Scene, host: Host, places: dict[str, dict]) -> str:
    wanted = [{"key_id": key_id, **place} for key_id, place in places.items()]
    about = {"key_owner": host.machine.name, "reason": "the token was lost", **scene.requester(host.machine)}
    return host.machine.run("recovery_request", keys=wanted, **about)["request_id"]


def _approve(scene: story.Scene, host: Host, request_id: str, **more: object) -> list[dict]:
    return [agent.approve(scene.vault_path, request_id, host.machine.name, **more) for agent in scene.agents[:2]]


def _recover(host: Host, request_id: str, places: dict[str, dict], **more: object) -> list[dict]:
    items = [{"key_id": key_id, **place} for key_id, place in places.items()]
    return host.machine.run("key_recovery", request_id=request_id, keys=items, **more)["results"]


def _records(scene: story.Scene, key_id: str) -> list[record.Record]:
    vault = open_vault({"backend": "sqlite", "path": str(scene.vault_path)}, False, make=False)
    try:
        return list(records.walk(vault, [key_id])[key_id])
    finally:
        vault.close()


@pytest.fixture(name="archived", scope="module")
def _archived(scene: story.Scene, host: Host) -> dict[str, bytes]:
    """An RSA key and an EC key, archived from the token ``ops``: label to DER public key."""
    public = dict(zip(("mail", "notes"), host.make(RSA, EC)))
    first = _archive(scene, host, host.key("mail"), host.key("notes"))
    assert [row["state"] for row in first["results"]] == ["archived", "archived"] and first["changed"]
    return public


def test_a_key_is_archived_once_and_the_record_says_how(scene, host, archived):
    again = _archive(scene, host, host.key("mail"), host.key("notes"))
    assert not again["changed"]
    for public_key in archived.values():
        (one,) = _records(scene, canonical.digest(public_key))
        assert one.wrapping == "aes-kwp" and one.place.startswith("pkcs11:token=ops;object=")
        assert all(agent.wrapping_certificate for agent in one.groups[0].agents)
    assert "pkcs11" not in host.pin and host.pin not in str(again)


def test_it_comes_back_in_another_token(scene, host, archived, tmp_path):
    text = b"what was encrypted before the token was lost"
    message = token_scene.encrypted(tmp_path, archived["mail"], text)
    ids = {label: canonical.digest(public_key) for label, public_key in archived.items()}
    places = {ids["mail"]: host.key(None, "new"), ids["notes"]: host.key("renamed", "new")}
    host.wipe("ops")
    host.add_token("ops")
    request_id = _ask(scene, host, places)
    assert _ask(scene, host, places) == request_id
    for row in [row for reply in _approve(scene, host, request_id) for row in reply["results"]]:
        assert row["target"] == places[row["key_id"]]["key"]
    assert all(row["changed"] for row in _recover(host, request_id, places, check_mode=True))
    assert "mail" not in host.objects("new")
    rows = _recover(host, request_id, places)
    assert [(row["changed"], row["group"], row["problems"]) for row in rows] == [(True, "office", [])] * 2
    # The old label where none was given, the new one where it was; no one-time key is left.
    listed = host.objects("new")
    assert "mail" in listed and "renamed" in listed and "keyops-request" not in listed
    assert token_scene.decrypted(host, message, archived["mail"], "new") == text
    assert token_scene.agreed(host, tmp_path, archived["notes"], "new")
    assert not any(row["changed"] for row in _recover(host, request_id, places))
    for kind, usage in (("RSA", "decrypt"), ("EC", "derive")):
        (private,) = re.findall(f"Private Key Object; {kind} *\n(?:  .*\n)*", listed)
        assert f"Usage:      {usage}\n" in private
        assert "Access:     sensitive\n" in private  # and not "extractable", nor "always sensitive"
    # It has a receipt, so archiving again finds nothing to do, although it never leaves this token.
    assert not _archive(scene, host, host.key("mail", "new"))["changed"]


def test_a_key_from_a_file_goes_into_a_token(scene, host, tmp_path):
    path = host.machine.folder / "file.key"
    made = host.machine.run("private_key", keys=[{"key": str(path), "usage": "key_transport", "algorithm": "rsa-2048"}])
    key_id = made["results"][0]["key_id"]
    _archive(scene, host, {"key": str(path)})
    public_key = story.openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
    message = token_scene.encrypted(tmp_path, public_key, b"for the file")
    path.unlink()
    nameless = {key_id: host.key(None, "spare")}
    places = {key_id: host.key("imported", "spare", extractable=True)}
    request_id = _ask(scene, host, {key_id: {name: places[key_id][name] for name in ("key", "pin")}})
    _approve(scene, host, request_id)
    # The agents have seen where it goes.
    for other in (nameless, {key_id: {"key": str(path)}}, {key_id: host.key("imported", "new")}):
        with pytest.raises((_errors.RequestMismatch, _errors.StateError)):
            _recover(host, request_id, other)
    assert _recover(host, request_id, places)[0]["usage"] == "key_transport"
    assert token_scene.decrypted(host, message, public_key, "spare") == b"for the file"
    assert "extractable" in host.objects("spare")
    # It can be archived from there: new groups make a new revision, of the token's kind.
    groups = [{**scene.groups()[0], "name": "another"}]
    assert _archive(scene, host, host.key("imported", "spare"), recovery_groups=groups)["changed"]
    assert [one.wrapping for one in _records(scene, key_id)] == ["", "aes-kwp"]


def test_a_key_from_a_token_goes_into_a_file_where_every_agent_allows_it(scene, host, archived):
    key_id = canonical.digest(archived["mail"])
    place = {key_id: {"key": str(host.machine.folder / "out.key")}}
    request_id = _ask(scene, host, place)
    with pytest.raises(_errors.FileNotAllowed):
        _approve(scene, host, request_id)
    first, second = scene.agents[:2]
    first.approve(scene.vault_path, request_id, "mail1", allow_file=True)
    with pytest.raises(_errors.QuorumNotReached):
        _recover(host, request_id, place)
    second.approve(scene.vault_path, request_id, "mail1", allow_file=True)
    assert _recover(host, request_id, place)[0]["changed"]
    assert story.openssl("pkey", "-in", place[key_id]["key"], "-pubout", "-outform", "DER") == archived["mail"]


def _refused(scene: story.Scene, host: Host, *keys: dict, **more: object) -> dict:
    answer = _archive(scene, host, *keys, **more)
    assert answer["failed"]
    return answer["results"][0]["refusal"]


def test_what_may_not_be_archived_is_refused_by_its_class(scene, host):
    host.make({"algorithm": "rsa-2048", "usage": "signature", "label": "signs", "extractable": False}, token="ops")
    host.make({**EC, "label": "stays", "extractable": False})
    host.make({"algorithm": "x25519", "usage": "key_agreement", "label": "curve"})
    assert _refused(scene, host, host.key("signs"))["class"] == "SigningAttributeRefused"
    assert _refused(scene, host, host.key("stays"))["class"] == "NotWrappable"
    curve = _refused(scene, host, host.key("curve"))
    assert curve["class"] == "NotWrappable" and "does not wrap the key 'curve'" in curve["message"]


def test_wrong_options_are_told(scene, host, archived):
    key = host.key("mail", "new")
    groups = scene.groups()
    lacking = [{**groups[0], "agents": [{**groups[0]["agents"][0]}, *groups[0]["agents"][1:]]}]
    del lacking[0]["agents"][0]["wrapping_certificate"]
    host.make({**EC, "label": "fresh"})
    with pytest.raises(_errors.RecoveryGroupError, match="'agent-1' lacks"):
        _archive(scene, host, host.key("fresh"), recovery_groups=lacking)
    same = [
        {
            **groups[0],
            "agents": [{**one, "wrapping_certificate": one["signing_certificate"]} for one in groups[0]["agents"]],
        }
    ]
    with pytest.raises(_errors.RecoveryGroupError):
        _archive(scene, host, host.key("fresh"), recovery_groups=same)
    for wrong, error in (
        ({**key, "pin": None}, _errors.OptionError),
        ({**key, "passphrase": "secret-passphrase"}, _errors.OptionError),
        ({**key, "pin": "wrong-pin"}, _errors.WrongPin),
        (host.key("nothing"), _errors.KeyNotFound),
    ):
        with pytest.raises(error) as told:
            _archive(scene, host, wrong)
        assert "wrong-pin" not in str(told.value) and "secret-passphrase" not in str(told.value)
