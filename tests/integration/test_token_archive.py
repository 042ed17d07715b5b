# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on real tokens (SoftHSM2, NSS): archived, lost with their token, recovered into another one; and every refusal.

Each step on a host runs in a process of its own. What the recovered keys can do is asked of pkcs11-tool and openssl.
"""

from __future__ import annotations

import json
import os
import re
import sys

import local_play
import process_memory
import pytest
import story
import token_scene
from cryptography.hazmat.primitives.asymmetric import rsa
from token_scene import Host

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import possession
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

_SEAL = """
import json, sys
asked = json.loads(sys.stdin.readline())
from ansible_collections.keyops.lifecycle.plugins.module_utils import _module
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import archive_anywhere
planted = bytes.fromhex(asked["planted"])
done = archive_anywhere.run(_module.HostTask(*asked["task"]))
print(json.dumps(done.relay), flush=True)
sys.stdin.readline()
"""
#: One RSA key as two private keys: one that signs, and one that only decrypts. The second may have a certificate.
_TWINS = """
import base64, json, sys
import pkcs11
from pkcs11 import Attribute as A, CertificateType, KeyType, ObjectClass
from cryptography.hazmat.primitives import serialization
asked = json.load(sys.stdin)
key = serialization.load_pem_private_key(asked["key"].encode(), None)
own, public = key.private_numbers(), key.public_key().public_numbers()
data = lambda number: number.to_bytes((number.bit_length() + 7) // 8, "big")
numbers = {A.MODULUS: data(public.n), A.PUBLIC_EXPONENT: data(public.e)}
secret = {
    A.PRIVATE_EXPONENT: data(own.d), A.PRIME_1: data(own.p), A.PRIME_2: data(own.q),
    A.EXPONENT_1: data(own.dmp1), A.EXPONENT_2: data(own.dmq1), A.COEFFICIENT: data(own.iqmp),
}
token = pkcs11.lib(asked["library"]).get_token(token_label=asked["token"])
with token.open(rw=True, user_pin=asked["pin"]) as session:
    for label, signs in asked["labels"].items():
        named = {A.LABEL: label, A.ID: label.encode(), A.TOKEN: True, A.KEY_TYPE: KeyType.RSA, **numbers}
        session.create_object({**named, A.CLASS: ObjectClass.PUBLIC_KEY})
        session.create_object({
            **named, **secret, A.CLASS: ObjectClass.PRIVATE_KEY, A.PRIVATE: True, A.SENSITIVE: True,
            A.EXTRACTABLE: not signs, A.MODIFIABLE: False, A.SIGN: signs, A.SIGN_RECOVER: False,
            A.DECRYPT: not signs, A.UNWRAP: False, A.DERIVE: False,
        })
    if asked["certificate"]:
        session.create_object({
            A.CLASS: ObjectClass.CERTIFICATE, A.CERTIFICATE_TYPE: CertificateType.X_509, A.TOKEN: True,
            A.LABEL: "elsewhere", A.ID: b"other", A.SUBJECT: b"0\\0", A.VALUE: base64.b64decode(asked["certificate"]),
        })
print("{}")
"""

RSA = {"algorithm": "rsa-2048", "usage": "key_transport", "label": "mail"}
LABELS = ("mail", "notes", "ec-p384", "ec-p521")
EC = {"algorithm": "ec-p256", "usage": "key_agreement", "label": "notes"}


@pytest.fixture(name="scene", scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> story.Scene:
    folder = tmp_path_factory.mktemp("tokens")
    return story.Scene(folder, token_scene.agents(folder / "agents"))


@pytest.fixture(name="host", scope="module")
def _host(scene: story.Scene) -> Host:
    return Host(scene, "mail1", ("ops", "new", "spare", "played"))


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
    """An RSA key and EC keys, archived from the token ``ops``: label to DER public key."""
    more = [{**EC, "algorithm": algorithm, "label": algorithm} for algorithm in ("ec-p384", "ec-p521")]
    public = dict(zip(LABELS, host.make(RSA, EC, *more)))
    first = _archive(scene, host, *(host.key(label) for label in LABELS))
    assert {row["state"] for row in first["results"]} == {"archived"} and first["changed"]
    return public


def test_a_key_is_archived_once_and_the_record_says_how(scene, host, archived):
    again = _archive(scene, host, *(host.key(label) for label in LABELS))
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
    places = {key_id: host.key(None, "new") for key_id in ids.values()}
    places[ids["notes"]] = host.key("renamed", "new")
    host.wipe("ops")
    host.add_token("ops")
    # A false newest revision, sound in everything but that it holds another key.
    token_scene.archive_as_another_token(scene, "aes-kwp", "mail1", instead_of=archived["notes"])
    request_id = _ask(scene, host, places)
    assert _ask(scene, host, places) == request_id
    for row in [row for reply in _approve(scene, host, request_id) for row in reply["results"]]:
        assert row["target"] == places[row["key_id"]]["key"]
    assert all(row["changed"] for row in _recover(host, request_id, places, check_mode=True))
    assert "mail" not in host.objects("new")
    rows = _recover(host, request_id, places)
    assert {(row["changed"], row["group"], row["record"]) for row in rows} == {(True, "office", 1)}
    told = {row["key_id"]: row["problems"] for row in rows}
    assert "does not answer a challenge" in told.pop(ids["notes"])[0] and not any(told.values())
    # The old label where none was given, the new one where it was; no one-time key is left.
    listed = host.objects("new")
    assert "mail" in listed and "renamed" in listed and "keyops-request" not in listed
    assert token_scene.decrypted(host, message, archived["mail"], "new") == text
    for label, curve in (("notes", "P-256"), ("ec-p384", "P-384"), ("ec-p521", "P-521")):
        assert token_scene.agreed(host, tmp_path, archived[label], "new", curve)
    assert not any(row["changed"] for row in _recover(host, request_id, places))
    for kind, usage in (("RSA", "decrypt"), ("EC", "derive")):
        for private in re.findall(f"Private Key Object; {kind} *\n(?:  .*\n)*", listed):
            assert f"Usage:      {usage}\n" in private
            assert "Access:     sensitive\n" in private  # and not "extractable", nor "always sensitive"
    # It has a receipt, so archiving again finds nothing to do, although it never leaves this token.
    assert not _archive(scene, host, host.key("mail", "new"))["changed"]


def test_a_restored_key_that_stays_inside_is_refused_alone_when_the_groups_change(scene, host, archived):
    """Its own row, and no alarm: nothing shows that it signs. The other keys of the task are archived."""
    path = str(host.machine.folder / "beside.key")
    host.machine.run("private_key", keys=[{"key": path, "usage": "key_transport", "algorithm": "rsa-2048"}])
    mail, beside = host.key("mail", "new"), {"key": path}
    changed = {"recovery_groups": [{**scene.groups()[0], "name": "successors"}]}
    for check_mode in (True, False):
        told = _archive(scene, host, mail, beside, **changed, on_refusal="skip", check_mode=check_mode)
        assert [row["state"] for row in told["results"]] == ["refused", "archived"]
        assert told["results"][0]["refusal"]["class"] == "RestoredNotWrappable"
    assert "extractable: true" in told["results"][0]["refusal"]["message"]
    failed = _archive(scene, host, mail, **changed)
    assert failed["error_class"] == "RestoredNotWrappable" and failed["msg"].count("pkcs11:") == 1
    # Another host, or one that has lost its state: the vault has an archive, and that is no evidence of signing.
    lost = _archive(scene, host, mail, state_dir=str(host.machine.folder / "another"))
    assert lost["error_class"] == "NotWrappable" and lost["msg"].count("pkcs11:") == 1
    assert "ALARM" not in lost["msg"] and "holds an archive" in lost["msg"]
    with open_vault({"backend": "sqlite", "path": str(scene.vault_path)}, False, make=False) as vault:
        outcomes = [event.outcome for event in event_log.verify(vault).events if event.action == "archive"]
    assert outcomes[-3:] == ["success", "refused", "refused"] and "alarm" not in outcomes


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
    # A killed run leaves a public half at most, and an open request with its one-time key: the next one mends both.
    host.tool("--delete-object", "--type", "privkey", "--id", key_id[:40], token="spare")
    request_id = _ask(scene, host, {key_id: {name: places[key_id][name] for name in ("key", "pin")}})
    _approve(scene, host, request_id)
    assert _recover(host, request_id, places)[0]["changed"]
    assert host.objects("spare").count("label:      imported") == 2 and "keyops-request" not in host.objects("spare")
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


def test_nss_gives_keys_out_and_takes_none_in(scene, host):
    """What NSS's token can do, and its refusals in words."""
    nss = Host(scene, "nss1", (), nss=True)
    token = "NSS Certificate DB"
    made = [nss.make(one, token=token)[0] for one in (RSA, EC)]
    ids = [canonical.digest(one) for one in made]
    answer = _archive(scene, nss, nss.key("mail", token), nss.key("notes", token))
    assert [row["state"] for row in answer["results"]] == ["archived", "archived"]
    assert [_records(scene, key_id)[0].wrapping for key_id in ids] == ["aes-kw-pkcs7", "aes-kw-pkcs7"]
    assert not _archive(scene, nss, nss.key("mail", token))["changed"]
    # Back into a file, where the agents allow it.
    places = {key_id: {"key": str(nss.machine.folder / f"{key_id}.key")} for key_id in ids}
    request_id = _ask(scene, nss, places)
    _approve(scene, nss, request_id, allow_file=True)
    assert all(row["changed"] for row in _recover(nss, request_id, places))
    for key_id, one in zip(ids, made):
        assert story.openssl("pkey", "-in", places[key_id]["key"], "-pubout", "-outform", "DER") == one
    # Into NSS: it sets SIGN on what it unwraps, whatever it is told. Nothing of the key is left there.
    place = {ids[0]: nss.key("back", token)}
    assert nss.remove("mail", token) == 2
    request_id = _ask(scene, nss, place)
    _approve(scene, nss, request_id)
    with pytest.raises(_errors.TokenMisbehaved, match="SIGN is true"):
        _recover(nss, request_id, place)
    assert nss.remove("back", token) == 0
    # Into SoftHSM: it does not know how NSS wraps.
    host.machine.name, before = nss.machine.name, host.machine.name
    try:
        place = {ids[1]: host.key("from-nss", "spare")}
        request_id = _ask(scene, host, place)
        _approve(scene, host, request_id)
        with pytest.raises(_errors.OpenError, match="wrapped with aes-kw-pkcs7, does not unwrap in the token"):
            _recover(host, request_id, place)
    finally:
        host.machine.name = before
    assert "from-nss" not in host.objects("spare")


def _refused(scene: story.Scene, host: Host, *keys: dict, **more: object) -> dict:
    answer = _archive(scene, host, *keys, **more)
    assert answer["failed"]
    return answer["results"][0]["refusal"]


def test_what_may_not_be_archived_is_refused_by_its_class(scene, host):
    host.make({"algorithm": "rsa-2048", "usage": "signature", "label": "signs", "extractable": False}, token="ops")
    host.make({**EC, "label": "stays", "extractable": False})
    host.make({"algorithm": "x25519", "usage": "key_agreement", "label": "curve"})
    hidden = canonical.digest(host.make({**EC, "usage": "signature", "label": "hidden", "extractable": False})[0])[:40]
    host.tool("--delete-object", "--type", "pubkey", "--id", hidden)
    host.make({**EC, "label": "beside"})
    told = _archive(scene, host, host.key("beside"))
    assert told["changed"] and any("'hidden'" in one and "may sign" in one for one in told["warnings"])
    assert _refused(scene, host, host.key("signs"))["class"] == "SigningAttributeRefused"
    assert _refused(scene, host, host.key("stays"))["class"] == "NotWrappable"
    curve = _refused(scene, host, host.key("curve"))
    assert curve["class"] == "NotWrappable" and "does not wrap the key 'curve'" in curve["message"]


@pytest.mark.parametrize(
    ("certified", "labels", "refusal"),
    [
        (False, {"signer-1": True, "twin-1": False}, "SigningAttributeRefused"),
        (True, {"twin-2": False}, "SigningCertificateRefused"),
        (True, {"signer-3": True, "twin-3": False}, "SigningAttributeRefused"),
    ],
)
def test_a_key_that_signs_as_another_object_of_its_token_is_refused(scene, host, tmp_path, certified, labels, refusal):
    """Whatever its own object says: another private key with the same public half signs, or a certificate does."""
    key, certificate, label = tmp_path / "twin.key", b"", list(labels)[-1]
    story.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    if certified:
        options = ("-subj", "/CN=twin", "-days", "9", "-addext", "keyUsage=critical,digitalSignature,keyCertSign")
        certificate = story.openssl("req", "-x509", "-new", "-key", key, "-outform", "DER", *options)
    about = {"library": host.store.library, "token": "ops", "pin": host.pin, "labels": labels}
    host.store.python(_TWINS, key=key.read_text(), certificate=canonical.encode(certificate), **about)
    assert _refused(scene, host, host.key(label, usage="key_transport"))["class"] == refusal
    key_id = canonical.digest(story.openssl("pkey", "-in", key, "-pubout", "-outform", "DER"))
    assert not _records(scene, key_id)
    looking = {"keys": [], "tokens": [{"uri": host.store.uri("ops"), "pin": host.pin}], "authorized_keys": []}
    looking = {**looking, "search": None, "state_dir": str(host.machine.folder / "state")}
    told = [row for row in host.store.call("inspect", **looking)["results"] if row["key_id"] == key_id]
    assert len(told) == len(labels) and not any(row["archivable"] for row in told)
    assert {row["refusal"]["class"] for row in told} == {refusal}


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


def _numbers(host: Host, label: str) -> dict[str, bytes]:
    """The private numbers of a key in the token, each as its bytes stand in memory and the other way round."""
    key = token_scene.taken_out(host, label)
    private = key.private_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        named = {name: getattr(private, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
    else:
        named = {"scalar": private.private_value}
    found = {}
    for name, number in named.items():
        written = number.to_bytes((number.bit_length() + 7) // 8, "big").lstrip(b"\0")
        found[f"{label} {name}"], found[f"{label} {name} reversed"] = written, written[::-1]
    return found


def test_the_private_numbers_are_not_in_the_memory_of_the_module(scene, host):
    labels = ("secret-rsa", "secret-ec")
    public = host.make({**RSA, "label": labels[0]}, {**EC, "label": labels[1]})
    needles = {name: number for label in labels for name, number in _numbers(host, label).items()}
    assert len(needles) == 14 and min(map(len, needles.values())) > 28
    params = {
        **{"keys": [host.key(label, usage=None, passphrase=None, certificates=[]) for label in labels]},
        **{"recovery_groups": scene.groups(), "minimum_threshold": 2, "key_owner": "mail1", "state_dir": None},
        **{"search": [], "authorized_keys": [], "state_dir": str(host.machine.folder / "state")},
    }
    for item in params["keys"]:
        item["accept_declared_usage"] = False
    challenges = {canonical.digest(one): possession.make_challenge(one, canonical.digest(one))[0] for one in public}
    planted = os.urandom(32)
    asked = {"task": [params, False, "seal", {"challenges": challenges}], "planted": planted.hex()}
    with host.store.process([sys.executable, "-c", _SEAL]) as process:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        sealed = json.loads(process.stdout.readline())["sealed"]
        seen = process_memory.found(process.pid, {**needles, "planted": planted, "PIN": host.pin.encode()})
        process.stdin.write("\n")
    assert set(sealed) == set(challenges)
    # The search finds what is there: a value that was planted, and the PIN that the module was given.
    assert seen == {"planted", "PIN"}
    assert host.pin not in json.dumps(sealed)
    # Nor are they in anything that archiving leaves on disk: the vault, and the host's state.
    _archive(scene, host, *(host.key(label) for label in labels))
    left = [*scene.vault_path.parent.iterdir(), *(host.machine.folder / "state").rglob("*.json")]
    written = b"".join(path.read_bytes() for path in left)
    assert canonical.digest(public[0]).encode() in written
    assert not [name for name, needle in needles.items() if needle in written]
    assert not re.search(rb"(?<![0-9a-f])" + host.pin.encode() + rb"(?![0-9a-f])", written)


def test_by_ansible_with_a_pin_that_stands_in_the_keys_own_id(scene, host, tmp_path):
    """Masked as a substring, as Ansible does it, this PIN would leave holes in the key ID."""
    public_key = host.make({**RSA, "label": "played"}, token="played")[0]
    key_id = canonical.digest(public_key)
    pin = key_id[:8]
    host.change_pin("played", pin)
    message = token_scene.encrypted(tmp_path, public_key, b"before the token was lost")
    key = {"key": host.store.uri("played", object="played"), "pin": pin}
    controller = local_play.Controller(tmp_path, environment=host.store.environment)
    state = str(host.machine.folder / "played-state")
    archiving = local_play.task(
        "key_archive", keys=[key], key_owner="mail1", recovery_groups=scene.groups(), state_dir=state
    )
    returned = tmp_path / "returned"
    keep = {"content": "{{ archived | to_json }}", "dest": str(returned), "mode": "0600"}
    tasks = [{**archiving, "register": "archived"}, {"name": "Keep", "ansible.builtin.copy": keep}]
    said = controller.run(host.machine, tasks, "-vvv")
    assert json.loads(returned.read_text())["results"][0]["key_id"] == key_id
    assert not re.search(rf"(?<![0-9a-f]){pin}(?![0-9a-f])", said + returned.read_text())
    host.wipe("played")
    host.add_token("played", pin)
    variables = {
        **{"keyops_keys": [{**key, "usage": "key_transport"}], "keyops_state_dir": state},
        **{"keyops_request_places": [key["key"]], "keyops_reason": "the token was lost"},
        "keyops_requester_key": scene.requester(host.machine)["signing_key"],
        "keyops_requester_certificate": scene.requester(host.machine)["signing_certificate"],
    }
    asked = controller.playbook(host.machine, "request", variables)
    request_id = re.findall("Request ID: ([0-9a-f]{64})", asked)[0]
    _approve(scene, host, request_id)
    controller.playbook(host.machine, "recover", {**variables, "keyops_request_id": request_id})
    host.store.pins["pin"], before = pin, host.pin
    try:
        assert token_scene.decrypted(host, message, public_key, "played") == b"before the token was lost"
    finally:
        host.store.pins["pin"] = before
