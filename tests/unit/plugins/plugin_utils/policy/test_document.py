# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of documents: the vectors, and the same judgement as the library jsonschema with the same schema."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PolicyError
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import SIGNING
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import document, load

FILES = sorted((Path(__file__).resolve().parents[4] / "vectors" / "policy").glob("*.json"))
VECTORS = {path.stem: json.loads(path.read_text()) for path in FILES}
SCHEMA = document.schema()
LIBRARY = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    """Every mistake at its place, one for each place, in one error; and the library refuses the same documents."""
    vector = VECTORS[name]
    found = document.mistakes(vector["document"])
    assert sorted(place for place, text in found) == sorted(vector.get("places", []))
    assert LIBRARY.is_valid(vector["document"]) is (vector["expected"] == "ok") is (not found)
    if found:
        with pytest.raises(PolicyError) as caught:
            load.load(vector["document"])
        for place, text in found:
            assert f"policy{'.' if place else ''}{place}: {text}" in str(caught.value)


_VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-1, 3), st.sampled_from([0.5, 2.0, 10**30, float("nan")])),
    st.sampled_from(
        ["", "never", "required", "rsa-3072", "rsa-3072+", "ed25519", "0640", "0640\n", "2y", "file", "x" * 70]
    ),
    st.sampled_from([[], {}, ["rsa-3072"], ["ed25519", "ed25519"], [[]], {"value": None}, {"value": "2y", "a": 1}]),
)


def _places(value: object, place: tuple = ()) -> list[tuple]:
    """Every place in a document, as the steps to it."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(one for step, item in steps for one in _places(item, (*place, step)))]


def _changed(whole: object, place: tuple, value: object, name: str | None) -> object:
    """The document with another value at a place, or under another name there."""
    if not place:
        return value
    changed = copy.deepcopy(whole)
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    if name is not None and isinstance(inner, dict):
        inner[name] = inner.pop(place[-1])
    else:
        inner[place[-1]] = value
    return changed


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_changed_documents_are_judged_as_by_the_library(data: st.DataObject) -> None:
    documents = [VECTORS["ok-team"]["document"], load.profile_document("cabf-smime"), VECTORS["several"]["document"]]
    value = data.draw(st.sampled_from(documents))
    for dummy in range(data.draw(st.integers(1, 2))):
        names = st.none() | st.sampled_from(
            ["algorithms", "archive", "value", "signature", "key_agreement", "name", "x"]
        )
        value = _changed(value, data.draw(st.sampled_from(_places(value))), data.draw(_VALUES), data.draw(names))
    accepted = LIBRARY.is_valid(value)
    assert (not document.mistakes(value)) is accepted, value
    if accepted:
        policy = load.load(value)
        assert {policy.rule_for(usage)["archive"].value for usage in SIGNING} == {"never"}, "rule 1"


def test_what_is_no_json_is_refused_with_its_place() -> None:
    found = document.mistakes({"extends": "default", "usages": {"signature": {"owners": [b"root"], "archive": object}}})
    assert [place for place, dummy in found] == ["usages.signature.owners[0]", "usages.signature.archive"]


@pytest.mark.parametrize("text", ["-----BEGIN PRIVATE KEY-----" + "M" * 60, "x" * 61])
def test_long_texts_are_not_quoted(text: str) -> None:
    """A key that is pasted into the wrong place is not told again."""
    for value in ({"extends": text}, {"usages": {"signature": {"algorithms": [text], "archive": text}}}):
        assert all(text not in told for dummy, told in document.mistakes(value))


def test_a_schema_that_uses_more_is_noticed() -> None:
    with pytest.raises(NotImplementedError):
        list(document._Checker({}).check({"patternProperties": {}}, {}, ""))
