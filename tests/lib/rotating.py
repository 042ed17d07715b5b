# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose keys are rotated, with a CA made by openssl; what is there is judged from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import story
from outside import digest, key_id, look_at_vault

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._drafts import Draft
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import (
    certificate_request_anywhere,
    rotate,
    rotation_files,
)
from ansible_collections.keyops.lifecycle.plugins.modules import csr, key_rotation, key_rotation_info
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import requesting, rotating
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.sqlite import SqliteVault

#: story.Machine.run runs them too.
story._MODULES.update(
    # A machine gives every module a vault.
    csr=(
        SimpleNamespace(ARGUMENT_SPEC={**_options.VAULT, **csr.ARGUMENT_SPEC}),
        certificate_request_anywhere.run,
        requesting.request,
    ),
    key_rotation=(key_rotation, rotate.run, rotating.rotate),
    key_rotation_info=(key_rotation_info, rotate.run, rotating.plan),
)

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "rotation.md"
_CERTIFY = re.compile(r"`certify\.yml`, .*?```yaml\n(.*?)```", re.DOTALL)

#: Names of the keys: two that decrypt, one of them without a certificate, and one that signs.
KEYS = {
    "mail": ("key_agreement", "ec-p256"),
    "plain": ("key_agreement", "x25519"),
    "tls": ("authentication", "ec-p256"),
}


@dataclass
class Rotated:
    """A host with keys that are archived and certified as their usage wants it.

    Attributes:
        made: by name, content and key ID of the first generation.
        told: what the services were told, in process.
    """

    scene: story.Scene
    host: story.Machine
    authority: Path
    made: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._make(self.items())
        for item in self.items():
            if "request" in item:
                self.certify(item["request"]["path"], item["certificate"])
        self._archive(self.items())
        for name in KEYS:
            path = self.host.folder / f"{name}.key"
            self.made[name] = (path.read_bytes(), key_id(path))

    def items(self, ending: str = "") -> list[dict]:
        """As keyops_keys has them, or of their successors."""
        items = []
        for name, (usage, algorithm) in KEYS.items():
            path = self.host.folder / name
            item = {"key": f"{path}.key{ending}", "usage": usage, "algorithm": algorithm}
            if name != "plain":
                item["request"] = {"path": f"{path}.csr{ending}", "subject": f"CN={name}"}
                item["certificate"] = f"{path}.pem{ending}"
            items.append(item)
        return items

    def asked(self) -> dict:
        """The order to rotate the first generation, as options of key_rotation_info."""
        return {"key_ids": [known for dummy, known in self.made.values()]}

    def certify(self, request: str, certificate: str) -> None:
        """The CA's work."""
        signer = ("-CA", self.authority, "-CAkey", self.authority)
        story.openssl(
            "x509", "-req", "-in", request, *signer, "-copy_extensions", "copy", "-days", 300, "-out", certificate
        )

    def plan(self, **options: object) -> dict:
        """What key_rotation_info says, by name."""
        found = self.host.run("key_rotation_info", keys=self._rotation_keys(), **options)
        return dict(zip(KEYS, found["results"]))

    def rotate(self, **order: object) -> bool:
        """What the role does, in its order; returns whether anything changed."""
        plan = self.plan(**(order or self.asked()))
        coming = [one for one in self.items(".next") if plan[self._name(one)]["state"] in ("due", "waiting", "ready")]
        if coming:
            self._make(coming)
            self._archive([one for one in self.items() if self._name(one) in map(self._name, coming)])
            self._archive(coming)
            for name, row in self.plan().items():
                if row["state"] == "waiting":
                    path = self.host.folder / name
                    self.certify(f"{path}.csr.next", f"{path}.pem.next")
        if all(row["state"] == "current" for row in plan.values()):
            return False
        switched = self.host.run("key_rotation", keys=self._rotation_keys())
        self._archive(self.items())
        self.told += [row["key_id"] for row in switched["results"] if row["changed"]]
        self.host.run("key_rotation", keys=self._rotation_keys(), state="announced")
        return bool(switched["changed"])

    def variables(self, controller: Path) -> dict:
        """For the playbook: certificates come as in docs/rotation.md; the file ``told`` has what the services know."""
        (controller / "certify.yml").write_text(_CERTIFY.search(_PAGE.read_text()).group(1))
        for name in ("ca.pem", "ca.key"):
            (controller / name).write_bytes(self.authority.read_bytes())
        notify = controller / "notify.yml"
        tell = f"echo {{{{ keyops_switched | map(attribute='key_id') | join(' ') }}}} >> {self.host.folder}/told"
        notify.write_text(f'- name: Tell\n  ansible.builtin.shell:\n    cmd: "{tell}"\n  changed_when: true\n')
        return {
            **{"keyops_keys": self.items(), "keyops_key_owner": self.host.name},
            **{"keyops_recovery_groups": self.scene.groups(), "keyops_state_dir": str(self.host.folder / "state")},
            **{"keyops_rotate_key_ids": self.asked()["key_ids"]},
            **{"keyops_rotation_certify": str(controller / "certify.yml"), "keyops_rotation_notify": str(notify)},
        }

    def files(self) -> dict[str, bytes]:
        """Everything on the host."""
        return {str(path): path.read_bytes() for path in self.host.folder.rglob("*") if path.is_file()}

    def check_nothing_lost(self) -> None:
        """What holds at every moment: each key is whole, the old or the new; no new one is in use unarchived."""
        vault = look_at_vault(self.scene.vault_path)
        for name, (content, known) in self.made.items():
            path = self.host.folder / f"{name}.key"
            there = key_id(path)
            archived = f"records/{there}/1" in vault.objects
            assert archived == (KEYS[name][0] == "key_agreement") or there == known, f"{name}: in use and not archived"
            if KEYS[name][0] == "key_agreement":
                assert content in (path.read_bytes(), self._old(name, known)), f"{name}: the old key is lost"

    def check_finished(self) -> dict[str, str]:
        """Every key is of the second generation, and nothing else is left; returns the new key IDs by name."""
        vault = look_at_vault(self.scene.vault_path)
        folder, now = self.host.folder, {}
        for name, (content, known) in self.made.items():
            now[name] = key_id(folder / f"{name}.key")
            assert now[name] != known, f"{name}: not rotated"
            signs = KEYS[name][0] == "authentication"
            assert (self._old(name, known) == content) != signs, f"{name}: an old key that signs stays, or another went"
            assert (f"records/{now[name]}/1" in vault.objects) != signs
            assert (f"signing/{now[name]}" in vault.objects) == signs
            if name != "plain":
                assert self._certified(folder / f"{name}.pem") == now[name]
            if name == "mail":
                assert self._certified(folder / f"mail.pem.{known[:16]}") == known
        known_ids = {path.split("/")[1] for path in vault.objects if path.startswith(("records/", "signing/"))}
        own = {one for dummy, one in self.made.values()} | set(now.values())
        assert own <= known_ids
        assert not list(folder.glob("*.next")) + list(folder.glob("state/rotations/*")), "something is left"
        contents = {path.read_bytes() for path in folder.glob("*") if path.is_file()}
        assert self.made["tls"][0] not in contents, "the old signing key is still there"
        assert len(list(folder.glob("*.key*"))) == 2 * len(KEYS) - 1
        return now

    def _old(self, name: str, known: str) -> bytes | None:
        path = self.host.folder / f"{name}.key.{known[:16]}"
        return path.read_bytes() if path.exists() else None

    def _certified(self, path: Path) -> str:
        pem = story.openssl("x509", "-noout", "-pubkey", "-in", path)
        return digest(story.openssl("pkey", "-pubin", "-outform", "DER", stdin=pem))

    def _rotation_keys(self) -> list[dict]:
        return [{**one, "request": one["request"]["path"]} if "request" in one else one for one in self.items()]

    def _name(self, item: dict) -> str:
        return Path(item["key"]).name.split(".")[0]

    def _make(self, items: list[dict]) -> None:
        keys = [{name: one[name] for name in ("key", "usage", "algorithm")} for one in items]
        self.host.run("private_key", keys=keys)
        self._archive(items)
        requests = [{"key": one["key"], **one["request"]} for one in items if "request" in one]
        self.host.run("csr", keys=requests)

    def _archive(self, items: list[dict]) -> None:
        places = [one["key"] for one in items if one["usage"] == "key_agreement"]
        keys = [{"key": place, "place": place.removesuffix(".next")} for place in places]
        if keys:
            self.host.run("key_archive", keys=keys, key_owner=self.host.name, recovery_groups=self.scene.groups())


def make_authority(folder: Path) -> Path:
    """A CA: one file with its key and certificate."""
    path = folder / "authority.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "365"]
    pair = subprocess.run([*made, "-subj", "/CN=authority", "-keyout", "-"], capture_output=True, check=True)
    path.write_bytes(pair.stdout)
    return path


def die_after(number: int, work: Callable[[], object]) -> None:
    """In the child, which is thrown away: the process kills itself when so many durable effects have happened."""
    left = iter(range(number - 1, -1, -1))

    def dying(effect: Callable) -> Callable:
        def wrapped(*arguments: object, **options: object) -> object:
            result = effect(*arguments, **options)
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    effects = [(SqliteVault, "_create"), (Draft, "link"), (Draft, "rename"), (_files, "remove")]
    for owner, name in [*effects, (rotation_files, "keep"), (rotation_files, "move")]:
        setattr(owner, name, dying(getattr(owner, name)))
    work()
