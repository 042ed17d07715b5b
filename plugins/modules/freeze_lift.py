#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lift the freezes of an archived key, as one of its recovery agents."""

from __future__ import annotations

DOCUMENTATION = r"""
module: freeze_lift
short_description: Lift the freezes of an archived key, as one of its recovery agents
version_added: 0.1.0
description:
  - The archive of a key is frozen when there is evidence that the key signs. Where that evidence is wrong, or its
    owner needs the old messages all the same, a quorum of the key's recovery agents lifts the freeze.
  - Each agent runs this on its own machine, with C(connection=local); it is refused elsewhere. The agent's signing key
    never leaves it. Nothing is opened or released; a recovery needs its approvals all the same.
  - What is lifted are all freezes of the key as they stand under O(freeze_id). New evidence freezes the key again. A
    lift counts for the revisions of the key's record that name a quorum of those who signed.
options:
  key_id:
    description: The key's ID.
    type: str
    required: true
  freeze_id:
    description: >-
      The ID of the key's freezes, as the agents agreed on it by another way than the vault.
      M(keyops.lifecycle.key_archive_info) shows it (RV(keyops.lifecycle.key_archive_info#module:results[].freeze_id)).
    type: str
    required: true
  reason:
    description: >-
      Why the freezes shall not hold any more, 1 to 500 characters. It is signed, and stands in the event log.
    type: str
    required: true
  agent:
    description: Name of the agent in its recovery groups.
    type: str
    required: true
  signing_key:
    description: Key reference of the agent's signing key on this machine, a path or a C(pkcs11:) URI.
    type: str
    required: true
  signing_key_passphrase:
    description: Passphrase of O(signing_key) in a file.
    type: str
  signing_key_pin:
    description: >-
      User PIN of the smart card that O(signing_key) is on, unless C(pin-source) is in the URI. It is tried once.
    type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.key_archive_info
  - module: keyops.lifecycle.recovery_approval
  - module: keyops.lifecycle.fleet_audit
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Lift the freezes of a key
  hosts: localhost
  connection: local
  gather_facts: false
  vars_prompt:
    - name: freeze_id
      prompt: Freeze ID, as read to you
      private: false
    - name: passphrase
      prompt: Passphrase of your signing key
  tasks:
    - name: Sign
      keyops.lifecycle.freeze_lift:
        vault:
          path: /srv/keyops/vault.db
        key_id: 5d1b5f7c9e0a4b3c8d2e6f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c
        freeze_id: "{{ freeze_id }}"
        reason: The certificate was issued for a test and is revoked, ticket 4711
        agent: agent-1
        signing_key: /home/agent/signing.key
        signing_key_passphrase: "{{ passphrase }}"
"""

RETURN = r"""
results:
  description: One item, about the key.
  returned: success
  type: list
  elements: dict
  contains:
    key_id:
      description: The key ID.
      type: str
      returned: success
    freeze_id:
      description: The ID of the freezes.
      type: str
      returned: success
    agent:
      description: Name of the agent.
      type: str
      returned: success
    changed:
      description: Whether a lift was written, or would be.
      type: bool
      returned: success
    freezes:
      description: What is lifted.
      type: list
      elements: dict
      returned: success
      contains:
        number:
          description: Its number.
          type: int
          returned: success
        reason:
          description: Why the key was frozen. Control characters are written as C(\u) and four digits, here and below.
          type: str
          returned: success
        evidence:
          description: What showed that the key signs.
          type: list
          elements: str
          returned: success
        created:
          description: When, UTC.
          type: str
          returned: success
    key_owners:
      description: Whose key it is, as its records say.
      type: list
      elements: str
      returned: success
    usages:
      description: What the key is for, as its records say.
      type: list
      elements: str
      returned: success
    places:
      description: Where the key was archived from, as its records say.
      type: list
      elements: dict
      returned: success
      contains:
        host:
          description: Inventory name of the host.
          type: str
          returned: success
        place:
          description: Key reference on that host.
          type: str
          returned: success
    lifted_for:
      description: Numbers of the revisions of the key's record for which a quorum has lifted the freezes by now.
      type: list
      elements: int
      returned: success
    signed_by:
      description: Who has signed by now, for each revision and recovery group.
      type: list
      elements: dict
      returned: success
      contains:
        record:
          description: Number of the revision.
          type: int
          returned: success
        group:
          description: Name of the recovery group.
          type: str
          returned: success
        threshold:
          description: How many of its agents it takes.
          type: int
          returned: success
        agents:
          description: Names of those who have signed.
          type: list
          elements: str
          returned: success
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.VAULT,
    "key_id": {"type": "str", "required": True, "no_log": False},
    "freeze_id": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
    "agent": {"type": "str", "required": True},
    "signing_key": {"type": "str", "required": True, "no_log": False},
    "signing_key_passphrase": {"type": "str", "no_log": True},
    "signing_key_pin": {"type": "str", "no_log": True},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import lift

    run_module(ARGUMENT_SPEC, lift.run)


if __name__ == "__main__":
    main()
