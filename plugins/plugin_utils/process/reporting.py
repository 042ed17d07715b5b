# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of an audit whose outcome is kept: the page, SARIF and metrics, made from its files by no template."""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report import files
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.metrics import metrics
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.page import page
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.sarif import sarif

_METRICS_MODE = 0o644


def report(task: ControllerTask) -> dict:
    """The result of fleet_report.

    Raises:
        FileError: a kept file is broken, or a file cannot be written.
        OptionError: a path is not absolute, or there is no outcome.
    """
    params = task.params
    source = files.check_path(params["audit_dir"], "audit_dir")
    target = files.check_path(params["report_dir"] or source, "report_dir")
    metrics_file = files.check_path(params["metrics_file"] or f"{target}/keyops_audit.prom", "metrics_file")
    outcome = files.read_outcome(source)
    if outcome is None:
        if task.check_mode:  # An audit in check mode keeps nothing.
            return {"changed": False, "files": []}
        raise OptionError(f"audit_dir: there is no {source}/{files.OUTCOME}; run the role audit first")
    history = files.read_history(source)
    wanted = [
        files.text_file(f"{target}/report.html", page(outcome, history, params["title"])),
        files.json_file(f"{target}/audit.sarif", sarif(outcome)),
        files.text_file(metrics_file, metrics(outcome), _METRICS_MODE),
    ]
    if os.path.realpath(target) != os.path.realpath(source):
        wanted.append(files.json_file(f"{target}/{files.OUTCOME}", outcome))
    changed = files.differing(wanted)
    if changed and not task.check_mode:
        files.make_folder(target)
        files.write(changed)
    return {"changed": bool(changed), "files": [file.path for file in wanted]}
