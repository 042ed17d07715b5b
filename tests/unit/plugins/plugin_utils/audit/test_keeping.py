# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit keeps on the controller, what the next one makes of it, and the report of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import gathered_facts as made
import pytest

from ansible_collections.keyops.lifecycle.plugins.action.fleet_audit import ActionModule
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.reporting import report
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault


def _event(vault: MemoryVault) -> event_log.Head:
    return event_log.append(vault, action="archive", outcome="success", actor="a", host="h")


def _lost(result: dict) -> list[str]:
    """Places of the heads that are missed."""
    return [row["place"] for row in result["audit"]["findings"] if row["id"] == "KL021"]


def _head(folder: Path) -> dict:
    return json.loads((folder / "head.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audits"


@pytest.fixture
def keep(audit: Callable[..., dict], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """An audit of a fleet without keys whose outcome is kept; the clock goes on by a minute each time."""
    now = [made.NOW]

    def run(**options: object) -> dict:
        now[0] += made.datetime.timedelta(minutes=1)
        monkeypatch.setattr(
            "ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.auditing.times.now", lambda: now[0]
        )
        return audit({"web1": made.Host()}, outcome_dir=str(folder), **options)

    return run


def test_a_lost_head_is_told_until_it_is_acknowledged(keep, vault, folder) -> None:
    """Also when the log has grown beyond it, and when it goes back once more."""
    _event(vault)
    whole = dict(vault._objects)
    first = _event(vault)
    keep()
    assert _head(folder) == {"number": 2, "digest": first.digest}
    vault._objects = dict(whole)
    for dummy in range(3):
        result = keep()
        assert _lost(result) == ["events/000000000002"]
        assert _head(folder)["missed"] == [{"number": 2, "digest": first.digest}]
    event_log.append(vault, action="lookup", outcome="success", actor="another", host="h")
    second = event_log.append(vault, action="lookup", outcome="success", actor="another", host="h")
    assert _lost(keep()) == ["events/000000000002"] and _head(folder)["digest"] == second.digest
    vault._objects = dict(whole)
    assert _lost(keep()) == ["events/000000000002", "events/000000000003"]
    finding = next(row for row in keep()["audit"]["findings"] if row["id"] == "KL021")
    assert first.digest in finding["detail"], "what is to be acknowledged"
    assert _lost(keep(known_lost_heads=[first.digest.upper()])) == ["events/000000000003"]
    assert _lost(keep(known_lost_heads=[second.digest])) == [] and "missed" not in _head(folder)
    assert _lost(keep()) == []


def test_a_head_that_comes_back_is_missed_no_more(keep, vault, folder) -> None:
    """A vault that was restored from too old a backup, and then from the right one."""
    _event(vault)
    old = dict(vault._objects)
    _event(vault)
    new = dict(vault._objects)
    keep()
    vault._objects = {}
    assert _lost(keep()) == ["events/000000000002"] and _head(folder)["number"] == 0
    vault._objects = dict(old)
    assert _lost(keep()) == ["events/000000000002"]
    vault._objects = dict(new)
    assert _lost(keep()) == [] and "missed" not in _head(folder)


def test_an_acknowledged_head_is_asked_for_nowhere(audit, vault) -> None:
    """Neither that of a receipt nor that of an option, and no other one is excused with it."""
    host = made.Host()
    host.receipts.append(
        {"key_id": "1" * 64, "usage": "key_agreement", "sealed_key": "2" * 64, "log_number": 7, "log_digest": "7" * 64}
    )
    heads = [{"number": 8, "digest": "8" * 64}]
    assert _lost(audit({"web1": host}, expected_heads=heads)) == ["events/000000000007", "events/000000000008"]
    known = audit({"web1": host}, expected_heads=heads, known_lost_heads=["7" * 64])
    assert _lost(known) == ["events/000000000008"]
    assert _lost(audit({"web1": host}, expected_heads=heads, known_lost_heads=["7" * 64, "8" * 64])) == []
    with pytest.raises(OptionError, match="known_lost_heads"):
        audit({"web1": host}, known_lost_heads=["all"])


def test_check_mode_and_an_audit_without_a_vault_keep_the_head(keep, vault, folder) -> None:
    keep(check_mode=True)
    assert not folder.exists()
    _event(vault)
    keep()
    before = (folder / "head.json").read_bytes()
    keep(use_vault=False)
    _event(vault)
    keep(check_mode=True)
    assert (folder / "head.json").read_bytes() == before and len(list((folder / "history").iterdir())) == 2


def test_everything_is_in_the_files_and_the_result_is_short(audit, folder) -> None:
    folder.mkdir(mode=0o755)
    hosts = {f"web{number}": {"failed": True, "msg": "gone"} for number in range(150)}
    result = audit(hosts, outcome_dir=str(folder), limit="web*")
    kept = json.loads((folder / "audit.json").read_text())
    assert len(kept["findings"]) == 150 and len(result["audit"]["findings"]) == 100 and result["changed"]
    assert kept["limit"] == "web*" and kept["notes"][-1] == "hosts beside those of --limit web*"
    (past,) = (folder / "history").iterdir()
    assert set(json.loads(past.read_text())) == {"time", "summary", "limit"}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "history")} == {0o700}


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"number": true, "digest": "%s"}' % ("a" * 64),
        '{"number": -1, "digest": "%s"}' % ("a" * 64),
        '{"number": 3, "digest": "abc"}',
        '{"number": 3, "digest": "%s", "missed": 3}' % ("a" * 64),
    ],
)
def test_a_broken_head_stops_the_audit_and_says_what_to_do(keep, folder, broken: str) -> None:
    folder.mkdir()
    (folder / "head.json").write_text(broken)
    with pytest.raises(FileError, match=r"/head\.json: this is not the file .* restore it from a backup, or give"):
        keep()
    assert (folder / "head.json").read_text() == broken and not (folder / "audit.json").exists()


def test_a_link_is_no_kept_head(keep, folder) -> None:
    folder.mkdir()
    (folder / "head.json").symlink_to(folder / "elsewhere")
    with pytest.raises(FileError, match=r"head\.json"):
        keep()


def test_a_path_that_is_not_absolute_is_refused(audit) -> None:
    with pytest.raises(OptionError, match="outcome_dir: give an absolute path"):
        audit({"web1": made.Host()}, outcome_dir="None/audits")


def _report(folder: Path, check_mode: bool = False, **options: object) -> dict:
    params = {"audit_dir": str(folder), "report_dir": None, "title": "Keys", "metrics_file": None, **options}
    return report(ControllerTask(params, None, check_mode, "localhost", "ops", lambda *dummy: None))


def test_a_report_is_written_once(keep, folder, tmp_path) -> None:
    assert _report(folder, check_mode=True) == {"changed": False, "files": []}
    with pytest.raises(OptionError, match="run the role audit first"):
        _report(folder)
    keep()
    elsewhere = {"report_dir": str(tmp_path / "out"), "metrics_file": str(tmp_path / "keys.prom")}
    assert _report(folder, check_mode=True, **elsewhere)["changed"] and not (tmp_path / "out").exists()
    done = _report(folder, **elsewhere)
    assert done["changed"] and {Path(path).name for path in done["files"]} == {
        "report.html",
        "audit.sarif",
        "keys.prom",
        "audit.json",
    }
    modes = {Path(path).name: Path(path).stat().st_mode & 0o777 for path in done["files"]}
    assert modes.pop("keys.prom") == 0o644 and set(modes.values()) == {0o600}
    assert not _report(folder, **elsewhere)["changed"]
    (tmp_path / "out" / "report.html").chmod(0o644)
    assert _report(folder, **elsewhere)["changed"] and not _report(folder, **elsewhere)["changed"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.json", "audit.sarif", "report.html"]


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"time": "x"}', '{"time": "2026-01-01T00:00:00Z", "summary": {}}'])
def test_a_broken_file_of_the_past_is_named(keep, folder, broken: str) -> None:
    keep()
    (folder / "history" / "old.json").write_text(broken)
    with pytest.raises(FileError, match=r"history/old\.json: this is not the file .*remove it: the page's chart"):
        _report(folder)
    assert not (folder / "report.html").exists()


def test_a_broken_outcome_is_named(keep, folder) -> None:
    keep()
    (folder / "audit.json").write_text('{"format": "keyops-audit/2"}')
    with pytest.raises(FileError, match=r"audit\.json: .*run the audit again"):
        _report(folder)


def test_what_was_gathered_is_given_or_read_from_the_hosts_variables() -> None:
    action = object.__new__(ActionModule)
    raw = {"web1": {"seen": {"results": []}}, "web2": {}}
    action._variables = {
        "hostvars": SimpleNamespace(raw_get=raw.__getitem__),
        "ansible_play_hosts_all": ["web1", "web2"],
    }
    assert action._gathered({"gathered": None, "gathered_as": "seen"}) == {"web1": {"results": []}, "web2": {}}
    assert action._gathered({"gathered": {"web3": {}}, "gathered_as": None}) == {"web3": {}}
    for wrong in ({"gathered": None, "gathered_as": None}, {"gathered": {}, "gathered_as": "seen"}):
        with pytest.raises(OptionError, match="give either it or gathered_as"):
            action._gathered(wrong)
