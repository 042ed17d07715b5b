#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generate, keep, replace or remove private keys, each held to one usage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_key
short_description: Generate private keys that are held to one usage, and keep, replace or remove them
version_added: 0.1.0
description:
  - Generates any number of private keys on a host in one pass, in files or on PKCS#11 tokens.
  - Each is bound to one usage. It carries it in its file, or in the attributes that its token enforces.
  - No existing key is overwritten by default.
    What is at the path and cannot be read as a private key is an error, whatever the options say.
  - Everything is checked before anything changes.
    A file appears whole or not at all, with its final mode and owner, also when the run is killed.
  - A key that is not known to sign is replaced or removed only when it is archived.
    The host's receipt and the record in the O(vault) must agree on that.
  - Keys on tokens are made by the token, with all attributes stated and not modifiable, and read back. Each token is
    logged in to once.
  - Signing keys are entered in the signing register of the O(vault) on every run. Such a key can never be archived.
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
  - module: keyops.lifecycle.key_archive
  - module: keyops.lifecycle.private_key_info
  - module: keyops.lifecycle.csr
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Make the keys of a mail server
  keyops.lifecycle.private_key:
    keys:
      - key: /etc/keyops/tls.key
        usage: authentication
        algorithm: ec-p256
        group: mail
        mode: '0640'
      - key: /etc/keyops/smime.key
        usage: key_transport
        algorithm: rsa-3072
        passphrase: "{{ smime_passphrase }}"
    vault:
      backend: sqlite
      path: /srv/keyops/vault.db

- name: Make the key of a mail user, as a policy wants it
  keyops.lifecycle.private_key:
    keys:
      - key: /etc/keyops/mail.key
        usage: key_transport
        algorithm: rsa-3072
    policy:
      extends: cabf-smime
      name: example.com
      usages:
        key_transport:
          algorithms: [rsa-3072+]
          archive: required

- name: Make the keys of a mail server in its HSM
  keyops.lifecycle.private_key:
    keys:
      - key: pkcs11:token=ops;object=smime?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ ops_pin }}"
        usage: key_transport
        algorithm: rsa-3072
        archive: required
        request:
          subject: CN=Mail Robot,O=Example
          subject_alt_name:
            - email:robot@example.com
          extended_key_usage:
            - emailProtection
      - key: pkcs11:token=ops;object=tls?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ ops_pin }}"
        usage: authentication
        algorithm: ec-p256
    vault:
      backend: sqlite
      path: /srv/keyops/vault.db

- name: Remove an archived key
  keyops.lifecycle.private_key:
    keys:
      - key: /etc/keyops/old.key
        state: absent
    vault:
      backend: sqlite
      path: /srv/keyops/vault.db

- name: Make a new key for every run of a test, and lose the old one
  keyops.lifecycle.private_key:
    keys:
      - key: /srv/test/agreement.key
        usage: key_agreement
        algorithm: x25519
        regenerate: always
        destroy_unarchived: true
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key reference.
      type: str
      returned: always
      sample: /etc/keyops/tls.key
    state:
      description: The state that was asked for.
      type: str
      returned: always
    action:
      description:
        - What was done, V(created), V(kept), V(adjusted) (mode or owner), V(replaced) or V(removed).
        - V(absent) when there was nothing to remove.
      type: str
      returned: always
      sample: created
    changed:
      description: Whether this run changed anything about the key, or would.
      type: bool
      returned: always
    key_id:
      description:
        - The key ID, the lower-case hex SHA-256 of the DER public key. Of a removed key, the one that it had.
        - Null when there was no key to remove, and for a key that would be made (check mode).
      type: str
      returned: always
      sample: 5f2c0f0b8f2a7c1d5f2c0f0b8f2a7c1d5f2c0f0b8f2a7c1d5f2c0f0b8f2a7c1d
    algorithm:
      description: The key's algorithm.
      type: str
      returned: always
      sample: ec-p256
    usage:
      description:
        - The usage that the key carries inside itself or, when a tool has dropped that, the one in the host's receipt.
        - V(conflict) when it names several, null when nothing shows it.
        - On a token, attributes do not tell the three usages that sign apart. It is the one that was asked for.
      type: str
      returned: always
      sample: authentication
    public_key:
      description: The public key in PEM. Null as RV(results[].key_id).
      type: str
      returned: always
    encrypted:
      description: Whether the file is encrypted. V(null) on a token.
      type: bool
      returned: always
    mode:
      description: The file's mode in octal. V(null) on a token.
      type: str
      returned: always
      sample: '0600'
    owner:
      description: The file's owner. V(null) on a token.
      type: str
      returned: always
    group:
      description: The file's group. V(null) on a token.
      type: str
      returned: always
    object_id:
      description: The key's ID on the token in hex. V(null) as RV(results[].key_id).
      type: str
      returned: for keys on tokens
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: KeyExists
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {**_options.VAULT, **_options.STATE_DIR, **_options.POLICY, **_options.NEW_KEYS}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision

    run_module(ARGUMENT_SPEC, provision.run)


if __name__ == "__main__":
    main()
