#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configure a vault server: policies, mounts, logins, audit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_settings
short_description: Configure a vault server for the archive
version_added: 0.1.0
description:
  - Runs on the controller only. Reads each setting, compares the given fields with what the server has, and writes
    those settings that differ.
  - It takes the credential of an administrator of the server in O(vault), which must have O(vault.backend=openbao).
  - The role P(keyops.lifecycle.vault#role) uses it to make the mount, the policies and the logins.
options:
  settings:
    description: The settings, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - Path of the setting in the server's API, without C(/v1/).
          - It must lie below C(sys/policies/acl/), C(sys/mounts/), C(sys/auth/), C(sys/audit/) or C(auth/), or be
            C(config) below O(vault.mount), which must not lie below C(sys), C(auth), C(identity) or C(cubbyhole).
            Objects of the archive cannot be reached.
          - What makes, shows or ends tokens and credentials is no setting and is refused. That is C(auth/token/) but
            for C(auth/token/roles/), and every path below C(auth/) whose last or last but one part is C(login) or
            C(role-id), or begins with C(lookup), C(renew), C(revoke), C(create), C(secret-id) or C(accessor).
        type: str
        required: true
      data:
        description:
          - The fields and their values. Fields that are not given stay as they are.
          - What is mounted or enabled already cannot be changed below C(sys/mounts/), C(sys/auth/) and C(sys/audit/);
            if it differs, the task fails.
          - Needed for O(settings[].state=present).
        type: dict
      secret:
        description:
          - Names of those fields in O(settings[].data) whose values are never shown.
          - A secret field that the server does not return is not compared. It is written when the setting is new, or
            another field of it differs.
        type: list
        elements: str
        default: []
      state:
        description:
          - With V(absent) the setting is removed. Only policies and the roles of an auth method can be, so that no
            archive, no login for all, and no audit is lost by a mistake.
        type: str
        choices: [present, absent]
        default: present
      any_will_do:
        description:
          - For a path below C(sys/audit/). The setting is as wanted when the server has any audit device, of whatever
            name and options.
        type: bool
        default: false
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.vault
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Let the mail team's archiver log in from two machines only
  keyops.lifecycle.vault_settings:
    vault:
      backend: openbao
      url: https://vault.example.com:8200
      token: "{{ administrators_token }}"
    settings:
      - path: auth/approle/role/keyops-archiver
        data:
          token_policies: [keyops-archiver]
          token_ttl: 1h
          token_bound_cidrs: [192.0.2.10/32, 192.0.2.11/32]
"""

RETURN = r"""
results:
  description: One item per setting, in the order of O(settings).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The setting.
      type: str
      returned: success
    changed:
      description: Whether it was written or removed, or would be.
      type: bool
      returned: success
    existed:
      description: Whether the server had it before.
      type: bool
      returned: success
    fields:
      description: Names of the fields that differed.
      type: list
      elements: str
      returned: success
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import controller_only

ARGUMENT_SPEC = {
    **_options.VAULT,
    "settings": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "data": {"type": "dict"},
            "secret": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "any_will_do": {"type": "bool", "default": False},
        },
    },
}


def main() -> None:
    """The action plugin does the work."""
    controller_only(ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
