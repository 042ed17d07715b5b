#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let the successors of keys take their places."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_rotation
short_description: Let the successors of keys take their places
version_added: 0.1.0
description:
  - Gives a successor, which M(keyops.lifecycle.private_key) made beside its key, the name of the key. The old key stays
    under a name of its own. Certificate and request change together with the key.
  - A successor takes its place when it is whole, when its certificate is there, is valid and is its own, and, if it is
    a nonsigning one, when the vault has its archive and this host the receipt.
  - Only names change, each durably. A run that is killed at any moment leaves the old key, the new one, or both, and
    the next run goes on.
  - A switch is reported as changed until O(state=announced) says that the services know the new key. So a handler that
    was lost with a killed run is notified by the next one.
  - An old key that signs is destroyed when the services know the new one, which must be whole and in its place. Its
    certificate stays. One that decrypts stays until
    M(keyops.lifecycle.private_key) removes it, see RV(keyops.lifecycle.key_rotation_info#module:results[].old).
  - O(keys[].usage) alone destroys no key. The key must say itself that it signs, and no certificate or request beside
    it, receipt or record may show that it could have encrypted. Otherwise it stays with its certificate, and a warning
    says so.
  - A new key gets mode, owner and group of the old one's file where its item does not say otherwise.
  - The role C(rotate) does the whole work, from the new key to the old one's end.
options:
  state:
    description:
      - V(switched) lets every successor that is ready take its place.
      - V(announced) notes that the services know the new keys.
    type: str
    choices: [switched, announced]
    default: switched
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.rotation
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.key_rotation_info
  - module: keyops.lifecycle.private_key
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Let the new key take its place
  keyops.lifecycle.key_rotation:
    vault:
      path: /srv/keyops/vault.db
    keys:
      - key: /etc/keyops/mail.key
        certificate: /etc/keyops/mail.pem
  notify: Reload the mail server

- name: Reload it now
  ansible.builtin.meta: flush_handlers

- name: Note that it has the new key
  keyops.lifecycle.key_rotation:
    vault:
      path: /srv/keyops/vault.db
    keys:
      - key: /etc/keyops/mail.key
        certificate: /etc/keyops/mail.pem
    state: announced
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: Path of the key.
      type: str
      returned: success
    state:
      description: As in M(keyops.lifecycle.key_rotation_info), after the work.
      type: str
      returned: success
    changed:
      description: Whether a successor took its place, or has taken it and the services do not know, or would.
      type: bool
      returned: success
    key_id:
      description: Key ID of the key now.
      type: str
      returned: success
    old_key_id:
      description: Key ID of the key that it replaced.
      type: str
      returned: success
    old:
      description: Where the old key is kept, or V(null).
      type: str
      returned: success
    certificate:
      description: Path of the certificate.
      type: str
      returned: success
    problem:
      description: Why a successor has to wait.
      type: str
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
    **_options.STATE_DIR,
    **_options.ROTATED_KEYS,
    "state": {"type": "str", "choices": ["switched", "announced"], "default": "switched"},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotate

    run_module(ARGUMENT_SPEC, rotate.run)


if __name__ == "__main__":
    main()
