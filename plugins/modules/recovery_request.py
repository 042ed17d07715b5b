#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the recovery agents for archived keys."""

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_request
short_description: Ask the recovery agents for archived keys
version_added: 0.1.0
description:
  - Runs on the owner's host. Makes a one-time key there, to which the agents encrypt their shares, and a request that
    the requester signs. Where keys go into a token, that token makes a second one.
  - RV(request_id) commits to everything in the request, the one-time key included. Give it and the key owner to the
    agents by another way than the vault, by telephone, ticket or in a meeting. They compare both.
  - A second run with the same options finds the open request and asks nothing new.
options:
  keys:
    description:
      - The keys to ask for.
      - Without it, every key is asked for that was ever archived for O(key_owner), from whichever host. That is the
        owner's key history, which old mail and old files need. The agents approve once for all of it. Frozen keys are
        left out, with a warning.
    type: list
    elements: dict
    suboptions:
      key_id:
        description: The key ID, see M(keyops.lifecycle.key_archive_info).
        type: str
        required: true
      key:
        description:
          - Where the key goes, an absolute path or a C(pkcs11:) URI. The agents are shown it, and
            M(keyops.lifecycle.key_recovery) puts the key nowhere else.
          - Without it the key goes into any file. All keys of one request that go into a token go into the same one.
          - A URI without C(object) gives the key the label that it had.
        type: str
      pin:
        description: User PIN of the token that O(keys[].key) is on. A C(pin-source=file:) in the URI does the same.
        type: str
  key_owner:
    description: The person or service that the keys belong to, as archived.
    type: str
    required: true
  reason:
    description: >-
      Why the keys are needed. The agents read it, so it is one line of at most 500 characters without control
      characters.
    type: str
    required: true
  expires_in:
    description: How long the request is open, for example V(30m), V(24h) or V(7d). 90 days at most.
    type: str
    default: 24h
  signing_key:
    description: >-
      Key reference of the requester's signing key on this host: a file, or a key on a smart card or another token,
      which then signs the request. It must not be the key of a recovery agent, nor on the token that the keys go to.
    type: str
    required: true
  signing_key_passphrase:
    description: Passphrase of O(signing_key) in a file.
    type: str
  signing_key_pin:
    description: User PIN of the token that O(signing_key) is on, unless C(pin-source) is in the URI. It is tried once.
    type: str
  signing_certificate:
    description: The requester's certificate, as PEM text or as an absolute path on this host.
    type: str
    required: true
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.recovery_approval
  - module: keyops.lifecycle.key_recovery
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Ask for a lost key
  keyops.lifecycle.recovery_request:
    vault:
      path: /srv/keyops/vault.db
    keys:
      - key_id: 3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8551
    key_owner: mail.example.com
    reason: The disk of mail.example.com failed, ticket 4711
    expires_in: 8h
    signing_key: /etc/keyops/requester.key
    signing_certificate: /etc/keyops/requester.pem
  register: request

- name: Ask for every key that somebody ever had
  keyops.lifecycle.recovery_request:
    vault:
      path: /srv/keyops/vault.db
    key_owner: alice@example.com
    reason: Alice has left, her mail is needed, ticket 4712
    signing_key: /etc/keyops/requester.key
    signing_certificate: /etc/keyops/requester.pem
  register: history

- name: Tell the ID, which the agents compare
  ansible.builtin.debug:
    var: request.request_id
"""

RETURN = r"""
request_id:
  description: The ID to give to the agents by another way than the vault. Empty in check mode when a request would be
    made.
  returned: success
  type: str
expires:
  description: When the request ends, UTC.
  returned: success
  type: str
  sample: "2026-01-31T12:00:00Z"
results:
  description: One item per requested key, sorted by key ID.
  returned: success
  type: list
  elements: dict
  contains:
    key_id:
      description: The key ID.
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
    "keys": {
        "type": "list",
        "elements": "dict",
        "no_log": False,
        "options": {
            "key_id": {"type": "str", "required": True},
            "key": {"type": "str", "no_log": False},
            "pin": {"type": "str", "no_log": True},
        },
    },
    "key_owner": {"type": "str", "required": True, "no_log": False},
    "reason": {"type": "str", "required": True},
    "expires_in": {"type": "str", "default": "24h"},
    "signing_key": {"type": "str", "required": True, "no_log": False},
    "signing_key_passphrase": {"type": "str", "no_log": True},
    "signing_key_pin": {"type": "str", "no_log": True},
    "signing_certificate": {"type": "str", "required": True},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import request

    run_module(ARGUMENT_SPEC, request.run)


if __name__ == "__main__":
    main()
