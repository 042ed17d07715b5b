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
options:
  keys:
    description: The keys. Everything about one key is in one item, and no two items name the same file.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description:
          - Key reference. The absolute path of the key's file, whose folder must exist, or the C(pkcs11:) URI
            (RFC 7512) of a key on a token.
          - A URI names the library (C(module-path)), the token (C(token) or C(serial)) and the key's label (C(object)).
            It may name the ID of a new key (C(id)), which otherwise is the first 20 bytes of the key ID, and the file
            with the PIN (C(pin-source=file:/path)). A PIN in it is refused.
          - On a token, the library python-pkcs11 is needed. No label is used twice.
        type: str
        required: true
      pin:
        description:
          - User PIN of the token. It is tried once. For keys on tokens only, unless C(pin-source) is in the URI.
        type: str
      usage:
        description:
          - What the key is for, one value per key. Required for O(keys[].state=present).
          - V(key_transport) keys decrypt keys and messages, V(key_agreement) keys agree on them. These can be archived.
          - V(signature), V(certificate_signing) and V(authentication) keys sign. These can never be archived.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      algorithm:
        description:
          - Algorithm and size. Required for O(keys[].state=present).
          - RSA keys can have every usage but V(key_agreement), the C(ec) keys every usage but V(key_transport).
          - V(ed25519) and V(ed448) can only sign, V(x25519) and V(x448) can only have O(keys[].usage=key_agreement).
        type: str
        choices:
          - rsa-2048
          - rsa-3072
          - rsa-4096
          - rsa-6144
          - rsa-8192
          - ec-p256
          - ec-p384
          - ec-p521
          - ed25519
          - ed448
          - x25519
          - x448
      state:
        description:
          - V(present) makes sure that there is a key with this O(keys[].usage) and O(keys[].algorithm).
          - V(absent) removes the key. See O(keys[].destroy_unarchived).
        type: str
        choices: [present, absent]
        default: present
      regenerate:
        description:
          - What happens to an existing key that is not as the options say.
          - V(never) keeps it with a warning.
          - V(fail) ends with an error that names the difference, and nothing is changed.
          - V(partial_idempotence) replaces it when algorithm or usage differ.
          - V(full_idempotence) also replaces it when its protection differs.
            That is when it is encrypted and should not be, or the other way round, when it is not in PKCS#8 format,
            or when nothing shows its usage. On a token, when its attributes are not those of its usage.
          - V(always) makes a new key on every run.
        type: str
        choices: [never, fail, partial_idempotence, full_idempotence, always]
        default: fail
      archive:
        description:
          - Whether a nonsigning key on a token can be archived later. For keys on tokens only.
          - V(required) refuses to make a key that the token cannot wrap. It could never be archived.
          - V(possible) lets other keys of the token wrap it, where the token can.
          - V(never) makes a key that nothing ever leaves the token with, wrapped neither.
          - Keys that sign are always made so.
        type: str
        choices: [required, possible, never]
        default: possible
      request:
        description:
          - Makes the certificate request of a new nonsigning key on a token. Such a key can sign nothing later.
          - The request is kept in the state folder until M(keyops.lifecycle.csr) hands it out.
          - For keys on tokens only.
        type: dict
        suboptions:
          subject:
            description: The distinguished name, as in M(keyops.lifecycle.csr).
            type: raw
          subject_alt_name:
            description: Further names, as in M(keyops.lifecycle.csr).
            type: list
            elements: str
            default: []
          extended_key_usage:
            description: Purposes, as in M(keyops.lifecycle.csr).
            type: list
            elements: str
            default: []
      accept_findings:
        description:
          - A signing key is put on a token only when that keeps every promise which M(keyops.lifecycle.hsm_info)
            probes. Name here those that it may break.
          - The token is probed once, and again when its firmware or its library change. For keys on tokens only.
        type: list
        elements: str
        default: []
      passphrase:
        description:
          - For key files only, as are O(keys[].mode), O(keys[].owner) and O(keys[].group).
          - Encrypts a new key (PBES2 with PBKDF2 and AES-256-CBC), and opens an existing one.
          - Take it from Ansible Vault. Ansible prints the line of a plain variables file when a template in it fails.
        type: str
      mode:
        description:
          - Mode of the file in octal, in quotes. It may let its owner and its group read and write, and nobody else.
        type: str
        default: '0600'
      owner:
        description: Name or number of the user that the file belongs to. The default is the user that the task runs as.
        type: str
      group:
        description: Name or number of the group that the file belongs to. The default is up to the host.
        type: str
      destroy_unarchived:
        description:
          - Lets a key that is not known to sign be replaced or removed although its archive is not confirmed.
          - What was encrypted to such a key is then lost for good.
        type: bool
        default: false
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.policy
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

ARGUMENT_SPEC = {
    **_options.VAULT,
    **_options.STATE_DIR,
    **_options.POLICY,
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **_options.EXISTING_KEY,
            "usage": {"type": "str", "choices": _options.USAGES},
            "algorithm": {"type": "str", "choices": _options.ALGORITHMS},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "regenerate": {
                "type": "str",
                "choices": ["never", "fail", "partial_idempotence", "full_idempotence", "always"],
                "default": "fail",
            },
            "mode": {"type": "str", "default": "0600"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "destroy_unarchived": {"type": "bool", "default": False},
            **_options.KEY_ON_TOKEN,
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision

    run_module(ARGUMENT_SPEC, provision.run)


if __name__ == "__main__":
    main()
