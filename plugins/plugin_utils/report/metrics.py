# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit's numbers as metrics, in the text format of Prometheus' textfile collector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue

_Samples = Iterable[tuple[Mapping[str, str], float]]


def metrics(audit: Mapping) -> str:
    """The file's text."""
    return "".join(f"{line}\n" for line in _lines(audit))


def _lines(audit: Mapping) -> Iterator[str]:
    summary = audit["summary"]
    by_id, by_severity = summary["by_id"], summary["findings"]
    keys = Counter((row["usage"] or "unknown", row["algorithm"] or "unknown") for row in audit["keys"])
    yield from _gauge(
        "findings", "Findings that are not accepted.", [({"severity": name}, by_severity[name]) for name in by_severity]
    )
    yield from _gauge(
        "findings_by_kind",
        "Findings that are not accepted, by kind.",
        [({"id": kind.id, "slug": kind.slug}, by_id.get(kind.id, 0)) for kind in catalogue.KINDS],
    )
    yield from _gauge("accepted_findings", "Findings that somebody has accepted.", [({}, summary["accepted"])])
    yield from _gauge(
        "key_places",
        "Places of private keys.",
        [({"usage": usage, "algorithm": algorithm}, count) for (usage, algorithm), count in sorted(keys.items())],
    )
    yield from _gauge("hosts", "Hosts that were to be audited.", [({}, summary["hosts"])])
    yield from _gauge("hosts_audited", "Hosts that were audited.", [({}, summary["hosts_audited"])])
    yield from _gauge("encryption_keys", "Distinct encryption keys on the hosts.", [({}, summary["encryption_keys"])])
    if summary["archived"] is not None:
        yield from _gauge(
            "archived_keys", "Encryption keys on the hosts that are archived.", [({}, summary["archived"])]
        )
    yield from _gauge("time_seconds", "When the audit was.", [({}, times.parse(audit["time"]).timestamp())])


def _gauge(name: str, help_text: str, samples: _Samples) -> Iterator[str]:
    yield f"# HELP keyops_audit_{name} {help_text}"
    yield f"# TYPE keyops_audit_{name} gauge"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"keyops_audit_{name}{{{told}}} {value:.15g}" if told else f"keyops_audit_{name} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
