# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is archived to in the benchmark, and the way of a host's keys back: agents, a vault, a requester."""

from __future__ import annotations

import re
import secrets
import time

from measure import CHECKOUT, FOLDER, HOSTS, OURS, on_host, play

AGENTS = ("agent-1", "agent-2", "agent-3")
VAULT = {"backend": "sqlite", "path": str(FOLDER / "vault.db")}


def enrol() -> list[dict]:
    """Enrol three agents; returns the option ``recovery_groups``, two of three."""
    for agent in AGENTS:
        (FOLDER / "agents" / agent).mkdir(mode=0o700, parents=True)
        (FOLDER / "agents" / agent / "passphrase").write_text(secrets.token_hex(16))
    play(OURS, str(CHECKOUT / "demo" / "enrol.yml"), {"keyops_demo": str(FOLDER)})
    return [{"name": "security-office", "threshold": 2, "agents": [_agent(agent) for agent in AGENTS]}]


def _agent(name: str) -> dict:
    folder = FOLDER / "agents" / name
    certificates = {f"{what}_certificate": (folder / f"{what}.pem").read_text() for what in ("encryption", "signing")}
    return {"name": name, **certificates}


def make_requester(folder: str) -> None:
    """The signing key and the certificate with which a host's owner asks."""
    for host in HOSTS:
        on_host(
            host,
            f"umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            f"-subj /CN={host} -addext keyUsage=digitalSignature "
            f"-keyout {folder}/requester.key -out {folder}/requester.pem",
        )


def recover(host: str, folder: str, places: list[str]) -> dict[str, float]:
    """Lose the keys at these places of a host and get them back with the playbooks; seconds of each step."""
    seconds = {}
    on_host(host, f"rm {' '.join(places)}")
    asked = play(
        OURS,
        "keyops.lifecycle.request",
        {
            "keyops_host": host,
            "keyops_vault": VAULT,
            "keyops_reason": "benchmark",
            "keyops_requester_key": f"{folder}/requester.key",
            "keyops_requester_certificate": f"{folder}/requester.pem",
            "keyops_request_places": places,
        },
    )
    seconds["request"] = asked.seconds
    request = re.findall(r"Request ID: +([0-9a-f]{64})", asked.output)[0]
    start = time.perf_counter()
    for agent in AGENTS[:2]:
        play(OURS, "keyops.lifecycle.approve", _approval(agent, host, request))
    seconds["approve"] = time.perf_counter() - start
    back = {"keyops_host": host, "keyops_vault": VAULT, "keyops_request_id": request}
    seconds["recover"] = play(OURS, "keyops.lifecycle.recover", back).seconds
    on_host(host, f"ls {' '.join(places)}")
    return seconds


def _approval(agent: str, host: str, request: str) -> dict:
    folder = FOLDER / "agents" / agent
    return {
        "keyops_vault": VAULT,
        "keyops_request_id": request,
        "keyops_expected_owner": host,
        "keyops_agent": agent,
        "keyops_agent_passphrase": (folder / "passphrase").read_text(),
        "keyops_agent_encryption_key": str(folder / "encryption.key"),
        "keyops_agent_signing_key": str(folder / "signing.key"),
        "keyops_approve_without_asking": True,
    }


def install_library() -> None:
    """What sealing needs on the hosts, from the hosts' own package source."""
    for host in HOSTS:
        on_host(host, "sudo apt-get update -qq && sudo apt-get install -y -qq python3-pycryptodome")
