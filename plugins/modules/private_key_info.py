#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the public facts of private keys and what shows their usage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_key_info
short_description: Tell the public facts of private keys and what shows their usage
version_added: 0.1.0
description:
  - Tells of each key its key ID, algorithm, usage, container and file, and never its material.
  - Gathers the evidence of its usage on the host, which is certificates and certificate requests for the same public
    key, SSH, and the receipt of its archive, and tells whether it may be archived or why not.
  - With O(search) it discovers private keys and certificates below given folders.
  - A key that is missing or cannot be read is no failure. See RV(results[].exists) and RV(results[].error).
options:
  keys:
    description: The keys to look at.
    type: list
    elements: dict
    default: []
    suboptions:
      key:
        description: Key reference, an absolute path.
        type: str
        required: true
      passphrase:
        description: Passphrase of an encrypted key.
        type: str
      usage:
        description:
          - The usage that would be declared when the key is archived.
          - It is only needed to see what M(keyops.lifecycle.key_archive) would say of a key that does not carry its
            usage inside itself.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      certificates:
        description: Paths on the host of certificates and certificate requests for this key.
        type: list
        elements: path
        default: []
  search:
    description:
      - Discovers private keys, certificates and certificate requests in PEM, DER and OpenSSH's format.
      - Symbolic links to other folders are not followed, files over 1 MiB are not read, and other file systems are
        not entered. What was left out for such a reason is told in RV(not_looked_at).
    type: dict
    suboptions:
      paths:
        description: Absolute paths of folders on the host.
        type: list
        elements: path
        required: true
      recursive:
        description: Whether to look into the folders below them, too.
        type: bool
        default: true
      max_files:
        description: How many files to look into at most.
        type: int
        default: 20000
  authorized_keys:
    description:
      - Further files on the host in C(authorized_keys) format. Keys that stand in one may not be archived.
      - The files of C(AuthorizedKeysFile) of the local users, C(/etc/ssh/authorized_keys*) and the host keys are
        always looked at.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.state
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.private_key
  - module: keyops.lifecycle.key_archive
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: See whether the mail key may be archived
  keyops.lifecycle.private_key_info:
    keys:
      - key: /etc/keyops/mail.key
        certificates:
          - /etc/keyops/mail.pem
  register: mail_key

- name: Discover what is on the host
  keyops.lifecycle.private_key_info:
    search:
      paths:
        - /etc
        - /srv
  register: discovered

- name: Name the keys that may not be archived, and why
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.refusal.message }}"
  loop: "{{ discovered.results | selectattr('refusal') }}"
  loop_control:
    label: "{{ item.key }}"
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order, then one per key that O(search) has found.
  returned: always
  type: list
  elements: dict
  contains:
    key:
      description: The key reference. In the path of a found key, bytes that are no printable text are escaped.
      type: str
      returned: always
    found:
      description: Whether O(search) has found it.
      type: bool
      returned: always
    exists:
      description: Whether there is anything at this reference.
      type: bool
      returned: always
    key_id:
      description: The key ID, which is the SHA-256 of the public key. V(null) when the key cannot be read.
      type: str
      returned: always
      sample: 4d6a0b0b1ab3f5e3fd0c9a7f3b0d4a0b2e9e4c0a7f6b5d1d2c3b4a5968778695
    algorithm:
      description: The key's algorithm. V(null) when the key cannot be read.
      type: str
      returned: always
      sample: rsa-3072
    usage:
      description:
        - The usage that the key carries inside itself, or V(null).
        - V(conflict) when it carries several, or one that cannot be read.
      type: str
      returned: always
      sample: key_transport
    container:
      description: V(pkcs8), V(encrypted-pkcs8), V(traditional) or V(openssh). V(null) when the key cannot be read.
      type: str
      returned: always
    encrypted:
      description: Whether the private key is encrypted. V(null) when that cannot be told.
      type: bool
      returned: always
    public_key:
      description: The public key in PEM. A certificate can be issued from it for keys that cannot sign a request.
      type: str
      returned: always
    mode:
      description: The file's mode.
      type: str
      returned: always
      sample: '0600'
    owner:
      description: The file's owner.
      type: str
      returned: always
    group:
      description: The file's group.
      type: str
      returned: always
    evidence:
      description: What shows the key's usage. V(null) when the key cannot be read.
      type: dict
      returned: always
      contains:
        certificates:
          description: The named certificates and certificate requests, then those that were found for this key.
          type: list
          elements: dict
          returned: success
          contains:
            source:
              description: Path of the file.
              type: str
              returned: always
            kind:
              description: V(certificate) or V(certificate request).
              type: str
              returned: always
            named:
              description: Whether it was named in O(keys[].certificates).
              type: bool
              returned: always
            for_this_key:
              description: Whether its public key is that of this key.
              type: bool
              returned: always
            key_usage:
              description:
                - The bits of the key usage extension by their names in RFC 5280. V(null) without the extension.
              type: list
              elements: str
              returned: always
            extended_key_usage:
              description: The purposes, by name where it is known, otherwise as OID. V(null) without the extension.
              type: list
              elements: str
              returned: always
            subject:
              description: The subject (RFC 4514).
              type: str
              returned: always
            not_after:
              description: When it ends. V(null) for a certificate request.
              type: str
              returned: always
              sample: '2031-01-01T00:00:00Z'
        ssh_uses:
          description: Files in which the public key stands for SSH.
          type: list
          elements: str
          returned: success
        receipt:
          description: This host's receipt of the archived key, or V(null).
          type: dict
          returned: success
          contains:
            usage:
              description: The usage under which it was archived.
              type: str
              returned: always
            sealed_key:
              description: SHA-256 of the sealed key, its name in the vault.
              type: str
              returned: always
            log_number:
              description: Number of the last event in the log that the writer saw.
              type: int
              returned: always
    archivable:
      description: Whether the evidence on this host allows the key to be archived. The vault may know more.
      type: bool
      returned: always
    refusal:
      description: Why it may not be archived. V(null) when it may, or when something could not be read.
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
    error:
      description: Why the key or one of its certificates cannot be read, or V(null).
      type: dict
      returned: always
      contains:
        class:
          description: The error's class, for example V(WrongPassphrase).
          type: str
          returned: when something cannot be read
        message:
          description: The reason and the remedy.
          type: str
          returned: when something cannot be read
not_looked_at:
  description: What could have shown a key's usage and was not looked at, one sentence each.
  returned: always
  type: list
  elements: str
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: KeyReferenceError
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.STATE_DIR,
    "keys": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "no_log": False,
        "options": {
            **_options.EXISTING_KEY,
            "usage": {"type": "str", "choices": _options.USAGES},
            "certificates": {"type": "list", "elements": "path", "default": []},
        },
    },
    "search": {
        "type": "dict",
        "options": {
            "paths": {"type": "list", "elements": "path", "required": True},
            "recursive": {"type": "bool", "default": True},
            "max_files": {"type": "int", "default": 20000},
        },
    },
    "authorized_keys": {"type": "list", "elements": "path", "default": [], "no_log": False},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect

    run_module(ARGUMENT_SPEC, inspect.run)


if __name__ == "__main__":
    main()
