# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An owner who has left: keys of three generations, archived with their certificates and destroyed; a case worker."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import story

GENERATIONS = {
    "old": ("key_transport", "rsa-2048"),
    "mid": ("key_agreement", "ec-p384"),
    "new": ("key_agreement", "ec-p256"),
}


@dataclass
class Case:
    """The case.

    Attributes:
        scene: with the vault and the agents.
        worker: the recovery host.
        key_ids: of the keys, by their generation.
        contents: what is in the worker's files ``NAME.p7m``.
        private: DER of the private keys, to look for them.
    """

    scene: story.Scene
    worker: story.Machine
    key_ids: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    private: dict[str, bytes] = field(default_factory=dict, repr=False)

    def copied(self, folder: Path) -> Case:
        """The same in another folder, so that a test can go on from here without changing it for others."""
        shutil.copytree(self.scene.folder, folder)
        scene = story.Scene(folder, self.scene.agents)
        known = (dict(self.key_ids), dict(self.contents), dict(self.private))
        return Case(scene, scene.machine("worker"), *known)

    @property
    def certificates(self) -> Path:
        """The folder of the owner's certificates."""
        return self.scene.folder / "certificates"

    @property
    def folder(self) -> Path:
        return self.worker.folder / "case"

    def options(self) -> dict:
        """Of data_recovery."""
        sources = [
            {"src": str(self.worker.folder / f"{name}.p7m"), "dest": str(self.folder / "files" / name)}
            for name in self.contents
        ]
        requester = self.scene.requester(self.worker)
        return {"sources": sources, "seal": {"folder": str(self.folder), **requester}, "on_failure": "report"}

    def ask(self, **options: object) -> str:
        return self.scene.ask(self.worker, list(self.key_ids.values()), owner="alice", **options)

    def approve(self, request_id: str, count: int = 2) -> None:
        for agent in self.scene.agents[:count]:
            agent.approve(self.scene.vault_path, request_id, "alice")

    def recover(self, request_id: str, **options: object) -> dict:
        return self.worker.run("data_recovery", request_id=request_id, **{**self.options(), **options})

    def events(self) -> list[tuple[str, str]]:
        """Actions and outcomes in the log."""
        with sqlite3.connect(f"file:{self.scene.vault_path}?mode=ro", uri=True) as vault:
            rows = vault.execute("SELECT content FROM object WHERE path LIKE 'events/%' ORDER BY path").fetchall()
        return [(event["action"], event["outcome"]) for event in (json.loads(content) for (content,) in rows)]

    def requests(self) -> list[str]:
        """One-time keys of the worker's host."""
        return sorted(path.name for path in self.worker.folder.glob("state/requests/*.json"))


def work(folder: Path, agents: list[story.Agent]) -> Case:
    """The years in which the owner worked, until the keys are gone."""
    scene = story.Scene(folder, agents)
    owner, worker = scene.machine("owner"), scene.machine("worker")
    case = Case(scene, worker)
    case.certificates.mkdir()
    scene.requester(worker)
    for name, (usage, algorithm) in GENERATIONS.items():
        case.key_ids[name] = scene.generate(owner, f"{name}.key", usage, algorithm)
        key, certificate = owner.folder / f"{name}.key", case.certificates / f"{name}.pem"
        _certify(key, certificate, "keyEncipherment" if usage == "key_transport" else "keyAgreement", owner.folder)
        scene.archive(owner, key.name, key_owner="alice", item={"certificates": [str(certificate)]})
        case.private[name] = story.openssl("pkey", "-in", key, "-outform", "DER")
        key.unlink()
    return case


def _certify(key: Path, certificate: Path, usage: str, work_folder: Path) -> None:
    """A certificate by a CA, as openssl makes it for any public key."""
    ca = work_folder / "ca"
    if not ca.exists():
        ca.mkdir()
        story.make_certificate(ca / "ca.key", ca / "ca.pem", "CA", "EC:P-256", "keyCertSign")
    story.openssl("pkey", "-in", key, "-pubout", "-out", ca / "key.pub")
    (ca / "extensions").write_text(f"keyUsage=critical,{usage}\n")
    story.openssl("req", "-new", "-key", ca / "ca.key", "-subj", "/CN=alice", "-out", ca / "request")
    signed = ["-in", ca / "request", "-CA", ca / "ca.pem", "-CAkey", ca / "ca.key", "-force_pubkey", ca / "key.pub"]
    story.openssl("x509", "-req", *signed, "-extfile", ca / "extensions", "-out", certificate)
