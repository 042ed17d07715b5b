# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading and verifying the event log for the user."""

from __future__ import annotations

from dataclasses import asdict

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    EventLogError,
    FormatError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import event_log
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Event, Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)


def check_log(task: ControllerTask) -> dict:
    """The result of lifecycle_log_info.

    Raises:
        OptionError: when a head, a number or a certificate cannot be.
    """
    since = task.params["since"]
    if since < 1:
        raise OptionError("since: the first event has the number 1")
    certificates = [_certificate(pem) for pem in task.params["signing_certificates"]]
    report = event_log.verify(task.vault, _heads(task.params["expected_heads"]), certificates, since)
    known = {mark.lower() for mark in task.params["known_problems"]}
    problems = [{**asdict(problem), "known": problem.mark in known} for problem in report.problems]
    new = [problem for problem in problems if not problem["known"]]
    result = {
        **{"changed": False, "valid": not new},
        **{"head": asdict(report.head), "problems": problems},
        "events": [_event(event) for event in report.events],
    }
    if new and task.params["fail_on_problems"]:
        told = "; ".join(problem["text"] for problem in new[:5])
        more = len(new) - 5
        ending = f"; and {more} more" if more > 0 else ""
        result.update(failed=True, error_class=EventLogError.__name__, msg=f"The log does not verify: {told}{ending}")
    return result


def _heads(options: list[dict]) -> list[Head]:
    try:
        return [Head(item["number"], check_digest(item["digest"])) for item in options]
    except FormatError as error:
        raise OptionError("expected_heads: a digest is not 64 lower-case hexadecimal digits") from error


def _certificate(pem: str) -> bytes:
    """DER. An expired certificate still proves what it signed, so no date is looked at."""
    try:
        return x509.load_pem_x509_certificate(pem.encode("utf-8")).public_bytes(serialization.Encoding.DER)
    except ValueError as error:
        raise OptionError("signing_certificates: an item is no certificate; give PEM texts") from error


def _event(event: Event) -> dict:
    facts = asdict(event)
    # ``keys`` would be the dictionary's method in Jinja.
    del facts["keys"]
    return {**facts, "on_keys": [{"key_id": key_id, "detail": detail} for key_id, detail in event.keys]}
