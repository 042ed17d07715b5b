# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scheduled jobs: a real cron fires, runs do not overlap, failures show, and no secret lies about."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import story
from scheduling import Desk, check_as_promtool_does, start_cron

#: Exit statuses of roles/schedule/files/keyops_job.
LOG_CUT, SKIPPED, UNUSABLE, TIMED_OUT = 65, 75, 78, 124


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A controller with its jobs, and a cron that runs one of them each minute while the tests go on."""
    folder = tmp_path_factory.mktemp("schedule")
    (folder / "desk").mkdir()
    desk = Desk(folder / "desk", story.make_scene(folder))
    desk.apply(jobs(desk))
    derive_jobs(desk)
    cron = start_cron(desk.folder / "cron.d")
    yield desk
    cron.terminate()
    cron.wait(timeout=10)
    _wait_for(lambda: not _running(desk.folder / "config"), 60, "the last run of cron has not ended")


def jobs(desk: Desk) -> list[dict]:
    """The jobs; ``minutely`` has a host and a vault of its own, so that cron does not meddle with the others."""
    scene, folder = desk.scene, desk.folder
    mail, other = scene.machine("mail1"), scene.machine("mail2")
    for host in (mail, other):
        # Another vault, because events of this process are not signed.
        scene.generate(story.Machine(host.name, host.folder, folder / "elsewhere.db"))
    inventory = desk.inventory(mail, ["mail.key"], scene.vault_path)
    minutely = desk.inventory(other, ["mail.key"], desk.folder / "minutely.db")
    return [
        desk.job("archive", inventory),
        desk.job("verify", inventory, playbook="keyops.lifecycle.verify_log"),
        desk.job("minutely", minutely, cron="* * * * *"),
    ]


def derive_jobs(desk: Desk) -> None:
    """``broken`` has a vault in a place that is refused; ``slow`` and ``held`` are ended after 8 seconds."""
    scene, folder = desk.scene, desk.folder
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    broken = desk.inventory(scene.machine("mail3"), ["mail.key", "other.key"], shared / "vault.db")
    desk.derive("broken", inventory=[str(broken)])
    for name, command in (("slow", "sh -c 'setsid sleep 301.5 & sleep 301.5'"), ("held", "sleep 302.5")):
        task = {"name": "Sleep", "ansible.builtin.command": command}
        play = {"hosts": "mail1", "gather_facts": False, "tasks": [task]}
        (folder / f"{name}.json").write_text(json.dumps([play]))
        desk.derive(name, playbook=str(folder / f"{name}.json"), timeout=8)


def test_the_role_predicts_and_changes_nothing_the_second_time(desk: Desk) -> None:
    again = [desk.job("archive", desk.folder / "mail1.yml"), desk.job("coming", desk.folder / "mail1.yml")]
    told = desk.apply(again, "--check", "--diff")
    assert "changed=4 " in told, "two folders, by one task, a metric, a configuration and a crontab would be new"
    assert not list(desk.folder.rglob("*coming*"))
    assert "changed=0 " in desk.apply([again[0], {"name": "never", "state": "absent"}])


def test_a_job_of_another_user_writes_its_metric_and_no_other(desk: Desk) -> None:
    """In a folder that others reach, because those of the tests are their user's alone."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        folders = {f"keyops_schedule_{kind}_dir": str(place / kind) for kind in ("library", "config", "state", "log")}
        folders |= {f"keyops_schedule_{kind}_dir": str(place / kind) for kind in ("metrics", "cron")}
        (place / "cron").mkdir()
        job = {"name": "foreign", "user": "nobody", "cron": "@monthly"}
        jobs = [job, {**job, "name": "own", "user": "root"}]
        for changes in ("[1-9]", "0"):
            told = desk.apply(jobs, **folders, keyops_schedule_ansible_playbook="/bin/true")
            assert re.search(f"changed={changes}", told)
        metric = place / "metrics" / "keyops_foreign.prom"
        metric.write_text("x" * 9000)
        runner = ["/usr/bin/python3", "-IB", place / "library/keyops_job", "--now", place / "config/foreign.json"]
        assert subprocess.run(runner, user="nobody", group="nogroup", check=False, timeout=30).returncode == 70
        check_as_promtool_does(metric.read_text())
        assert 'keyops_job_last_exit_status{name="foreign"} 70' in metric.read_text()
        assert (metric.owner(), stat.S_IMODE(metric.stat().st_mode)) == ("nobody", 0o644)
        assert {path.owner() for path in (metric.parent, metric.with_name("keyops_own.prom"))} == {"root"}
        assert len(list(metric.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "options",
    [{"name": "../up"}, {"cron": "* * * * * root true #"}, {"arguments": ["-e", "a=b"]}, {"environment_file": "OPEN"}],
    ids=str,
)
def test_a_job_that_cannot_be_is_refused_first(desk: Desk, options: dict) -> None:
    if options.get("environment_file"):
        path = desk.folder / "open.env"
        path.write_text("A=b\n")
        options = {"environment_file": str(path)}
    before = {path: path.stat().st_mtime_ns for path in desk.folder.glob("c*/*")}
    told = desk.apply([{**desk.job("bad", desk.folder / "mail1.yml"), **options}], fails=True)
    assert "keyops_schedule_jobs: " in told
    assert {path: path.stat().st_mtime_ns for path in desk.folder.glob("c*/*")} == before


def test_archived_verified_and_then_the_log_is_cut(desk: Desk) -> None:
    """The head of one run is the next run's expectation."""
    assert desk.run("archive") == 0
    first = desk.metric("archive")
    assert [first[f"keys_{name}"] for name in ("archived", "present", "refused", "pending")] == [1, 0, 0, 0]
    assert first["last_exit_status"] == 0
    assert first["last_success_timestamp_seconds"] == first["last_run_timestamp_seconds"] > time.time() - 60
    assert 0 < first["last_duration_seconds"] < 60
    assert desk.run("verify") == 0
    good = desk.metric("verify")
    assert (good["log_valid"], good["log_problems"], good["log_head_info"]) == (1, 0, 1)
    events = _objects(desk.scene.vault_path, "events")
    assert good["log_head_number"] == len(events)
    _cut_log(desk.scene.vault_path)
    assert desk.run("verify") == 2
    bad = desk.metric("verify")
    assert (bad["log_valid"], bad["last_exit_status"], bad["log_problems"]) == (0, 2, 1)
    assert (bad["log_head_number"], bad["digest"]) == (good["log_head_number"], good["digest"]), "the last good one"
    assert bad["last_success_timestamp_seconds"] == good["last_success_timestamp_seconds"]
    assert f"event {len(events)} was the head once and is gone" in desk.log("verify")
    assert "KEYOPS_REASON=failed" in (desk.folder / "hook.verify").read_text()


def _objects(vault: Path, folder: str) -> list[bytes]:
    """What SQLite gives of the vault's objects below a folder."""
    with closing(sqlite3.connect(vault)) as connection:
        return [row[0] for row in connection.execute("SELECT content FROM object WHERE path GLOB ?", (f"{folder}/*",))]


def _cut_log(vault: Path) -> None:
    with closing(sqlite3.connect(vault)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("DELETE FROM object WHERE path = (SELECT max(path) FROM object WHERE path GLOB 'events/*')")
        connection.commit()


def test_a_playbook_that_expects_no_head_does_not_hide_the_cut(desk: Desk) -> None:
    """The runner compares too. Needs the log that was cut above."""
    playbook = desk.folder / "unaware.json"
    task = {"name": "Look", "keyops.lifecycle.lifecycle_log_info": {"vault": {"path": str(desk.scene.vault_path)}}}
    playbook.write_text(json.dumps([{"hosts": "mail1", "gather_facts": False, "tasks": [task]}]))
    desk.derive("unaware", playbook=str(playbook))
    kept = (desk.folder / "state/verify/state.json").read_text()
    (desk.folder / "state/unaware/state.json").write_text(kept)
    assert desk.run("unaware") == LOG_CUT
    assert desk.metric("unaware")["log_head_number"] == json.loads(kept)["head"]["number"]
    assert (desk.folder / "state/unaware/state.json").read_text() == kept


def test_overlapping_runs_exclude_each_other(desk: Desk) -> None:
    """And while they run, no secret stands in the process list."""
    first = _begun(desk, "archive")
    assert desk.run("archive") == SKIPPED
    seen = 0
    while first.poll() is None:
        lines = _process_list()
        seen += b"keyops.lifecycle.archive" in lines
        assert desk.passphrase.encode() not in lines
        time.sleep(0.02)
    assert first.returncode == 0
    assert seen
    found = desk.metric("archive")
    assert (found["skipped_runs_total"], found["keys_archived"], found["keys_present"]) == (1, 0, 1)


def test_a_playbook_keeps_its_lock_when_its_runner_is_killed(desk: Desk) -> None:
    first = _begun(desk, "held")
    _wait_for(lambda: _running("302.5"), 20, "the playbook did not start")
    first.kill()
    first.communicate(timeout=10)
    playbook = _running(desk.folder / "held.json")
    try:
        assert desk.run("held") == SKIPPED
    finally:
        for pid in [*playbook, *_running("302.5")]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    _wait_for(lambda: not _running(desk.folder / "held.json"), 20, "the playbook did not end")


def test_a_failing_run_shows_and_calls_the_hook(desk: Desk) -> None:
    assert desk.run("broken") == 2
    found = desk.metric("broken")
    assert (found["last_exit_status"], found["last_success_timestamp_seconds"]) == (2, 0)
    assert (found["keys_archived"], found["keys_pending"], found["hosts_failed"]) == (0, 2, 1)
    told = (desk.folder / "hook.broken").read_text().splitlines()
    assert {"KEYOPS_JOB=broken", "KEYOPS_STATUS=2", "KEYOPS_REASON=failed"} <= set(told)
    assert not [line for line in told if desk.passphrase in line or desk.vault_passphrase_name in line]


def test_a_run_that_takes_too_long_leaves_nothing_behind(desk: Desk) -> None:
    begin = time.monotonic()
    assert desk.run("slow") == TIMED_OUT
    assert time.monotonic() - begin < 30
    assert "Sleep" in desk.log("slow")
    assert desk.metric("slow")["last_exit_status"] == TIMED_OUT
    assert "KEYOPS_REASON=timeout" in (desk.folder / "hook.slow").read_text()
    assert not _running("301.5"), "what the playbook started is still there"


def test_an_environment_file_that_others_read_is_not_used(desk: Desk) -> None:
    desk.environment_file.chmod(0o640)
    try:
        assert desk.run("verify") == UNUSABLE
    finally:
        desk.environment_file.chmod(0o600)
    assert desk.metric("verify")["last_exit_status"] == UNUSABLE


def test_with_systemd_the_secrets_are_a_credential(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd hands it over; the file itself may be one that the job's user cannot read."""
    (tmp_path / "environment").write_text(desk.environment_file.read_text())
    desk.derive("credential", credential=True, environment_file="/nonexistent/secrets.env")
    assert desk.run("credential") == UNUSABLE, "there is no credential"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert desk.run("credential") == 0
    assert desk.metric("credential")["keys_present"] == 1


def test_a_long_log_is_moved_on(desk: Desk) -> None:
    folder = desk.folder / "log" / "broken"
    for text in ("older\n", "newer\n"):
        (folder / "broken.log").write_text(text + "x" * 1_000_001)
        assert desk.run("broken") == 2
    assert [path.name for path in sorted(folder.iterdir())] == ["broken.log", "broken.log.1", "broken.log.2"]
    assert (folder / "broken.log.2").read_text().startswith("older")
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir() if path.name == "broken.log")


def test_systemd_understands_the_units(desk: Desk) -> None:
    units = desk.folder / "units"
    job = desk.job("archive", desk.folder / "mail1.yml", jitter=60)
    plain = desk.job("plain", desk.folder / "mail1.yml", environment_file="", on_calendar="*-*-* 03:17")
    folders = {"keyops_schedule_with": "systemd", "keyops_schedule_start": False}
    folders.update(keyops_schedule_cron_dir=str(desk.folder / "none"), keyops_schedule_config_dir=str(units / "config"))
    assert "changed=6 " in desk.apply([job, plain], **folders)
    paths = sorted(units.glob("keyops-job-*"))
    assert [path.name for path in paths] == [
        f"keyops-job-{name}.{kind}" for name in ("archive", "plain") for kind in ("service", "timer")
    ]
    verified = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", *paths], capture_output=True, text=True, check=False, timeout=30
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    service = paths[0].read_text()
    assert f"LoadCredential=environment:{desk.environment_file}" in service
    assert "LoadCredential" not in paths[2].read_text()
    assert "RandomizedDelaySec=60" in paths[1].read_text()


def test_cron_archives_a_new_key(desk: Desk) -> None:
    log = desk.folder / "log" / "minutely" / "minutely.log"
    _wait_for(lambda: log.exists() and "keys: archived 1, present 0" in log.read_text(), 75, "cron archived nothing")
    records = _objects(desk.folder / "minutely.db", "records")
    assert [json.loads(record)["host"] for record in records] == ["mail2"]
    assert desk.metric("minutely")["last_exit_status"] == 0


def test_no_secret_lies_about(desk: Desk) -> None:
    """Of all that the tests before have made: crontabs, units, configurations, states, logs, metrics, hooks, vault."""
    files = [path for path in desk.folder.rglob("*") if path.is_file() and path != desk.environment_file]
    assert {path.parts[-2] for path in files} >= {"cron.d", "units", "config", "metrics", "archive"}
    assert [path for path in files if desk.passphrase.encode() in path.read_bytes()] == []
    assert b"signatures" in _objects(desk.folder / "minutely.db", "events")[0], "the secret opened the key that signs"


def test_an_absent_job_leaves_its_state_and_its_log(desk: Desk) -> None:
    assert "changed=2 " in desk.apply([{"name": "verify", "state": "absent"}])
    left = {str(path.relative_to(desk.folder)) for path in desk.folder.rglob("*verify*")}
    assert left == {"state/verify", "log/verify", "log/verify/verify.log", "hook.verify"}
    assert json.loads((desk.folder / "state/verify/state.json").read_text())["head"]


def _begun(desk: Desk, name: str) -> subprocess.Popen:
    log = desk.folder / "log" / name / f"{name}.log"
    before = log.read_text().count("begins") if log.exists() else 0
    process = desk.start(name)
    _wait_for(lambda: log.exists() and log.read_text().count("begins") > before, 10, "the job did not begin")
    return process


def _wait_for(found: object, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def _process_list() -> bytes:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" "))
    return b"\n".join(lines)


def _running(argument: object) -> list[int]:
    """Process IDs of those with this argument, or an argument below this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if any(word == str(argument).encode() or word.startswith(f"{argument}/".encode()) for word in words):
                found.append(int(path.parent.name))
    return found
