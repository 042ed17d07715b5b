# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receipts: one form, in a private place; what has another form is an error and never "no receipt"."""

from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FormatError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt

KEY_ID = "ab" * 32
RECEIPT = Receipt(KEY_ID, "key_transport", "cd" * 32, 7, "ef" * 32)


def test_round_trip_and_modes(tmp_path):
    state = str(tmp_path / "state")
    assert _receipts.read_receipt(state, KEY_ID) is None
    _receipts.write_receipts(state, [RECEIPT])
    _receipts.write_receipts(state, [RECEIPT])
    assert _receipts.read_receipt(state, KEY_ID) == RECEIPT
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{state}/receipts/{KEY_ID}.json").st_mode) == 0o600


def test_the_bytes_are_those_of_the_format(tmp_path):
    _receipts.write_receipts(str(tmp_path), [RECEIPT])
    assert (tmp_path / "receipts" / f"{KEY_ID}.json").read_bytes() == (
        b'{"format":"keyops-receipt/1","key_id":"%s","log_digest":"%s","log_number":7,"sealed_key":"%s",'
        b'"usage":"key_transport"}' % (b"ab" * 32, b"ef" * 32, b"cd" * 32)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b"keyops-receipt/1", b"keyops-receipt/2"),
        lambda data: data.replace(b"ab" * 32, b"12" * 32),
        lambda data: data.replace(b"cd" * 32, b"CD" * 32),
        lambda data: data.replace(b":7,", b":-7,"),
        lambda data: data.replace(b":7,", b":true,"),
        lambda data: data.replace(b'"usage"', b'"use"'),
        lambda data: b"\xff\xfe",
    ],
)
def test_anything_else_is_an_error(tmp_path, change):
    _receipts.write_receipts(str(tmp_path), [RECEIPT])
    path = tmp_path / "receipts" / f"{KEY_ID}.json"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StateError):
        _receipts.read_receipt(str(tmp_path), KEY_ID)


def test_a_link_is_no_receipt(tmp_path):
    _receipts.write_receipts(str(tmp_path), [RECEIPT])
    path = tmp_path / "receipts" / f"{KEY_ID}.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError):
        _receipts.read_receipt(str(tmp_path), KEY_ID)


@pytest.mark.parametrize("key_id", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n"])
def test_a_key_id_is_a_digest_before_it_is_a_path(tmp_path, key_id):
    with pytest.raises(StateError):
        _receipts.read_receipt(str(tmp_path), key_id)
    with pytest.raises(FormatError):
        _receipts.write_receipts(str(tmp_path), [Receipt(key_id, "key_transport", "cd" * 32, 1, "ef" * 32)])


def test_the_default_place(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert _receipts.default_state_dir() == "/var/lib/keyops"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert _receipts.default_state_dir() == "/somewhere/keyops"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/u")
    assert _receipts.default_state_dir() == "/home/u/.local/state/keyops"
