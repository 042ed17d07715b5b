# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of data_recovery_info."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.data_recovery_info import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import LifecycleAction


class ActionModule(LifecycleAction):
    """Verify folders; all of it happens on the host."""

    argument_spec = ARGUMENT_SPEC
