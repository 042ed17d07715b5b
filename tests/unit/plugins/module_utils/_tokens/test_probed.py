# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A kept probe counts for the token and the library that it was made with; everything else asks the token."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import probe, probed
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts

FACTS = TokenFacts(0, "", "ops", "maker", "model", "0001", (), "1.0", "2.0")
FOUND = [probe.Finding(name, probe.HOLDS, "") for name in probe.NAMES]


@pytest.fixture
def asked(monkeypatch):
    """How often the token was asked."""
    times = []

    def ask(session):
        times.append(session)
        return FOUND

    monkeypatch.setattr(probe, "probe", ask)
    return times


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "library.so"
    path.write_bytes(b"code")
    return path


def look(tmp_path, library, facts=FACTS, keep=True):
    assert probed.findings("session", str(library), facts, str(tmp_path / "state"), keep) == FOUND


def test_a_token_is_asked_once(tmp_path, library, asked):
    look(tmp_path, library)
    look(tmp_path, library)
    assert len(asked) == 1


def test_in_check_mode_nothing_is_kept(tmp_path, library, asked):
    look(tmp_path, library, keep=False)
    assert not (tmp_path / "state").exists()
    look(tmp_path, library)
    look(tmp_path, library, keep=False)
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["serial", "manufacturer", "model", "hardware_version", "firmware_version"])
def test_another_token_is_asked(tmp_path, library, asked, name):
    look(tmp_path, library)
    look(tmp_path, library, dataclasses.replace(FACTS, **{name: "another"}))
    assert len(asked) == 2


def test_another_library_asks_again(tmp_path, library, asked):
    look(tmp_path, library)
    library.write_bytes(b"newer code")
    look(tmp_path, library)
    os.utime(library, (1, 1))
    look(tmp_path, library)
    assert len(asked) == 3


@pytest.mark.parametrize("damage", ["", "{}", "promises", "format", "names"])
def test_a_damaged_file_asks_again(tmp_path, library, asked, damage):
    look(tmp_path, library)
    (kept,) = (tmp_path / "state" / "probes").iterdir()
    value = json.loads(kept.read_text())
    if damage == "promises":
        value["findings"] = value["findings"][:-1]
    elif damage == "format":
        value["format"] = "keyops-probe/2"
    elif damage == "names":
        value["findings"] = [{**one, "more": ""} for one in value["findings"]]
    kept.write_text(damage if damage in ("", "{}") else json.dumps(value, sort_keys=True, separators=(",", ":")))
    look(tmp_path, library)
    assert len(asked) == 2
