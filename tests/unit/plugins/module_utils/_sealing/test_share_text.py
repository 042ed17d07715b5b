# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The share text: one text for one share, and nothing else parses."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, UnknownVersion
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import share_text
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share

SHARE = Share(
    key_id="a" * 64,
    key_owner="Zoë <zoe@example.org>",
    usage="key_transport",
    group="admins",
    threshold=2,
    agents=3,
    agent_id="b" * 64,
    sealed_key="c" * 64,
    kek_id="d" * 32,
    share_digests=("1" * 64, "2" * 64, "3" * 64),
    values=("2-" + "e" * 32, "2-" + "0" * 32),
)
SINGLE = replace(SHARE, threshold=1, agents=1, share_digests=("1" * 64,), values=("f" * 64,))
TEXT = f"""keyops-share/1
key-id: {"a" * 64}
key-owner: Zoë <zoe@example.org>
usage: key_transport
group: admins
threshold: 2
agents: 3
agent: {"b" * 64}
sealed-key: {"c" * 64}
kek-id: {"d" * 32}
share-digest: {"1" * 64}
share-digest: {"2" * 64}
share-digest: {"3" * 64}
2-{"e" * 32}
2-{"0" * 32}
"""


def test_the_text_is_the_one_of_the_document() -> None:
    assert share_text.dump(SHARE) == TEXT.encode()
    assert share_text.parse(TEXT.encode()) == SHARE


def test_m_1_has_one_value_line() -> None:
    text = share_text.dump(SINGLE)
    assert text.endswith(b"\n" + b"f" * 64 + b"\n")
    assert share_text.parse(text) == SINGLE


def test_the_digest_is_that_of_the_value_lines() -> None:
    lines = "\n".join(SHARE.values).encode()
    assert share_text.values_digest(SHARE.values) == hashlib.sha256(lines).hexdigest()


CHANGES = {
    "no final LF": (lambda text: text[:-1]),
    "CRLF": (lambda text: text.replace("\n", "\r\n")),
    "empty line at the end": (lambda text: text + "\n"),
    "empty line at the beginning": (lambda text: "\n" + text),
    "additional line": (lambda text: text + "3-" + "0" * 32 + "\n"),
    "missing value": (lambda text: text[: text.rindex("2-")]),
    "missing digest": (lambda text: text.replace(f"share-digest: {'1' * 64}\n", "")),
    "additional digest": (lambda text: text.replace("share-digest: 1", f"share-digest: {'0' * 64}\nshare-digest: 1")),
    "lines swapped": (
        lambda text: text.replace("usage: key_transport\ngroup: admins", "group: admins\nusage: key_transport")
    ),
    "no space": (lambda text: text.replace("usage: ", "usage:")),
    "two spaces": (lambda text: text.replace("usage: ", "usage:  ")),
    "space at the end": (lambda text: text.replace("admins\n", "admins \n")),
    "tab": (lambda text: text.replace("admins", "ad\tmins")),
    "NUL": (lambda text: text.replace("admins", "ad\0mins")),
    "empty group": (lambda text: text.replace("admins", "")),
    "long group": (lambda text: text.replace("admins", "a" * 201)),
    "writing direction": (lambda text: text.replace("admins", "ad\u202emins")),
    "line separator": (lambda text: text.replace("admins", "ad\u2028mins")),
    "next line (C1)": (lambda text: text.replace("admins", "ad\u0085mins")),
    "BOM": (lambda text: "\ufeff" + text),
    "signing usage": (lambda text: text.replace("key_transport", "signature")),
    "upper-case hex": (lambda text: text.replace("a" * 64, "A" * 64)),
    "short key ID": (lambda text: text.replace("a" * 64, "a" * 63)),
    "long KEK ID": (lambda text: text.replace("d" * 32, "d" * 64)),
    "threshold 0": (lambda text: text.replace("threshold: 2", "threshold: 0")),
    "threshold above agents": (lambda text: text.replace("threshold: 2", "threshold: 4")),
    "threshold 02": (lambda text: text.replace("threshold: 2", "threshold: 02")),
    "threshold +2": (lambda text: text.replace("threshold: 2", "threshold: +2")),
    "threshold in other digits": (lambda text: text.replace("threshold: 2", "threshold: \u0662")),
    "threshold 1 with two values": (lambda text: text.replace("threshold: 2", "threshold: 1")),
    "agents 256": (lambda text: text.replace("agents: 3", "agents: 256")),
    "value of another place": (lambda text: text.replace("2-" + "0" * 32, "3-" + "0" * 32)),
    "place beyond the group": (lambda text: text.replace("\n2-", "\n4-")),
    "place 0": (lambda text: text.replace("\n2-", "\n0-")),
    "place 02": (lambda text: text.replace("\n2-", "\n02-")),
    "upper-case value": (lambda text: text.replace("e" * 32, "E" * 32)),
    "short value": (lambda text: text.replace("e" * 32, "e" * 30)),
    "nothing": (lambda text: ""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_texts_are_refused(change) -> None:
    with pytest.raises(FormatError):
        share_text.parse(change(TEXT).encode())


@pytest.mark.parametrize("version", ("keyops-share/3", "keyops-share/1 ", "Keyops-share/1", ""))
def test_an_unknown_version_is_told(version: str) -> None:
    with pytest.raises(UnknownVersion):
        share_text.parse(TEXT.replace("keyops-share/1", version).encode())


def test_broken_utf_8_is_refused_without_showing_it() -> None:
    with pytest.raises(FormatError) as caught:
        share_text.parse(TEXT.encode("latin-1"))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_parses_comes_out_as_the_same_bytes(data: st.DataObject) -> None:
    """Any change of any byte either does not parse or is another share, never the same one."""
    changed = bytearray(TEXT.encode())
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        share = share_text.parse(bytes(changed))
    except FormatError as error:
        assert "e" * 30 not in str(error)  # no value in a message
        return
    assert share_text.dump(share) == bytes(changed)
    assert (share == SHARE) == (bytes(changed) == TEXT.encode())


def test_a_share_shows_no_values_in_its_repr() -> None:
    assert "e" * 32 not in repr(SHARE)


@pytest.mark.parametrize(
    "change",
    [
        {"key_owner": "two\nlines"},
        {"key_owner": " space"},
        {"group": "lone \ud800 surrogate"},
        {"share_digests": ("1" * 64,)},
        {"values": ("f" * 64,)},
        {"values": ("1-" + "e" * 32, "2-" + "e" * 32)},
    ],
    ids=str,
)
def test_what_cannot_be_parsed_is_not_written(change: dict) -> None:
    with pytest.raises(FormatError):
        share_text.dump(replace(SHARE, **change))
