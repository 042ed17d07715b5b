#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request certificates that allow no more than the key's usage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: csr
short_description: Request certificates that allow no more than the key's usage
version_added: 0.1.0
description:
  - Writes certificate requests (PKCS#10) for private keys in files or on PKCS#11 tokens, any number in one pass.
  - The key usage in a request follows from the key's usage, and the extended key usage is limited by it. So a request
    cannot ask for more than its key is for.
  - A nonsigning key signs nothing but its own request, as proof of possession. It is certified only when this host
    has the receipt of its archive.
  - A signing key on a token signs there. A nonsigning one has the request that was made together with it
    (the option C(request) of M(keyops.lifecycle.private_key)), and can sign no other. It is handed out when this host
    has the receipt. O(keys[].subject), O(keys[].subject_alt_name) and O(keys[].extended_key_usage) say the same as that
    request, or are all left out.
  - A request that says what is asked for, and whose signature verifies, is kept. Another request in its place is
    replaced. Anything else in its place is an error.
  - Keys of the types X25519 and X448 cannot sign. Another key of the same owner, which has a certificate already, signs
    their request and states that the owner has the key (RFC 9883), see O(keys[].possession). Or their certificates are
    issued from the public key alone, which M(keyops.lifecycle.private_key_info) returns.
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.csr
  - keyops.lifecycle.policy
  - keyops.lifecycle.state
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.private_key
  - module: keyops.lifecycle.key_archive
  - module: keyops.lifecycle.private_key_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Request the certificates of a mail server
  keyops.lifecycle.csr:
    keys:
      - key: /etc/keyops/tls.key
        path: /etc/keyops/tls.csr
        subject:
          O: Example
          CN: mail.example.com
        subject_alt_name:
          - DNS:mail.example.com
          - DNS:imap.example.com
        extended_key_usage:
          - serverAuth
      - key: /etc/keyops/smime.key
        path: /etc/keyops/smime.csr
        passphrase: "{{ smime_passphrase }}"
        subject: CN=Mail Robot,O=Example
        subject_alt_name:
          - email:robot@example.com
        extended_key_usage:
          - emailProtection
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
    path:
      description: Path of the request.
      type: str
      returned: always
    changed:
      description: Whether the request was written, or got another mode or owner, or would.
      type: bool
      returned: always
    key_id:
      description: The key ID. V(null) in check mode when the key does not exist yet, as are the following facts.
      type: str
      returned: always
    usage:
      description: The key's usage.
      type: str
      returned: always
      sample: key_transport
    algorithm:
      description: The key's algorithm.
      type: str
      returned: always
      sample: rsa-3072
    subject:
      description: The subject (RFC 4514).
      type: str
      returned: always
      sample: CN=Mail Robot,O=Example
    subject_alt_name:
      description: Further names, sorted.
      type: list
      elements: str
      returned: always
    key_usage:
      description: The bits of the key usage by their names in RFC 5280.
      type: list
      elements: str
      returned: always
      sample: [keyEncipherment, dataEncipherment]
    extended_key_usage:
      description: The purposes, by name where it is known, otherwise as OID.
      type: list
      elements: str
      returned: always
    certificate_authority:
      description: Whether it asks for a certificate of an authority.
      type: bool
      returned: always
    request:
      description: The request in PEM. V(null) in check mode when it would be written.
      type: str
      returned: always
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: NotArchivedRefused
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {**_options.STATE_DIR, **_options.POLICY, **_options.REQUESTED_KEYS}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import certificate_request

    run_module(ARGUMENT_SPEC, certificate_request.run)


if __name__ == "__main__":
    main()
