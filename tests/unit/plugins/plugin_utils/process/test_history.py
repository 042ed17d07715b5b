# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key history: one request for every key that an owner ever had, one approval each, all certificates with the keys."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import story

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    FileError,
    FrozenRefused,
    ObjectNotFound,
    OptionError,
    QuorumNotReached,
    RequestMismatch,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, freezes
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import recovering
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

OWNER = "alice@example.com"


def issue(key: Path, certificate: Path, begin: str) -> str:
    """A certificate that openssl makes for a key, valid from this day on; returns its SHA-256."""
    made = certificate.with_suffix(".request")
    subject = ("-key", key, "-subj", "/CN=alice", "-addext", "keyUsage=critical,keyAgreement")
    story.openssl("req", "-new", *subject, "-out", made)
    times = ("-startdate", f"{begin}000000Z", "-enddate", "20491231000000Z")
    folder = certificate.with_suffix(".ca")
    folder.mkdir()
    (folder / "index").touch()
    (folder / "config").write_text(
        f"[ca]\ndefault_ca=ca\n[ca]\ndatabase={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\ndefault_md=sha256\n"
        "policy=any\nunique_subject=no\ncopy_extensions=copy\n[any]\ncommonName=supplied\n"
    )
    given = ("-selfsign", "-keyfile", key, "-in", made, "-out", certificate, "-batch", "-notext")
    story.openssl("ca", "-config", folder / "config", *given, *times)
    return fingerprint(certificate.read_bytes())


def fingerprint(pem: bytes) -> str:
    """SHA-256 of a certificate, as openssl says."""
    told = story.openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=pem).decode()
    return told.partition("=")[2].replace(":", "").strip().lower()


def fingerprints(path: Path) -> list[str]:
    """Of every certificate in a file, in its order."""
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", path.read_bytes(), re.DOTALL)
    return [fingerprint(block) for block in blocks]


@dataclass
class History:
    """Alice's three keys: two of her laptop, one of the mail server, where also another owner's key is.

    Attributes:
        content: by key ID, the bytes of the key's file.
        issued: by key ID, SHA-256 of its certificates, newest first.
    """

    scene: story.Scene
    content: dict[str, bytes] = field(default_factory=dict)
    issued: dict[str, list[str]] = field(default_factory=dict)
    foreign: str = ""

    def __post_init__(self) -> None:
        laptop, server = self.scene.machine("laptop"), self.scene.machine("mail1")
        self._made(laptop, "2024.key", ["20240101"])
        self._made(laptop, "2025.key", ["20250101", "20260101"])
        self._made(server, "server.key", [])
        self.foreign = self.scene.generate(server, "other.key")
        self.scene.archive(server, "other.key", key_owner="bob@example.com")

    def _made(self, host: story.Machine, name: str, begins: list[str]) -> None:
        key_id = self.scene.generate(host, name)
        self.scene.archive(host, name, key_owner=OWNER)
        self.issued[key_id] = []
        for begin in begins:
            # A renewed certificate takes the place of the one before: only the older revision has that one.
            certificate = (host.folder / name).with_suffix(".pem")
            certificate.unlink(missing_ok=True)
            self.issued[key_id].insert(0, issue(host.folder / name, host.folder / f"{begin}-{name}.crt", begin))
            (host.folder / f"{begin}-{name}.crt").rename(certificate)
            assert self.scene.archive(host, name, key_owner=OWNER)["changed"]
        self.content[key_id] = (host.folder / name).read_bytes()

    def vault(self) -> object:
        """The vault, to do something bad to it."""
        return open_vault({"path": str(self.scene.vault_path)}, False)

    def ask(self, host: story.Machine, **options: object) -> dict:
        common = {"key_owner": OWNER, "reason": "Alice has left", **self.scene.requester(host)}
        return host.run("recovery_request", **{**common, **options})

    def approve(self, request_id: str, *agents: int) -> list[dict]:
        return [self.scene.agents[at].approve(self.scene.vault_path, request_id, OWNER) for at in agents]


@pytest.fixture
def history(scene: story.Scene) -> History:
    return History(scene)


def test_every_key_comes_back_with_all_its_certificates(history: History) -> None:
    """One request, one approval of each agent, one recovery; a key's certificates lie beside it."""
    host = history.scene.machine("recovery")
    asked = history.ask(host)
    assert {row["key_id"] for row in asked["results"]} == set(history.content)
    assert history.ask(host)["request_id"] == asked["request_id"]
    assert not history.ask(host)["changed"]
    for approved in history.approve(asked["request_id"], 0, 2):
        assert {row["key_id"] for row in approved["results"] if row["changed"]} == set(history.content)
    folder = host.folder / "recovered" / "alice"
    options = {"request_id": asked["request_id"], "into": {"folder": str(folder)}}
    predicted = host.run("key_recovery", check_mode=True, **options)
    assert not folder.exists()
    found = host.run("key_recovery", **options)
    assert found["results"] == predicted["results"]
    assert folder.stat().st_mode & 0o777 == 0o700
    for row in found["results"]:
        key_id = row["key_id"]
        assert (folder / f"{key_id}.key").read_bytes() == history.content[key_id]
        assert row["certificates"] == history.issued[key_id]
        beside = folder / f"{key_id}.pem"
        assert fingerprints(beside) == history.issued[key_id] if history.issued[key_id] else not beside.exists()
    assert not list((host.folder / "state" / "requests").iterdir()), "the one-time key stayed"
    assert not host.run("key_recovery", **options)["changed"]
    assert {path.suffix for path in folder.iterdir()} == {".key", ".pem"}


def test_a_file_of_certificates_only_grows(history: History) -> None:
    host = history.scene.machine("recovery")
    request_id = history.ask(host)["request_id"]
    history.approve(request_id, 0, 1)
    key_id = next(one for one, issued in history.issued.items() if len(issued) == 2)
    item = {"key_id": key_id, "key": str(host.folder / "back.key"), "certificates_path": str(host.folder / "back.pem")}
    run = {"request_id": request_id, "keys": [item]}

    foreign = host.folder / "back.pem"
    foreign.write_bytes((host.folder / "requester.pem").read_bytes())
    with pytest.raises(FileError):
        host.run("key_recovery", **run)
    assert not (host.folder / "back.key").exists()
    foreign.unlink()

    assert host.run("key_recovery", **run)["changed"]
    newer = issue(host.folder / "back.key", host.folder / "newer.crt", "20260601")
    (host.folder / "back.pem").write_bytes((host.folder / "newer.crt").read_bytes())
    again = host.run("key_recovery", **run)
    assert again["changed"]
    assert fingerprints(host.folder / "back.pem") == [newer, *history.issued[key_id]]
    assert not host.run("key_recovery", **run)["changed"]


def _shortened(vault_path: Path, request_id: str) -> None:
    """A vault that shows the request with one key only."""
    with sqlite3.connect(vault_path) as vault:
        for (name,) in vault.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            vault.execute(f"DROP TRIGGER {name}")
        where = (paths.request(request_id),)
        (content,) = vault.execute("SELECT content FROM object WHERE path = ?", where).fetchone()
        envelope = json.loads(content)
        payload = json.loads(canonical.decode(envelope["payload"]))
        payload["key_ids"] = payload["key_ids"][:1]
        envelope["payload"] = canonical.encode(canonical.dumps(payload))
        vault.execute("UPDATE object SET content = ? WHERE path = ?", (canonical.dumps(envelope), *where))


@pytest.mark.parametrize("liar", ["vault", "controller"])
def test_no_key_is_left_out_unseen(history: History, liar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = history.scene.machine("recovery")
    request_id = history.ask(host)["request_id"]
    history.approve(request_id, 0, 1)
    if liar == "vault":
        _shortened(history.scene.vault_path, request_id)
    else:
        true = recovering._items
        monkeypatch.setattr(recovering, "_items", lambda task, request_id: true(task, request_id)[:1])
    folder = host.folder / "alice"
    with pytest.raises(RequestMismatch):
        host.run("key_recovery", request_id=request_id, into={"folder": str(folder)})
    assert not folder.exists()
    with history.vault() as vault:
        assert event_log.verify(vault).events[-1].outcome == "refused"


def test_older_agents_and_forged_records_stand_in_no_keys_way(
    history: History, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A key that was archived to other agents, and one that somebody only claims: each agent releases what it can."""
    scene = history.scene
    former = story.make_scene(tmp_path_factory.mktemp("former"))
    old = scene.machine("old")
    oldest = scene.generate(old)
    scene.archive(old, key_owner=OWNER, recovery_groups=former.groups())
    known = next(iter(history.content))
    with history.vault() as vault:
        stolen = vault.read([paths.record(known, 1)])[paths.record(known, 1)]
        claimed = forged_record(stolen, scene.machine("attacker"), scene)
        vault.create({paths.record(claimed[0], 1): claimed[1]})
    host = scene.machine("recovery")
    asked = history.ask(host)
    assert {row["key_id"] for row in asked["results"]} == {*history.content, oldest, claimed[0]}
    for approved in history.approve(asked["request_id"], 0, 1):
        released = {row["key_id"] for row in approved["results"] if row["groups"]}
        assert released == set(history.content)
        assert {row["key_id"] for row in approved["results"] if row["problems"]} >= {oldest, claimed[0]}
        assert len(approved["warnings"]) == 2
    with pytest.raises(QuorumNotReached):
        host.run("key_recovery", request_id=asked["request_id"], into={"folder": str(host.folder / "all")})
    assert not (host.folder / "all").exists()
    for agent in former.agents[:2]:
        agent.approve(scene.vault_path, asked["request_id"], OWNER)
    keys = [{"key_id": one, "key": str(host.folder / f"{one}.key")} for one in [*history.content, oldest]]
    assert host.run("key_recovery", request_id=asked["request_id"], keys=keys)["changed"]
    with pytest.raises(AgentUnknown):
        stranger = story.make_agent(tmp_path_factory.mktemp("stranger"), "agent-1", "EC:P-256")
        stranger.approve(scene.vault_path, asked["request_id"], OWNER)


def forged_record(stolen: bytes, attacker: story.Machine, scene: story.Scene) -> tuple[str, bytes]:
    """A record that says of the attacker's key that it is Alice's; no share says so."""
    from dataclasses import replace

    from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import record

    key_id = scene.generate(attacker)
    scene.archive(attacker)
    with open_vault({"path": str(scene.vault_path)}, False) as vault:
        own = record.parse(vault.read([paths.record(key_id, 1)])[paths.record(key_id, 1)])
    other = scene.generate(attacker, "claimed.key")
    public_key = story.openssl("pkey", "-in", attacker.folder / "claimed.key", "-pubout", "-outform", "DER")
    return other, record.dump(replace(own, key_id=other, public_key=public_key, key_owner=OWNER))


def test_a_frozen_key_is_left_out_and_told(history: History) -> None:
    host = history.scene.machine("recovery")
    frozen, *others = sorted(history.content)
    with history.vault() as vault:
        freezes.freeze(vault, frozen, "it signed")
    asked = history.ask(host)
    assert {row["key_id"] for row in asked["results"]} == set(others)
    assert any(frozen in text for text in asked["warnings"])
    with history.vault() as vault:
        for key_id in others:
            freezes.freeze(vault, key_id, "it signed")
    with pytest.raises(FrozenRefused):
        history.ask(host)


def test_what_is_asked_wrongly(history: History) -> None:
    host = history.scene.machine("recovery")
    with pytest.raises(ObjectNotFound):
        history.ask(host, key_owner="nobody@example.com")
    with pytest.raises(OptionError):
        history.ask(host, keys=[])
    request_id = history.ask(host)["request_id"]
    history.approve(request_id, 0, 1)
    with pytest.raises(OptionError):
        host.run("key_recovery", request_id=request_id)
    with pytest.raises(OptionError):
        host.run("key_recovery", request_id=request_id, into={"folder": "recovered"})
    key_id = min(history.content)
    place = str(host.folder / "one.key")
    with pytest.raises(OptionError):
        item = {"key_id": key_id, "key": place, "certificates_path": place}
        host.run("key_recovery", request_id=request_id, keys=[item])
    assert not Path(place).exists()
