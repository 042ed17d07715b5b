#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge what was gathered over the fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_audit
short_description: Judge the private keys of a whole fleet
version_added: 0.1.0
description:
  - Runs on the controller only. Takes what M(keyops.lifecycle.private_key_info) has found on every host, the vault and
    a policy, and returns findings, each with a stable ID, severity, place and remedy, and an inventory of all keys.
  - An archived key of which a host has evidence that it signs raises the alarm in the event log. It is frozen where the
    evidence takes a trusted authority or the key itself.
  - The role P(keyops.lifecycle.audit#role) gathers, calls this module once and keeps the outcome.
options:
  gathered:
    description:
      - By inventory name, what M(keyops.lifecycle.private_key_info) returned, with
        O(keyops.lifecycle.private_key_info#module:search). A host with a failed result, or without one, becomes a
        finding.
      - Either this or O(gathered_as) is needed.
    type: dict
  gathered_as:
    description:
      - Name of the variable that each host of the play has registered that result as. It is read as it is, without a
        template, which takes half the time for large fleets.
    type: str
  declared:
    description:
      - By inventory name, the host's list C(keyops_keys). It says which usage, owner and mode a key is to have, and
        whether it is to be archived and certified.
    type: dict
    default: {}
  tokens:
    description: By inventory name, what M(keyops.lifecycle.hsm_info) with a probe returned.
    type: dict
    default: {}
  policy:
    description:
      - The policy, a dictionary or the name of a built-in profile. Findings cite the rule and its source.
      - Without one, only what is wrong under every policy is found.
    type: raw
  recovery_groups:
    description:
      - The recovery groups as they are configured now. An agent's certificate here stands for an older one of the same
        key in a record.
    type: list
    elements: dict
    default: []
  trust_anchors:
    description:
      - Certificates of authorities, as PEM texts. A certificate that chains to one of them and lets an archived key
        sign freezes that key's archive.
      - Each authority below them counts as they do. Path lengths, name constraints, dates and revocation are not looked
        at.
    type: list
    elements: str
    default: []
  expiring_within:
    description: An agent's certificate that ends within this time is a finding, 90 days at most.
    type: str
    default: 30d
  weak_keys:
    description:
      - Whether the Python library C(badkeys) looks for keys that broken generators made, and with its blocklist for
        keys that are publicly known. V(auto) uses it where it is installed and tells where it is not, V(required)
        fails without the library or its blocklist, V(off) does not use it.
      - Sizes and types are always judged.
    type: str
    choices: [auto, required, 'off']
    default: auto
  accepted:
    description: Findings that somebody accepts for a time. They are returned and do not count.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: ID or slug of the kind, such as V(KL003) or V(readable-by-others).
        type: str
        required: true
      host:
        description: Only on this host.
        type: str
      place:
        description:
          - Only at this place. C(*) stands for any text.
          - One without a whole first folder before its first C(*), such as C(/*) or C(/s*), needs a host, a key ID or a
            fingerprint beside it.
        type: str
      key_id:
        description: Only for this key.
        type: str
      fingerprint:
        description: Only this finding, from RV(audit.findings[].fingerprint).
        type: str
      reason:
        description: Why it is accepted.
        type: str
        required: true
      expires:
        description: Last day of the acceptance, C(YYYY-MM-DD), within a year. After that the finding counts again.
        type: str
        required: true
  expected_heads:
    description:
      - Heads of the event log that were seen before, such as the last audit's. The receipts of the hosts hold further
        ones.
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
  known_log_problems:
    description: Marks of problems with the log that were looked into, from M(keyops.lifecycle.lifecycle_log_info).
    type: list
    elements: str
    default: []
  known_lost_heads:
    description:
      - Digests of heads whose loss was looked into, as the finding KL021 tells them. They are not asked for any more,
        whether a past audit, a receipt or O(expected_heads) holds them.
    type: list
    elements: str
    default: []
  log_signing_certificates:
    description: Certificates of those who sign events, as PEM texts. A signed event must verify with one of them.
    type: list
    elements: str
    default: []
  respond:
    description: Whether archived keys that sign are frozen and an alarm is written. They are found in any case.
    type: bool
    default: true
  fail_at:
    description: RV(reached) tells whether there is a finding of this severity or a worse one that is not accepted.
    type: str
    choices: [info, low, medium, high, critical, never]
    default: never
  limit:
    description: What the play was limited to (C(ansible_limit)). The outcome then says that it is of a part of a fleet.
    type: str
  outcome_dir:
    description:
      - Folder on the controller, an absolute path, where the outcome is kept as C(audit.json), its numbers in
        C(history), and the head of the event log as C(head.json), for their owner only. Heads that a past audit has
        kept there are asked for as those of O(expected_heads) are, until the log holds them or O(known_lost_heads)
        names them.
      - The result then has no C(keys), and of C(findings) the first 100 that are not accepted, since Ansible is slow
        with large results. Every run writes, so every run is a change. Check mode writes nothing.
    type: path
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.vault
attributes:
  diff_mode:
    description: Freezes and alarms are told in RV(audit.responses).
    support: none
seealso:
  - module: keyops.lifecycle.private_key_info
  - module: keyops.lifecycle.lifecycle_log_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Look at every host
  keyops.lifecycle.private_key_info:
    search:
      paths: [/etc, /srv]
  register: seen
  ignore_unreachable: true
  failed_when: false # a host that fails is a finding, KL026

- name: Judge the fleet
  keyops.lifecycle.fleet_audit:
    gathered_as: seen
    policy: nist-sp800-57
    vault:
      path: /srv/keyops/vault.db
    accepted:
      - id: KL003
        host: web1
        place: /etc/legacy/app.key
        reason: The old application reads it as another user, see ticket 4711.
        expires: '2027-03-31'
    fail_at: high
  run_once: true
  register: judged

- name: Name the worst
  ansible.builtin.debug:
    msg: "{{ judged.audit.findings | selectattr('severity', 'eq', 'critical') | map(attribute='detail') }}"
  run_once: true
"""

RETURN = r"""
reached:
  description: Whether a finding of the severity O(fail_at) or a worse one is not accepted.
  returned: success
  type: bool
audit:
  description: The outcome. With O(outcome_dir) it is all in C(audit.json), and the result has less.
  returned: success
  type: dict
  contains:
    format:
      description: Version of this form.
      type: str
      returned: success
      sample: keyops-audit/1
    time:
      description: When it was judged, UTC.
      type: str
      returned: success
      sample: '2026-01-01T00:00:00Z'
    limit:
      description: The option O(limit).
      type: str
      returned: with O(limit)
    policy:
      description: Name of the policy. V(null) without one.
      type: str
      returned: success
    summary:
      description: >-
        Numbers: C(hosts), C(hosts_audited), C(places) of keys, distinct C(keys), C(certificates), C(findings) by
        severity and C(by_id) without accepted ones, C(accepted), C(encryption_keys), and how many of them are
        C(archived), which is V(null) without a vault.
      type: dict
      returned: success
    findings:
      description: The findings, the worst first.
      type: list
      elements: dict
      returned: success
      contains:
        id:
          description: Stable ID of the kind. C(docs/audit.md) lists them.
          type: str
          returned: success
          sample: KL003
        slug:
          description: The kind in words.
          type: str
          returned: success
          sample: readable-by-others
        severity:
          description: V(info), V(low), V(medium), V(high) or V(critical).
          type: str
          returned: success
        title:
          description: The kind as a title.
          type: str
          returned: success
        host:
          description: Inventory name. Empty for what is in the vault.
          type: str
          returned: success
        place:
          description: Path on the host, token URI, or name in the vault.
          type: str
          returned: success
        key_id:
          description: The key ID. Empty where it is not about one key.
          type: str
          returned: success
        detail:
          description: What exactly is wrong.
          type: str
          returned: success
        remedy:
          description: What to do.
          type: str
          returned: success
        fingerprint:
          description: The same in every audit, for as long as it is the same finding.
          type: str
          returned: success
        accepted:
          description: C(reason) and C(expires) of the acceptance that counts, or V(null).
          type: dict
          returned: success
    keys:
      description: >-
        The inventory, one item per place of a private key, with C(host), C(place), C(key_id), C(algorithm), C(usage),
        C(protection), C(archived), C(since) and others.
      type: list
      elements: dict
      returned: success
    hosts:
      description: What each host told, in numbers, or its C(problem).
      type: list
      elements: dict
      returned: success
    vault:
      description: Numbers, and the C(head) of the event log to be kept for O(expected_heads). V(null) without a vault.
      type: dict
      returned: success
    notes:
      description: What could not be looked for.
      type: list
      elements: str
      returned: success
    unused_acceptances:
      description: Items of O(accepted) that fit no finding.
      type: list
      elements: str
      returned: success
    repairs:
      description: >-
        By inventory name, what M(keyops.lifecycle.private_key_permissions) can mend without harm, as its option
        C(keys).
      type: dict
      returned: success
    responses:
      description: Archived keys that sign, with what was done (C(frozen), C(alarm)) and the C(evidence).
      type: list
      elements: dict
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
    "gathered": {"type": "dict"},
    "gathered_as": {"type": "str"},
    "declared": {"type": "dict", "default": {}},
    "tokens": {"type": "dict", "default": {}, "no_log": False},
    "policy": {"type": "raw"},
    "recovery_groups": {"type": "list", "elements": "dict", "default": []},
    "trust_anchors": {"type": "list", "elements": "str", "default": []},
    "expiring_within": {"type": "str", "default": "30d"},
    "weak_keys": {"type": "str", "choices": ["auto", "required", "off"], "default": "auto", "no_log": False},
    "accepted": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "id": {"type": "str", "required": True},
            "host": {"type": "str"},
            "place": {"type": "str"},
            "key_id": {"type": "str", "no_log": False},
            "fingerprint": {"type": "str"},
            "reason": {"type": "str", "required": True},
            "expires": {"type": "str", "required": True},
        },
    },
    "expected_heads": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "number": {"type": "int", "required": True},
            "digest": {"type": "str", "required": True},
        },
    },
    "known_log_problems": {"type": "list", "elements": "str", "default": []},
    "known_lost_heads": {"type": "list", "elements": "str", "default": []},
    "log_signing_certificates": {"type": "list", "elements": "str", "default": []},
    "respond": {"type": "bool", "default": True},
    "fail_at": {
        "type": "str",
        "choices": ["info", "low", "medium", "high", "critical", "never"],
        "default": "never",
    },
    "limit": {"type": "str"},
    "outcome_dir": {"type": "path"},
}


def main() -> None:
    """The action plugin does the work."""
    controller_only(ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
