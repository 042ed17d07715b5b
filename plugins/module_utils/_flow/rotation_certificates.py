# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate of a key that is rotated, and of its successor: whether it is there, valid, and the key's own.

Whether it chains to a trust anchor is not looked at.
"""

from __future__ import annotations

import datetime

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import describe
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import rotation_files as names
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates

_CERTIFICATE_LIMIT = 1024 * 1024


def problem(item: dict, coming: KeyFacts) -> str | None:
    """Why the successor has no certificate yet; None when it has one, or needs none."""
    if not item["certificate"]:
        return None
    path = names.next_of(item["certificate"])
    row, reason = certificate(path)
    if row is None:
        return reason
    if row["key_id"] != coming.key_id:
        return f"{path}: its first certificate is of another key ({row['key_id'][:16]}...)"
    if _moment(row["not_after"]) <= times.now():
        return f"{path}: the certificate ended at {row['not_after']}"
    if _moment(row["not_before"]) > times.now() + datetime.timedelta(minutes=5):
        return f"{path}: the certificate begins at {row['not_before']}"
    return None


def certificate(path: str) -> tuple[dict | None, str]:
    """The facts of the first certificate in a file, or None and why there are none.

    What a killed task has left of a certificate counts as none, so that it can be issued again.
    """
    try:
        existing = _files.read_existing(path, _CERTIFICATE_LIMIT, follow_links=True)
        if existing is None:
            return None, f"{path}: there is no certificate"
        facts = certificates.parse(existing.content, path)[0]
    except FormatError as error:
        return None, str(error)
    if facts.kind != certificates.CERTIFICATE:
        return None, f"{path}: holds a certificate request where a certificate is expected"
    return describe.certificate(facts), ""


def _moment(text: str | None) -> datetime.datetime:
    """A certificate without a readable end has ended."""
    return times.parse(text) if text else datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
