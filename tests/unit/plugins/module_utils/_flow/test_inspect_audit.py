# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a search returns for the fleet audit alone: certificates whole, and every receipt."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask
from ansible_collections.keyops.lifecycle.plugins.modules.private_key_info import ARGUMENT_SPEC

_SEARCH = {name: option.get("default") for name, option in ARGUMENT_SPEC["search"]["options"].items()}


def search(folder: Path, **options: object) -> dict:
    params = {"keys": [], "search": {**_SEARCH, "paths": [str(folder)], **options}, "authorized_keys": []}
    return inspect.run(HostTask({**params, "state_dir": str(folder / "state")}, False, None, None)).extra


def openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout


def test_contents_on_demand_and_never_of_roots(tmp_path: Path) -> None:
    for name, more in (("end", "basicConstraints=critical,CA:FALSE"), ("root", "basicConstraints=critical,CA:TRUE")):
        new = ("-newkey", "rsa:2048", "-noenc", "-keyout", tmp_path / f"{name}.key", "-addext", more)
        openssl("req", "-x509", *new, "-subj", f"/CN={name}", "-out", tmp_path / f"{name}.pem")
    openssl("req", "-new", "-key", tmp_path / "end.key", "-subj", "/CN=end", "-out", tmp_path / "end.csr")
    found = search(tmp_path, contents=True)
    contents = {
        Path(row["paths"][0]).name: row["content"] for row in found["certificates"] + found["certificate_requests"]
    }
    assert contents["root.pem"] is None
    assert base64.b64decode(contents["end.pem"]) == openssl("x509", "-in", tmp_path / "end.pem", "-outform", "DER")
    assert base64.b64decode(contents["end.csr"]) == openssl("req", "-in", tmp_path / "end.csr", "-outform", "DER")
    assert {row["content"] for row in search(tmp_path)["certificates"]} == {None}


def test_every_receipt_is_told_also_when_its_key_is_gone(tmp_path: Path) -> None:
    assert search(tmp_path)["receipts"] == []
    receipt = Receipt("a" * 64, "key_agreement", "b" * 64, 7, "c" * 64)
    _receipts.write_receipts(str(tmp_path / "state"), [receipt])
    (tmp_path / "state/receipts" / f"{'d' * 64}.json").write_text("rubbish")
    (tmp_path / "state/receipts/notes.txt").write_text("something else")
    found = search(tmp_path)
    assert found["receipts"] == [
        {"key_id": "a" * 64, "usage": "key_agreement", "sealed_key": "b" * 64, "log_number": 7, "log_digest": "c" * 64}
    ]
    assert [text for text in found["not_looked_at"] if "receipts" in text and "d" * 64 in text]
