# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller half of private_key_permissions."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.modules.private_key_permissions import ARGUMENT_SPEC
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import LifecycleAction


class ActionModule(LifecycleAction):
    """Mend files; all of it happens on the host."""

    argument_spec = ARGUMENT_SPEC
