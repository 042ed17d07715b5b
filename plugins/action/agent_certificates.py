# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of agent_certificates."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.agent_certificates import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import LifecycleAction


class ActionModule(LifecycleAction):
    """Certify an agent's keys; all of it happens on the agent's machine."""

    argument_spec = ARGUMENT_SPEC
