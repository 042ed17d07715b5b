# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kill -9 at random moments of archiving keys from a token and of recovering them into another one.

The work runs in forked processes, which start SoftHSM for themselves. What is on the tokens is asked of pkcs11-tool.
Every round begins with the same folder: tokens, the host's state, and the vault.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import killing
import pytest
import story
import token_scene
from token_scene import Host

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys

KILLS = 10
LABELS = ("agrees", "decrypts")


class Round:
    """A host with keys on the token ``ops``, and the runs that are killed.

    Attributes:
        request_id: of an approved recovery into the token ``new``.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert keys  # loaded before the processes are forked
        self.folder, self.kept = folder / "round", folder / "kept"
        self.folder.mkdir()
        self.scene = story.Scene(self.folder, token_scene.agents(folder / "agents"))
        self.host = Host(self.scene, "mail1", ("ops", "new"))
        for name, value in self.host.store.environment.items():
            monkeypatch.setenv(name, value)
        made = self.host.make(
            {"algorithm": "ec-p256", "usage": "key_agreement", "label": LABELS[0]},
            {"algorithm": "rsa-2048", "usage": "key_transport", "label": LABELS[1]},
        )
        self.ids = [canonical.digest(one) for one in made]
        self.request_id = ""

    def archive(self) -> None:
        """The whole of key_archive."""
        self.host.machine.store = None  # in this process, which is killed
        done = self.host.machine.run(
            "key_archive",
            keys=[self.host.key(label) for label in LABELS],
            key_owner="mail1",
            recovery_groups=self.scene.groups(),
        )
        assert [row["state"] for row in done["results"]] == ["archived", "archived"], done

    def approve(self) -> None:
        """Ask for the keys, and have that approved."""
        about = {"key_owner": "mail1", "reason": "the token was lost", **self.scene.requester(self.host.machine)}
        self.request_id = self.host.machine.run("recovery_request", keys=self._places(), **about)["request_id"]
        for agent in self.scene.agents[:2]:
            agent.approve(self.scene.vault_path, self.request_id, "mail1")

    def recover(self) -> None:
        """The whole of key_recovery."""
        self.host.machine.store = None
        self.host.machine.run("key_recovery", request_id=self.request_id, keys=self._places())

    def _places(self) -> list[dict]:
        return [{"key_id": key_id, **self.host.key(None, "new")} for key_id in self.ids]

    def keep(self) -> None:
        """Begin every round with what is there now."""
        shutil.copytree(self.folder, self.kept)

    def begin(self) -> None:
        """Put everything back."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)

    def mend_tokens(self) -> None:
        """SoftHSM itself empties ``token.object`` when it is killed in a login (docs/tokens.md)."""
        for path in self.folder.rglob("token.object"):
            if not path.read_bytes():
                shutil.copyfile(self.kept / path.relative_to(self.folder), path)

    def seen(self, token: str) -> list[tuple[str, str]]:
        """Kind and label of every object: ``("Private", "agrees")``, sorted.

        Without those that have no attributes at all, because SoftHSM was killed before it wrote one: nobody can tell
        that they are keys, so nothing removes them (docs/token-softhsm2.md).
        """
        found, kind = [], ""
        for line in self.host.objects(token).splitlines():
            name, dummy, value = line.strip().partition(":")
            if " Object" in line:
                kind = line.split()[0]
            elif name == "label":
                found.append((kind, value.strip()))
        return sorted(one for one in found if one[1] != "<empty>")


PAIRS = sorted((kind, label) for kind in ("Private", "Public") for label in LABELS)


def kill_at_random(
    one: Round, work: Callable[[], None], look: Callable[[], None], finished: Callable[[], None]
) -> None:
    """Kill the work so many times; after each kill ``look`` looks, the work is done again, and ``finished`` looks."""
    one.keep()
    killed, seconds = killing.run_in_child(work)
    assert not killed
    finished()
    chance, kills = random.Random(7), 0
    for dummy in range(3 * KILLS):
        one.begin()
        killed, lasted = killing.run_in_child(work, chance.uniform(0.05, 0.95) * seconds)
        if not killed:
            seconds = lasted  # the machine has become faster
            continue
        kills += 1
        one.mend_tokens()
        look()
        assert not killing.run_in_child(work)[0]
        finished()
        if kills == KILLS:
            return
    raise AssertionError(f"only {kills} kills met the work")


def test_archiving_from_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the keys is ever left on the token: no wrapping key, no agent's public key."""
    one = Round(tmp_path, monkeypatch)

    def untouched() -> None:
        assert one.seen("ops") == PAIRS

    kill_at_random(one, one.archive, untouched, untouched)


def test_recovering_into_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key is never there without its public half, and the one-time key goes with the request.

    Halves without a label are what SoftHSM had begun to write; of whole halves, the public one is there first.
    """
    one = Round(tmp_path, monkeypatch)
    assert not killing.run_in_child(one.archive)[0]
    one.approve()

    def never_half() -> None:
        seen = [named for named in one.seen("new") if not named[1].startswith("keyops-request")]
        there = [named for named in seen if named[1]]
        assert len(set(there)) == len(there) and set(there) <= set(PAIRS), there
        assert all(("Public", label) in there for kind, label in there if kind == "Private"), there

    def back() -> None:
        assert one.seen("new") == PAIRS
        assert not list((one.folder / "mail1" / "state").rglob(f"*{one.request_id}*"))

    kill_at_random(one, one.recover, never_half, back)
