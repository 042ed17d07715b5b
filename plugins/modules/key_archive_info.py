#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look up what the vault knows about archived keys."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_archive_info
short_description: Look up what the vault knows about archived keys
version_added: 0.1.0
description:
  - Runs on the controller only. Returns the public facts about archived keys and what is wrong with their
    records. It returns no ciphertext.
  - A key is archived when the vault has a sound record of it. Only its own host's receipt says which revision is
    that host's archive.
options:
  keys:
    description:
      - The keys to look up. Keys that the vault does not know are in the results as well.
      - Without it, all archived keys are looked up.
    type: list
    elements: dict
    suboptions:
      key_id:
        description: The key ID.
        type: str
        required: true
  request_id:
    description:
      - Look up the keys that this recovery request asks for. The request must have this ID, which commits to all that
        it says, and be signed by its requester.
      - Mutually exclusive with O(keys).
    type: str
  key_owner:
    description: Only keys of which a revision belongs to this person or service.
    type: str
  limit:
    description: At most so many keys. RV(complete) says whether there are more.
    type: int
  after:
    description: >-
      Without O(keys), only keys whose key ID sorts after this one. Give the last key ID of the results before to
      go on with them.
    type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.key_archive
  - module: keyops.lifecycle.recovery_request
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Find the archived keys of a mail server
  keyops.lifecycle.key_archive_info:
    vault:
      path: /srv/keyops/vault.db
    key_owner: mail.example.com
  register: archive

- name: Show those that are not frozen
  ansible.builtin.debug:
    msg: "{{ archive.results | rejectattr('frozen') | map(attribute='key_id') }}"

- name: See whether one key is archived
  keyops.lifecycle.key_archive_info:
    vault:
      path: /srv/keyops/vault.db
    keys:
      - key_id: 3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8551
"""

RETURN = r"""
results:
  description: One item per key, in the order of O(keys), or sorted by key ID.
  returned: success
  type: list
  elements: dict
  contains:
    key_id:
      description: The key ID.
      type: str
      returned: success
    archived:
      description: Whether the vault has a sound record of the key.
      type: bool
      returned: success
    number:
      description: >-
        Number of the latest revision. This and the following facts of a revision are V(null) for a key that is
        not archived.
      type: int
      returned: success
    key_owner:
      description: The person or service that the key belongs to.
      type: str
      returned: success
    usage:
      description: What the key is for.
      type: str
      returned: success
      sample: key_transport
    algorithm:
      description: The key's algorithm.
      type: str
      returned: success
      sample: rsa-3072
    host:
      description: Inventory name of the host that it was archived from.
      type: str
      returned: success
    place:
      description: Key reference on that host.
      type: str
      returned: success
    created:
      description: When the revision was made, UTC.
      type: str
      returned: success
      sample: "2026-01-31T12:00:00Z"
    sealed_key:
      description: SHA-256 digest of the sealed key. The host's receipt names the same.
      type: str
      returned: success
    wrapping:
      description: How the token wrapped it that it was archived from. Empty for a key from a file.
      type: str
      returned: success
      sample: aes-kwp
    groups:
      description: The recovery groups that can open it.
      type: list
      elements: dict
      returned: success
      contains:
        name:
          description: Name of the group.
          type: str
          returned: success
        threshold:
          description: How many agents must agree.
          type: int
          returned: success
        agents:
          description: >-
            The agents, each with RV(results[].groups[].agents[].name) and
            RV(results[].groups[].agents[].agent_id).
          type: list
          elements: dict
          returned: success
          contains:
            name:
              description: Name of the agent.
              type: str
              returned: success
            agent_id:
              description: Key ID of the agent's encryption certificate.
              type: str
              returned: success
    revisions:
      description: The facts of every sound revision, the latest one last.
      type: list
      elements: dict
      returned: success
    certificates:
      description:
        - Every certificate (PEM) that a sound revision has, newest first. Its public key is this key's. Nothing else
          about it is vouched for.
      type: list
      elements: str
      returned: success
    frozen:
      description: >-
        Whether the key is frozen, because the vault holds evidence that it signed, and nothing of that was lifted.
      type: bool
      returned: success
    freeze_reason:
      description: Why it is frozen.
      type: str
      returned: success
    freeze_id:
      description: >-
        The ID of all its freezes as they stand, unless they are lifted for every revision: what the agents who lift
        them are told (M(keyops.lifecycle.freeze_lift)).
      type: str
      returned: success
    lifted_for:
      description: Numbers of the revisions for which the freezes are lifted, where others stay frozen.
      type: list
      elements: int
      returned: success
    registered_as_signing:
      description: >-
        Whether the key is in the signing register. An archived key in it is an alarm. It is V(null) where the vault's
        policy does not let this credential look there, as a restorer's.
      type: bool
      returned: success
    requested_place:
      description: >-
        With O(request_id), the place that the request says the key goes to; V(null) where it says none.
      type: str
      returned: success
    problems:
      description: >-
        Objects of the vault that claim to be records of this key and are not, each with C(path) and C(text).
      type: list
      elements: dict
      returned: success
complete:
  description: Whether O(limit) left nothing out.
  returned: success
  type: bool
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import controller_only

ARGUMENT_SPEC = {
    **_options.VAULT,
    "keys": {
        "type": "list",
        "elements": "dict",
        "no_log": False,
        "options": {"key_id": {"type": "str", "required": True}},
    },
    "request_id": {"type": "str"},
    "key_owner": {"type": "str", "no_log": False},
    "limit": {"type": "int"},
    "after": {"type": "str"},
}


def main() -> None:
    """The action plugin does the work."""
    controller_only(ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
