#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Release a recovery agent's shares to one recovery request."""

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_approval
short_description: Release a recovery agent's shares to one recovery request
version_added: 0.1.0
description:
  - Runs on the agent's own machine, with C(connection=local), and is refused elsewhere. The agent's keys never leave
    it.
  - Recomputes the request's ID, verifies the requester's signature, opens the agent's own shares, and compares
    record, share and request. Then it encrypts the shares to the request's one-time key and signs the approval.
  - Nothing is released for a request that the agent's own key made, for another owner, after its time, or for a
    frozen key.
  - One run approves all keys of the request. Keys of which this agent has no share, or none that is sound, are told in
    RV(results[].problems) and as warnings; the others are approved all the same. When there is nothing to release at
    all, that is an error.
options:
  request_id:
    description: The request's ID as it was given to the agent by another way than the vault.
    type: str
    required: true
  expected_owner:
    description: Whose keys the agent was told that it is about.
    type: str
    required: true
  agent:
    description: Name of the agent in its recovery groups.
    type: str
    required: true
  encryption_key:
    description: >-
      Key reference of the agent's encryption key on this machine, a path or the C(pkcs11:) URI of a key on a smart
      card. What is done with a key on a card is done in the card.
    type: str
    required: true
  encryption_key_passphrase:
    description: Passphrase of O(encryption_key) in a file.
    type: str
  encryption_key_pin:
    description: >-
      User PIN of the smart card that O(encryption_key) is on, unless C(pin-source) is in the URI. It is tried once, and
      each card is logged in to once.
    type: str
  signing_key:
    description: Key reference of the agent's signing key on this machine, a path or a C(pkcs11:) URI.
    type: str
    required: true
  signing_key_passphrase:
    description: Passphrase of O(signing_key) in a file.
    type: str
  signing_key_pin:
    description: >-
      User PIN of the smart card that O(signing_key) is on, unless C(pin-source) is in the URI. It is tried once, and
      each card is logged in to once.
    type: str
  wrapping_key:
    description: >-
      Key reference of the agent's wrapping key on this machine, the key of its
      O(keyops.lifecycle.key_archive#module:recovery_groups[].agents[].wrapping_certificate). Needed for keys that were
      archived from a token.
    type: str
  wrapping_key_passphrase:
    description: Passphrase of O(wrapping_key) in a file.
    type: str
  wrapping_key_pin:
    description: >-
      User PIN of the smart card that O(wrapping_key) is on, unless C(pin-source) is in the URI. It is tried once, and
      each card is logged in to once.
    type: str
  allow_file:
    description:
      - Allow that keys which were archived from a token go into files, where the request wants them there.
      - Without it nothing is released for such a key. A request for a token needs no permission.
    type: bool
    default: false
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.recovery_request
  - module: keyops.lifecycle.key_recovery
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Approve, with passphrases from a prompt
  hosts: localhost
  connection: local
  gather_facts: false
  vars_prompt:
    - name: request_id
      prompt: Request ID, as read to you
      private: false
    - name: passphrase
      prompt: Passphrase of your keys
  tasks:
    - name: Release my shares
      keyops.lifecycle.recovery_approval:
        vault:
          path: /srv/keyops/vault.db
        request_id: "{{ request_id }}"
        expected_owner: mail.example.com
        agent: agent-1
        encryption_key: /home/agent/encryption.key
        encryption_key_passphrase: "{{ passphrase }}"
        signing_key: /home/agent/signing.key
        signing_key_passphrase: "{{ passphrase }}"

- name: Approve with a smart card
  hosts: localhost
  connection: local
  gather_facts: false
  vars_prompt:
    - name: pin
      prompt: PIN of your card
  tasks:
    - name: Release my shares
      keyops.lifecycle.recovery_approval:
        vault:
          path: /srv/keyops/vault.db
        request_id: "{{ request_id }}"
        expected_owner: mail.example.com
        agent: agent-2
        encryption_key: pkcs11:token=agent-2;object=encryption?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so
        encryption_key_pin: "{{ pin }}"
        signing_key: pkcs11:token=agent-2;object=signing?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so
        signing_key_pin: "{{ pin }}"
"""

RETURN = r"""
request_id:
  description: The request that was approved.
  returned: success
  type: str
key_owner:
  description: Whose keys the request is for.
  returned: success
  type: str
reason:
  description: The requester's reason.
  returned: success
  type: str
host:
  description: The host to which the keys go back.
  returned: success
  type: str
requester:
  description: Who made the request, by the certificate whose key signed it. Nobody vouches for the certificate.
  returned: success
  type: dict
  contains:
    subject:
      description: Subject of the certificate; control characters are written as C(\u) and four digits.
      type: str
      returned: success
      sample: CN=admin
    key_id:
      description: Key ID of the certificate.
      type: str
      returned: success
results:
  description: One item per requested key.
  returned: success
  type: list
  elements: dict
  contains:
    key_id:
      description: The key ID.
      type: str
      returned: success
    agent:
      description: Name of the agent.
      type: str
      returned: success
    agent_id:
      description: Key ID of the agent's encryption key.
      type: str
      returned: success
    changed:
      description: Whether an approval was written, or would be.
      type: bool
      returned: success
    groups:
      description: The recovery groups whose shares were released. Empty when nothing is released of this key.
      type: list
      elements: str
      returned: success
    target:
      description: >-
        The key reference to which the key goes by the request, or empty where it does not say: then it is a file.
        Control characters are written as C(\u) and four digits. That a token is one is the host's word.
      type: str
      returned: when the request says it
    usages:
      description: What the key is for, by the revisions whose shares were released.
      type: list
      elements: str
      returned: success
      sample: [key_transport]
    places:
      description: >-
        Where the key was archived from, by the same revisions. Only the records say so. Control characters are
        written as C(\u) and four digits.
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
    problems:
      description: Revisions for which nothing was released, and why.
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
    "request_id": {"type": "str", "required": True},
    "expected_owner": {"type": "str", "required": True},
    "agent": {"type": "str", "required": True},
    "encryption_key": {"type": "str", "required": True, "no_log": False},
    "encryption_key_passphrase": {"type": "str", "no_log": True},
    "encryption_key_pin": {"type": "str", "no_log": True},
    "signing_key": {"type": "str", "required": True, "no_log": False},
    "signing_key_passphrase": {"type": "str", "no_log": True},
    "signing_key_pin": {"type": "str", "no_log": True},
    "wrapping_key": {"type": "str", "no_log": False},
    "wrapping_key_passphrase": {"type": "str", "no_log": True},
    "wrapping_key_pin": {"type": "str", "no_log": True},
    "allow_file": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import approve

    run_module(ARGUMENT_SPEC, approve.run)


if __name__ == "__main__":
    main()
