# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#11 URIs (RFC 7512): text from the user to ``TokenUri``.

Strict where the RFC is lenient: an attribute that is not known is refused, since ignoring one would widen what the URI
names. A PIN never stands in a URI (``pin-value``, which shows in logs), and no program is ever started for one
(``pin-source=|command``). No message repeats the URI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError

SCHEME = "pkcs11:"

#: RFC 7512 section 2.3: what names a token, and what names an object on it.
_TOKEN = ("token", "manufacturer", "model", "serial")
_OBJECT = ("object", "id", "type")
_OTHER = {
    "slot-id": "slots change their numbers; name the token by token= or serial=",
    **dict.fromkeys(("slot-description", "slot-manufacturer"), "name the token by token= or serial="),
    **dict.fromkeys(
        ("library-manufacturer", "library-description", "library-version"), "name the library by module-path="
    ),
}
_QUERY = ("module-path", "pin-source")
_REFUSED = {
    "pin-value": "it would show in logs and process lists; use the option pin, or pin-source=file:/path",
    "module-name": "hosts search it in different folders; use module-path=/path/of/library.so",
}
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True)
class TokenUri:
    """What a PKCS#11 URI names; None where it says nothing.

    Attributes:
        token, manufacturer, model, serial: of the token, without the padding that tokens put behind.
        label, object_id: of the object (``object`` and ``id``).
        module_path: absolute path of the PKCS#11 library.
        pin_file: absolute path of the file that holds the user PIN.
    """

    token: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    label: str | None = None
    object_id: bytes | None = None
    module_path: str | None = None
    pin_file: str | None = None


def parse(text: str) -> TokenUri:
    """The URI that ``text`` is.

    Raises:
        KeyReferenceError: it is malformed, or names something in a way that this collection refuses.
    """
    if not text.lower().startswith(SCHEME):
        raise KeyReferenceError("key: a PKCS#11 URI begins with pkcs11:")
    path, dummy, query = text[len(SCHEME) :].partition("?")
    named = _attributes(path, ";", (*_TOKEN, *_OBJECT), _OTHER)
    asked = _attributes(query, "&", _QUERY, _REFUSED)
    if named.pop("type", b"private") != b"private":
        raise KeyReferenceError("key: type= of a key is private; the public half is found by itself")
    object_id = named.pop("id", None)
    texts = {name: _text(name, value) for name, value in {**named, **asked}.items()}
    return TokenUri(
        **{name: texts.get(name) for name in _TOKEN},
        label=texts.get("object"),
        object_id=object_id,
        module_path=_absolute("module-path", texts.get("module-path")),
        pin_file=_pin_file(texts.get("pin-source")),
    )


def text_of(library: str, serial: str, token: str, label: str, object_id: str) -> str:
    """The URI of a private key that was found on a token; it can be parsed here. ``object_id`` is hex, or empty."""
    named = {"token": token, "serial": serial, "object": label}
    path = [f"{name}={quote(value, safe='')}" for name, value in named.items() if value]
    if object_id:
        path.append("id=" + "".join(f"%{byte:02x}" for byte in bytes.fromhex(object_id)))
    return f"{SCHEME}{';'.join([*path, 'type=private'])}?module-path={quote(library, safe='/')}"


def _attributes(text: str, separator: str, known: tuple[str, ...], refused: dict[str, str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else []:
        name, equals, value = part.partition("=")
        if name in refused:
            raise KeyReferenceError(f"key: {name} is not used in a PKCS#11 URI here: {refused[name]}")
        if not equals or name not in known:
            shown = name if re.fullmatch(r"[A-Za-z0-9-]{1,30}", name) else "what stands there"
            raise KeyReferenceError(
                f"key: {shown} is no attribute of a PKCS#11 URI that is known here; known are {', '.join(known)}"
            )
        if name in found:
            raise KeyReferenceError(f"key: {name} stands twice in the PKCS#11 URI")
        if not _ENCODED.fullmatch(value):
            raise KeyReferenceError(f"key: {name} has characters in the PKCS#11 URI that must be percent-encoded")
        found[name] = unquote_to_bytes(value)
    return found


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise KeyReferenceError(f"key: {name} in the PKCS#11 URI is not UTF-8") from error
    if not text or "\0" in text or "\n" in text:
        raise KeyReferenceError(f"key: {name} in the PKCS#11 URI is empty, or has a line break or a zero byte in it")
    return text


def _absolute(name: str, path: str | None) -> str | None:
    if path is not None and not path.startswith("/"):
        raise KeyReferenceError(f"key: {name} in the PKCS#11 URI must be an absolute path")
    return path


def _pin_file(source: str | None) -> str | None:
    if source is None:
        return None
    if source.startswith("|"):
        raise KeyReferenceError("key: pin-source starts no programs here; use pin-source=file:/path")
    return _absolute("pin-source", re.sub(r"\Afile:(//)?", "", source))
