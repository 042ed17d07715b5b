# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An enrolment station hands keys over with the playbook ``deliver``, as talkative as Ansible can be, and nothing
leaks.

Alice gets a file with two keys, a mail whose password is in the vault, and a signing key in her card.
"""

from __future__ import annotations

import base64
import email
import json
import os
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import local_play
import outside
import pytest
import story
import token_host
from exporting import keys_in, password_in
from leak_hunt import key_numbers
from leak_hunt.hunter import Haystack, search
from leak_hunt.needles import Secret
from leak_hunt.watch import Sampler


@dataclass
class Told:
    """What a run of the playbook printed, and how many tasks changed something."""

    text: str
    changed: int


@dataclass
class Station:
    """The station, and all that Alice has."""

    scene: story.Scene
    host: story.Machine
    controller: local_play.Controller
    card: token_host.TokenHost
    folder: Path
    password: str
    passphrase: str
    ids: dict[str, str] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    def key(self, name: str) -> Path:
        return self.host.folder / f"{name}.key"

    def exports(self) -> list[dict]:
        mail = {
            "key": str(self.key("mail")),
            "passphrase": self.passphrase,
            "certificate": str(self.folder / "mail.pem"),
        }
        old = {"key": str(self.key("old")), "certificate": str(self.folder / "old.pem")}
        login = {"key": str(self.key("login")), "usage": "authentication"}
        owner = (self.folder / "owner.pem").read_text()
        return [
            {"dest": str(self.outbox / "alice.p12"), "password": self.password, "keys": [mail, old]},
            {
                **{"dest": str(self.outbox / "alice.eml"), "keys": [mail], "profile": "windows"},
                **{"password_to": {"certificate": owner, "vault": True}, "encrypt_to": {"certificate": owner}},
            },
            {"dest": self.card.uri("login"), "format": "token", "pin": self.card.pin, "keys": [login]},
        ]

    def password_of(self, dest: Path) -> str:
        """What the owner finds in the vault with the commands of docs/delivery.md."""
        page = (local_play.CHECKOUT / "docs/delivery.md").read_text()
        (commands,) = re.findall(r"<!-- step: password from the vault -->\n```sh\n(.*?)```", page, re.DOTALL)
        places = {"VAULT": self.scene.vault_path, "DEST": dest, "KEY": self.folder / "owner.key"}
        variables = {**os.environ, "KEY_OWNER": "alice@example.com", **{name: str(one) for name, one in places.items()}}
        done = subprocess.run(["sh", "-c", commands], cwd=self.folder, env=variables, capture_output=True, check=True)
        return done.stdout.decode().splitlines()[0]

    def deliver(self, *arguments: str) -> Told:
        variables = {
            **{"keyops_exports": self.exports(), "keyops_key_owner": "alice@example.com"},
            **{
                "keyops_vault": {"path": str(self.scene.vault_path)},
                "keyops_state_dir": str(self.host.folder / "state"),
            },
            "keyops_policy": {"usages": {"authentication": {"export": "token"}}},
        }
        given = self.folder / "variables.json"
        given.write_text(json.dumps(variables))
        play = self.controller._start(
            self.host, "keyops.lifecycle.deliver", "-e", f"@{given}", "-vvvv", "--diff", *arguments
        )
        text = play.finish()
        recap = re.search(rf"^{self.host.name} .*changed=(\d+)", text, re.MULTILINE)
        assert recap, text[-2000:]
        return Told(text, int(recap.group(1)))


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    """Keys made and archived on the station, with certificates."""
    folder = tmp_path_factory.mktemp("delivery")
    scene = story.make_scene(folder)
    host = scene.machine("station")
    card = token_host.softhsm(folder / "card")
    for name in ("plays", "outbox", "tmp"):
        (folder / name).mkdir()
    temporary = {"TMPDIR": str(folder / "tmp"), "ANSIBLE_LOCAL_TEMP": str(folder / "tmp" / "ansible")}
    log = {"ANSIBLE_LOG_PATH": str(folder / "ansible.log"), **temporary}
    controller = local_play.Controller(folder / "plays", environment={**card.store.environment, **log})
    made = Station(scene, host, controller, card, folder, f"pass-{secrets.token_hex(6)}", secrets.token_hex(8))
    new = [
        {
            "key": str(made.key("mail")),
            "usage": "key_transport",
            "algorithm": "rsa-2048",
            "passphrase": made.passphrase,
        },
        {"key": str(made.key("old")), "usage": "key_agreement", "algorithm": "ec-p256"},
        {"key": str(made.key("login")), "usage": "authentication", "algorithm": "ec-p256"},
    ]
    for row in host.run("private_key", keys=new)["results"]:
        made.ids[Path(row["key"]).stem] = row["key_id"]
    archived = [{"key": new[0]["key"], "passphrase": made.passphrase}, {"key": new[1]["key"]}]
    host.run("key_archive", keys=archived, key_owner="alice@example.com", recovery_groups=scene.groups())
    for name, usage in (("mail", "keyEncipherment"), ("old", "keyAgreement")):
        story.openssl(
            *(
                "req",
                "-x509",
                "-new",
                "-key",
                made.key(name),
                "-passin",
                f"pass:{made.passphrase}",
                "-subj",
                "/CN=Alice",
            ),
            *("-days", 9, "-addext", f"keyUsage=critical,{usage}", "-out", folder / f"{name}.pem"),
        )
    story.make_certificate(folder / "owner.key", folder / "owner.pem", "owner", "RSA:2048", "keyEncipherment")
    for name in made.ids:
        plain = story.openssl("pkey", "-in", made.key(name), "-passin", f"pass:{made.passphrase}")
        made.secrets += key_numbers.secrets_of(name, key_numbers.load(plain, None))
    texts = {"password": made.password, "passphrase": made.passphrase, "PIN": card.pin}
    made.secrets += [Secret(name, text.encode(), "text") for name, text in texts.items()]
    return made


def test_keys_are_delivered_once_and_nothing_leaks(station: Station) -> None:
    predicted = station.deliver("--check")
    assert predicted.changed == 2
    assert not list(station.outbox.iterdir())
    assert all(station.key(name).exists() for name in station.ids)

    fleet = SimpleNamespace(hosts=["station"], root=lambda dummy: station.folder)
    with Sampler(fleet) as sampler:
        first = station.deliver()
    assert first.changed == 2
    assert not [name for name in station.ids if station.key(name).exists()]
    again = station.deliver()
    assert again.changed == 0

    ids, certificates = keys_in(station.outbox / "alice.p12", station.password)
    assert (ids, certificates) == ({station.ids["mail"], station.ids["old"]}, 2)
    assert set(station.card.seen()["login"]) == {"Private", "Public"}  # it came without a certificate

    vault = outside.look_at_vault(station.scene.vault_path)
    ((path, content),) = vault.below("deliveries").items()
    assert path.startswith("deliveries/" + outside.digest(b"alice@example.com") + "/")
    told = json.loads(content)
    assert (told["key_owner"], told["key_ids"]) == ("alice@example.com", [station.ids["mail"]])
    mail = station.outbox / "alice.eml"
    generated = station.password_of(mail)
    assert base64.b64decode(told["message"]) == (station.folder / "password.p7m").read_bytes()
    assert password_in(station.folder / "password.p7m", station.folder / "owner.key") == generated
    assert outside.digest(mail.read_bytes()) == told["digest"]
    part = email.message_from_bytes(
        story.openssl("cms", "-decrypt", "-in", mail, "-inkey", station.folder / "owner.key")
    )
    (station.folder / "opened.p12").write_bytes(part.get_payload(decode=True))
    assert keys_in(station.folder / "opened.p12", generated)[0] == {station.ids["mail"]}

    events = [(one["action"], one["outcome"], sorted({key["key_id"] for key in one["keys"]})) for one in vault.events()]
    everything = sorted(station.ids.values())
    assert events[-3:] == [
        ("export", "success", everything),
        ("deliver", "success", [station.ids["mail"]]),
        ("provision", "success", everything),
    ]

    state = [path for path in (station.host.folder / "state").rglob("*") if path.is_file()]
    haystacks = [
        *(
            Haystack(name, run.text.encode())
            for name, run in (("check", predicted), ("first", first), ("again", again))
        ),
        *sampler.haystacks(),
        Haystack("log", (station.folder / "ansible.log").read_bytes()),
        *(Haystack(path, content) for path, content in vault.objects.items()),
        *(
            Haystack(str(path), path.read_bytes())
            for path in [*state, *station.outbox.iterdir(), station.scene.vault_path]
        ),
    ]
    assert any(b"ansible-playbook" in one for seen in sampler.processes.values() for one in seen)
    work = station.folder / "hunt"
    work.mkdir()
    found = search(haystacks, [*station.secrets, Secret("generated password", generated.encode(), "text")], work)
    assert not found, found[:5]
    planted = search(
        [Haystack("planted", part.get_payload(decode=True) + generated.encode())],
        [Secret("generated password", generated.encode(), "text")],
        work,
    )
    assert planted


def test_a_signing_key_stays_where_no_policy_names_it(station: Station) -> None:
    """Whatever the play says, and with the refusal in the log."""
    host = station.scene.machine("other")
    made = host.run(
        "private_key", keys=[{"key": str(host.folder / "s.key"), "usage": "signature", "algorithm": "ec-p256"}]
    )
    item = {
        "dest": str(station.outbox / "s.p12"),
        "password": station.password,
        "keys": [{"key": made["results"][0]["key"]}],
    }
    task = local_play.task(
        "key_export",
        exports=[item],
        state_dir=str(host.folder / "state"),
        policy={"usages": {"signature": {"export": "token"}}},
    )
    play = station.controller.start(host, [task])
    assert play.process.wait(timeout=240) != 0
    assert "SigningUsageRefused" in play.text()
    assert not (station.outbox / "s.p12").exists()
    last = outside.look_at_vault(station.scene.vault_path).events()[-1]
    assert (last["action"], last["outcome"]) == ("export", "refused")


def test_the_playbook_fails_where_nothing_is_to_be_exported(station: Station) -> None:
    play = station.controller._start(station.host, "keyops.lifecycle.deliver")
    assert play.process.wait(timeout=240) != 0
    assert "No host has keyops_exports" in play.text()
