# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks a policy's document against policy.schema.json, and tells every mistake with its place.

ansible-core has no JSON Schema library, so this understands the part of JSON Schema 2020-12 that this one schema uses,
and refuses to go on when the schema uses more. A test compares it with the library jsonschema, document by document.
The schema's own ``errorMessage`` (which editors show too) is what the user reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_SCHEMA = Path(__file__).with_name("policy.schema.json")

_ANNOTATIONS = {"$schema", "$id", "$defs", "$comment", "title", "description", "errorMessage", "default", "examples"}

#: Place in the document, and what is wrong there.
Mistake = tuple[str, str]


def schema() -> dict:
    """The JSON Schema, as a new dictionary."""
    return json.loads(_SCHEMA.read_text("utf-8"))


def mistakes(document: object) -> list[Mistake]:
    """Everything that is wrong, the first mistake at each place only, in the order of the document."""
    root = schema()
    first: dict[str, str] = {}
    for place, text in _Checker(root).check(root, document, ""):
        first.setdefault(place, text)
    return list(first.items())


class _Checker:
    """One walk over a document."""

    def __init__(self, root: dict) -> None:
        self._root = root
        self._keywords: dict[str, Callable[[Any, Any, str, dict], Iterator[Mistake]]] = {
            "$ref": self._ref,
            "type": self._type,
            "const": self._const,
            "enum": self._enum,
            "pattern": self._pattern,
            "minLength": self._at_least(len, str),
            "minimum": self._at_least(lambda value: value, int, float),
            "minItems": self._at_least(len, list),
            "uniqueItems": self._unique,
            "items": self._items,
            "required": self._required,
            "properties": self._properties,
            "additionalProperties": self._additional,
            "anyOf": self._any_of,
            "if": self._if,
            "then": self._nothing,
            "else": self._nothing,
        }

    def check(self, schema: dict, value: object, place: str) -> Iterator[Mistake]:
        unknown = set(schema) - set(self._keywords) - _ANNOTATIONS
        if unknown:
            raise NotImplementedError(f"policy.schema.json uses {', '.join(sorted(unknown))}")
        for keyword, check in self._keywords.items():
            if keyword in schema:
                yield from check(schema[keyword], value, place, schema)

    def _ref(self, target: str, value: object, place: str, dummy: dict) -> Iterator[Mistake]:
        found = self._root
        for part in target.removeprefix("#/").split("/"):
            found = found[part]
        yield from self.check(found, value, place)

    def _type(self, wanted: str | list, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        names = [wanted] if isinstance(wanted, str) else wanted
        if _type_of(value) not in names and not (_type_of(value) == "integer" and "number" in names):
            yield place, _told(schema, f"must be {' or '.join(names)}, not {_type_of(value)}")

    def _const(self, wanted: object, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        if not _same(value, wanted):
            yield place, _told(schema, f"must be {wanted!r}")

    def _enum(self, wanted: list, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        if not any(_same(value, one) for one in wanted):
            names = [str(one) for one in wanted if one is not None]
            yield place, _told(schema, f"{_shown(value)} is none of {', '.join(names)}") + _meant(value, names)

    def _pattern(self, pattern: str, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        if isinstance(value, str) and not re.search(pattern, value):
            yield place, f"{_shown(value)} {_told(schema, f'does not match {pattern}')}"

    def _at_least(self, measure: Callable, *types: type) -> Callable:
        def check(least: int, value: object, place: str, schema: dict) -> Iterator[Mistake]:
            if isinstance(value, types) and not isinstance(value, bool) and measure(value) < least:
                yield place, _told(schema, f"must be at least {least}" if types[0] is int else "must not be empty")

        return check

    def _unique(self, wanted: bool, value: object, place: str, dummy: dict) -> Iterator[Mistake]:
        if wanted and isinstance(value, list):
            for index, item in enumerate(value):
                if any(_same(item, other) for other in value[:index]):
                    yield f"{place}[{index}]", f"{_shown(item)} stands twice in the list"

    def _items(self, schema: dict, value: object, place: str, dummy: dict) -> Iterator[Mistake]:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from self.check(schema, item, f"{place}[{index}]")

    def _required(self, names: list, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        there = set(value) if isinstance(value, Mapping) else set(names)
        for name in [one for one in names if one not in there]:
            yield place, f"{name} is missing"

    def _properties(self, schemas: dict, value: object, place: str, dummy: dict) -> Iterator[Mistake]:
        for name, item in value.items() if isinstance(value, Mapping) else ():
            if name in schemas:
                yield from self.check(schemas[name], item, _below(place, name))

    def _additional(self, dummy: bool, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        known = list(schema["properties"])
        for name in value if isinstance(value, Mapping) else ():
            if name not in known:
                yield (
                    _below(place, name),
                    "is not known here" + (_meant(name, known) or f"; known are {', '.join(known)}"),
                )

    def _any_of(self, schemas: list, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        if all(next(self.check(one, value, place), None) for one in schemas):
            yield place, _told(schema, "fits none of the forms")

    def _if(self, condition: dict, value: object, place: str, schema: dict) -> Iterator[Mistake]:
        fits = next(self.check(condition, value, place), None) is None
        yield from self.check(schema["then" if fits else "else"], value, place)

    def _nothing(self, *dummy: object) -> Iterator[Mistake]:
        return iter(())


def _told(schema: dict, otherwise: str) -> str:
    return schema.get("errorMessage", otherwise)


def _below(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)


def _shown(value: object) -> str:
    """A value as JSON; what is long, or may be a secret in the wrong place, is not quoted."""
    if isinstance(value, (str, int, float, bool)) and len(str(value)) <= 60:
        return json.dumps(value, ensure_ascii=False)
    return "null" if value is None else f"this {_type_of(value)}"


def _meant(value: object, names: list[str]) -> str:
    import difflib  # here, since few documents have a mistake

    close = difflib.get_close_matches(str(value), names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _same(one: object, other: object) -> bool:
    """Equality of JSON: true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def _type_of(value: object) -> str:
    """The JSON type of a value; a whole number is an integer, as in JSON Schema."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    kinds = ((str, "string"), (float, "number"), (list, "array"), (Mapping, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
