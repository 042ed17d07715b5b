# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on a token under two processes at once, kill -9 at any moment, and a full disk below the token.

Work runs in forked processes, each of which starts the token's library for itself. What is on the token is looked at
with python-pkcs11 alone.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import killing
import pkcs11
import pytest
import token_host
from token_host import TokenHost

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    KeyExists,
    KeyopsError,
    TokenError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision_anywhere
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, objects

LABELS = [f"label-{number}" for number in range(8)]
KILLS = 50


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenHost:
    made = token_host.softhsm(tmp_path)
    for name, value in made.store.environment.items():
        monkeypatch.setenv(name, value)
    assert provision_anywhere  # loaded before the processes are forked
    return made


def provide(host: TokenHost, labels: list[str], **options: object) -> list[dict]:
    """The work of one process."""
    return list(
        provision_anywhere.run(HostTask(host.params(*(host.key(label, **options) for label in labels)))).results
    )


def remove(host: TokenHost, labels: list[str]) -> list[dict]:
    gone = {"state": "absent", "destroy_unarchived": True, "usage": None, "algorithm": None}
    return provide(host, labels, **gone)


def in_child(work: killing.Work) -> None:
    killed, dummy = killing.run_in_child(work)
    assert not killed


def look(host: TokenHost, path: Path) -> dict[str, dict[str, list[str]]]:
    """Label to kind to the IDs of its halves: ``{"a": {"PRIVATE_KEY": ["01"], "PUBLIC_KEY": ["01"]}}``."""

    def write() -> None:
        import pkcs11

        token = pkcs11.lib(host.store.library).get_token(token_label=host.token)
        found: dict[str, dict[str, list[str]]] = {}
        with token.open(user_pin=host.pin) as session:
            # What SoftHSM was killed over before it had written anything has no attributes at all.
            for one in session.get_objects({pkcs11.Attribute.TOKEN: True}):
                kinds = found.setdefault(one[pkcs11.Attribute.LABEL], {"PRIVATE_KEY": [], "PUBLIC_KEY": []})
                kinds[one[pkcs11.Attribute.CLASS].name].append(one[pkcs11.Attribute.ID].hex())
        path.write_text(json.dumps(found))

    in_child(write)
    found: dict[str, dict[str, list[str]]] = json.loads(path.read_text())
    return found


def whole(found: dict[str, dict[str, list[str]]], labels: list[str]) -> dict[str, str]:
    """Label to ID; every label has one pair and nothing else."""
    assert sorted(found) == sorted(labels)
    for label, kinds in found.items():
        assert len(kinds["PRIVATE_KEY"]) == 1, (label, kinds)
        assert kinds["PRIVATE_KEY"] == kinds["PUBLIC_KEY"], (label, kinds)
    return {label: kinds["PRIVATE_KEY"][0] for label, kinds in found.items()}


def test_kill_at_any_moment(host: TokenHost, tmp_path: Path) -> None:
    """Generate, replace and remove, each killed; no private key without its public half, and the next run heals.

    SoftHSM 2.6.1 itself loses a token when it is killed while it logs in, because it writes ``token.object`` in place
    (docs/tokens.md). No caller can prevent that: then the file is put back from a copy, as its owner would have to.
    """
    (token_file,) = (tmp_path / "hsm" / "tokens").glob("*/token.object")
    copy = token_file.read_bytes()
    again = {"regenerate": "always", "destroy_unarchived": True}
    works = {
        "generate": lambda: provide(host, LABELS),
        "replace": lambda: provide(host, LABELS, **again),
        "remove": lambda: remove(host, LABELS),
    }
    chance, killed = random.Random(3), 0
    times = {name: killing.run_in_child(work)[1] for name, work in works.items()}
    for number in range(4 * KILLS):
        if killed == KILLS:
            break
        name = list(works)[number % 3]
        kept = {} if name == "generate" else whole(look(host, tmp_path / "seen"), LABELS)
        was_killed, seconds = killing.run_in_child(works[name], chance.uniform(0.1, 0.9) * times[name])
        killed += was_killed
        if not was_killed:
            times[name] = seconds  # the machine has become faster
        if not token_file.read_bytes():
            token_file.write_bytes(copy)
        left = look(host, tmp_path / "seen")
        for label, kinds in left.items():
            assert set(kinds["PRIVATE_KEY"]) <= set(kinds["PUBLIC_KEY"]), (name, label, kinds)
            assert len(kinds["PRIVATE_KEY"]) <= (2 if name == "replace" else 1), (name, label, kinds)
            assert name != "replace" or kinds["PRIVATE_KEY"], "neither the old nor the new key"
        in_child(works["generate"] if name != "remove" else works["remove"])
        after = look(host, tmp_path / "seen")
        if name == "remove":
            assert not after
            continue
        ids = whole(after, LABELS)
        for label, kinds in left.items():
            if len(kinds["PRIVATE_KEY"]) == 1:
                assert kinds["PRIVATE_KEY"] == [ids[label]], "a key that was whole is not made again"
            elif kinds["PRIVATE_KEY"]:
                assert ids[label] != kept[label], "of two keys, the new one stays"
    assert killed == KILLS


def test_processes_of_one_host_make_the_same_labels(host: TokenHost, tmp_path: Path) -> None:
    def work() -> None:
        actions = {row["action"] for row in provide(host, LABELS)}
        assert len(actions) == 1 and actions <= {"created", "kept"}

    for dummy in range(3):
        pids = [killing.fork(work) for dummy in range(4)]
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0, 0]
        whole(look(host, tmp_path / "seen"), LABELS)
        in_child(lambda: remove(host, LABELS))


_OTHER_HOST = """
import json, secrets, sys, pkcs11
asked = json.load(sys.stdin)
token = pkcs11.lib(asked["library"]).get_token(token_label="ops")
curve = {pkcs11.Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
with token.open(rw=True, user_pin=asked["pin"]) as session:
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
    for label in asked["labels"]:
        parameters.generate_keypair(store=True, label=label, id=secrets.token_bytes(8))
print(json.dumps({}))
"""


def test_another_host_makes_the_same_labels_meanwhile(host: TokenHost, tmp_path: Path) -> None:
    """It shares the token and not the lock, so it is seen only when the new keys are looked at once more."""
    look_again, doubled = objects.names, LABELS[2:]

    def names(session: object, kind: str) -> list[objects.TokenObject]:
        host.store.python(_OTHER_HOST, library=host.store.library, pin=host.pin, labels=doubled)
        return look_again(session, kind)

    def work() -> None:
        objects.names = names
        with pytest.raises(KeyExists) as caught:
            provide(host, LABELS)
        assert all((f"object={label}?" in str(caught.value)) == (label in doubled) for label in LABELS)

    in_child(work)
    ids = whole(look(host, tmp_path / "seen"), LABELS)
    assert {label for label, object_id in ids.items() if len(object_id) == 16} == set(doubled)


def test_another_host_destroys_a_key_during_the_last_look(host: TokenHost, tmp_path: Path) -> None:
    """What is listed is gone when it is read; then it is looked at again."""
    look_again, failures = objects.names, [True, True, False]

    def names(session: object, kind: str) -> list[objects.TokenObject]:
        if failures.pop(0):
            raise pkcs11.exceptions.ObjectHandleInvalid
        return look_again(session, kind)

    def work() -> None:
        objects.names = names
        provide(host, LABELS)
        assert failures == []

    in_child(work)
    whole(look(host, tmp_path / "seen"), LABELS)


def test_one_lock_for_one_library_however_it_is_named(host: TokenHost, tmp_path: Path) -> None:
    link = tmp_path / "link.so"
    link.symlink_to(host.store.library)
    state = tmp_path / "locks-state"
    reading, writing = os.pipe()
    waiting, telling = os.pipe()

    def work() -> None:
        os.read(waiting, 1)
        with keys.locked(str(state), str(link)):
            os.write(writing, b"got it")

    pid = killing.fork(work)  # before the lock is there: a forked process has a part in what its parent holds
    with keys.locked(str(state), host.store.library), keys.locked(str(state), host.store.library):
        os.write(telling, b".")
        assert select.select([reading], [], [], 0.5)[0] == []
    assert os.waitpid(pid, 0)[1] == 0 and os.read(reading, 10) == b"got it"


def test_locks_are_no_links_of_others_and_no_pipes(host: TokenHost, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "locks"
    folder.mkdir(parents=True)
    with keys.locked(str(folder.parent), host.store.library):
        (lock,) = folder.iterdir()
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(FileError, match="is no file"), keys.locked(str(folder.parent), host.store.library):
        pass
    folder.chmod(0o777)
    with pytest.raises(FileError, match="everybody"), keys.locked(str(folder.parent), host.store.library):
        pass


def test_a_token_that_is_pulled_away_in_the_middle_of_a_generation(host: TokenHost, tmp_path: Path) -> None:
    """One key is written, the token goes, and comes back: the next run ends it."""
    (there,) = (tmp_path / "hsm" / "tokens").iterdir()
    keep = keys.Draft.keep

    def pull_away(draft: keys.Draft) -> keys.Pair:
        if draft.new.label == LABELS[1]:
            there.rename(tmp_path / "pulled")
        return keep(draft)

    def work() -> None:
        keys.Draft.keep = pull_away  # type: ignore[method-assign]
        with pytest.raises(TokenError) as caught:
            provide(host, LABELS)
        assert f"writing the key {LABELS[1]!r}: the token answers" in str(caught.value)
        assert f"object={LABELS[1]}?" in str(caught.value)

    in_child(work)
    (tmp_path / "pulled").rename(there)
    left = whole(look(host, tmp_path / "seen"), LABELS[:1])
    in_child(lambda: provide(host, LABELS))
    assert whole(look(host, tmp_path / "seen"), LABELS)[LABELS[0]] == left[LABELS[0]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_below_the_token(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = token_host.softhsm(small_disk)
    host.state = tmp_path / "state"
    for name, value in host.store.environment.items():
        monkeypatch.setenv(name, value)
    labels = [f"full-{number}" for number in range(40)]

    def fill() -> None:
        with pytest.raises(KeyopsError) as caught:
            provide(host, labels)
        assert "the token answers" in str(caught.value)

    in_child(fill)
    for label, kinds in look(host, tmp_path / "seen").items():
        assert set(kinds["PRIVATE_KEY"]) <= set(kinds["PUBLIC_KEY"]), (label, kinds)
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    in_child(lambda: provide(host, labels))
    whole(look(host, tmp_path / "seen"), labels)
