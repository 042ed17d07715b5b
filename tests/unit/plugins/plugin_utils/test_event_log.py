# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event log: chaining, signing, and finding every way in which somebody can spoil it."""

from __future__ import annotations

import datetime
import json
import random
import sqlite3

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_end import end_of_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Head, append, head, verify
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

KEY = "a" * 64
EMPTY = Head(0, "0" * 64)


def say(vault, detail="", **changed):
    return append(
        vault,
        **{"action": "archive", "outcome": "success", "actor": "ops", "host": "web1", "detail": detail, **changed},
    )


def kinds(report):
    return [(problem.kind, problem.number) for problem in report.problems]


@pytest.fixture
def vault():
    return MemoryVault()


@pytest.fixture
def filled(vault):
    for number in range(1, 11):
        say(vault, f"event {number}")
    return vault


def certificate_of(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "log writer")])
    start = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=9999))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_an_empty_log(vault):
    assert head(vault) == EMPTY
    assert verify(vault) == event_log.LogReport((), EMPTY, ())
    assert verify(vault, [EMPTY]).problems == ()


def test_chains(vault):
    heads = [say(vault, "one", keys=[(KEY, "ok"), ("", "unreadable")]), say(vault, "two", outcome="refused")]
    report = verify(vault, heads)
    assert report.problems == () and report.head == heads[-1] == head(vault)
    first, second = report.events
    assert (first.number, first.previous, first.keys, first.outcome) == (
        1,
        EMPTY.digest,
        ((KEY, "ok"), ("", "unreadable")),
        "success",
    )
    assert (second.number, second.previous, second.detail, second.signed_by) == (2, heads[0].digest, "two", "")
    stored = json.loads(vault.read([paths.event(2)])[paths.event(2)])
    assert stored == {
        **{"format": "keyops-event/1", "number": 2, "previous": heads[0].digest, "time": second.time, "actor": "ops"},
        **{"host": "web1", "action": "archive", "outcome": "refused", "keys": [], "detail": "two"},
    }


def test_returns_events_since(filled):
    report = verify(filled, since=9)
    assert [event.number for event in report.events] == [9, 10] and report.problems == ()


def test_a_large_batch_makes_several_events(vault):
    say(vault, keys=[(f"{number:064x}", "é" * 5000) for number in range(1201)])
    report = verify(vault)
    assert [len(event.keys) for event in report.events] == [500, 500, 201]
    assert report.problems == () and report.events[0].keys[0][1] == "é" * 300


@pytest.mark.parametrize("wrong", [{"outcome": "fine"}, {"action": ""}, {"time": "yesterday"}, {"keys": [("ABC", "")]}])
def test_writes_nothing_that_is_no_event(vault, wrong):
    with pytest.raises(FormatError):
        say(vault, **wrong)
    assert head(vault) == EMPTY


def test_signed_events(vault):
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    say(vault, "plain")
    say(vault, "signed", signing_key=key)
    say(vault, "plain again")
    report = verify(vault)
    assert report.problems == () and [event.detail for event in report.events] == ["plain", "signed", "plain again"]
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert [event.signed_by for event in report.events] == ["", canonical.digest(spki), ""]
    # With certificates, what nobody signed is as bad as what somebody else signed: else a tail could be forged.
    report = verify(vault, signing_certificates=[certificate_of(other), certificate_of(key)])
    assert kinds(report) == [("signature", 1), ("signature", 3)]
    assert [event.detail for event in report.events] == ["signed"]
    assert kinds(verify(vault, signing_certificates=[certificate_of(other)])) == [("signature", n) for n in (1, 2, 3)]


def test_finds_an_edited_event(filled):
    content = json.loads(filled.read([paths.event(5)])[paths.event(5)])
    filled.tamper(paths.event(5), canonical.dumps({**content, "outcome": "refused"}))
    assert kinds(verify(filled)) == [("broken_chain", 6)]


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"{}", b'{"format": "keyops-event/1"}', b"[1]", b"\xff", b'{"payloadType":"x"}']
)
def test_finds_and_chains_over_junk(vault, junk):
    say(vault, "one")
    vault.create({paths.event(2): junk})
    say(vault, "three")
    report = verify(vault)
    assert kinds(report) == [("unparsable", 2)]
    assert [event.number for event in report.events] == [1, 3] and report.head == head(vault)
    assert report.events[1].previous == canonical.digest(junk)


def test_finds_reordered_events(filled):
    four, five = (filled.read([paths.event(number)])[paths.event(number)] for number in (4, 5))
    filled.tamper(paths.event(4), five)
    filled.tamper(paths.event(5), four)
    assert kinds(verify(filled)) == [("misplaced", 4), ("misplaced", 5), ("broken_chain", 6)]


def test_finds_a_removed_event(filled):
    expected = verify(filled).head
    filled.tamper(paths.event(7), None)
    report = verify(filled, [expected])
    assert kinds(report) == [("removed", 7)] and report.head.number == 6
    assert [event.number for event in report.events] == [1, 2, 3, 4, 5, 6, 8, 9, 10]
    # A writer fills the gap, which does not hide it.
    say(filled)
    assert kinds(verify(filled, [expected])) == [("broken_chain", 8)]


def test_finds_a_cut_off_tail(filled):
    seen = verify(filled).head
    for number in (9, 10):
        filled.tamper(paths.event(number), None)
    assert kinds(verify(filled)) == []
    assert kinds(verify(filled, [seen])) == [("cut_off", 10)]
    say(filled)
    say(filled)
    assert kinds(verify(filled)) == []
    assert kinds(verify(filled, [seen, EMPTY])) == [("cut_off", 10)]
    assert kinds(verify(filled, [Head(0, "1" * 64), Head(99, "1" * 64)])) == [("cut_off", 0), ("cut_off", 99)]


@pytest.mark.parametrize("ahead", [12, 16, 20, 32, 64, 1 << 20, 10**12 - 1])
def test_numbers_claimed_ahead_mislead_no_writer(filled, ahead):
    filled.create({paths.event(ahead): b"mine"})
    assert say(filled).number == 11
    report = verify(filled)
    if ahead > 12:
        assert kinds(report) == [("unparsable", ahead), ("claimed_ahead", ahead)]
        assert say(filled).number == 12
    else:
        assert say(filled).number == 13 and kinds(verify(filled)) == [("unparsable", 12)]


def test_all_powers_of_two_claimed_ahead(filled):
    filled.create({paths.event(2**power): b"mine" for power in range(4, 39)})
    assert [say(filled).number for _turn in range(8)] == [11, 12, 13, 14, 15, 17, 18, 19]


def test_the_next_number_claimed_by_somebody(filled):
    filled.create({paths.event(11): b"mine", paths.event(12): b"mine too"})
    assert say(filled).number == 13


def test_foreign_names_are_reported(filled):
    filled.create(
        {"events/11": b"", "events/00000000000a": b"", "events/000000000000": b"", "events/000000000001/x": b""}
    )
    report = verify(filled)
    assert {problem.kind for problem in report.problems} == {"misplaced"} and len(report.problems) == 4
    assert report.head.number == 10 and say(filled).number == 11


def test_a_destroyed_event_stops_nobody(filled):
    filled.destroy([paths.event(10)])
    assert say(filled).number == 11
    assert say(filled).number == 12
    assert kinds(verify(filled)) == [("removed", 10)]


def test_the_end_is_found_with_few_questions(vault):
    questions = []
    inner = vault._exists
    vault._exists = lambda names: questions.append(len(names)) or inner(names)
    for length in [*range(70), 255, 256, 257, 1000, 4097]:
        vault._objects = dict.fromkeys((paths.event(number) for number in range(1, length + 1)), b"")
        questions.clear()
        assert end_of_log(vault, 0) == length
        assert len(questions) <= 8 and sum(questions) <= 120
        assert end_of_log(vault, min(length, random.randrange(length + 1))) == length


def test_the_check_finds_what_was_done_with_sqlite3(tmp_path):
    """Somebody drops the triggers of a copy and changes one thing."""
    path = str(tmp_path / "vault.db")
    with open_vault({"path": path}) as vault:
        for number in range(10):
            seen = say(vault, str(number))
    number = "substr(path, 8) + 0"
    elsewhere = f"'events/' || substr('000000000000' || (24 - ({number})), -12)"
    for statement, found in {
        f"DELETE FROM object WHERE {number} = 4": [("removed", 4)],
        f"DELETE FROM object WHERE {number} >= 9": [("cut_off", 10)],
        f"UPDATE object SET content = replace(content, 'success', 'refused') WHERE {number} = 4": [("broken_chain", 5)],
        f"UPDATE object SET content = replace(content, 'success', 'refused') WHERE {number} = 10": [("cut_off", 10)],
        f"UPDATE object SET content = 'x' WHERE {number} = 4": [("unparsable", 4), ("broken_chain", 5)],
        f"UPDATE object SET path = {elsewhere} WHERE {number} IN (4, 5)": [
            ("removed", 4),
            ("misplaced", 19),
            ("claimed_ahead", 19),
            ("misplaced", 20),
        ],
    }.items():
        database = sqlite3.connect(path)
        copy = sqlite3.connect(tmp_path / "copy.db")
        database.backup(copy)
        (tmp_path / "copy.db").chmod(0o600)
        for (trigger,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            copy.execute(f"DROP TRIGGER {trigger}")
        copy.execute(statement)
        copy.execute("UPDATE object SET content = CAST(content AS BLOB)")
        copy.commit()
        copy.close()
        database.close()
        with open_vault({"path": str(tmp_path / "copy.db")}, check_mode=True) as vault:
            assert kinds(verify(vault, [seen])) == found, statement
        for name in tmp_path.glob("copy.db*"):
            name.unlink()
