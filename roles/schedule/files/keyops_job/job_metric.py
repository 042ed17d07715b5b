# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The metric of a job for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

from job_files import Job

METRICS = (
    ("last_run_timestamp_seconds", "gauge", "When the last run began."),
    ("last_success_timestamp_seconds", "gauge", "When the last run that ended with status 0 began."),
    ("last_duration_seconds", "gauge", "How long the last run took."),
    ("last_exit_status", "gauge", "Exit status of the last run, 0 for success."),
    ("skipped_runs_total", "counter", "Runs that did not start because the one before had not ended."),
    ("keys_archived", "gauge", "Keys that the last run archived."),
    ("keys_present", "gauge", "Keys that were in the vault already."),
    ("keys_refused", "gauge", "Keys that may not be archived."),
    ("keys_pending", "gauge", "Keys that should be in the vault and are not yet."),
    ("hosts_failed", "gauge", "Hosts on which a task of the last run failed."),
    ("hosts_unreachable", "gauge", "Hosts that the last run did not reach."),
    ("log_valid", "gauge", "Whether the event log verified, 1 or 0."),
    ("log_problems", "gauge", "Problems of the event log."),
    ("log_head_number", "gauge", "Number of the last event of the log when it last verified."),
    ("log_head_info", "gauge", "Digest of that event."),
)


def metric_of(job: Job, state: dict, run: dict, statistics: dict) -> str:
    """The metric in the text format of Prometheus. Every value is a number that is made here."""
    values: dict[str, float] = {**run, "last_success_timestamp_seconds": state.get("last_success", 0)}
    values["skipped_runs_total"] = job.skipped.stat().st_size if job.skipped.exists() else 0
    for group in ("keys", "hosts"):
        values.update({f"{group}_{name}": int(count) for name, count in (statistics.get(group) or {}).items()})
    log, head = statistics.get("log"), state.get("head")
    if log:
        values.update(log_valid=int(log["valid"]), log_problems=int(log["problems"]))
    if head:
        values.update(log_head_number=int(head["number"]), log_head_info=1)
    lines = []
    for name, kind, text in METRICS:
        if name in values:
            labels = f'name="{job.name}"' + (f',digest="{head["digest"]}"' if name == "log_head_info" and head else "")
            full = f"keyops_job_{name}"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full}{{{labels}}} {values[name]}"]
    return "\n".join(lines) + "\n"
