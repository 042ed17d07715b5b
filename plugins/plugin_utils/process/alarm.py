# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alarm: one key is both archived and registered as signing. Whichever side sees it raises it."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import SigningRegisterRefused
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import freezes, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import journal


def raise_alarm(task: ControllerTask, key_ids: list[str]) -> None:
    """Freeze keys that are both archived and registered as signing, write the alarm, and raise.

    Raises:
        SigningRegisterRefused: always.
    """
    reason = "archived, and registered as a signing key"
    for key_id in sorted(signing_register.proven(task.vault, key_ids)):
        freezes.freeze(task.vault, key_id, reason, [paths.signing_key(key_id), paths.record(key_id, 1)])
    journal.write(task, "freeze", "alarm", [(key_id, reason) for key_id in key_ids])
    raise SigningRegisterRefused(
        f"ALARM: the vault holds an archive of {', '.join(key_ids)}, which is registered as a signing key. Where the "
        "key itself has proven that, it is frozen. Revoke its certificates and make a new key: what it has signed "
        "proves nothing any more"
    )
