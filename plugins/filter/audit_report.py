# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""audit_report: a fleet audit's outcome as a page, as SARIF, or as metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.outcome import FORMAT
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.metrics import metrics
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.page import page
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.sarif import sarif

_FORMS = ("page", "sarif", "metrics")


def audit_report(audit: Mapping, form: str, history: Sequence[Mapping] = (), title: str = "Private keys") -> object:
    """The outcome in another form.

    Raises:
        AnsibleFilterError: for another form, or what is no outcome of this version.
    """
    if form not in _FORMS:
        raise AnsibleFilterError(f"audit_report: one of {', '.join(_FORMS)} was expected, not {form!r}")
    if not isinstance(audit, Mapping) or audit.get("format") != FORMAT:
        raise AnsibleFilterError(f"audit_report: an outcome of fleet_audit in the form {FORMAT} was expected")
    if form == "page":
        return page(audit, history, title)
    return sarif(audit) if form == "sarif" else metrics(audit)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict:
        """Name to function."""
        return {"audit_report": audit_report}
