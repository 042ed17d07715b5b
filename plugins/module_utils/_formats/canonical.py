# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Canonical JSON (RFC 8785), as far as our formats use it: objects, lists, strings, integers, booleans and null.

``loads`` accepts canonical bytes only, so one object has one digest. Floats are refused on both sides, and so are
integers beyond 2**53 - 1, which RFC 8785 cannot represent exactly.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, UnknownVersion

_LIMIT = 2**53 - 1


def digest(data: bytes) -> str:
    """SHA-256 of ``data`` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def encode(data: bytes) -> str:
    """Standard base64 with padding, one line (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode(text: object) -> bytes:
    """The bytes of strict standard base64.

    Raises:
        FormatError: on anything else.
    """
    try:
        return base64.b64decode(_text(text), validate=True)
    except (ValueError, binascii.Error) as error:
        raise FormatError("a value is not base64") from error


def dumps(value: object) -> bytes:
    """Canonical UTF-8 bytes of ``value``.

    Raises:
        FormatError: for a type or number that the canonical form does not have.
    """
    _check(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError("a text has a lone surrogate") from error


def loads(data: bytes) -> Any:
    """The value of canonical bytes.

    Raises:
        FormatError: when ``data`` is not JSON, or not in its one canonical form.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError("not JSON") from error
    if dumps(value) != data:
        raise FormatError("not canonical JSON (RFC 8785)")
    return value


def load_object(data: bytes, version: str, fields: Mapping[str, type]) -> dict:
    """A canonical JSON object of one format: exactly ``fields`` with their types, and ``format`` equal to ``version``.

    Args:
        data: canonical bytes.
        version: for example ``keyops-record/1``.
        fields: name to Python type of every other member; all are required and no others are allowed.

    Raises:
        UnknownVersion: when ``format`` is another one.
        FormatError: for anything else that differs.
    """
    value = loads(data)
    if not isinstance(value, dict):
        raise FormatError(f"{version}: not an object")
    if value.get("format") != version:
        raise UnknownVersion(f"{version} was expected, the object says {str(value.get('format'))[:40]!r}")
    check_fields(value, {"format": str, **fields}, version)
    return value


def check_fields(value: Any, fields: Mapping[str, type], what: str) -> None:
    """Raise FormatError unless ``value`` is an object with exactly these members and types (``bool`` is no ``int``)."""
    if not isinstance(value, dict):
        raise FormatError(f"{what}: not an object")
    if set(value) != set(fields):
        raise FormatError(f"{what}: members differ: {', '.join(sorted(set(value) ^ set(fields)))[:200]}")
    for name, kind in fields.items():
        if not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is not bool):
            raise FormatError(f"{what}: {name} has the wrong type")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError("a text was expected")
    return value


def _check(value: object) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            # ASCII names only: their order by code unit (RFC 8785) and by code point (Python) is then the same.
            if not _text(name).isascii():
                raise FormatError("a member name is not ASCII")
            _check(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item)
    elif isinstance(value, bool) or value is None or isinstance(value, str):
        return
    elif not isinstance(value, int) or abs(value) > _LIMIT:
        raise FormatError("a value is not a text, an integer below 2**53, a boolean or null")
