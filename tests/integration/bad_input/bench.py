# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rows of the table act on: a host, its vault and agents, and everything that can be called wrongly there."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import story

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors

_ITEM = ("key", "usage", "certificates", "passphrase", "accept_declared_usage", "pin")

#: A passphrase that must not show anywhere; made at run time.
SECRET = os.urandom(12).hex()


@dataclass
class Bench:
    """A host with the archived key ``mail.key``, an encrypted ``locked.key``, and an open request for ``mail.key``."""

    scene: story.Scene
    host: story.Machine
    key_id: str
    request_id: str
    mounts: list[Path]

    @property
    def folder(self) -> Path:
        """The host's."""
        return self.host.folder

    def path(self, name: str) -> str:
        """A path on the host."""
        return str(self.folder / name)

    def small_disk(self, size: str) -> Path:
        """A tmpfs of its own in the host's folder."""
        folder = self.folder / "disk"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", folder], check=True)
        self.mounts.append(folder)
        return folder

    def private_key(self, **options: object) -> None:
        """Make ``new.key``, unless the options say otherwise."""
        more = {name: options.pop(name) for name in ("vault", "keys", "state_dir") if name in options}
        key = {"key": self.path("new.key"), "usage": "key_agreement", "algorithm": "ec-p256", **options}
        self.host.run("private_key", **{"keys": [key], **more})

    def archive(self, **options: object) -> None:
        """Archive ``mail.key`` for another owner, so that there is something to do."""
        item = {name: options.pop(name) for name in _ITEM if name in options}
        common = {"key_owner": "another", "recovery_groups": self.scene.groups()}
        keys = [{"key": self.path("mail.key"), **item}]
        result = self.host.run("key_archive", **{"keys": keys, **common, **options})
        if result.get("failed"):
            raise getattr(_errors, result["error_class"])(result["msg"])

    def group(self, **options: object) -> None:
        """Archive with a recovery group that differs in this."""
        self.archive(recovery_groups=[{**self.scene.groups()[0], **options}])

    def agent(self, **options: object) -> None:
        """Archive with a first agent that differs in this."""
        first, *others = self.scene.groups()[0]["agents"]
        self.group(agents=[{**first, **options}, *others])

    def ask(self, **options: object) -> None:
        """Ask for ``mail.key``, for another reason than the open request."""
        keys = [{"key_id": options.pop("key_id", self.key_id)}]
        common = {"keys": keys, "key_owner": "mail1", "reason": "another", **self.scene.requester(self.host)}
        self.host.run("recovery_request", **{**common, **options})

    def approve(self, **options: object) -> None:
        """Approve the open request as the first agent."""
        request_id, owner = options.pop("request_id", self.request_id), options.pop("expected_owner", "mail1")
        self.scene.agents[0].approve(self.scene.vault_path, request_id, owner, **options)

    def recover(self, **options: object) -> None:
        """Answer the open request; ``mail.key`` goes to a new place."""
        more = {name: options.pop(name) for name in ("request_id", "vault", "keys") if name in options}
        item = {"key_id": self.key_id, "key": self.path("back.key"), **options}
        self.host.run("key_recovery", **{"request_id": self.request_id, "keys": [item], **more})

    def snapshot(self) -> dict:
        """Everything below the folder, and the vault's objects but for events, which record what was refused."""
        found: dict = {}
        for path in sorted(self.scene.folder.rglob("*")):
            if path.name.startswith("vault.db"):
                continue
            status = path.lstat()
            content = (
                path.read_bytes() if stat.S_ISREG(status.st_mode) else os.readlink(path) if path.is_symlink() else ""
            )
            found[str(path)] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
        return {**found, **_objects(self.scene.vault_path)}


def _objects(path: Path) -> dict:
    if path.is_symlink() or not path.is_file():
        return {"vault": oct(path.lstat().st_mode)}
    with closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute("SELECT path, content FROM object").fetchall()
        except sqlite3.Error:  # no vault at all
            return {"vault": path.read_bytes()}
    events = [json.loads(content) for name, content in rows if name.startswith("events/")]
    succeeded = [event["number"] for event in events if event["outcome"] == "success"]
    return {"events": succeeded, **{name: content for name, content in rows if not name.startswith("events/")}}
