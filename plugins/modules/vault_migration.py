#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Move a vault with everything in it to another one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_migration
short_description: Move a vault with everything in it to another one
version_added: 0.1.0
description:
  - Runs on the controller only. Copies every object of O(source) to O(destination), compares all of them, and makes the
    event log go on there.
  - Nothing is overwritten. An object that both have is compared. When it differs, or the destination has anything that
    the source has not, the task fails before it writes, and names the object.
  - It can be run again at any time, also after it was killed, and goes on where it ended.
  - At the end, both logs get the same event C(migrate), which says where the vault goes on. Stop all plays, timers and
    agents that use the source before. What they write during the copy is copied, but what they write behind that event
    makes the task fail with C(VaultStillUsed).
  - The names of destroyed objects are taken and destroyed in the destination.
  - The credential for O(source) must be able to read and list everything and to create events. The one for
    O(destination) must be able to create, read and list everything, and to destroy where the source has names of
    destroyed objects.
options: {}
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.vault.migration
attributes:
  diff_mode:
    description: RV(results) counts what was or would be copied. There is no other difference.
    support: none
seealso:
  - module: keyops.lifecycle.lifecycle_log_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Move the vault from the controller's file to the cluster
  keyops.lifecycle.vault_migration:
    source:
      path: /srv/keyops/vault.db
    destination:
      backend: openbao
      url: https://vault.example.com:8200
      ca_cert: /etc/keyops/vault-ca.pem
      auth_method: approle
      role_id: "{{ keyops_migrator_role_id }}"
      secret_id: "{{ keyops_migrator_secret_id }}"
  register: migration
"""

RETURN = r"""
results:
  description: One row for each kind of object.
  returned: success
  type: list
  elements: dict
  contains:
    prefix:
      description: What the names of these objects begin with.
      type: str
      returned: success
      sample: records/
    objects:
      description: How many names the source has, those of destroyed objects among them.
      type: int
      returned: success
    copied:
      description: How many this run copied, or would copy in check mode.
      type: int
      returned: success
    destroyed:
      description: How many of the names are those of destroyed objects.
      type: int
      returned: success
head:
  description: >-
    The last event of both logs, in check mode of the source's. Keep it elsewhere, and give it to the option
    O(keyops.lifecycle.lifecycle_log_info#module:expected_heads) of M(keyops.lifecycle.lifecycle_log_info).
  returned: success
  type: dict
  contains:
    number:
      description: Number of the event.
      type: int
      returned: success
    digest:
      description: SHA-256 digest of the event.
      type: str
      returned: success
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import controller_only

ARGUMENT_SPEC = {
    "source": {**_options.VAULT["vault"], "required": True},
    "destination": {**_options.VAULT["vault"], "required": True},
}


def main() -> None:
    """The action plugin does the work."""
    controller_only(ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
