#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report a fleet audit whose outcome is kept."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_report
short_description: Report the last audit of a fleet as a page, and for machines
version_added: 0.1.0
description:
  - Runs on the controller only. Reads what M(keyops.lifecycle.fleet_audit) has kept in O(audit_dir) and writes a page
    of HTML, SARIF 2.1.0 and metrics for Prometheus. No row passes through a template, so that large fleets are quick.
  - Each file appears whole or not at all. A file that was kept and is broken is an error, which names it.
options:
  audit_dir:
    description: The O(keyops.lifecycle.fleet_audit#module:outcome_dir) of the audit, an absolute path.
    type: path
    required: true
  report_dir:
    description:
      - Folder for C(report.html), C(audit.sarif) and, if it is another one than O(audit_dir), a copy of C(audit.json).
        It and these files are made for their owner only. The default is O(audit_dir).
    type: path
  title:
    description: Title of the page.
    type: str
    default: Private keys of the fleet
  metrics_file:
    description:
      - File for the metrics, with the mode 0644. Its folder must be there. The default is C(keyops_audit.prom) in
        O(report_dir).
    type: path
extends_documentation_fragment:
  - keyops.lifecycle.attributes
attributes:
  diff_mode:
    description: The files are large, so no difference is returned.
    support: none
seealso:
  - module: keyops.lifecycle.fleet_audit
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Report the last audit
  keyops.lifecycle.fleet_report:
    audit_dir: /srv/audits/production
    report_dir: /srv/reports
    metrics_file: /var/lib/node_exporter/keyops_audit.prom
  run_once: true
"""

RETURN = r"""
files:
  description: Paths of the report's files. Empty in check mode where no audit was kept yet.
  returned: success
  type: list
  elements: str
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils._module import controller_only

ARGUMENT_SPEC = {
    "audit_dir": {"type": "path", "required": True},
    "report_dir": {"type": "path"},
    "title": {"type": "str", "default": "Private keys of the fleet"},
    "metrics_file": {"type": "path"},
}


def main() -> None:
    """The action plugin does the work."""
    controller_only(ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
