#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify folders of recovered data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: data_recovery_info
short_description: Verify folders of recovered data
version_added: 0.1.0
description:
  - Verifies the signed summary of a folder that M(keyops.lifecycle.data_recovery) has sealed, and every file in it. A
    file that was changed, removed or added is told.
  - What is wrong is no failure. See RV(results[].sound) and RV(results[].problems).
  - The same can be done with C(openssl) and C(sha256sum) alone.
options:
  folders:
    description: The folders to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      folder:
        description: Absolute path of the folder.
        type: path
        required: true
      signing_certificate:
        description:
          - The certificate of the requester who must have signed the summary, as PEM text or as an absolute path on
            this host. It may have expired since. One of another key than the one that signed is a problem that names
            the key.
          - Without it, the certificate in the summary is used. Compare RV(results[].signed_by) then, or
            RV(results[].summary) with the one in the event log.
        type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.state
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.data_recovery
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Verify what was recovered
  keyops.lifecycle.data_recovery_info:
    folders:
      - folder: /srv/cases/4712
        signing_certificate: /etc/keyops/requester.pem
  register: found

- name: Stop when anything in it is not as it was sealed
  ansible.builtin.assert:
    that: found.results | map(attribute='sound') is all
"""

RETURN = r"""
results:
  description: >-
    One item per item of O(folders), in the same order. All but RV(results[].folder), RV(results[].sealed),
    RV(results[].sound) and RV(results[].problems) is V(null) when there is no summary that verifies.
  returned: success
  type: list
  elements: dict
  contains:
    folder:
      description: The folder.
      type: str
      returned: success
    sealed:
      description: Whether it has a summary. Without one, the work in it did not end.
      type: bool
      returned: success
    sound:
      description: Whether the summary's signature verifies, and every file is as it was sealed.
      type: bool
      returned: success
    problems:
      description: What is wrong. Of many files, the first are told.
      type: list
      elements: str
      returned: success
    request_id:
      description: The recovery request that the keys were given for. Empty when they were at hand.
      type: str
      returned: success
    request_open:
      description: Whether this host still has that request open. Then a run was killed before its end; run it again.
      type: bool
      returned: success
    key_owner:
      description: The person or service that the keys belong to.
      type: str
      returned: success
    host:
      description: Inventory name of the host where the data was decrypted.
      type: str
      returned: success
    reason:
      description: Why the keys were asked for.
      type: str
      returned: success
    created:
      description: When the folder was sealed, UTC.
      type: str
      returned: success
      sample: "2026-01-31T12:00:00Z"
    keys:
      description: >-
        The keys that were used, each with C(key_id), C(record), C(group), the C(agents) who approved, by the names that
        the record has, and in the same order their C(agent_ids).
      type: list
      elements: dict
      returned: success
    missing:
      description: >-
        The keys that were asked for and did not come, each with C(key_id), the error class as C(reason), and C(detail).
      type: list
      elements: dict
      returned: success
    sources:
      description: What was read, with counts.
      type: list
      elements: dict
      returned: success
    failed:
      description: How many items did not come out.
      type: int
      returned: success
    failures:
      description: The first of them, each with its reason.
      type: list
      elements: dict
      returned: success
    outputs:
      description: How many files are in the folder, without the summary and the list of them.
      type: int
      returned: success
    inputs:
      description: How many files were read.
      type: int
      returned: success
    signed_by:
      description: Key ID of the certificate that the signature verifies with.
      type: str
      returned: success
    summary:
      description: SHA-256 of the signed summary. The event in the log names the same.
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
    **_options.STATE_DIR,
    "folders": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "folder": {"type": "path", "required": True},
            "signing_certificate": {"type": "str"},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recovered_data_info

    run_module(ARGUMENT_SPEC, recovered_data_info.run)


if __name__ == "__main__":
    main()
