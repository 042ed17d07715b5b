# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data that is decrypted straight from a recovery request, into a sealed folder. Messages are made by openssl."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import departed
import efs_image
import killing
import pytest
import story
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from departed import Case

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import (
    lock,
    ntfsdecrypt,
    sealed_files,
    sealed_folder,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FileError,
    FormatError,
    HostError,
    KeyopsError,
    OptionError,
    QuorumNotReached,
    RequestExpired,
    RequestMismatch,
    StateError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_singles, recovered_data_info
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log, records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import recovering_data
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault


@pytest.fixture(name="past", scope="module")
def _past(enrolled: story.Scene, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The years in which the owner worked, once; every test goes on from a copy."""
    made = departed.work(tmp_path_factory.mktemp("past"), list(enrolled.agents))
    for name in departed.GENERATIONS:
        made.contents[name] = f"sealed under {name}\n".encode() + os.urandom(100)
        options = ["-encrypt", "-binary", "-aes-256-cbc", "-outform", "DER"]
        recipient = ["-recip", made.certificates / f"{name}.pem"]
        sealed = story.openssl("cms", *options, *recipient, stdin=made.contents[name])
        (made.worker.folder / f"{name}.p7m").write_bytes(sealed)
    return made


@pytest.fixture(name="case")
def _case(past: Case, tmp_path: Path) -> Case:
    return past.copied(tmp_path / "scene")


def outputs(case: Case) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (case.folder / "files").iterdir()}


def _agent_id(agent: story.Agent) -> str:
    return key_id_of_certificate(story.openssl("x509", "-in", agent.folder / "encryption.pem", "-outform", "DER"))


def last_event(case: Case) -> event_log.Event:
    with open_vault({"backend": "sqlite", "path": str(case.scene.vault_path)}, False) as vault:
        return event_log.verify(vault).events[-1]


def test_all_generations_open_from_memory_into_a_sealed_folder(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id)
    predicted = case.recover(request_id, check_mode=True)
    assert predicted["changed"] and not case.folder.exists() and case.requests() == [request_id + ".json"]
    done = case.recover(request_id)
    assert done["changed"] and [row["decrypted"] for row in done["results"]] == [1, 1, 1]
    assert outputs(case) == case.contents
    assert case.requests() == [], "the one-time key is still there"
    assert not list(case.worker.folder.glob("state/data/*")), "the host still knows what was in the mail"
    assert case.events()[-1] == ("recover_data", "success")
    found = sealed_folder.verify(str(case.folder), None)
    assert (found.problems, found.digest) == ((), done["summary"])
    summary = found.summary
    assert {key["key_id"] for key in summary["keys"]} == set(case.key_ids.values())
    assert [key["agents"] for key in summary["keys"]] == [["agent-1", "agent-2"]] * 3
    ids = [_agent_id(agent) for agent in case.scene.agents[:2]]
    assert [key["agent_ids"] for key in summary["keys"]] == [ids] * 3
    told = f"group office: agent-1 ({ids[0][:16]}), agent-2 ({ids[1][:16]})"
    assert last_event(case).keys == tuple((key_id, told) for key_id in sorted(case.key_ids.values()))
    assert (summary["request_id"], summary["key_owner"], summary["host"]) == (request_id, "alice", "worker")
    assert summary["inputs"]["files"] == 3
    # No key has touched the worker's disk: nothing but the requester's is a private key.
    private = [path for path in case.worker.folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert private == [case.worker.folder / "requester.key"]


def test_the_end_is_verified_and_left_alone(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id)
    done = case.recover(request_id)
    before = {path: path.lstat().st_mtime_ns for path in case.folder.rglob("*")}
    events = case.events()
    again = case.recover(request_id)
    assert not again["changed"] and again["summary"] == done["summary"]
    assert [row["decrypted"] for row in again["results"]] == [1, 1, 1]
    assert case.events() == events
    assert {path: path.lstat().st_mtime_ns for path in case.folder.rglob("*")} == before
    (case.folder / "files/new").chmod(0o600)
    with pytest.raises(StateError):
        case.recover(request_id)


def test_without_a_quorum_nothing_is_opened(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id, 1)
    for options in ({}, {"on_missing_key": "report"}):
        with pytest.raises(QuorumNotReached):
            case.recover(request_id, **options)
    assert not case.folder.exists()
    assert case.requests() == [request_id + ".json"]
    assert case.events()[-1] == ("recover_data", "refused")


def _without_approvals(key_id: str, relay: dict) -> dict:
    keys = {name: {**one, "approvals": {}} if name == key_id else one for name, one in relay["keys"].items()}
    return {**relay, "keys": keys}


def test_a_missing_generation_fails_or_is_reported(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id)
    case.worker.on_relay = lambda step, relay: relay and _without_approvals(case.key_ids["mid"], relay)
    with pytest.raises(QuorumNotReached):
        case.recover(request_id)
    assert case.requests()
    done = case.recover(request_id, on_missing_key="report")
    assert {row["src"]: row["failed"] for row in done["results"]}[str(case.worker.folder / "mid.p7m")] == 1
    assert set(outputs(case)) == {"old", "new"}
    assert any(case.key_ids["mid"][:16] in warning for warning in done["warnings"])
    summary = sealed_folder.verify(str(case.folder), None).summary
    assert (summary["failed"], summary["failures"][0]["reason"]) == (1, "NoKeyForData")
    assert case.key_ids["mid"] not in {key["key_id"] for key in summary["keys"]}
    ((told, reason),) = [(one["key_id"], one["reason"]) for one in summary["missing"]]
    assert (told, reason) == (case.key_ids["mid"], "QuorumNotReached")
    assert dict(last_event(case).keys)[told] == "not recovered"
    assert _look(case)["missing"] == summary["missing"]


class _Killed(Exception):
    pass


@pytest.mark.parametrize("at", ["decrypt", "close"])
def test_a_controller_that_dies_is_made_up_for(case: Case, at: str) -> None:
    request_id = case.ask()
    case.approve(request_id)

    def die(step: str, results: object, relay: object) -> tuple:
        if step == at:
            raise _Killed
        return results, relay

    case.worker.on_reply = die
    with pytest.raises(_Killed):
        case.recover(request_id)
    case.worker.on_reply = None
    assert sealed_folder.is_sealed(str(case.folder))
    again = case.recover(request_id)
    assert not again["changed"]
    assert case.requests() == []
    assert case.events()[-1] == ("recover_data", "success")
    assert case.events().count(("recover_data", "success")) == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"summary": "whatever I like\x1b[2J"},
        {"failed": "none at all"},
        {"failed": True},
        {"failed": -1},
        {"unclosed": "yes"},
        {"more": ""},
        {"keys": [{"key_id": "f" * 64}]},
        {"keys": [{"record": 7}]},
        {"keys": [{"group": "boss"}]},
        {"keys": [{"agent_ids": ["f" * 64]}]},
        {"keys": [{"agent_ids": []}]},
        {"keys": [{"agent_ids": [["f"]]}]},
        {"keys": ["key"]},
        {"keys": [{}, {}]},
    ],
)
def test_a_lying_host_writes_nothing_into_the_log(case: Case, lie: dict) -> None:
    def lies(step: str, results: object, relay: object) -> tuple:
        if step != "decrypt":
            return results, relay
        told = dict(lie)
        if "keys" in lie:
            told["keys"] = [{**relay["keys"][0], **one} if isinstance(one, dict) else one for one in lie["keys"]]
        return results, {**relay, **told}

    request_id = case.ask()
    case.approve(request_id)
    case.worker.on_reply = lies
    with pytest.raises(FormatError):
        case.recover(request_id)
    event = last_event(case)
    assert (event.action, event.outcome) == ("recover_data", "failed")
    assert {key_id for key_id, detail in event.keys} == set(case.key_ids.values())
    assert event.detail.isprintable()
    assert case.requests(), "the request was ended"


def test_only_the_requester_seals(case: Case, tmp_path: Path) -> None:
    request_id = case.ask()
    case.approve(request_id)
    other = case.scene.requester(case.scene.machine("mallory"))
    with pytest.raises(RequestMismatch):
        case.recover(request_id, seal={"folder": str(case.folder), **other})
    assert not case.folder.exists()
    assert case.events()[-1] == ("recover_data", "refused")
    requester = case.scene.requester(case.worker)
    story.openssl(
        *("req", "-x509", "-new", "-key", requester["signing_key"], "-subj", "/CN=renewed", "-days", 9),
        *("-out", tmp_path / "renewed.pem", "-addext", "keyUsage=critical,digitalSignature"),
    )
    renewed = {**requester, "signing_certificate": str(tmp_path / "renewed.pem")}
    assert case.recover(request_id, seal={"folder": str(case.folder), **renewed})["changed"]


def test_another_summary_than_the_logs_is_told(case: Case) -> None:
    """A case worker, who has the requester's key, changes a file and seals the folder again."""
    request_id = case.ask()
    case.approve(request_id)
    case.recover(request_id)
    kept = {path: path.read_bytes() for path in case.folder.rglob("*") if path.is_file()}
    for path in kept:
        path.chmod(0o600)
    (case.folder / "files/new").write_bytes(b"forged evidence")
    (case.folder / "summary.json").unlink()
    summary = canonical.loads(
        dsse.payload_of(kept[case.folder / "summary.json"], sealed_folder.PAYLOAD_TYPE),
    )
    facts = {name: summary[name] for name in sealed_folder.Case.__dataclass_fields__}
    facts["requester_certificate"] = canonical.decode(facts["requester_certificate"])
    key = load_pem_private_key((case.worker.folder / "requester.key").read_bytes(), None)
    inputs = [sealed_files.Input(row["src"]) for row in summary["sources"]]
    forged = sealed_folder.seal(str(case.folder), inputs, sealed_folder.Case(**facts), key)
    assert not sealed_folder.verify(str(case.folder), None).problems
    for check_mode in (True, False):
        with pytest.raises(StateError, match=forged):
            case.recover(request_id, check_mode=check_mode)
    assert case.events()[-1] == ("recover_data", "failed")
    for path, content in kept.items():
        path.chmod(0o600)
        path.write_bytes(content)
        path.chmod(0o400)
    assert not case.recover(request_id)["changed"]
    with open_vault({"backend": "sqlite", "path": str(case.scene.vault_path)}, False) as vault:
        for dummy in range(70):  # more than are read at once
            event_log.append(vault, action="archive", outcome="success", actor="a", host="h")
    assert case.recover(request_id)["warnings"] == []


def test_a_folder_outlives_the_key_that_sealed_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requester's key is rotated. By the log the folder is still the true one; nobody else's is."""
    request_id = case.ask()
    case.approve(request_id)
    done = case.recover(request_id)
    signed = canonical.digest((case.folder / "summary.json").read_bytes())
    requester = Path(case.scene.requester(case.worker)["signing_key"])
    old = (requester.read_bytes(), requester.with_suffix(".pem").read_bytes())
    for path in (requester, requester.with_suffix(".pem")):
        path.unlink()
    case.scene.requester(case.worker)
    again = case.recover(request_id)
    assert (again["changed"], again["summary"], again["warnings"]) == (False, signed, [])
    assert done["summary"] == signed
    (problem,) = _look(case, str(requester.with_suffix(".pem")))["problems"]
    assert "another requester's key" in problem and "give its certificate" in problem
    # What the log does not name is nobody's word: its events are hidden here, as if the summary had never been told.
    monkeypatch.setattr(recovering_data, "_summary_in_log", lambda *dummy: None)
    with pytest.raises(StateError, match="another requester's key"):
        case.recover(request_id)
    requester.write_bytes(old[0])
    requester.with_suffix(".pem").write_bytes(old[1])
    assert "no event of summary" in case.recover(request_id)["warnings"][0]


@pytest.mark.parametrize("how", ["written", "replaced", "mail"])
def test_a_source_that_changes_before_it_is_sealed_is_told(
    case: Case, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    source, true = case.worker.folder / "new.p7m", sealed_folder._make_read_only
    mails = case.worker.folder / "maildir"
    for part in ("cur", "new", "tmp"):
        (mails / part).mkdir(parents=True)
    (mails / "new/1.host").write_bytes(b"Subject: plain\n\ntext\n")
    options = case.options()
    options["sources"].append({"src": str(mails), "dest": str(case.folder / "mails")})
    kept = source.read_bytes()

    def change(folder: str) -> None:
        if how == "written":
            source.write_bytes(b"another file altogether")
        elif how == "replaced":  # with the same size and time
            times = source.stat()
            (source.parent / "other").write_bytes(bytes(len(kept)))
            os.utime(source.parent / "other", ns=(times.st_atime_ns, times.st_mtime_ns))
            (source.parent / "other").rename(source)
        else:
            (mails / "new/2.host").write_bytes(b"Subject: planted\n\ntext\n")
        true(folder)

    request_id = case.ask()
    case.approve(request_id)
    monkeypatch.setattr(sealed_folder, "_make_read_only", change)
    with pytest.raises(FileError, match="it has changed since it was read"):
        case.recover(request_id, **options)
    assert not sealed_folder.is_sealed(str(case.folder)) and case.requests()
    source.write_bytes(kept)
    monkeypatch.setattr(sealed_folder, "_make_read_only", true)
    assert case.recover(request_id, **options)["changed"]
    assert not sealed_folder.verify(str(case.folder), None).problems


@pytest.mark.parametrize("agents", [(0, 2), (0,), (1, 1)])
def test_the_log_names_nobody_who_has_not_approved(case: Case, agents: tuple[int, ...]) -> None:
    def lies(step: str, results: object, relay: object) -> tuple:
        if step == "decrypt":
            ids = [_agent_id(case.scene.agents[number]) for number in agents]
            relay = {**relay, "keys": [{**relay["keys"][0], "agent_ids": ids}, *relay["keys"][1:]]}
        return results, relay

    request_id = case.ask()
    case.approve(request_id)  # the first two
    case.worker.on_reply = lies
    with pytest.raises(FormatError, match="agents who have not approved"):
        case.recover(request_id)
    assert last_event(case).outcome == "failed"


def test_names_are_claims_and_agent_ids_are_not(case: Case) -> None:
    def renamed(text: str) -> str:
        found = record.parse(canonical.decode(text))
        group = found.groups[0]
        agents = tuple(replace(agent, name=f"Director {agent.name}") for agent in group.agents)
        return canonical.encode(record.dump(replace(found, groups=(replace(group, agents=agents),))))

    def lie(step: str, relay: dict) -> dict:
        for one in (relay or {"keys": {}})["keys"].values():
            one["records"] = [renamed(text) for text in one["records"]]
        return relay

    request_id = case.ask()
    case.approve(request_id)
    case.worker.on_relay = lie
    case.recover(request_id)
    (key, *dummy) = sealed_folder.verify(str(case.folder), None).summary["keys"]
    assert key["agents"] == ["Director agent-1", "Director agent-2"]
    assert key["agent_ids"] == [_agent_id(agent) for agent in case.scene.agents[:2]]
    assert "Director" not in str(last_event(case).keys)


def _bad_vaults(case: Case, request_id: str) -> Iterator[tuple[str, object]]:
    yield "a key is missing", lambda step, relay: {"keys": dict(list(relay["keys"].items())[1:])}
    yield (
        "no approvals",
        lambda step, relay: {"keys": {key_id: {**one, "approvals": {}} for key_id, one in relay["keys"].items()}},
    )
    yield (
        "no sealed keys",
        lambda step, relay: {"keys": {key_id: {**one, "sealed": {}} for key_id, one in relay["keys"].items()}},
    )


def test_a_lying_vault_gets_a_clear_error_and_nothing_is_written(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id)
    for what, lie in _bad_vaults(case, request_id):
        case.worker.on_relay = lie
        with pytest.raises(KeyopsError):
            case.recover(request_id)
        assert not case.folder.exists(), what


def test_a_false_certificate_in_the_records_stands_in_no_way(case: Case) -> None:
    """Whoever may create records adds a revision with a certificate of this key that no parser likes."""
    key_id = case.key_ids["new"]
    with open_vault({"backend": "sqlite", "path": str(case.scene.vault_path)}, False) as vault:
        (true,) = records.walk(vault, [key_id])[key_id]
        certificate = bytearray(true.certificates[0])
        place = certificate.index(bytes.fromhex("0603551d0f"))  # the extension's OID
        certificate[place] = 0x05
        false = record.dump(record.Record(**{**true.__dict__, "number": 2, "certificates": (bytes(certificate),)}))
        vault.create({f"records/{key_id}/2": false})
    request_id = case.ask()
    case.approve(request_id)
    case.recover(request_id)
    assert outputs(case) == case.contents


def _look(case: Case, certificate: str | None = None) -> dict:
    """What data_recovery_info says of the case's folder."""
    state_dir = str(case.worker.folder / "state")
    folders = [{"folder": str(case.folder), "signing_certificate": certificate}]
    return recovered_data_info.run(HostTask({"folders": folders, "state_dir": state_dir})).results[0]


def test_the_folder_can_be_verified_at_any_time(case: Case, tmp_path: Path) -> None:
    assert (_look(case)["sealed"], _look(case)["sound"]) == (False, False)
    request_id = case.ask()
    case.approve(request_id)
    done = case.recover(request_id)
    requester = case.scene.requester(case.worker)["signing_certificate"]
    told = _look(case, requester)
    assert (told["sealed"], told["sound"], told["request_open"], told["summary"]) == (
        True,
        True,
        False,
        done["summary"],
    )
    assert (told["request_id"], told["inputs"], told["failed"], told["problems"]) == (request_id, 3, 0, [])
    assert told["signed_by"] == key_id_of_certificate(story.openssl("x509", "-in", requester, "-outform", "DER"))
    story.make_certificate(tmp_path / "k", tmp_path / "c", "other", "EC:P-256", "digitalSignature")
    assert (_look(case, str(tmp_path / "c"))["sealed"], _look(case, str(tmp_path / "c"))["sound"]) == (True, False)
    (case.folder / "files/new").unlink()
    assert _look(case, requester)["problems"] == ["files/new: it is gone"]
    for wrong in ("no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(OptionError):
            _look(case, wrong)


def test_another_case_is_not_mixed_in(case: Case) -> None:
    first = case.ask()
    case.approve(first)
    case.recover(first)
    second = case.ask(reason="another")
    case.approve(second)
    with pytest.raises(StateError):
        case.recover(second)
    assert case.requests() == [second + ".json"], "its request stays open"


def test_what_is_not_of_the_case_is_not_signed(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id)
    case.folder.mkdir(mode=0o700)
    (case.folder / "planted").write_text("evidence")
    with pytest.raises(FileError):
        case.recover(request_id)
    (case.folder / "planted").unlink()
    case.folder.chmod(0o755)
    with pytest.raises(FileError):
        case.recover(request_id)


def test_a_request_of_another_host_or_time_opens_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = case.ask(expires_in="1h")
    case.approve(request_id)
    elsewhere = case.scene.machine("elsewhere")
    with pytest.raises(StateError):
        elsewhere.run("data_recovery", request_id=request_id, **case.options())
    from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times

    later = times.now() + times.duration("2h", "")
    monkeypatch.setattr(times, "now", lambda: later)
    with pytest.raises(RequestExpired):
        case.recover(request_id)


@pytest.mark.parametrize(
    "change",
    [
        {"seal": None},
        {"keys": [{"key": "/k"}]},
        {"seal": {"folder": "relative"}},
        {"seal": {"folder": "/elsewhere"}},
        {"seal": {"signing_certificate": "/other.pem"}},
    ],
)
def test_wrong_options_are_told_before_anything_is_opened(case: Case, change: dict) -> None:
    options = case.options()
    for name, value in change.items():
        if isinstance(value, dict):
            if "signing_certificate" in value:
                story.make_certificate(
                    case.worker.folder / "other.key",
                    case.worker.folder / "other.pem",
                    "o",
                    "EC:P-256",
                    "digitalSignature",
                )
                value = {"signing_certificate": str(case.worker.folder / "other.pem")}
            options[name] = {**options[name], **value}
        else:
            options[name] = value
    request_id = case.ask()
    case.approve(request_id)
    with pytest.raises(OptionError):
        case.worker.run("data_recovery", request_id=request_id, **{k: v for k, v in options.items() if v is not None})
    assert not case.folder.exists()


def test_keys_at_hand_are_sealed_as_well(case: Case) -> None:
    """Without a request: the summary has no agents, and no vault is asked."""
    key = case.worker.folder / "own.key"
    story.make_certificate(key, case.worker.folder / "own.pem", "own", "RSA:2048", "keyEncipherment")
    recipient = ["-recip", case.worker.folder / "own.pem"]
    (case.worker.folder / "own.p7m").write_bytes(
        story.openssl("cms", "-encrypt", "-binary", "-outform", "DER", *recipient, stdin=b"mine")
    )
    options = case.options()
    options["sources"] = [{"src": str(case.worker.folder / "own.p7m"), "dest": str(case.folder / "own")}]
    case.worker.run("data_recovery", keys=[{"key": str(key)}], **options)
    assert (case.folder / "own").read_bytes() == b"mine"
    summary = sealed_folder.verify(str(case.folder), None).summary
    assert (summary["request_id"], summary["keys"][0]["agents"]) == ("", [])
    assert not case.worker.run("data_recovery", keys=[{"key": str(key)}], **options)["changed"]
    envelope = (case.folder / "summary.json").read_bytes()
    assert canonical.loads(dsse.payload_of(envelope, sealed_folder.PAYLOAD_TYPE))["sources"][0]["decrypted"] == 1


def test_the_report_is_none_of_the_other_files(case: Case) -> None:
    requester, options = case.scene.requester(case.worker), case.options()
    request_id = case.ask()
    case.approve(request_id)
    kept = Path(requester["signing_certificate"]).read_bytes()
    names = [str(case.folder / name) for name in ("summary.json", "outputs.sha256", "sources.sha256/r", "files")]
    for place in (*names, options["sources"][0]["dest"], *requester.values()):
        with pytest.raises(OptionError):
            case.recover(request_id, report=place)
    options["sources"][0]["dest"] = str(case.folder / "summary.json/x")
    with pytest.raises(OptionError):
        case.recover(request_id, **options)
    assert not case.folder.exists() and Path(requester["signing_certificate"]).read_bytes() == kept
    assert case.recover(request_id, report=str(case.folder / "report.jsonl"))["changed"]
    assert not list(case.worker.folder.glob("state/data/*"))


@pytest.mark.parametrize("how", ["full", "program", "taken"])
def test_an_obstacle_of_the_host_seals_nothing(case: Case, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A full disk, a program that is missing, a file that another process wrote: the same work gives all later."""
    options = case.options()
    image, dest = case.worker.folder / "image", case.folder / "disk"
    efs_image.make_image(image, [])
    options["sources"].append({"src": str(image), "dest": str(dest), "kind": "ntfs"})

    def full(*arguments: object) -> None:
        raise FileError("the disk is full; free some space and run again")

    def missing() -> None:
        raise HostError("ntfsdecrypt is not installed")

    request_id = case.ask()
    case.approve(request_id)
    with monkeypatch.context() as patch:
        if how == "full":
            patch.setattr(_files, "write_new", full)
        elif how == "program":
            patch.setattr(ntfsdecrypt, "require", missing)
        else:
            (case.folder / "files").mkdir(parents=True, mode=0o700)
            case.folder.chmod(0o700)
            (case.folder / "files/mid").write_bytes(b"of another process")
        for dummy in range(2):
            with pytest.raises(HostError, match=r"nothing was sealed.*a request stays open"):
                case.recover(request_id, **options)
            assert not sealed_folder.is_sealed(str(case.folder))
            assert case.requests() == [request_id + ".json"]
            assert case.events()[-1] == ("recover_data", "failed")
    if how == "taken":
        (case.folder / "files/mid").unlink()
    done = case.recover(request_id, **options)
    assert [row["failed"] for row in done["results"]] == [0, 0, 0, 0]
    assert outputs(case) == case.contents
    assert case.requests() == []


@pytest.fixture(name="held_up")
def _held_up(case: Case, tmp_path: Path) -> Iterator[Path]:
    """A run that goes on without its controller, until the file is there; it has written something by then."""
    go_on, begun = tmp_path / "go on", tmp_path / "begun"

    def orphan() -> None:
        def wait(*arguments: object) -> object:
            begun.touch()
            end = time.monotonic() + 60
            while not go_on.exists():
                assert time.monotonic() < end
                time.sleep(0.01)
            return create(*arguments)

        def die(*arguments: object) -> None:
            raise _Killed

        create, data_singles.create, case.worker.on_reply = data_singles.create, wait, die
        with contextlib.suppress(_Killed):
            case.recover(request_id)

    request_id = case.ask()
    case.approve(request_id)
    process = killing.fork(orphan)
    end = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    yield go_on
    go_on.touch()
    os.waitpid(process, 0)


def test_no_run_works_beside_one_that_lost_its_controller(
    case: Case, held_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = case.requests()
    request_id = name.partition(".")[0]
    elsewhere = {"folder": str(case.worker.folder / "elsewhere"), **case.scene.requester(case.worker)}
    sources = [{**one, "dest": one["dest"].replace("/case/", "/elsewhere/")} for one in case.options()["sources"]]
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    for options in ({}, {"seal": elsewhere, "sources": sources}):
        with pytest.raises(StateError, match=r"another run works on the same data \(process \d+"):
            case.recover(request_id, **options)
    assert case.requests() and not sealed_folder.is_sealed(str(case.folder))
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    held_up.touch()
    done = case.recover(request_id)  # it waits, and finds all done
    assert not done["changed"] and [row["failed"] for row in done["results"]] == [0, 0, 0]
    assert outputs(case) == case.contents and case.requests() == []
    assert case.events().count(("recover_data", "success")) == 1
    assert not list(case.worker.folder.glob("state/locks/data-*"))


def test_a_lock_that_a_dead_run_left_is_taken_over(case: Case) -> None:
    places = [f"folder {case.folder}"]
    with pytest.raises(_Killed), lock.held(str(case.worker.folder / "state"), places):
        (left,) = case.worker.folder.glob("state/locks/data-*")
        raise _Killed
    left.write_text("1\n")
    with lock.held(str(case.worker.folder / "state"), places):
        assert left.read_text() == f"{os.getpid()}\n"
    left.mkdir()
    with pytest.raises(FileError), lock.held(str(case.worker.folder / "state"), places):
        pass


def test_whether_the_keys_come_back_is_asked_after_a_kill_too(case: Case) -> None:
    """The role waits for approvals so."""
    request_id = case.ask()
    case.approve(request_id, 1)
    case.folder.mkdir(mode=0o700)
    (case.folder / "files").mkdir(mode=0o700)
    (case.folder / "files/new").write_bytes(case.contents["new"])  # what a killed run left
    with pytest.raises(QuorumNotReached):
        case.recover(request_id, sources=[], check_mode=True)
    case.approve(request_id)
    assert case.recover(request_id, sources=[], check_mode=True)["results"] == []
    with pytest.raises(OptionError, match="sources"):
        case.recover(request_id, sources=[])
    done = case.recover(request_id)
    assert [row["changed"] for row in done["results"]].count(True) == 2
    assert outputs(case) == case.contents


def test_the_same_places_in_another_spelling_are_the_same(case: Case) -> None:
    request_id = case.ask()
    case.approve(request_id)
    case.recover(request_id)
    options = case.options()
    options["seal"]["folder"] = f"//{case.folder}/"
    for one in options["sources"]:
        one["src"], one["dest"] = f"/{one['src']}/", one["dest"].replace("/files/", "//files/./")
    assert not case.recover(request_id, **options)["changed"]
    options["sources"][0]["src"] = str(case.worker.folder / "requester.pem")
    with pytest.raises(StateError, match="other sources"):
        case.recover(request_id, **options)


def test_what_this_work_did_not_make_is_not_signed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, options = case.worker.folder / "evidence", case.options()
    pem = (case.certificates / "old.pem").read_text()
    files = [efs_image.EfsFile(f"{name}.txt", name.encode() * 900, [pem]) for name in ("one", "two")]
    evidence.mkdir()
    efs_image.make_image(evidence / "image", files)
    mails = evidence / "maildir"
    for part in ("cur", "new", "tmp", ".Sent/cur"):
        (mails / part).mkdir(parents=True)
    for name in ("cur/1.host:2,S", "new/2.host", ".Sent/cur/3.host:2,"):
        (mails / name).write_bytes(b"Subject: " + name.encode() + b"\n\ntext\n")
    (mails / "subscriptions").write_text("Sent\n")
    (evidence / "noise").write_bytes(b"no mail")
    for name, kind in (("image", "auto"), ("maildir", "auto"), ("noise", "cms")):
        options["sources"].append({"src": str(evidence / name), "dest": str(case.folder / name), "kind": kind})
    options["report"] = str(case.folder / "report.jsonl")
    request_id = case.ask()
    case.approve(request_id)

    def full(folder: str) -> None:
        raise FileError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sealed_folder, "_make_read_only", full)
        with pytest.raises(FileError, match="full"):
            case.recover(request_id, **options)
    gone = mails / "cur/1.host:2,S"
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.raises(FileError, match=r"maildir/cur/1\.host:2,S: it is no output of this work"):
        case.recover(request_id, **options)
    gone.write_bytes(kept)
    for planted in (
        *("maildir/cur/9.host:2,S", "maildir/cur/1.host:2,F", "maildir/.Sent/subscriptions"),
        *("image/a/one.txt", "noise"),
    ):
        path = case.folder / planted
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"Subject: planted\n\n")
        with pytest.raises(KeyopsError) as told:
            case.recover(request_id, **options)
        assert str(path) in str(told.value), told.value
        path.unlink()
    changed = case.folder / "maildir/subscriptions"
    true = changed.read_bytes()
    changed.write_text("Planted\n")
    with pytest.raises(FileError, match="subscriptions"):
        case.recover(request_id, **options)
    changed.write_bytes(true)
    done = case.recover(request_id, **options)
    assert [row["failed"] for row in done["results"]] == [0, 0, 0, 0, 0, 1]
    listed = (case.folder / "outputs.sha256").read_text().splitlines()
    names = {line.split("  ")[1] for line in listed}
    assert names == {
        *(f"files/{name}" for name in case.contents),
        *("image/one.txt", "image/two.txt", "maildir/subscriptions", "report.jsonl", "sources.sha256"),
        *(f"maildir/{name}" for name in ("cur/1.host:2,S", "new/2.host", ".Sent/cur/3.host:2,")),
    }
