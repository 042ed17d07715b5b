# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of private_key.

1. With a policy, what it forbids is refused before anything changes. The host does its work in one pass. Nonsigning
   keys that would be removed or replaced are left as they are and reported.
2. Those go only when a vault confirms their archive; then the host is called once more.

What a vault has to say, and what is written there, is in provisioning_vault.py: a play without one loads none of it.
"""

from __future__ import annotations

from typing import Callable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import NotArchivedRefused
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, HostReply


def provision(task: ControllerTask) -> dict:
    """The whole process; returns the task's result."""
    if task.vault is None:
        return dict(on_host(task, _refuse).raw)
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import provisioning_vault

    return provisioning_vault.provision(task)


def on_host(task: ControllerTask, confirmed: Callable[[ControllerTask, list[dict]], HostReply]) -> HostReply:
    """What the host did.

    Args:
        confirmed: gets the keys that may go only when their archive is confirmed (``{"key", "key_id", "sealed_key"}``),
            and calls the host once more or raises.
    """
    if task.policy is None:
        return _carried_out(task, confirmed)
    # Here, so that a play without a policy loads none of it.
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import enforce

    warnings = enforce.check_private_key(task)
    return enforce.with_warnings(_carried_out(task, confirmed), warnings)


def _carried_out(task: ControllerTask, confirmed: Callable[[ControllerTask, list[dict]], HostReply]) -> HostReply:
    reply = task.call(None)  # 1
    unconfirmed = (reply.relay or {}).get("unconfirmed", [])
    return confirmed(task, unconfirmed) if unconfirmed else reply  # 2


def _refuse(task: ControllerTask, unconfirmed: list[dict]) -> HostReply:
    raise NotArchivedRefused(
        f"{', '.join(item['key'] for item in unconfirmed)}: a nonsigning key is removed or replaced only when its "
        "archive is confirmed; give vault:, or destroy_unarchived: true to lose it for good"
    )
