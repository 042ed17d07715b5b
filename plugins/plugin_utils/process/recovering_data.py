# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of decrypting data straight from a recovery request: as for keys that are put back.

The keys are opened on the host. What passes here is what passes in recovering.py: records, sealed keys and approvals,
all of it ciphertext or public; nothing of the data comes back but counts and reasons.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest, check_id
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import (
    journal,
    recovering,
    relayed,
    told_keys,
)

_TOLD = {"unclosed": bool, "summary": str, "keys": list, "failed": int}


def recover_data(task: ControllerTask) -> dict:
    """Decrypt on the host; with a request, carry what its keys take, write the event, and end the request.

    Raises:
        OptionError: options that do not belong together.
    """
    request_id, keys = task.params["request_id"], task.params["keys"]
    if (request_id is None) == (keys is None):
        raise OptionError("keys: give the keys, or request_id for those of a recovery request")
    if request_id is None:
        return dict(task.call(None).raw)
    if task.vault is None or task.params["seal"] is None:
        raise OptionError("request_id: it needs vault, and seal with the folder for all that is decrypted")
    return _of_request(task, check_id(request_id, "request_id"))


def _of_request(task: ControllerTask, request_id: str) -> dict:
    with journal.refusals_recorded(task, "recover_data", []):
        key_ids = list(recovering.verified_request(task.vault, request_id).key_ids)
    with journal.refusals_recorded(task, "recover_data", key_ids):
        relay = {"keys": relayed.about(task, request_id, key_ids, for_agent=None)}
        reply = task.call("decrypt", relay)
        told = _checked(task, reply.relay)
        used = told_keys.event_keys(task.vault, told["keys"], key_ids) if told["unclosed"] else []
    if told["unclosed"] and not task.check_mode:
        detail = f"request {request_id}: summary {told['summary']}, {told['failed']} failed"
        journal.write(task, "recover_data", "success", used, detail)
        # The one-time key goes last: a kill before this leaves the request open, and the next run comes here again.
        task.call("close")
    return dict(reply.raw)


def _checked(task: ControllerTask, told: Any) -> dict:
    """What the host says, when it has its form: it goes into a log that others read.

    Raises:
        FormatError: it has another.
    """
    canonical.check_fields(told, _TOLD, "the host's reply")
    if told["failed"] < 0:
        raise FormatError("the host's reply: fewer than none failed")
    if not task.check_mode:
        check_digest(told["summary"])
    return told
