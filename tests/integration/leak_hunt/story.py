# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The story whose every trace is searched: from enrolling agents to recovered, retired and killed keys."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import time
from collections import defaultdict

from Cryptodome.Protocol.SecretSharing import Shamir
from leak_hunt import key_numbers
from leak_hunt.needles import Secret
from leak_hunt.short_secrets import LENGTHS
from leak_hunt.world import AGENTS, World

#: Keys of the hosts: name, usage, algorithm, whether it has a passphrase, whether that is a nasty one.
KEYS = {
    "host1": [
        ("signature", "signature", "ec-p256", True, False),
        ("authority", "certificate_signing", "rsa-2048", True, True),
        ("login", "authentication", "ed25519", True, False),
        ("encryption", "key_transport", "rsa-2048", True, True),
        ("agreement", "key_agreement", "ec-p384", False, False),
        ("x25519", "key_agreement", "x25519", True, False),
        ("retired", "key_agreement", "ec-p256", True, False),
        ("renewed", "key_transport", "rsa-2048", True, False),
        ("seal", "signature", "ec-p256", False, False),
    ],
    "host2": [
        ("signature", "signature", "ec-p384", True, True),
        ("login", "authentication", "ed448", True, False),
        ("encryption", "key_transport", "rsa-3072", True, False),
        ("x448", "key_agreement", "x448", True, False),
        *((name, "key_agreement", "ec-p256", False, False) for name in LENGTHS),
    ],
}
_REQUESTED = ("authority", "login", "signature", "encryption", "agreement", "seal")
#: Those whose certificates are rotated with them.
CERTIFIED = ("encryption", "seal")
#: A key, its successor, and those that it replaced.
_KEY_FILE = re.compile(r"(.+\.key)(\.next|\.[0-9a-f]{16})?")


def prepare(world: World) -> None:
    """Inventory and agents' passphrases."""
    agents_file = world.base / "inventory/group_vars/all.yml"
    agents = {}
    for number, agent in enumerate(AGENTS):
        approve_file = world.base / "agents" / agent / "approve.yml"
        chosen = world.new_passphrase(agent, agents_file, approve_file, nasty=number == 1)
        agents[agent] = {"algorithm": ("rsa-3072", "ec-p256", "ec-p384")[number], "passphrase": chosen}
    world.write("inventory/group_vars/all.yml", {"leak_base": str(world.base), "leak_agents": agents})
    folder = world.base / "agents"
    entries = [
        f"{{{{ lookup('ansible.builtin.file', '{folder}/{agent}/agent.yml') | from_yaml }}}}" for agent in AGENTS
    ]
    world.write(
        "inventory/group_vars/fleet.yml",
        {
            "ansible_become": True,
            "keyops_vault": {"backend": "sqlite", "path": str(world.vault)},
            "keyops_minimum_threshold": 2,
            "keyops_recovery_groups": [{"name": "office", "threshold": 2, "agents": entries}],
            "keyops_requester_key": "/etc/keyops/signature.key",
            "keyops_requester_passphrase": "{{ leak_passphrases.signature }}",
            "keyops_requester_certificate": "/etc/keyops/signature.pem",
        },
    )
    for host, rows in KEYS.items():
        _write_keys(world, host, rows)


def _write_keys(world: World, host: str, rows: list[tuple]) -> None:
    file = world.base / "inventory/host_vars" / f"{host}.yml"
    passphrases, keys = {}, []
    for name, usage, algorithm, protected, nasty in rows:
        item = {"key": f"/etc/keyops/{name}.key", "usage": usage, "algorithm": algorithm}
        if protected:
            passphrases[name] = item["passphrase"] = world.new_passphrase(f"{host} {name}", file, nasty=nasty)
        if name in _REQUESTED:
            item["request"] = {"path": f"/etc/keyops/{name}.csr", "subject": f"CN={name}.{host}.example.com"}
        if name in CERTIFIED:
            item["certificate"] = f"/etc/keyops/{name}.pem"
        keys.append(item)
    world.write(f"inventory/host_vars/{host}.yml", {"leak_passphrases": passphrases, "keyops_keys": keys})


def look_at_keys(world: World) -> None:
    """Learn the private numbers of all keys that exist now."""
    opened_by = {item.name: item.value.decode() for item in world.secrets if item.kind == "text"}
    for agent in AGENTS:
        for path in sorted((world.base / "agents" / agent).glob("*.key")):
            world.add_key(f"{agent} {path.name}", path.read_bytes(), opened_by[f"{agent}: passphrase"])
    for host in world.fleet.hosts:
        for path in sorted((world.fleet.root(host) / "etc/keyops").iterdir()):
            named = _KEY_FILE.fullmatch(path.name)
            if named is None:
                continue
            text = opened_by.get(f"{host} {named[1].removesuffix('.key')}: passphrase")
            places = [] if b"ENCRYPTED" in path.read_bytes() else [f"{host} /etc/keyops/{path.name}"]
            world.add_key(f"{host} {named[1]}", path.read_bytes(), text, *places)
        for path in (world.fleet.root(host) / "var/lib/keyops/requests").glob("*.json"):
            content = json.loads(path.read_text())
            world.add_key(f"{host} one-time key", base64.b64decode(content["one_time_key"]), None)


def play(world: World) -> None:
    """The story up to its good end; raises where it goes wrong."""
    prepare(world)
    world.play("enrol", debug=True)
    world.prepared = time.time()
    look_at_keys(world)
    world.play("keyops.lifecycle.provision", "--check", "--diff")
    world.play("keyops.lifecycle.provision", "--diff", debug=True)
    look_at_keys(world)
    world.play("keyops.lifecycle.provision", "--diff", pipelining=True, debug=True)
    world.play("look", debug=True)
    for host in ("host1", "host2"):
        certify(world, host)
    request_id = _lose_and_ask(world)
    look_at_keys(world)
    for number, agent in enumerate(AGENTS[:2]):
        _approve(world, agent, request_id, pipelining=bool(number))
    wanted = ("-e", "keyops_host=host1", "-e", f"keyops_request_id={request_id}")
    world.play("keyops.lifecycle.recover", *wanted, "--check", "--diff")
    world.play("keyops.lifecycle.recover", *wanted, "--diff", pipelining=True, debug=True)
    look_at_keys(world)
    world.play("retire", "--diff", debug=True)
    look_at_keys(world)


def certify(world: World, host: str) -> None:
    """A certificate for the host's requester, made by openssl behind Ansible's back."""
    folder = world.fleet.root(host) / "etc/keyops"
    text = passphrase_of(world, f"{host} signature").encode()
    command = ["openssl", "req", "-x509", "-key", folder / "signature.key", "-passin", "stdin", "-subj", f"/CN={host}"]
    done = subprocess.run(command, input=text + b"\n", capture_output=True, check=True)
    (folder / "signature.pem").write_bytes(done.stdout)


def _lose_and_ask(world: World) -> str:
    lost = ["/etc/keyops/encryption.key", "/etc/keyops/agreement.key"]
    for path in lost:
        (world.fleet.root("host1") / path[1:]).unlink()
    options = ["-e", "keyops_host=host1", "-e", "keyops_reason=lost", "-e", json.dumps({"keyops_request_places": lost})]
    said = world.play("keyops.lifecycle.request", *options, debug=True)
    found = re.search(r"Request ID: +([0-9a-f]{64})", said)
    assert found
    return found[1]


def _approve(world: World, agent: str, request_id: str, pipelining: bool) -> None:
    options = approve_options(world, agent, request_id, "host1")
    world.play("keyops.lifecycle.approve", "-e", f"@{options}", pipelining=pipelining, debug=True)


def approve_options(world: World, agent: str, request_id: str, owner: str) -> str:
    """The agent's own variables file."""
    folder = world.base / "agents" / agent
    content = {
        "keyops_request_id": request_id,
        "keyops_expected_owner": owner,
        "keyops_agent": agent,
        "keyops_agent_passphrase": passphrase_of(world, agent),
        "keyops_agent_encryption_key": str(folder / "encryption.key"),
        "keyops_agent_signing_key": str(folder / "signing.key"),
        "keyops_approve_without_asking": True,
        "keyops_vault": {"path": str(world.vault)},
    }
    return str(world.write(f"agents/{agent}/approve.yml", content))


def add_shares(world: World) -> None:
    """The secret lines of all shares, opened by openssl with the agents' keys, and the keys that they combine to."""
    opened = defaultdict(list)
    with sqlite3.connect(f"file:{world.vault}?mode=ro", uri=True) as vault:
        rows = vault.execute("select path, content from object where path like 'shares/%'").fetchall()
    names = {_agent_id(world, agent): agent for agent in AGENTS}
    for path, content in rows:
        agent = names[path.split("/")[1]]
        lines = _open_share(world, agent, content).decode().split("\n")
        kek_id = next(line for line in lines if line.startswith("kek-id: "))
        values = [line.split("-", 1) for line in lines if re.fullmatch(r"[0-9]+-[0-9a-f]{32}", line)]
        for half, (_number, value) in enumerate(values):
            world.secrets.append(Secret(f"share {path}: half {half}", bytes.fromhex(value)))
        opened[kek_id].append([(int(number), bytes.fromhex(value)) for number, value in values])
    for kek_id, shares in opened.items():
        halves = [Shamir.combine([share[half] for share in shares[:2]], ssss=True) for half in (0, 1)]
        world.secrets.append(Secret(f"key-encryption key {kek_id}", b"".join(halves)))


def _agent_id(world: World, agent: str) -> str:
    key = (world.base / "agents" / agent / "encryption.key").read_bytes()
    return key_numbers.key_id(key_numbers.load(key, passphrase_of(world, agent)))


def passphrase_of(world: World, name: str) -> str:
    return next(item.value.decode() for item in world.secrets if item.name == f"{name}: passphrase")


def _open_share(world: World, agent: str, content: bytes) -> bytes:
    text = passphrase_of(world, agent)
    key = world.base / "agents" / agent / "encryption.key"
    share = world.base / "search" / "share.der"
    share.write_bytes(content)
    command = [
        "openssl",
        "cms",
        "-decrypt",
        "-binary",
        "-inform",
        "DER",
        "-in",
        share,
        "-inkey",
        key,
        "-passin",
        "stdin",
    ]
    return subprocess.run(command, input=text.encode() + b"\n", capture_output=True, check=True).stdout


def be_killed(world: World) -> None:
    """Two runs that are killed while the module works: the controller's process, and the module's own."""
    for victim in ("controller", "module"):
        file = world.base / f"{victim}.yml"
        texts = [world.new_passphrase(f"host2 {victim}{number}", file, nasty=True) for number in range(2)]
        keys = [
            {
                "key": f"/etc/keyops/{victim}{number}.key",
                "usage": "key_transport",
                "algorithm": "rsa-4096",
                "passphrase": text,
            }
            for number, text in enumerate(texts)
        ]
        world.write(f"{victim}.yml", {"leak_slow_keys": keys})
        started = world.start("slow", "-e", f"@{file}", debug=victim == "module")
        module = module_process(world, "host2")
        time.sleep(0.2 + secrets.randbelow(500) / 1000)
        if victim == "controller":
            os.killpg(started.pid, signal.SIGKILL)
        else:
            os.kill(module, signal.SIGKILL)
        started.wait(60)
        while modules(world, "host2"):
            time.sleep(0.1)
    look_at_keys(world)


def module_process(world: World, host: str) -> int:
    """The number of a module's process on the host, as soon as there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = modules(world, host)
        if found:
            return found[-1]
        time.sleep(0.01)
    raise AssertionError("the module was never seen")


def modules(world: World, host: str) -> list[int]:
    """The numbers of all modules' processes on the host."""
    return sorted(pid for pid, command in world.fleet.processes(host) if command.startswith("/usr/bin/python3"))
