# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/break-glass.md, literally: its commands open what the product sealed, with openssl, sqlite3 and ssss-combine.

The commands are read from the page and run in an environment that has these programs, a few of coreutils and nothing
else. The agents' keys and the archived keys are made by openssl, which also says whether the right key came out.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import story as story_lib
import token_scene

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, pkcs8
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import groups, seal_key
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault import sqlite, sqlite_file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "break-glass.md"
PROGRAMS = ("openssl", "ssss-combine", "sed", "head", "tail", "cat", "grep", "rm", "od", "tr", "mv")
CURVES = {"p256": "P-256", "p384": "P-384", "p521": "P-521"}

#: The archived key's kind and usage.
KEYS = {"rsa": "key_transport", "p256": "key_agreement", "x25519": "key_agreement"}
#: name, threshold, kinds of the agents' keys. In the record they stand in this order.
GROUPS = (("admins", 2, ("rsa", "p256", "p384")), ("all", 3, ("rsa", "p521", "p256")), ("alone", 1, ("p384", "rsa")))


@dataclass
class Story:
    """A vault that the product filled, and the private keys of agents and owners as openssl made them."""

    folder: Path
    vault: Path
    agent_keys: dict[tuple[str, int], Path] = field(default_factory=dict)
    key_files: dict[str, Path] = field(default_factory=dict)
    key_ids: dict[str, str] = field(default_factory=dict)
    opened: sqlite.SqliteVault | None = None


def _openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout


def _key(path: Path, kind: str) -> Path:
    options = {"rsa": ("RSA", "rsa_keygen_bits:2048"), "x25519": ("X25519", None)}
    algorithm, option = options.get(kind) or ("EC", f"ec_paramgen_curve:{CURVES[kind]}")
    _openssl("genpkey", "-algorithm", algorithm, *(("-pkeyopt", option) if option else ()), "-out", path)
    return path


def _certificate(key: Path) -> str:
    subject = f"/O=Break Glass/CN={key.stem}"
    return _openssl("req", "-x509", "-new", "-key", key, "-subj", subject, "-days", "30").decode()


def _groups(story: Story) -> tuple:
    options = []
    for name, threshold, kinds in GROUPS:
        agents = []
        for place, kind in enumerate(kinds, start=1):
            encryption = _key(story.folder / f"{name}-{place}-encryption.key", kind)
            signing = _key(story.folder / f"{name}-{place}-signing.key", "p256")
            story.agent_keys[name, place] = encryption
            certificates = {
                "encryption_certificate": _certificate(encryption),
                "signing_certificate": _certificate(signing),
            }
            agents.append({"name": f"agent {place}", **certificates})
        options.append({"name": name, "threshold": threshold, "agents": agents})
    return groups.parse_groups(options, 1, times.now())


@pytest.fixture(name="story", scope="module")
def _story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("break-glass")
    story = Story(folder, folder / "vault" / "vault.db")
    sqlite_file.make(str(story.vault))
    recovery_groups = _groups(story)
    vault = sqlite.SqliteVault(str(story.vault))
    for kind, usage in KEYS.items():
        path = story.key_files[kind] = _key(folder / f"{kind}.pem", kind)
        public_key = _openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
        info = pkcs8.parse(_openssl("pkcs8", "-topk8", "-nocrypt", "-in", path, "-outform", "DER"))
        content = pkcs8.compose(pkcs8.with_usage(info, usage))
        facts = KeyFacts(identity.key_id(public_key), identity.algorithm_of(public_key), public_key, usage, "pkcs8")
        story.key_ids[kind] = facts.key_id
        for _revision in (1, 2):
            sealed = seal_key.seal(PrivateKey(content, facts), usage, "Zoë's mail", recovery_groups)
            vault.create(records.objects_of(sealed))
            records.add(vault, records.record_of(sealed, facts, host="mail1", place="/etc/ssl/private/mail.pem"))
    # Not closed: a vault that is in use has its newest rows in the write-ahead log.
    story.opened = vault
    yield story
    vault.close()


class StepFailed(Exception):
    """A step of the page ended with an error."""


class Terminal:
    """Runs steps of the page in one folder, with the variables that the page tells the reader to set."""

    def __init__(self, folder: Path, story: Story, programs: tuple[str, ...]) -> None:
        self.steps = dict(re.findall(r"<!-- step: ([a-z ]+) -->\n```sh\n(.*?)```\n", PAGE.read_text(), re.DOTALL))
        self.folder = folder / "work"
        self.folder.mkdir()
        programs_folder = folder / "programs"
        programs_folder.mkdir()
        for name in programs:
            found = shutil.which(name, path="/usr/bin:/bin")
            assert found, f"{name} is not installed: see tests/tools/system-packages"
            (programs_folder / name).symlink_to(found)
        self.variables = {"PATH": str(programs_folder), "VAULT": str(story.vault), "LC_ALL": "C.UTF-8"}

    def run(self, step: str, **variables: object) -> subprocess.CompletedProcess:
        self.variables.update({name: str(value) for name, value in variables.items()})
        command = ["/bin/sh", "-eu", "-c", self.steps[step]]
        result = subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise StepFailed(f"{step}: {result.stderr}")
        return result


def _variants() -> list:
    quorums = [("rsa", "admins", (1, 2)), ("p256", "admins", (3, 1)), ("rsa", "admins", (3, 2))]
    others = [("x25519", "all", (2, 3, 1)), ("rsa", "alone", (1,)), ("p256", "alone", (2,))]
    return [
        pytest.param(key, group, places, take, id=f"{key} {group} {places} {take}")
        for (key, group, places), take in itertools.product(quorums + others, ("take", "take with python"))
    ]


@pytest.mark.parametrize(("key", "group", "places", "take"), _variants())
def test_the_page_opens_a_key(key: str, group: str, places: tuple, take: str, story: Story, tmp_path: Path) -> None:
    reader = "sqlite3" if take == "take" else "python3"
    terminal = Terminal(tmp_path, story, (*PROGRAMS, reader))
    names = [name for name, _threshold, _kinds in GROUPS]
    terminal.variables.update(KEY_ID=story.key_ids[key], REVISION="2", GROUP=str(names.index(group)))
    if take == "take":
        listed = terminal.run("list").stdout
        assert "2|Zoë's mail|" in listed and f"|{terminal.variables['GROUP']}|{group}|" in listed
    terminal.run(take)
    for place in places:
        terminal.run("open share", PLACE=place, AGENT_KEY=story.agent_keys[group, place])
        assert terminal.run("check share").stdout == f"share {place} is genuine\n"
    terminal.run("single" if group == "alone" else "combine")
    terminal.run("open key")
    assert terminal.run("check key").stdout == f"this is the key {story.key_ids[key]}\n"
    terminal.run("convert")
    private = [_openssl("pkey", "-in", path) for path in (terminal.folder / "key.pem", story.key_files[key])]
    assert private[0] == private[1]
    for path in terminal.folder.iterdir():
        assert path.name == "vault.copy" or path.stat().st_mode & 0o077 == 0, path.name


@pytest.fixture(name="token_story", scope="module")
def _token_story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, dict[str, bytes]]:
    """Keys that were archived from SoftHSM, and such as other tokens wrap them: label to DER public key."""
    scene = story_lib.Scene(tmp_path_factory.mktemp("tokens"))
    scene.agents = token_scene.agents(scene.folder / "agents")
    host = token_scene.Host(scene, "mail1", ("ops",))
    made = host.make(
        {"algorithm": "rsa-2048", "usage": "key_transport", "label": "rsa"},
        {"algorithm": "ec-p256", "usage": "key_agreement", "label": "ec"},
    )
    keys = [host.key("rsa"), host.key("ec")]
    host.machine.run("key_archive", keys=keys, key_owner="Zoë's mail", recovery_groups=scene.groups())
    public = dict(zip(("rsa", "ec"), made))
    for wrapping in ("aes-kw", "aes-kw-pkcs7", "aes-cbc-pad"):
        public[wrapping] = token_scene.archive_as_another_token(scene, wrapping)
    story = Story(scene.folder, scene.vault_path)
    for place, agent in enumerate(scene.agents, start=1):
        story.agent_keys["office", place] = agent.folder / "encryption.key"
        story.agent_keys["wrapping", place] = agent.folder / "wrapping.key"
    return story, public


@pytest.mark.parametrize("label", ["rsa", "ec", "aes-kw", "aes-kw-pkcs7", "aes-cbc-pad"])
def test_the_page_opens_a_key_from_a_token(label: str, token_story: tuple, tmp_path: Path) -> None:
    story, public = token_story
    key_id = identity.key_id(public[label])
    terminal = Terminal(tmp_path, story, (*PROGRAMS, "sqlite3"))
    terminal.variables.update(KEY_ID=key_id, REVISION="1", GROUP="0")
    terminal.run("list")
    terminal.run("take")
    for place in (3, 1):
        terminal.run("open share", PLACE=place, AGENT_KEY=story.agent_keys["office", place])
        assert terminal.run("check share").stdout == f"share {place} is genuine\n"
    terminal.run("open session key", WRAPPING_KEY=story.agent_keys["wrapping", 1])
    assert terminal.run("check session key").stdout == "session key 1 is genuine\n"
    terminal.run("combine")
    terminal.run("open key")
    terminal.run("unwrap")
    assert terminal.run("check key").stdout == f"this is the key {key_id}\n"
    terminal.run("convert")
    assert _openssl("pkey", "-in", terminal.folder / "key.pem", "-pubout", "-outform", "DER") == public[label]
    for path in terminal.folder.iterdir():
        assert path.name == "vault.copy" or path.stat().st_mode & 0o077 == 0, path.name
    # A share that was edited does not prove its session key.
    share = terminal.folder / "share-1.txt"
    share.write_text(share.read_text().replace("key-owner: ", "key-owner: another "))
    with pytest.raises(StepFailed):
        terminal.run("check session key")


def test_it_waits_for_a_vault_that_is_locked_for_a_moment(story: Story, tmp_path: Path) -> None:
    vault = tmp_path / "locked.db"
    shutil.copy(story.vault, vault)
    terminal = Terminal(tmp_path, story, (*PROGRAMS, "sqlite3"))
    terminal.variables.update(KEY_ID=story.key_ids["rsa"])
    lock = sqlite3.connect(vault, isolation_level=None, check_same_thread=False)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")  # what the last to close a vault does, too
    with pytest.raises(sqlite3.OperationalError, match="locked"), sqlite3.connect(vault, timeout=0) as other:
        other.execute("SELECT path FROM object")
    start = time.monotonic()
    threading.Timer(1.5, lock.close).start()
    terminal.run("list", VAULT=vault)
    assert time.monotonic() - start > 1


def test_one_agent_of_two_opens_nothing(story: Story, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, story, (*PROGRAMS, "python3"))
    terminal.variables.update(KEY_ID=story.key_ids["rsa"], REVISION="1", GROUP="0")
    terminal.run("take with python")
    terminal.run("open share", PLACE=1, AGENT_KEY=story.agent_keys["admins", 1])
    with pytest.raises(StepFailed):
        terminal.run("combine")
        terminal.run("open key")
    terminal.run("single")  # a cheat: the share's line in place of the key-encryption key
    with pytest.raises(StepFailed):
        terminal.run("open key")
    with pytest.raises(StepFailed):
        terminal.run("open share", PLACE=2, AGENT_KEY=story.agent_keys["admins", 1])


def test_a_bad_share_is_found(story: Story, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, story, (*PROGRAMS, "python3"))
    terminal.variables.update(KEY_ID=story.key_ids["rsa"], REVISION="1", GROUP="0")
    terminal.run("take with python")
    terminal.run("open share", PLACE=1, AGENT_KEY=story.agent_keys["admins", 1])
    text = (terminal.folder / "share-1.txt").read_text()
    (terminal.folder / "share-1.txt").write_text(text[:-2] + ("0" if text[-2] != "0" else "1") + "\n")
    with pytest.raises(StepFailed):
        terminal.run("check share")


def test_every_shell_block_of_the_page_is_run() -> None:
    text = PAGE.read_text()
    assert text.count("```sh\n") == len(re.findall(r"<!-- step: [a-z ]+ -->\n```sh\n", text))
