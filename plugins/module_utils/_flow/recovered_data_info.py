# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify folders of recovered data; change nothing.

Per folder: whether there is a summary, whether its requester signed it, and whether every file is as it was sealed.
What is wrong is told and is no failure. Whether this host still has the request open says whether the work was ended.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import sealed_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.certificate_option import read_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import key_id_of_certificate
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import open_requests

_TOLD = ("request_id", "key_owner", "host", "reason", "created", "keys", "missing", "sources", "failures", "failed")


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    return FlowResult(False, [_look(item, state_dir) for item in task.params["folders"]])


def _look(item: dict, state_dir: str) -> dict:
    folder = item["folder"]
    if not folder.startswith("/"):
        raise OptionError(f"folders: {folder!r} is not an absolute path; begin it with /")
    nothing = dict.fromkeys((*_TOLD, "outputs", "inputs", "signed_by", "summary", "request_open"))
    row = {"folder": folder, "sealed": False, "sound": False, **nothing, "problems": []}
    if not sealed_folder.is_sealed(folder):
        return row
    certificate = read_certificate(item["signing_certificate"], "signing_certificate")
    try:
        found = sealed_folder.verify(folder, certificate)
    except KeyopsError as error:
        return {**row, "sealed": True, "problems": [str(error)]}
    return {
        **{**row, "sealed": True, "sound": not found.problems, "problems": list(found.problems)},
        **{name: found.summary[name] for name in _TOLD},
        **{"outputs": found.summary["outputs"]["files"], "inputs": found.summary["inputs"]["files"]},
        **{"signed_by": key_id_of_certificate(found.signer), "summary": found.digest},
        "request_open": bool(found.summary["request_id"])
        and open_requests.is_open(state_dir, found.summary["request_id"]),
    }
