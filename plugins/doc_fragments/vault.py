# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vault option."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  vault:
    description:
      - The central vault. It is used on the controller only and never reaches a host.
      - Set it once for all modules with C(module_defaults) and the action group C(group/keyops.lifecycle.vault).
    type: dict
    suboptions:
      backend:
        description: Where the vault is. V(sqlite) is the embedded one, a file on the controller.
        type: str
        choices: [sqlite]
        default: sqlite
      path:
        description:
          - For O(vault.backend=sqlite), path of the vault's file on the controller.
          - It is made with mode V(0600) when it does not exist. A file that others can read is refused.
        type: path
      log_signing_key:
        description:
          - Path on the controller of a private key with which the events that this task writes are signed.
          - M(keyops.lifecycle.lifecycle_log_info) verifies them with its certificate.
        type: path
      log_signing_key_passphrase:
        description: Passphrase of O(vault.log_signing_key).
        type: str
"""
