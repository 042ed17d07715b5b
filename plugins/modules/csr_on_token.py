#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What csr runs on a host when a key is on a token."""

from __future__ import annotations

DOCUMENTATION = r"""
module: csr_on_token
short_description: What csr runs on a host when a key is on a token
version_added: 0.1.0
description:
  - M(keyops.lifecycle.csr) runs this by itself for a task with a key on a token. Use that one.
  - It takes the same options, does the same and returns the same, for keys on tokens and in files. Tasks with key files
    only do not use it, so that nothing of tokens is sent to their hosts.
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.csr
  - keyops.lifecycle.policy
  - keyops.lifecycle.state
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.csr
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Request the certificate of a key on a token
  keyops.lifecycle.csr:
    keys:
      - key: pkcs11:token=ops;object=login?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ ops_pin }}"
        usage: authentication
        path: /etc/keyops/login.csr
        subject: CN=mail.example.com
"""

RETURN = r"""
results:
  description: As RV(keyops.lifecycle.csr#module:results).
  returned: always
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

ARGUMENT_SPEC = {**_options.STATE_DIR, **_options.POLICY, **_options.REQUESTED_KEYS}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import certificate_request_anywhere

    run_module(ARGUMENT_SPEC, certificate_request_anywhere.run)


if __name__ == "__main__":
    main()
