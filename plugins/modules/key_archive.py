#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archive nonsigning keys so that only a quorum of recovery agents can open them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_archive
short_description: Archive nonsigning keys so that only a quorum of recovery agents can open them
version_added: 0.1.0
description:
  - Seals each key on its own host and stores the sealed key, one share per recovery agent and a record of public
    facts in the vault. The vault, the controller and any number of agents below the threshold can read none of it.
  - Refuses every key that signs or authenticates, or that may do so, with the class of the refusal. There is no
    option to archive such a key.
  - A key on a token is wrapped inside it, so that its plaintext is never in the host's memory. Every agent then needs a
    O(recovery_groups[].agents[].wrapping_certificate).
  - A key is archived once. A second run stores nothing, unless its recovery groups, its owner or its certificates
    have changed. Then a new revision is added.
  - The host keeps a receipt. M(keyops.lifecycle.csr) and M(keyops.lifecycle.private_key) ask for it before a key is
    certified, replaced or removed.
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.key_archive
  - keyops.lifecycle.recovery_groups
  - keyops.lifecycle.policy
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.key_archive_info
  - module: keyops.lifecycle.recovery_request
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Archive a key that is on a token
  keyops.lifecycle.key_archive:
    vault:
      path: /srv/keyops/vault.db
    key_owner: mail.example.com
    keys:
      - key: pkcs11:token=ops;object=mail?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ ops_pin }}"
    recovery_groups: "{{ keyops_recovery_groups }}" # each agent with its wrapping_certificate

- name: Archive the mail key
  keyops.lifecycle.key_archive:
    vault:
      backend: sqlite
      path: /srv/keyops/vault.db
    key_owner: mail.example.com
    keys:
      - key: /etc/keyops/mail.key
        certificates:
          - /etc/keyops/mail.pem
    recovery_groups:
      - name: security-office
        threshold: 2
        agents:
          - name: agent-1
            encryption_certificate: "{{ lookup('ansible.builtin.file', 'agents/agent-1/encryption.pem') }}"
            signing_certificate: "{{ lookup('ansible.builtin.file', 'agents/agent-1/signing.pem') }}"
          - name: agent-2
            encryption_certificate: "{{ lookup('ansible.builtin.file', 'agents/agent-2/encryption.pem') }}"
            signing_certificate: "{{ lookup('ansible.builtin.file', 'agents/agent-2/signing.pem') }}"
          - name: agent-3
            encryption_certificate: "{{ lookup('ansible.builtin.file', 'agents/agent-3/encryption.pem') }}"
            signing_certificate: "{{ lookup('ansible.builtin.file', 'agents/agent-3/signing.pem') }}"
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order.
  returned: always
  type: list
  elements: dict
  contains:
    key:
      description: The key reference.
      type: str
      returned: always
    key_id:
      description: The key ID. Empty when the key could not be read, or does not exist yet in check mode.
      type: str
      returned: always
    usage:
      description: The usage under which it is archived.
      type: str
      returned: always
    algorithm:
      description: The key's algorithm.
      type: str
      returned: always
      sample: rsa-3072
    state:
      description:
        - V(archived), V(not archived) or V(refused).
        - V(unknown) in check mode for a key that does not exist yet and has no O(keys[].usage), since nothing says
          whether it could be archived. RV(results[].changed) is then V(true).
      type: str
      returned: always
    changed:
      description: Whether this run archived it, or would.
      type: bool
      returned: always
    record:
      description: Number of the record's revision.
      type: int
      returned: when it is archived
    sealed_key:
      description: SHA-256 of the sealed key, its name in the vault.
      type: str
      returned: when it is archived
    refusal:
      description: Why it may not be archived.
      type: dict
      returned: always
      contains:
        class:
          description: The refusal's class, for example V(SigningCertificateRefused).
          type: str
          returned: when it is refused
        message:
          description: The reason and the remedy.
          type: str
          returned: when it is refused
warnings:
  description: Evidence on the host that could not be looked at, one sentence for each file or folder. The event in the
    vault's log has the first one and their number.
  returned: always
  type: list
  elements: str
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: SigningOnlyTypeRefused
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.VAULT,
    **_options.RECOVERY_GROUPS,
    **_options.STATE_DIR,
    **_options.POLICY,
    **_options.ARCHIVED_KEYS,
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import archive

    run_module(ARGUMENT_SPEC, archive.run)


if __name__ == "__main__":
    main()
