#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certify the keys of a recovery agent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_certificates
short_description: Certify the keys of a recovery agent on the agent's own machine
version_added: 0.1.0
description:
  - Makes the signing certificate of a recovery agent, signed with its own key, and its encryption and wrapping
    certificates, signed with the same signing key. They say what their requests say.
  - A certificate that is there is kept, whoever issued it. A team with its own CA puts its certificates there.
  - The role P(keyops.lifecycle.agent#role) uses this module. It exists because other ways to hand a passphrase to a
    program show it to callbacks and debugging output.
options:
  signing_key:
    description: Key reference of the agent's signing key, a path or a C(pkcs11:) URI.
    type: str
    required: true
  signing_key_passphrase:
    description: Passphrase of O(signing_key) in a file.
    type: str
  signing_key_pin:
    description: User PIN of the token (the smart card) that O(signing_key) is on. It is tried once.
    type: str
  signing_request:
    description: Path of the certificate request of the signing key.
    type: path
    required: true
  signing_certificate:
    description: Path of the signing certificate.
    type: path
    required: true
  encryption_request:
    description: Path of the certificate request of the encryption key.
    type: path
    required: true
  encryption_certificate:
    description: Path of the encryption certificate.
    type: path
    required: true
  wrapping_request:
    description: Path of the certificate request of the wrapping key. Needed with O(wrapping_certificate).
    type: path
  wrapping_certificate:
    description:
      - Path of the wrapping certificate, for keys that are archived from tokens.
      - Without it, there is none.
    type: path
  days:
    description: Days for which the certificates are valid.
    type: int
    default: 1095
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.step
attributes:
  diff_mode:
    description: Returns no difference.
    support: none
seealso:
  - module: keyops.lifecycle.csr
  - module: keyops.lifecycle.recovery_approval
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Certify the keys of an agent
  keyops.lifecycle.agent_certificates:
    signing_key: /home/anna/keyops/signing.key
    signing_key_passphrase: "{{ passphrase }}"
    signing_request: /home/anna/keyops/signing.csr
    signing_certificate: /home/anna/keyops/signing.pem
    encryption_request: /home/anna/keyops/encryption.csr
    encryption_certificate: /home/anna/keyops/encryption.pem
    wrapping_request: /home/anna/keyops/wrapping.csr
    wrapping_certificate: /home/anna/keyops/wrapping.pem
"""

RETURN = r"""
results:
  description: The signing certificate, the encryption certificate and, where it is asked for, the wrapping certificate.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Path of the certificate.
      type: str
      returned: always
    changed:
      description: Whether it was made, or would be.
      type: bool
      returned: always
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: WrongPassphrase
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    "signing_key": {"type": "str", "required": True, "no_log": False},
    "signing_key_passphrase": {"type": "str", "no_log": True},
    "signing_key_pin": {"type": "str", "no_log": True},
    "signing_request": {"type": "path", "required": True},
    "signing_certificate": {"type": "path", "required": True},
    "encryption_request": {"type": "path", "required": True},
    "encryption_certificate": {"type": "path", "required": True},
    "wrapping_request": {"type": "path"},
    "wrapping_certificate": {"type": "path"},
    "days": {"type": "int", "default": 1095},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import agent_certificates

    run_module(ARGUMENT_SPEC, agent_certificates.run, required_together=[("wrapping_request", "wrapping_certificate")])


if __name__ == "__main__":
    main()
