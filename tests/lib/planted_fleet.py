# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of three SSH hosts with one of each finding planted, and a vault to go with it.

Keys and certificates are made by cryptography and laid on the hosts as a tar archive. One key is archived by the
product itself; the records that nobody can make by using it (agents that have expired, parts that are missing) are
written here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import gathered_facts as made
import story
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import (
    Record,
    RecordedAgent,
    RecordedGroup,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

CHECKOUT = Path(__file__).resolve().parents[2]
FLEET = CHECKOUT / ".build" / "fleet-audit"
_NOW = made.datetime.datetime.now(made.datetime.timezone.utc).replace(microsecond=0)
_DAY = made.datetime.timedelta(days=1)
_PATHS = ("/etc", "/srv", "/home", "/root")
_SIGNS, _AGREES = ("digitalSignature",), ("keyAgreement",)

POLICY = {
    "version": 1,
    "name": "planted",
    "usages": {
        "signature": {"algorithms": ["ec-p256", "rsa-1024+"]},
        "authentication": {"originator_usage_period": "2y"},
        "certificate_signing": {"encrypted_file": "required"},
    },
}


def command(*words: object, **more: object) -> subprocess.CompletedProcess:
    """Run a tool of the checkout to its success, or to the given code."""
    environment = {**os.environ, "KEYOPS_FLEET": "audit", **more.pop("env", {})}
    return subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, timeout=600, check=False, **more
    )


def on_host(host: str, text: str, stdin: bytes = b"") -> str:
    """Run a shell command as root on a host; what it prints."""
    done = command("ssh", "-F", FLEET / "ssh_config", host, f"sudo sh -c '{text}'", input=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@dataclass
class HostFiles:
    """Files for one host, as a tar archive in the making."""

    content: io.BytesIO = field(default_factory=io.BytesIO)

    def __post_init__(self) -> None:
        self._tar = tarfile.TarFile(fileobj=self.content, mode="w")

    def add(self, path: str, content: bytes, mode: int = 0o600, uid: int = 0) -> None:
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(content), mode, uid, 0, int(_NOW.timestamp())
        self._tar.addfile(entry, io.BytesIO(content))

    def key(self, path: str, key: object, mode: int = 0o600, uid: int = 0, passphrase: bytes | None = None) -> None:
        form = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form)
        self.add(path, pem, mode, uid)

    def certificate(self, path: str, key: object, usage: tuple[str, ...] | None = _SIGNS, **more: object) -> None:
        more.setdefault("start", _NOW - 5 * _DAY)
        one = made.certificate(key, subject=Path(path).stem, usage=usage, **more)
        self.add(path, one.public_bytes(serialization.Encoding.PEM), 0o644)

    def pair(self, name: str, key: object, usage: tuple[str, ...] | None = _SIGNS, **more: object) -> None:
        """A key in /srv and a certificate for it."""
        certificate = {name: more.pop(name) for name in ("start", "days", "issuer", "ca") if name in more}
        self.key(f"/srv/{name}.key", key, **more)
        self.certificate(f"/srv/{name}.pem", key, usage, **certificate)

    def send(self, host: str) -> None:
        self._tar.close()
        on_host(host, "tar -x -C / -f - --no-same-permissions -p", self.content.getvalue())


@dataclass
class Planted:
    """The planted world.

    Attributes:
        folder: inventory, vault, audits.
        expected: kind, host and place of every finding.
        ids, keys: key IDs and keys by name.
    """

    folder: Path
    expected: list[tuple[str, str, str]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    keys: dict[str, object] = field(default_factory=dict)

    @property
    def vault_path(self) -> Path:
        return self.folder / "vault" / "vault.db"

    @property
    def outcome(self) -> dict:
        return json.loads((self.folder / "audits" / "audit.json").read_text())

    def told(self) -> list[tuple[str, str, str]]:
        return sorted((row["id"], row["host"], row["place"]) for row in self.outcome["findings"])

    def play(self, playbook: str, **variables: object) -> subprocess.CompletedProcess:
        """Run a playbook over the fleet."""
        given = self.folder / "variables.json"
        given.write_text(json.dumps(variables))
        words = ["ansible-playbook", "-i", self.folder / "inventory.json", "-e", f"@{given}", playbook]
        env = ["env", f"XDG_CACHE_HOME={self.folder / 'cache'}", "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1"]
        return command(CHECKOUT / "tests/tools/with-env", *env, *words, cwd=self.folder)


def plant(folder: Path) -> Planted:
    """Start the fleet and plant everything."""
    up = command(CHECKOUT / "tests/fleet/up", 3)
    assert up.returncode == 0, up.stderr.decode()
    world = Planted(folder)
    anchor = ec.generate_private_key(ec.SECP256R1())
    hosts = {name: HostFiles() for name in ("host1", "host2", "host3")}
    _plant_files(world, hosts, anchor)
    agent = story.make_agent(folder / "agents", "ann", "EC:P-256")
    _write_inventory(world, agent, made.certificate(anchor, "root", ("keyCertSign",), ca=True))
    _archive_really(world)
    with open_vault({"backend": "sqlite", "path": str(world.vault_path)}) as vault:
        _plant_vault(world, vault, hosts)
    for name, files in hosts.items():
        files.send(name)
    (folder / "audits").mkdir()
    (folder / "audits" / "head.json").write_text(json.dumps({"number": 99, "digest": "9" * 64}))
    _expect(world, "KL021", "", paths.event(99))
    _expect(world, "KL026", "lost", "")
    return world


def _expect(world: Planted, kind: str, host: str, place: str) -> None:
    world.expected.append((kind, host, place))


def _plant_files(world: Planted, hosts: dict[str, HostFiles], anchor: object) -> None:
    one, two, three = hosts.values()
    new = made.new_key
    shared, known = new(), new()
    one.pair("tls", shared)
    two.pair("tls", shared)
    _expect(world, "KL009", "host1", "/srv/tls.key")
    one.pair("weak", rsa.generate_private_key(65537, 1024), start=_NOW - 4 * _DAY)
    _expect(world, "KL001", "host1", "/srv/weak.key")
    one.pair("known", known)
    _write_blocklist(world.folder / "cache" / "badkeys", known.public_key().public_numbers().x)
    _expect(world, "KL002", "host1", "/srv/known.key")
    one.pair("open", new(), mode=0o644)
    _expect(world, "KL003", "host1", "/srv/open.key")
    one.pair("owner", new(), uid=4711)
    _expect(world, "KL004", "host1", "/srv/owner.key")
    one.pair("ca", new(), ("keyCertSign",), ca=True)
    _expect(world, "KL005", "host1", "/srv/ca.key")
    one.pair("unknown", new(), None)
    _expect(world, "KL006", "host1", "/srv/unknown.key")
    one.pair("dual", new(), ("digitalSignature", "keyAgreement"))
    _expect(world, "KL007", "host1", "/srv/dual.key")
    one.pair("against", new(), ("digitalSignature", "keyAgreement"))
    _expect(world, "KL008", "host1", "/srv/against.key")
    two.pair("mail", new(), _AGREES)
    _expect(world, "KL010", "host2", "/srv/mail.key")
    _plant_signing(world, two, anchor)
    two.pair("old", new(), start=_NOW - 900 * _DAY, days=3000)
    _expect(world, "KL012", "host2", "/srv/old.key")
    two.certificate("/srv/lonely.pem", new())
    _expect(world, "KL013", "host2", "/srv/lonely.pem")
    two.key("/srv/bare.key", new())
    _expect(world, "KL014", "host2", "/srv/bare.key")
    three.pair("curve", ec.generate_private_key(ec.SECP384R1()))
    _expect(world, "KL023", "host3", "/srv/curve.key")
    three.key("/srv/closed.key", new(), passphrase=b"nobody knows")
    _expect(world, "KL024", "host3", "/srv/closed.key")
    three.add("/srv/large.pem", b"-----BEGIN CERTIFICATE-----\n" + b"A" * (1 << 20) + b"\n", 0o644)
    _expect(world, "KL027", "host3", "/srv/large.pem")
    for host in ("host1", "host2", "host3"):
        _expect(world, "KL027", host, "/gone")


def _plant_signing(world: Planted, files: HostFiles, anchor: object) -> None:
    """An archived key for which an authority has issued a certificate that signs."""
    key = made.new_key()
    world.ids["signs"] = made.key_id_of(key)
    world.keys["signs"] = key
    files.key("/srv/signs.key", key)
    files.certificate("/srv/signs.pem", key, _SIGNS, issuer=("root", anchor))
    _expect(world, "KL011", "host2", "/srv/signs.key")


def _write_blocklist(folder: Path, number: int) -> None:
    """A blocklist of publicly known keys with one key, in badkeys' format."""
    folder.mkdir(parents=True)
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    (folder / "blocklist.dat").write_bytes(hashlib.sha256(data).digest()[:15] + b"\x01")
    (folder / "badkeysdata.json").write_text(json.dumps({"blocklists": [{"id": 1, "name": "planted"}]}))


def _write_inventory(world: Planted, agent: story.Agent, anchor: object) -> None:
    found = json.loads(
        command(CHECKOUT / "tests/tools/with-env", "ansible-inventory", "-i", FLEET / "inventory.yml", "--list").stdout
    )
    hosts = dict(found["_meta"]["hostvars"])
    hosts["host1"]["keyops_keys"] = [
        {"key": "/srv/against.key", "usage": "authentication", "request": {"path": "/x", "subject": "CN=x"}},
        {"key": "/srv/owner.key", "owner": "root", "request": {"path": "/x", "subject": "CN=x"}},
        {"key": "/srv/real.key", "usage": "key_agreement", "algorithm": "ec-p256"},
    ]
    hosts["host2"]["keyops_keys"] = [
        {"key": "/srv/bare.key", "usage": "signature", "request": {"path": "/x", "subject": "CN=x"}},
        {"key": "/srv/old.key", "usage": "authentication", "request": {"path": "/x", "subject": "CN=x"}},
    ]
    # The first of all, so that what runs once on the controller runs for a host that cannot be reached.
    lost = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_python_interpreter": "/usr/bin/python3"}
    group = {"name": "office", "threshold": 1, "agents": [agent.option()]}
    variables = {
        **{"keyops_vault": {"path": str(world.vault_path)}, "keyops_policy": POLICY, "ansible_become": True},
        **{"keyops_recovery_groups": [group], "keyops_minimum_threshold": 1},
        "keyops_audit_expiring_within": "15d",
        **{"keyops_audit_dir": str(world.folder / "audits"), "keyops_audit_paths": [*_PATHS, "/gone"]},
        "keyops_audit_trust_anchors": [anchor.public_bytes(serialization.Encoding.PEM).decode()],
    }
    (world.folder / "inventory.json").write_text(
        json.dumps({"all": {"hosts": {"lost": lost, **hosts}, "vars": variables}})
    )


def _archive_really(world: Planted) -> None:
    """The product makes and archives one key; later somebody freezes it."""
    world.vault_path.parent.mkdir(mode=0o700)
    tasks = [
        {"keyops.lifecycle.private_key": {"keys": "{{ keyops_keys[2:] }}", "vault": "{{ keyops_vault }}"}},
        {
            "keyops.lifecycle.key_archive": {
                **{"keys": [{"key": "/srv/real.key"}], "key_owner": "host1", "vault": "{{ keyops_vault }}"},
                **{"recovery_groups": "{{ keyops_recovery_groups }}", "minimum_threshold": 1},
            },
            "register": "archived",
        },
        {
            "ansible.builtin.copy": {"content": "{{ archived.results[0].key_id }}", "dest": str(world.folder / "id")},
            **{"delegate_to": "localhost", "become": False},
        },
    ]
    play = world.folder / "archive.json"
    play.write_text(json.dumps([{"hosts": "host1", "gather_facts": False, "tasks": tasks}]))
    done = world.play(str(play))
    assert done.returncode == 0, done.stdout.decode()[-3000:]
    world.ids["real"] = (world.folder / "id").read_text()


def _agent(name: str, days: int) -> RecordedAgent:
    """An agent whose certificates ended (or end) so many days from now."""
    key = made.new_key()
    data = made.der(made.certificate(key, f"{name} agent", _AGREES, start=_NOW - 400 * _DAY, days=400 + days))
    return RecordedAgent(name, made.key_id_of(key), data, data, "1" * 64, canonical.digest(name.encode()))


def _record(key: object, place: str, agents: tuple[RecordedAgent, ...]) -> Record:
    return Record(
        key_id=made.key_id_of(key),
        number=1,
        key_owner=place.split(":")[0],
        usage="key_agreement",
        algorithm="ec-p256",
        public_key=made.spki(key),
        host=place.split(":")[0],
        place=place.split(":")[1],
        created=_NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        sealed_key=canonical.digest(b"sealed" + made.spki(key)),
        groups=(RecordedGroup("founders", 3, "3" * 32, agents),),
    )


def _plant_vault(world: Planted, vault: object, hosts: dict[str, HostFiles]) -> None:
    agents = (_agent("old-ann", -30), _agent("old-ben", 10), _agent("cleo", 300))
    signs, quorum, half, gone = world.keys["signs"], made.new_key(), made.new_key(), made.new_key()
    for key, place in ((signs, "host2:/srv/signs.key"), (quorum, "host3:/srv/quorum.key")):
        new = _record(key, place, agents)
        vault.create(dict.fromkeys(records.parts_of(new), b"sealed"))
        records.add(vault, new)
    half_record = _record(half, "host3:/srv/half.key", agents)
    records.add(vault, half_record)
    _expect(world, "KL028", "", paths.record(half_record.key_id, 1))
    _expect(world, "KL010", "host3", "/srv/half.key")
    for name, key in (("quorum", quorum), ("half", half)):
        hosts["host3"].pair(name, key, _AGREES)
    _expect(world, "KL016", "", "old-ann")
    _expect(world, "KL016", "", "old-ben")
    _plant_objects(world, vault, made.key_id_of(quorum))
    freezes.freeze(vault, world.ids["real"], "somebody said that it signs")
    _expect(world, "KL029", "host1", "/srv/real.key")
    sealed, key_id = canonical.digest(b"never stored"), made.key_id_of(gone)
    receipt = {"format": "keyops-receipt/1", "key_id": key_id, "usage": "key_agreement", "sealed_key": sealed}
    data = canonical.dumps({**receipt, "log_number": 0, "log_digest": "0" * 64})
    hosts["host3"].add(f"/var/lib/keyops/receipts/{key_id}.json", data)
    _expect(world, "KL020", "host3", "")


def _plant_objects(world: Planted, vault: object, key_id: str) -> None:
    """What no record names, what no reader reaches, what is no record, and what is no event."""
    orphan, junk = paths.sealed_key("0" * 64), "events/somebody"
    vault.create({orphan: b"orphan", paths.record(key_id, 7): b"beyond", paths.record(key_id, 2): b"junk", junk: b"x"})
    _expect(world, "KL017", "", orphan)
    _expect(world, "KL018", "", paths.record(key_id, 7))
    _expect(world, "KL019", "", paths.record(key_id, 2))
    _expect(world, "KL022", "", "events/")
    _expect(world, "KL015", "", "recovery group founders")
