# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test vectors of every format (tests/vectors/README.md), one test per file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse, record
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import approval, lift, request
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, share_text, wrapped_key_open
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.load import load

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
FILES = sorted(FOLDER.glob("*/*.json"))


def _private_key(vector: dict) -> Any:
    return serialization.load_der_private_key(base64.b64decode(vector["private_key"]), None)


def _read_receipt(data: bytes, vector: dict, folder: Path) -> None:
    place = folder / "receipts"
    place.mkdir(mode=0o700)
    (place / f"{vector['key_id']}.json").write_bytes(data)
    (place / f"{vector['key_id']}.json").chmod(0o600)
    assert _receipts.read_receipt(str(folder), vector["key_id"]) is not None


def _read_key(data: bytes, vector: dict) -> None:
    facts = key_file.load(data, None).facts
    assert (facts.key_id, facts.bound_usage) == (vector["key_id"], vector["usage"])


def _read(vector: dict, folder: Path) -> bytes | None:
    """What the vector's reader makes of it: the content of what is opened or verified, None for what is only parsed."""
    kind = vector["format"]
    if kind == "policy":
        load(vector["document"])
        return None
    data = base64.b64decode(vector["data"])
    if kind == "sealed-key":
        return cms_open.open_with_kek(data, vector["kek_id"], bytes.fromhex(vector["kek"]))
    if kind == "sealed-share":
        return cms_open.open_with_key(data, _private_key(vector), base64.b64decode(vector["recipient"]))
    if kind == "wrapped-key":
        share = share_text.parse(data)
        session_key = wrapped_key_open.open_proven(share, _private_key(vector))
        return wrapped_key_open.unwrap(session_key, share.wrapping, base64.b64decode(vector["blob"]))
    if kind == "dsse":
        return dsse.verify(data, vector["payload_type"], base64.b64decode(vector["certificate"]))
    if kind == "receipt":
        _read_receipt(data, vector, folder)
    elif kind == "key-file":
        _read_key(data, vector)
    else:
        _again(kind, data)
    return None


def _again(kind: str, data: bytes) -> None:
    """Parse, and write again where there is a writer: it must give the same bytes."""
    if kind == "event":
        event_format.parse(data)
    elif kind.endswith("approval"):
        approval.parse(data)
    elif kind == "lift":
        lift.parse(data)
    else:
        parse, dump = {
            "canonical-json": (canonical.loads, canonical.dumps),
            "share-text": (share_text.parse, share_text.dump),
            "record": (record.parse, record.dump),
            "request": (request.parse, request.dump),
        }[kind.removeprefix("token-")]
        assert dump(parse(data)) == data


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_vector(path: Path, tmp_path: Path) -> None:
    vector = json.loads(path.read_text())
    assert vector["format"] == path.parent.name
    if vector["expected"] == "ok":
        content = vector.get("content")
        assert _read(vector, tmp_path) == (None if content is None else base64.b64decode(content))
    else:
        with pytest.raises(KeyopsError) as caught:
            _read(vector, tmp_path)
        assert type(caught.value).__name__ == vector["expected"]


def test_every_format_has_vectors() -> None:
    folders = {path.parent.name for path in FILES}
    sealed = {"sealed-key", "sealed-share", "share-text", "key-file"}
    documents = {"canonical-json", "dsse", "record", "request", "approval", "lift", "event", "receipt"}
    tokens = {"wrapped-key", "token-share-text", "token-record", "token-request", "token-approval"}
    assert folders == sealed | documents | tokens | {"policy"}
    for folder in folders:
        expected = {json.loads(path.read_text())["expected"] for path in FILES if path.parent.name == folder}
        assert "ok" in expected and len(expected) > 1, folder
