# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of decrypting data straight from a recovery request: as for keys that are put back.

The keys are opened on the host. What passes here is what passes in recovering.py: records, sealed keys and approvals,
all of it ciphertext or public; nothing of the data comes back but counts and reasons.

A folder that is sealed already is compared with the event log: its summary is the one of the newest event of this
request, so nobody writes another one unseen who has the requester's key, and not the vault. Where the log names it, the
requester may have another key since.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError, StateError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest, check_id
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_format, event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import (
    journal,
    recovering,
    relayed,
    told_keys,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: Events that are read at once.
_FIRST_LOOK, _LONGEST_LOOK = 64, 1024
_TOLD = {"unclosed": bool, "summary": str, "other_signer": str, "keys": list, "failed": int}


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
        about = relayed.about(task, request_id, key_ids, for_agent=None)
        reply = task.call("decrypt", {"keys": about})
        told = _checked(task, reply.relay)
        warnings = _against_log(task.vault, request_id, told)
        used = told_keys.event_keys(task.vault, told["keys"], about) if told["unclosed"] else []
        used += [(key_id, "not recovered") for key_id in key_ids if key_id not in dict(used)]
    if told["unclosed"] and not task.check_mode:
        detail = f"{_detail(request_id, told['summary'])}, {told['failed']} failed"
        journal.write(task, "recover_data", "success", used, detail)
        # The one-time key goes last: a kill before this leaves the request open, and the next run comes here again.
        task.call("close")
    return {**reply.raw, "warnings": [*(reply.raw.get("warnings") or []), *warnings]} if warnings else dict(reply.raw)


def _against_log(vault: Vault, request_id: str, told: dict) -> list[str]:
    """Warnings, when the log has no event of a summary that was sealed by an earlier run.

    Raises:
        StateError: the newest event of this request names another summary, or there is none of a summary that another
            key than the requester's has signed.
    """
    if not told["summary"]:  # check mode, before anything is sealed
        return []
    logged = _summary_in_log(vault, request_id)
    if logged is None and told["other_signer"]:
        raise StateError(
            f"the summary is signed by another requester's key ({told['other_signer'][:16]}...), and the event "
            "log does not name it: give that key and its certificate, or make a new request"
        )
    if logged is None:
        return [] if told["unclosed"] else [f"the event log has no event of summary {told['summary']}"]
    if logged != told["summary"]:
        raise StateError(
            f"the folder's summary is not the one of the event log: it was sealed as {logged}, and summary.json is "
            f"{told['summary']}; another one was written since. To decrypt anew, make a new request"
        )
    return []


def _summary_in_log(vault: Vault, request_id: str) -> str | None:
    """The digest in the newest event of this request, looked for from the log's end to the event of asking."""
    high, size = event_log.head(vault).number, _FIRST_LOOK
    sealed, asked = _detail(request_id, ""), f"request {request_id}:"
    while high > 0:
        names = [paths.event(number) for number in range(high, max(0, high - size), -1)]
        there = vault.read(names)
        for event in _events(there[name] for name in names if name in there):
            what = (event.action, event.outcome)
            if what == ("recover_data", "success") and event.detail.startswith(sealed):
                return event.detail[len(sealed) :].partition(",")[0]
            if what == ("request", "success") and event.detail.startswith(asked):
                return None
        high, size = high - size, min(2 * size, _LONGEST_LOOK)
    return None


def _events(contents: Iterable[bytes]) -> Iterator[event_log.Event]:
    for content in contents:
        with contextlib.suppress(FormatError):  # lifecycle_log_info reports it
            yield event_format.parse(content)


def _detail(request_id: str, summary: str) -> str:
    return f"request {request_id}: summary {summary}"


def _checked(task: ControllerTask, told: Any) -> dict:
    """What the host says, when it has its form: it goes into a log that others read.

    Raises:
        FormatError: it has another.
    """
    told = {"other_signer": "", **told} if isinstance(told, dict) else told  # it is told of what was sealed before
    canonical.check_fields(told, _TOLD, "the host's reply")
    if told["other_signer"]:
        check_digest(told["other_signer"])
    if told["failed"] < 0:
        raise FormatError("the host's reply: fewer than none failed")
    if not task.check_mode:
        check_digest(told["summary"])
    return told
