# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leak hunt over a story with tokens: real plays, as talkative as Ansible can be, then a search in every encoding.

A token is made, keys are made in it, archived, and recovered into another token by a requester whose signing key is on
a third one; PINs are wrong, and keys in the way. Then everything that was written, and what every process of the plays
had in its arguments and its environment, is searched for the PINs and for the private numbers. The memory of a process
that archives is searched in test_token_archive.py.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import killing
import local_play
import pytest
import story
import token_scene
from leak_hunt import key_numbers
from leak_hunt.hunter import Haystack, Hit, files_below, search
from leak_hunt.needles import Secret


class Hunt:
    """The story, and all that it has written: below ``folder``, but for the tokens' own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said, self.samples = folder, [], []
        for name in ("story", "plays", "temporary", "remote"):
            (folder / name).mkdir()
        self.scene = story.Scene(folder / "story", token_scene.agents(folder / "agents"))
        self.host = token_scene.Host(self.scene, "mail1", ("card",))
        places = {"ANSIBLE_LOG_PATH": "ansible.log", "TMPDIR": "temporary", "ANSIBLE_REMOTE_TMP": "remote"}
        environment = {name: str(folder / place) for name, place in places.items()}
        self.controller = local_play.Controller(folder / "plays", environment=self.host.store.environment | environment)
        self.pins = {name: f"pin-of-{name}-{secrets.token_hex(6)}" for name in ("ops", "new", "so", "wrong")}
        self.pins["card"] = self.host.pin

    def play(self, *tasks: dict, fails: bool = False) -> None:
        """Run a play; its playbook, which has the PINs, goes."""
        play = self.controller.start(self.host.machine, list(tasks), "-vvvv", "--diff")
        while play.process.poll() is None:
            for pid in killing.processes_with(play.mark):
                for name in ("cmdline", "environ"):
                    self.samples.append(_read(Path(f"/proc/{pid}/{name}")))
            time.sleep(0.2)
        self.said.append(play.text())
        assert (play.process.returncode != 0) == fails, play.text()[-3000:]
        for path in (self.folder / "plays").glob("*.json"):
            path.unlink()

    def key(self, label: str, token: str = "ops", **more: object) -> dict:
        """An item on a token."""
        return {
            "key": self.host.store.uri(token, **({"object": label} if label else {})),
            "pin": self.pins[token],
            **more,
        }

    def state(self) -> dict:
        """The option of nearly all modules."""
        return {"state_dir": str(self.host.machine.folder / "state")}

    def hits(self) -> list[Hit]:
        """Every secret that is found, and the one that was put there."""
        known = [Secret(name, pin.encode(), "text") for name, pin in self.pins.items()]
        for label in ("mail", "notes"):
            known += key_numbers.secrets_of(label, self.taken[label])
        planted = [known[0], next(one for one in known if one.name == "mail: RSA q")]
        for number, one in enumerate(planted):
            (self.folder / "temporary" / f"planted-{number}").write_text(one.value.hex())
        work = self.folder / "search"
        work.mkdir()
        return search(self._haystacks(), known, work)

    def _haystacks(self) -> Iterator[Haystack]:
        yield Haystack("processes", b"\n".join(set(self.samples)))
        for number, text in enumerate(self.said):
            yield Haystack(f"said {number}", text.encode())
        # SoftHSM's own files too: its keys are encrypted there.
        yield from files_below(self.folder, "files", without=self.folder / "search")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture(name="hunt")
def _hunt(tmp_path: Path) -> Hunt:
    hunt = Hunt(tmp_path)
    _make(hunt)
    _lose_and_recover(hunt)
    return hunt


def _make(hunt: Hunt) -> None:
    token = {
        name: {"uri": hunt.host.store.uri(name), "pin": hunt.pins[name], "so_pin": hunt.pins["so"]}
        for name in ("ops", "new")
    }
    rsa = {"usage": "key_transport", "algorithm": "rsa-2048", "request": {"subject": "CN=mail"}}
    keys = [
        hunt.key("mail", **rsa),
        hunt.key("notes", usage="key_agreement", algorithm="ec-p256"),
        hunt.key("asks", "card", usage="signature", algorithm="ec-p256"),
    ]
    requests = [
        {**hunt.key("asks", "card"), "usage": "signature", "subject": "CN=asks", "path": str(hunt.folder / "asks.csr")}
    ]
    archive = {"key_owner": "mail1", "recovery_groups": hunt.scene.groups(), **hunt.state()}
    hunt.play(
        local_play.task("hsm_token", tokens=list(token.values()), **hunt.state()),
        local_play.task("private_key", keys=keys, **hunt.state()),
        local_play.task("private_key", keys=keys, **hunt.state()),
        local_play.task("csr", keys=requests, **hunt.state()),
        local_play.task("key_archive", keys=[hunt.key("mail"), hunt.key("notes")], **archive),
    )
    # For the test alone: the numbers, which no process of the plays has.
    hunt.host.store.pins["pin"] = hunt.pins["ops"]
    hunt.taken = {label: token_scene.taken_out(hunt.host, label) for label in ("mail", "notes")}
    wrong = {**hunt.key("mail"), "pin": hunt.pins["wrong"], "usage": "key_transport", "algorithm": "rsa-2048"}
    hunt.play(local_play.task("private_key", keys=[wrong], **hunt.state()), fails=True)


def _lose_and_recover(hunt: Hunt) -> None:
    certificate = hunt.folder / "asks.pem"
    story.make_certificate(hunt.folder / "ca.key", hunt.folder / "ca.pem", "ca", "EC:P-256", "keyCertSign")
    (hunt.folder / "usage").write_text("keyUsage=critical,digitalSignature\n")
    story.openssl(
        *(
            "x509",
            "-req",
            "-in",
            hunt.folder / "asks.csr",
            "-CA",
            hunt.folder / "ca.pem",
            "-days",
            30,
            "-out",
            certificate,
        ),
        *("-CAkey", hunt.folder / "ca.key", "-CAcreateserial", "-extfile", hunt.folder / "usage"),
    )
    keys = [{"key_id": key_numbers.key_id(one), **hunt.key("", "new")} for one in hunt.taken.values()]
    requester = {"signing_key": hunt.key("asks", "card")["key"], "signing_key_pin": hunt.pins["card"]}
    asked = {"key_owner": "mail1", "reason": "the token was lost", "signing_certificate": str(certificate)}
    request = local_play.task("recovery_request", keys=keys, **requester, **asked, **hunt.state())
    approvals = [
        local_play.task(
            "recovery_approval",
            request_id="{{ asked.request_id }}",
            expected_owner="mail1",
            agent=agent.name,
            **{f"{kind}_key": str(agent.folder / f"{kind}.key") for kind in ("encryption", "signing", "wrapping")},
        )
        for agent in hunt.scene.agents[:2]
    ]
    recovery = local_play.task("key_recovery", request_id="{{ asked.request_id }}", keys=keys, **hunt.state())
    looked = local_play.task("private_key_info", tokens=[{"uri": hunt.host.store.uri("new"), "pin": hunt.pins["new"]}])
    hunt.play({**request, "register": "asked"}, *approvals, recovery, looked)


def test_no_pin_and_no_private_number_is_anywhere(hunt: Hunt) -> None:
    hits = hunt.hits()
    planted = {hit.secret for hit in hits if "/planted-" in hit.place}
    assert planted == {"ops", "mail: RSA q"}, "the hunt is blind"
    leaked = [hit for hit in hits if "/planted-" not in hit.place]
    assert not leaked, leaked
    assert any(b"ansible-playbook" in one for one in hunt.samples) and all(
        "VALUE_SPECIFIED_IN" in one for one in hunt.said
    )
    # The story was whole: the keys are on the new token.
    hunt.host.store.pins["pin"] = hunt.pins["new"]
    listed = hunt.host.objects("new")
    assert listed.count("Private Key Object") == 2 and "mail" in listed and "notes" in listed, json.dumps(listed)
