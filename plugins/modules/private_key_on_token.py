#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key runs on a host when a key is on a token."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_key_on_token
short_description: What private_key runs on a host when a key is on a token
version_added: 0.1.0
description:
  - M(keyops.lifecycle.private_key) runs this by itself for a task with a key on a token. Use that one.
  - It takes the same options, does the same and returns the same, for keys on tokens and in files. Tasks with key files
    only do not use it, so that nothing of tokens is sent to their hosts.
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.policy
  - keyops.lifecycle.private_key
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
attributes:
  idempotent:
    description: A second run with the same options changes nothing, but for O(keys[].regenerate=always).
    support: partial
    details:
      - O(keys[].regenerate=always) makes a new key on every run.
seealso:
  - module: keyops.lifecycle.private_key
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Make a key on a token
  keyops.lifecycle.private_key:
    keys:
      - key: pkcs11:token=ops;object=mail;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ mail_token_pin }}"
        usage: signature
        algorithm: ec-p256
"""

RETURN = r"""
results:
  description: As RV(keyops.lifecycle.private_key#module:results).
  returned: success
  type: list
  elements: dict
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: TokenMissing
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {**_options.VAULT, **_options.STATE_DIR, **_options.POLICY, **_options.NEW_KEYS}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision_anywhere

    run_module(ARGUMENT_SPEC, provision_anywhere.run)


if __name__ == "__main__":
    main()
