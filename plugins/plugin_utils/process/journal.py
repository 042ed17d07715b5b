# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the events of one task: what succeeded, and what was refused or failed, before the error goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, RecoveryError, Refusal
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.share_text import shown
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostFailed


def write(
    task: ControllerTask, action: str, outcome: str, keys: Iterable[tuple[str, str]] = (), detail: str = ""
) -> event_log.Head:
    """One event of this task.

    Args:
        action: for example ``archive``.
        outcome: ``success``, ``refused``, ``failed`` or ``alarm``.
        keys: pairs of key ID (or the empty string) and a detail. Places, file names and messages come from hosts: an
            event has no control characters, whoever wrote them.
    """
    return event_log.append(
        task.vault,
        action=action,
        outcome=outcome,
        keys=[(key_id, shown(text)) for key_id, text in keys],
        detail=shown(detail)[:1000],
        actor=task.actor,
        host=task.host,
        signing_key=task.log_signing_key,
    )


@contextmanager
def refusals_recorded(task: ControllerTask, action: str, key_ids: Iterable[str]) -> Iterator[None]:
    """Write an event when the block is refused or fails, and let the error go on. Nothing is written in check mode."""
    try:
        yield
    except KeyopsError as error:
        if not task.check_mode:
            outcome = "refused" if _is_refusal(error) else "failed"
            write(task, action, outcome, [(key_id, "") for key_id in key_ids], f"{_class(error)}: {error}")
        raise


def _class(error: KeyopsError) -> str:
    return str(error.result.get("error_class", "HostFailed")) if isinstance(error, HostFailed) else type(error).__name__


def _is_refusal(error: KeyopsError) -> bool:
    found = getattr(_errors, _class(error), None)
    return isinstance(found, type) and issubclass(found, (Refusal, RecoveryError))
