#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell which keys are due for rotation, and how far each rotation is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_rotation_info
short_description: Tell which keys are due for rotation, and how far each rotation is
version_added: 0.1.0
description:
  - Looks at each key, at its successor and its predecessors, and at their certificates, and says what is due and why.
    Nothing is changed.
  - A key is due when its key ID is named, when it was made before a moment, when its algorithm is not the wanted one,
    when its certificate ends soon, or when the policy's C(originator_usage_period) ends soon. All of these are over
    once the key is rotated, so the same order can be given any number of times.
  - The role C(rotate) does the whole work.
options:
  key_ids:
    description: Keys that are to be rotated, by key ID.
    type: list
    elements: str
    default: []
  before:
    description: >-
      Keys that were made before this moment are to be rotated (UTC, C(YYYY-MM-DDTHH:MM:SSZ)). It must have passed, or
      what is made until then would be due again; one within five seconds is waited for.
    type: str
  ahead:
    description: >-
      How long before its certificate or its period of use ends a key is due, in days or years, for example V(30d). It
      is never more than the last third of either, so that short certificates are not replaced on every run.
    type: str
    default: 30d
  keep:
    description:
      - How long a predecessor that decrypts stays on the host after it was replaced, for example V(90d).
      - Without it, the policy's C(recipient_usage_period) decides, which counts from when the key was made, and without
        that it stays for good.
    type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.policy
  - keyops.lifecycle.rotation
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.key_rotation
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: See which keys are due
  keyops.lifecycle.key_rotation_info:
    vault:
      path: /srv/keyops/vault.db
    policy: nist-sp800-57
    keys:
      - key: /etc/keyops/mail.key
        certificate: /etc/keyops/mail.pem
        algorithm: rsa-3072
  register: rotation

- name: Say why
  ansible.builtin.debug:
    msg: "{{ rotation.results | selectattr('state', 'eq', 'due') | items2dict('key', 'reasons') }}"
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
      description:
        - V(missing), there is no key. V(current), nothing is to do. V(due), a successor is to be made.
        - V(waiting), the successor is there and has no certificate. V(ready), it can take its place. V(switched), it
          has its place, and the services are to be told.
      type: str
      returned: success
    reasons:
      description: Why the key is due.
      type: list
      elements: str
      returned: success
    problem:
      description: Why the successor's certificate cannot be used.
      type: str
      returned: success
    key_id:
      description: Key ID of the key.
      type: str
      returned: success
    algorithm:
      description: Algorithm of the key.
      type: str
      returned: success
    usage:
      description: Usage of the key.
      type: str
      returned: success
    made:
      description: >-
        Since when the key has been there (UTC), by this host's record of it, the one that its receipt names, or its
        entry in the signing register, but never earlier than its file says; else by its file.
      type: str
      returned: success
    not_after:
      description: When its certificate ends (UTC).
      type: str
      returned: success
    next:
      description: Path of the successor.
      type: str
      returned: success
    next_key_id:
      description: Key ID of the successor.
      type: str
      returned: success
    old:
      description: >-
        The predecessors that are kept. A file that only has a name like one is told in a warning, and is none.
      type: list
      elements: dict
      returned: success
      contains:
        key:
          description: Path of the predecessor.
          type: str
          returned: success
        key_id:
          description: Its key ID.
          type: str
          returned: success
        replaced:
          description: >-
            When a rotation on this host noted that it was replaced (UTC), or V(null); then no rotation removes it.
          type: str
          returned: success
        signs:
          description: Whether it is known to have signed only. A declared usage does not make it known.
          type: bool
          returned: success
        retire:
          description: >-
            Whether its time on this host is over. Never for one that signs, for one without a receipt of its archive,
            or where its path has no other key or a rotation is under way.
          type: bool
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
    **_options.POLICY,
    **_options.STATE_DIR,
    **_options.ROTATED_KEYS,
    "key_ids": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "before": {"type": "str"},
    "ahead": {"type": "str", "default": "30d"},
    "keep": {"type": "str"},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotate

    run_module(ARGUMENT_SPEC, rotate.run)


if __name__ == "__main__":
    main()
