#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put recovered keys back on their owner's host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_recovery
short_description: Put recovered keys back on their owner's host
version_added: 0.1.0
description:
  - Runs on the owner's host, where M(keyops.lifecycle.recovery_request) made the request. Verifies the approvals,
    opens the sealed keys with the shares of a quorum, proves that each is the key that was asked for, and writes it
    with its usage.
  - A key that goes into a token is unwrapped in the token, answers a challenge there, and is sensitive and not
    extractable unless asked otherwise.
  - All keys of the task are opened before the first is written. A file that holds another key is never overwritten.
  - When all keys of the request are back, its one-time key is removed.
  - With each key come the certificates that it ever had, as far as they were archived. Mail and EFS files name the
    certificate and not the key.
options:
  request_id:
    description: The request's ID.
    type: str
    required: true
  keys:
    description: The keys to put back. Without it, O(into) is needed.
    type: list
    elements: dict
    suboptions:
      key_id:
        description: The key ID.
        type: str
        required: true
      key:
        description: >-
          Key reference, an absolute path or a C(pkcs11:) URI. A key that is there already is left alone. It must be
          the place that the request says. A URI without C(object) gives the key the label that it had.
        type: str
        required: true
      pin:
        description: User PIN of the token that O(keys[].key) is on. A C(pin-source=file:) in the URI does the same.
        type: str
      extractable:
        description: Whether the token may wrap the key again, as another archiving from the token needs.
        type: bool
        default: false
      passphrase:
        description: Encrypt the written key with this passphrase.
        type: str
      mode:
        description: Permissions of the file, octal.
        type: str
        default: "0600"
      owner:
        description: Owner of the file. The default is the user that the module runs as.
        type: str
      group:
        description: Group of the file.
        type: str
      certificates_path:
        description:
          - Absolute path of a file for all certificates of this key, in PEM, newest first. It is written with mode
            0644 when the records have certificates that it lacks. Those that are there stay.
          - A file that holds anything else than certificates of this key is an error.
        type: path
  into:
    description:
      - Puts every key of the request that is not in O(keys) into one folder. Each key is in a file C(<key ID>.key), and
        its certificates in C(<key ID>.pem).
      - This is for a key owner's whole history, see O(keyops.lifecycle.recovery_request#module:keys).
    type: dict
    suboptions:
      folder:
        description: Absolute path. A missing folder is made with mode 0700, for the user that the task runs as.
        type: path
        required: true
      passphrase:
        description: Encrypt the keys with this passphrase.
        type: str
      mode:
        description: Permissions of the keys' files, octal.
        type: str
        default: "0600"
      owner:
        description: Owner of the files. The default is the user that the module runs as.
        type: str
      group:
        description: Group of the files.
        type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.recovery_request
  - module: keyops.lifecycle.recovery_approval
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Put the key back
  keyops.lifecycle.key_recovery:
    vault:
      path: /srv/keyops/vault.db
    request_id: "{{ request_id }}"
    keys:
      - key_id: 3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8551
        key: /etc/keyops/mail.key
        certificates_path: /etc/keyops/mail.history.pem

- name: Put back every key that somebody ever had, with all certificates
  keyops.lifecycle.key_recovery:
    vault:
      path: /srv/keyops/vault.db
    request_id: "{{ request_id }}"
    into:
      folder: /root/recovered
      passphrase: "{{ recovered_passphrase }}"
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order, and then one per key that O(into) is for.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key reference.
      type: str
      returned: success
    key_id:
      description: The key ID.
      type: str
      returned: success
    changed:
      description: Whether the key or its certificates were written, or would be.
      type: bool
      returned: success
    usage:
      description: The key's usage.
      type: str
      returned: when it was recovered
    record:
      description: Number of the record's revision that it came from.
      type: int
      returned: when it was recovered
    group:
      description: The recovery group that gave it back.
      type: str
      returned: when it was recovered
    agents:
      description: Names of the agents whose shares opened it, as the record has them.
      type: list
      elements: str
      returned: success
    agent_ids:
      description: IDs of these agents, in the same order. They, and not the names, say who it was.
      type: list
      elements: str
      returned: success
    certificates:
      description:
        - SHA-256 of every certificate that the records have for this key, newest first. Its public key is this key's.
          Nothing else about it is vouched for.
      type: list
      elements: str
      returned: success
    problems:
      description: Approvals and revisions that did not count, and why. A bad share is named here.
      type: list
      elements: str
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
    "request_id": {"type": "str", "required": True},
    "keys": {
        "type": "list",
        "elements": "dict",
        "no_log": False,
        "options": {
            "key_id": {"type": "str", "required": True},
            **_options.EXISTING_KEY,
            "pin": {"type": "str", "no_log": True},
            "extractable": {"type": "bool", "default": False},
            "mode": {"type": "str", "default": "0600"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "certificates_path": {"type": "path"},
        },
    },
    "into": {
        "type": "dict",
        "options": {
            "folder": {"type": "path", "required": True},
            "passphrase": {"type": "str", "no_log": True},
            "mode": {"type": "str", "default": "0600"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover

    run_module(ARGUMENT_SPEC, recover.run)


if __name__ == "__main__":
    main()
