#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and verify the log of lifecycle events."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lifecycle_log_info
short_description: Read and verify the log of lifecycle events
version_added: 0.1.0
description:
  - Runs on the controller only. Checks the whole log of the vault and returns its events.
  - Each event holds the digest of the one before. That shows an event which was edited, removed or moved, but not
    whether the end of the log was cut off.
    Give O(expected_heads) for that. Receipts and approvals hold heads, and RV(head) of earlier runs can be kept
    elsewhere.
options:
  expected_heads:
    description: Heads that were seen before. The log must still hold each of them.
    type: list
    elements: dict
    default: []
    suboptions:
      number:
        description: Number of the event.
        type: int
        required: true
      digest:
        description: SHA-256 digest of the event.
        type: str
        required: true
  signing_certificates:
    description:
      - Certificates of those who sign events, as PEM texts. A signed event must verify with one of them. Expired
        ones are accepted.
      - Without it, no signature is checked.
    type: list
    elements: str
    default: []
  known_problems:
    description:
      - Marks of problems that were looked into, from RV(problems[].mark). They are told, and do not make the log
        invalid.
      - A mark stands for the same bytes in the same place, so whatever changes there is a new problem. What was cut off
        has no mark.
    type: list
    elements: str
    default: []
  since:
    description: Return the events from this number on. All are checked.
    type: int
    default: 1
  fail_on_problems:
    description: Fail when the log does not verify. RV(problems) and the other values are returned all the same.
    type: bool
    default: false
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.vault
seealso:
  - module: keyops.lifecycle.key_archive_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Verify the log against the head of the last time
  keyops.lifecycle.lifecycle_log_info:
    vault:
      path: /srv/keyops/vault.db
    expected_heads:
      - number: 41
        digest: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    since: 42
    fail_on_problems: true
  register: log

- name: Show what was refused since then
  ansible.builtin.debug:
    msg: "{{ log.events | selectattr('outcome', 'eq', 'refused') }}"
"""

RETURN = r"""
valid:
  description: Whether there are no problems.
  returned: when the log was read
  type: bool
head:
  description: The last event, before any gap. Keep it elsewhere and give it to O(expected_heads) the next time.
  returned: when the log was read
  type: dict
  contains:
    number:
      description: Number of the event, V(0) for an empty log.
      type: int
      returned: success
    digest:
      description: SHA-256 digest of the event, zeros for an empty log.
      type: str
      returned: success
problems:
  description: What does not verify, in the order of the log, and after that what O(expected_heads) showed.
  returned: when the log was read
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(unparsable), an event was edited or never was one.
        - V(misplaced), an event stands in another's place, or there is an object that is no event's name.
        - V(signature), the signature verifies with none of O(signing_certificates).
        - V(broken_chain), an event or the one before it was altered or replaced.
        - V(removed), events are missing in the middle.
        - V(claimed_ahead), somebody took a number ahead of its turn.
        - V(stranger), something lies among the events under a name that no object has.
        - V(cut_off), a head that was seen before is gone or another one.
      type: str
      returned: success
    number:
      description: Number of the event, V(0) where there is none.
      type: int
      returned: success
    text:
      description: The problem in words.
      type: str
      returned: success
    mark:
      description: For O(known_problems). Null for V(cut_off).
      type: str
      returned: success
    known:
      description: Whether it is one of O(known_problems).
      type: bool
      returned: success
events:
  description: The events from O(since) on that can be read.
  returned: when the log was read
  type: list
  elements: dict
  contains:
    number:
      description: Number of the event.
      type: int
      returned: success
    previous:
      description: SHA-256 digest of the event before.
      type: str
      returned: success
    time:
      description: When it was written, UTC.
      type: str
      returned: success
      sample: "2026-01-31T12:00:00Z"
    actor:
      description: Who did it.
      type: str
      returned: success
    host:
      description: The host that it was done for.
      type: str
      returned: success
    action:
      description: What was done.
      type: str
      returned: success
      sample: archive
    outcome:
      description: One of V(success), V(refused), V(failed) and V(alarm).
      type: str
      returned: success
    on_keys:
      description: >-
        The keys, each with C(key_id), which is empty where a key was refused before it could be read, and
        C(detail).
      type: list
      elements: dict
      returned: success
    detail:
      description: More about it.
      type: str
      returned: success
    signed_by:
      description: >-
        Key ID of the signer, empty for an event that is not signed. It is proven only with
        O(signing_certificates).
      type: str
      returned: success
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import controller_only

ARGUMENT_SPEC = {
    **_options.VAULT,
    "expected_heads": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "number": {"type": "int", "required": True},
            "digest": {"type": "str", "required": True},
        },
    },
    "signing_certificates": {"type": "list", "elements": "str", "default": []},
    "known_problems": {"type": "list", "elements": "str", "default": []},
    "since": {"type": "int", "default": 1},
    "fail_on_problems": {"type": "bool", "default": False},
}


def main() -> None:
    """The action plugin does the work."""
    controller_only(ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
