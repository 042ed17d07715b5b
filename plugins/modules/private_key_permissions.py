#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Set mode, owner and group of private keys that exist."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_key_permissions
short_description: Set mode, owner and group of private keys that exist
version_added: 0.1.0
description:
  - Mends the files of private keys that M(keyops.lifecycle.fleet_audit) names in
    RV(keyops.lifecycle.fleet_audit#module:audit.repairs).
  - Touches nothing but a regular file with one name that holds the expected private key. No folder on the way and no
    link that another user owns can lead it elsewhere.
  - The usage of a key, its algorithm and its content stay as they are.
options:
  keys:
    description: The keys.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description: Absolute path of the file.
        type: path
        required: true
      key_id:
        description:
          - The key ID that the file must have.
          - Without it, any private key will do, also an encrypted one whose public key cannot be read.
        type: str
      mode:
        description: The mode, octal. Without it, the mode stays.
        type: str
      owner:
        description: The owner. Without it, the owner stays.
        type: str
      group:
        description: The group. Without it, the group stays.
        type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.fleet_audit
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Mend what the audit found
  keyops.lifecycle.private_key_permissions:
    keys:
      - key: /etc/app/tls.key
        key_id: 4d6a0b0b1ab3f5e3fd0c9a7f3b0d4a0b2e9e4c0a7f6b5d1d2c3b4a5968778695
        mode: '0600'
        owner: app
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: Path of the file.
      type: str
      returned: always
    changed:
      description: Whether the file was or would be changed.
      type: bool
      returned: always
    before:
      description: The file's C(mode), C(owner) and C(group) as they were.
      type: dict
      returned: always
    after:
      description: What they are now.
      type: dict
      returned: always
    error:
      description: Why the file was left alone, or V(null).
      type: str
      returned: always
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: FileError
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            "key": {"type": "path", "required": True, "no_log": False},
            "key_id": {"type": "str", "no_log": False},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import permissions

    run_module(ARGUMENT_SPEC, permissions.run)


if __name__ == "__main__":
    main()
