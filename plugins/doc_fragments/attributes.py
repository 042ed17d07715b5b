# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attributes that all modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
requirements:
  - cryptography >= 38
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict what would change, also for keys that the same check run would
      have made.
    support: full
  diff_mode:
    description: Returns what has changed or would change as facts and key IDs, never as material.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  action_group:
    description: Use C(group/keyops.lifecycle.all) in C(module_defaults) to set options of all modules.
    support: full
    membership:
      - keyops.lifecycle.all
"""

    VAULT_GROUP = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/keyops.lifecycle.all) in C(module_defaults) to set options of all modules, and
      C(group/keyops.lifecycle.vault) to set O(vault) for all modules that have it.
    support: full
    membership:
      - keyops.lifecycle.all
      - keyops.lifecycle.vault
"""

    INFO = r"""
options: {}
requirements:
  - cryptography >= 38
attributes:
  check_mode:
    description: Changes nothing, so it runs in C(check_mode) as always.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to return.
    support: N/A
  idempotent:
    description: Changes nothing.
    support: full
  action_group:
    description: Use C(group/keyops.lifecycle.all) in C(module_defaults) to set options of all modules.
    support: full
    membership:
      - keyops.lifecycle.all
"""
