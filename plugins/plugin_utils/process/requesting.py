# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of csr: all of it happens on the host, unless a policy forbids it."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask


def request(task: ControllerTask) -> dict:
    """The whole process; returns the task's result."""
    if task.policy is None:
        return dict(task.call(None).raw)
    # Here, so that a play without a policy loads none of it.
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import enforce

    return enforce.request(task)
