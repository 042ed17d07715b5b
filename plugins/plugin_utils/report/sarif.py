# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit's findings as SARIF 2.1.0 (OASIS standard), for code scanning, ticket systems and security dashboards.

A place on a host is ``file://HOST/PATH`` (RFC 8089); what is in the vault has a logical location only. Accepted
findings are there with a suppression, so that readers keep their history.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"info": "note", "low": "note", "medium": "warning", "high": "error", "critical": "error"}
#: As code scanning services rank them, 0 to 10.
_RANKS = {"info": "0.5", "low": "3.0", "medium": "5.5", "high": "8.0", "critical": "9.5"}


def sarif(audit: Mapping) -> dict:
    """The log file."""
    kinds = list(catalogue.KINDS)
    index = {kind.id: number for number, kind in enumerate(kinds)}
    driver = {
        "name": "keyops.lifecycle fleet audit",
        "informationUri": "https://example.com/keyops/lifecycle",
        "rules": [_rule(kind) for kind in kinds],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"keyops-fleet-audit/{audit['time']}"},
        "invocations": [{"executionSuccessful": True, "endTimeUtc": audit["time"]}],
        "results": [_result(row, index) for row in audit["findings"]],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(kind: catalogue.Kind) -> dict:
    return {
        "id": kind.id,
        "name": "".join(part.capitalize() for part in kind.slug.split("-")),
        "shortDescription": {"text": kind.title},
        "help": {"text": kind.remedy},
        "defaultConfiguration": {"level": _LEVELS[kind.severity]},
        "properties": {"tags": ["security", "pki"], "security-severity": _RANKS[kind.severity]},
    }


def _result(row: Mapping, index: Mapping[str, int]) -> dict:
    result = {
        "ruleId": row["id"],
        "ruleIndex": index[row["id"]],
        "level": _LEVELS[row["severity"]],
        "message": {"text": f"{row['title']}: {row['detail']}. {row['remedy']}"},
        "locations": [_location(row)],
        "partialFingerprints": {"keyopsFinding/v1": row["fingerprint"]},
        "properties": {"severity": row["severity"], "host": row["host"], "keyId": row["key_id"]},
    }
    if row["accepted"]:
        accepted = row["accepted"]
        told = f"{accepted['reason']} (until {accepted['expires']})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": told}]
    return result


def _location(row: Mapping) -> dict:
    name = f"{row['host'] or 'vault'}:{row['place']}"
    location: dict = {"logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"}]}
    if row["host"] and row["place"][:1] == "/":
        path = quote(row["place"].encode("utf-8", "surrogatepass"))
        location["physicalLocation"] = {"artifactLocation": {"uri": f"file://{quote(row['host'], safe='')}{path}"}}
    return location
