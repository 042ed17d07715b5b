# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vectors of canonical JSON, share texts, records, events, receipts and key files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import parts
from parts import number, octets, oid, sequence, write

Vector = tuple[str, str, str, bytes, dict]
#: Formats that have a version 2, for keys from tokens.
TWO_VERSIONS = ("keyops-record/1", "keyops-request/1", "keyops-approval/1")
FORMAT_ERROR, UNKNOWN_VERSION = "FormatError", "UnknownVersion"


def _first(vectors: Iterator[Vector]) -> bytes:
    """The content of the first."""
    first, *dummy = vectors
    return first[3]


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def canonical_json() -> Iterator[Vector]:
    right = {
        "object": '{"a":1,"b":[true,false,null],"c":"Zoë"}',
        "empty": "{}",
        "largest": "9007199254740991",
        "escapes": '"\\b\\t\\n\\f\\r\\"\\\\\\u0000\\u001f/\u007f\u2028"',
        "astral": '"\U0001f511"',
    }
    wrong = {
        "space": ('{"a": 1}', "white space"),
        "final-lf": ("{}\n", "a line end"),
        "unsorted": ('{"b":1,"a":2}', "members out of order"),
        "twice": ('{"a":1,"a":1}', "a member twice"),
        "float": ("1.5", "a fraction"),
        "exponent": ("1e3", "an exponent"),
        "minus-zero": ("-0", "minus zero"),
        "too-large": ("9007199254740992", "an integer beyond 2**53 - 1"),
        "leading-zero": ("01", "a leading zero"),
        "escaped-slash": ('"\\/"', "an escape that is not needed"),
        "escaped-letter": ('"\\u0061"', "an escaped letter"),
        "upper-case-escape": ('"\\u001F"', "an escape in upper-case hex"),
        "lone-surrogate": ('"\\ud800"', "a lone surrogate"),
        "nan": ("NaN", "NaN"),
        "name-not-ascii": ('{"ë":1}', "a member name that is not ASCII"),
        "cut": ('{"a":1', "cut off"),
        "nothing": ("", "nothing"),
        "deep": ("[" * 100000, "very deep"),
    }
    for name, data in right.items():
        yield f"ok-{name}", name, "ok", data.encode(), {}
    for name, (data, description) in wrong.items():
        yield name, description, FORMAT_ERROR, data.encode(), {}
    yield "latin-1", "not UTF-8", FORMAT_ERROR, '"Zoë"'.encode("latin-1"), {}
    yield "bom", "a byte order mark", FORMAT_ERROR, b"\xef\xbb\xbf{}", {}


def share_texts() -> Iterator[Vector]:
    ids = {name: parts.digest(os.urandom(32)) for name in ("key", "agent", "sealed")}
    digests = "".join(f"share-digest: {parts.digest(os.urandom(32))}\n" for dummy in range(3))
    values = [f"2-{os.urandom(16).hex()}", f"2-{os.urandom(16).hex()}"]
    right = (
        f"keyops-share/1\nkey-id: {ids['key']}\nkey-owner: Zoë <zoe@example.org>\nusage: key_transport\ngroup: admins\n"
        f"threshold: 2\nagents: 3\nagent: {ids['agent']}\nsealed-key: {ids['sealed']}\nkek-id: {os.urandom(16).hex()}\n"
        f"{digests}{values[0]}\n{values[1]}\n"
    )
    head = right[: right.index("2-")]
    single = head.replace("threshold: 2", "threshold: 1") + os.urandom(32).hex() + "\n"
    yield "ok", "2 of 3", "ok", right.encode(), {}
    yield "ok-single", "1 of 3: the value is the KEK", "ok", single.encode(), {}
    for name, description, version in (
        ("version-3", "version 3", "keyops-share/3"),
        ("version-missing", "no version", ""),
    ):
        yield name, description, UNKNOWN_VERSION, right.replace("keyops-share/1", version).encode(), {}
    swapped = right.replace("threshold: 2\nagents: 3", "agents: 3\nthreshold: 2")
    changes: dict[str, tuple[str, str]] = {
        "no-final-lf": ("no LF at the end", right[:-1]),
        "crlf": ("CRLF", right.replace("\n", "\r\n")),
        "empty-line": ("an empty line at the end", right + "\n"),
        "additional-value": ("a third value line", right + values[0] + "\n"),
        "missing-value": ("one value line", right[: right.rindex("2-")]),
        "missing-digest": ("two digests for three agents", right.replace(digests, digests[: len(digests) // 3 * 2])),
        "additional-digest": ("four digests", right.replace(digests, digests + digests[: len(digests) // 3])),
        "swapped": ("two fields in another order", swapped),
        "two-spaces": ("two spaces after a colon", right.replace("usage: ", "usage:  ")),
        "space-at-end": ("a space after a name", right.replace("admins", "admins ")),
        "empty-name": ("an empty name", right.replace("admins", "")),
        "long-name": ("a name of 201 characters", right.replace("admins", "a" * 201)),
        "tab": ("a control character in a name", right.replace("admins", "ad\tmins")),
        "direction": ("an override of the writing direction in a name", right.replace("admins", "ad\u202emins")),
        "line-separator": ("U+2028 in a name", right.replace("admins", "ad\u2028mins")),
        "bom": ("a byte order mark", "\ufeff" + right),
        "signing-usage": ("a signing usage", right.replace("key_transport", "signature")),
        "upper-case": ("a digest in upper case", right.replace(ids["key"], "A" + ids["key"][1:])),
        "short-digest": ("a digest of 63 digits", right.replace(ids["key"], ids["key"][1:])),
        "threshold-0": ("threshold 0", right.replace("threshold: 2", "threshold: 0")),
        "threshold-4": ("a threshold above the number of agents", right.replace("threshold: 2", "threshold: 4")),
        "threshold-02": ("a leading zero", right.replace("threshold: 2", "threshold: 02")),
        "threshold-digits": ("digits of another script", right.replace("threshold: 2", "threshold: \u0662")),
        "threshold-1": ("threshold 1 with Shamir's values", right.replace("threshold: 2", "threshold: 1")),
        "place-differs": ("value lines of two places", right.replace(values[1], "3" + values[1][1:])),
        "place-4": ("a place beyond the group", right.replace("\n2-", "\n4-")),
        "value-upper-case": ("a value in upper case", right.replace(values[0], "2-" + "A" * 32)),
        "value-short": ("a short value", right.replace(values[0], values[0][:-2])),
    }
    for name, (description, data) in changes.items():
        expected = UNKNOWN_VERSION if name in ("crlf", "bom") else FORMAT_ERROR  # the first line differs
        yield name, description, expected, data.encode(), {}
    yield "latin-1", "not UTF-8", FORMAT_ERROR, right.encode("latin-1"), {}
    yield "empty", "nothing", UNKNOWN_VERSION, b"", {}


def token_share_texts() -> Iterator[Vector]:
    ids = {name: parts.digest(os.urandom(32)) for name in ("key", "agent", "sealed", "wrapping")}
    digests = "".join(f"share-digest: {parts.digest(os.urandom(32))}\n" for dummy in range(2))
    values = f"1-{os.urandom(16).hex()}\n1-{os.urandom(16).hex()}\n"
    wrapped = text(os.urandom(384))
    right = (
        f"keyops-share/2\nkey-id: {ids['key']}\nkey-owner: Zoë\nusage: key_agreement\ngroup: admins\n"
        f"threshold: 2\nagents: 2\nagent: {ids['agent']}\nsealed-key: {ids['sealed']}\nkek-id: {os.urandom(16).hex()}\n"
        f"{digests}wrapping: aes-kwp\nwrapping-key: {ids['wrapping']}\noaep-hash: sha1\nwrapped-key: {wrapped}\n"
        f"wrapped-key-mac: {os.urandom(16).hex()}\n{values}"
    )
    yield "ok", "2 of 2, from a token", "ok", right.encode(), {}
    for wrapping in ("aes-kw", "aes-kw-pkcs7", "aes-cbc-pad"):
        yield f"ok-{wrapping}", wrapping, "ok", right.replace("aes-kwp", wrapping).encode(), {}
    yield "ok-sha256", "OAEP with SHA-256", "ok", right.replace("sha1", "sha256").encode(), {}
    lines = right.splitlines(keepends=True)
    (at,) = [place for place, line in enumerate(lines) if line.startswith("wrapping: ")]
    mac = lines[at + 4]
    changes: dict[str, tuple[str, str]] = {
        "version-1": ("version 1 with the lines of version 2", right.replace("keyops-share/2", "keyops-share/1")),
        "nothing-wrapped": ("version 2 without them", "".join(lines[:at] + lines[at + 5 :])),
        "other-order": (
            "two of them in another order",
            "".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]),
        ),
        "behind": ("behind the value lines", "".join([*lines[:at], *lines[at + 5 :], *lines[at : at + 5]])),
        "other-wrapping": ("a wrapping that is not known", right.replace("aes-kwp", "aes-ecb")),
        "md5": ("another hash", right.replace("sha1", "md5")),
        "no-value": ("an empty wrapped key", right.replace(wrapped, "")),
        "short-value": ("a wrapped key of 128 bytes", right.replace(wrapped, text(os.urandom(128)))),
        "value-with-space": ("base64 with a space", right.replace(wrapped, wrapped[:4] + " " + wrapped[4:])),
        "value-url": ("base64 for URLs", right.replace(wrapped, text(b"\xff" * 384).replace("/", "_"))),
        "mac-upper-case": ("the MAC in upper case", right.replace(mac, "wrapped-key-mac: " + "A" * 32 + "\n")),
        "mac-short": ("a short MAC", right.replace(mac, mac[:-3] + "\n")),
        "wrapping-key-short": ("a short key ID", right.replace(ids["wrapping"], ids["wrapping"][1:])),
    }
    for name, (description, data) in changes.items():
        yield name, description, FORMAT_ERROR, data.encode(), {}


def changed(value: dict, *path: Any, to: Any) -> dict:
    """A deep copy with one member replaced, or removed when ``to`` is ``...``."""
    copy = json.loads(json.dumps(value))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return copy


def object_vectors(right: dict, wrong: dict[str, tuple[tuple, Any]]) -> Iterator[Vector]:
    """What every JSON object of ours must refuse, and ``wrong``: name to (path of the member, its value)."""
    version = right["format"]
    yield "ok", "as it should be", "ok", canonical(right), {}
    later = f"{version[:-1]}{3 if f'{version[:-1]}1' in TWO_VERSIONS else 2}"
    yield f"version-{later[-1]}", later, UNKNOWN_VERSION, canonical(changed(right, "format", to=later)), {}
    yield "no-version", "no format", UNKNOWN_VERSION, canonical(changed(right, "format", to=...)), {}
    yield "additional-member", "a member more", FORMAT_ERROR, canonical({**right, "more": ""}), {}
    yield "not-canonical", "white space", FORMAT_ERROR, json.dumps(right).encode(), {}
    yield "list", "a list", FORMAT_ERROR, canonical([right]), {}
    for member in right:
        if member != "format":
            yield f"no-{member}", f"{member} is missing", FORMAT_ERROR, canonical(changed(right, member, to=...)), {}
            data = canonical(changed(right, member, to=None))
            yield f"null-{member}", f"{member} is null", FORMAT_ERROR, data, {}
    for name, (path, value) in wrong.items():
        description = f"{' '.join(map(str, path))}: {'missing' if value is ... else json.dumps(value)[:60]}"
        yield name, description, FORMAT_ERROR, canonical(changed(right, *path, to=value)), {}


def records() -> Iterator[Vector]:
    agents = []
    for place in (1, 2):
        encryption, signing = parts.new_key("p256"), parts.new_key("ed25519")
        agents.append(
            {
                **{"name": f"agent {place}", "agent_id": parts.key_id(encryption)},
                **{"share": parts.digest(os.urandom(9)), "share_digest": parts.digest(os.urandom(9))},
                "encryption_certificate": text(parts.der(parts.certificate(encryption))),
                "signing_certificate": text(parts.der(parts.certificate(signing))),
            }
        )
    key = parts.new_key("p256")
    group = {"name": "admins", "threshold": 2, "kek_id": os.urandom(16).hex(), "agents": agents}
    right = {
        **{"format": "keyops-record/1", "key_id": parts.key_id(key), "number": 1, "key_owner": "Zoë"},
        **{"usage": "key_agreement", "algorithm": "ec-p256", "public_key": text(parts.spki(key)), "host": "mail1"},
        **{"place": "/etc/ssl/private/mail.pem", "created": "2026-01-31T12:00:00Z", "groups": [group]},
        **{"sealed_key": parts.digest(b""), "certificates": [text(parts.der(parts.certificate(key)))]},
    }
    wrong = {
        "other-key-id": (("key_id",), parts.digest(b"another")),
        "number-0": (("number",), 0),
        "number-text": (("number",), "1"),
        "number-true": (("number",), True),
        "signing-usage": (("usage",), "signature"),
        "public-key-base64": (("public_key",), right["public_key"] + "\n"),
        "created-local": (("created",), "2026-01-31T12:00:00+01:00"),
        "created-impossible": (("created",), "2026-02-30T12:00:00Z"),
        "sealed-key-upper-case": (("sealed_key",), right["sealed_key"].upper()),
        "no-group": (("groups",), []),
        "threshold-0": (("groups", 0, "threshold"), 0),
        "threshold-3": (("groups", 0, "threshold"), 3),
        "kek-id-short": (("groups", 0, "kek_id"), "00" * 15),
        "agent-twice": (("groups", 0, "agents", 1), agents[0]),
        "agent-member": (("groups", 0, "agents", 0, "more"), 1),
        "agent-id-short": (("groups", 0, "agents", 0, "agent_id"), "00"),
        "share-digest-missing": (("groups", 0, "agents", 0, "share_digest"), ...),
        "certificate-base64": (("certificates", 0), "?"),
    }
    yield from object_vectors(right, wrong)


def token_records() -> Iterator[Vector]:
    right = json.loads(_first(records()))
    right.update(format="keyops-record/2", wrapping="aes-kwp", place="pkcs11:token=ops;object=mail")
    for agent in right["groups"][0]["agents"]:
        agent["wrapping_certificate"] = text(parts.der(parts.certificate(parts.new_key("rsa"))))
    wrong = {
        "wrapping-empty": (("wrapping",), ""),
        "wrapping-other": (("wrapping",), "aes-ecb"),
        "version-1": (("format",), "keyops-record/1"),
        "no-wrapping-certificate": (("groups", 0, "agents", 0, "wrapping_certificate"), ...),
        "wrapping-certificate-base64": (("groups", 0, "agents", 0, "wrapping_certificate"), "?"),
    }
    yield from object_vectors(right, wrong)


def events() -> Iterator[Vector]:
    right = {
        **{"format": "keyops-event/1", "number": 2, "previous": parts.digest(b"first"), "time": "2026-01-31T12:00:00Z"},
        **{"actor": "ops", "host": "mail1", "action": "archive", "outcome": "success", "detail": ""},
        "keys": [{"key_id": parts.digest(b"key"), "detail": ""}, {"key_id": "", "detail": "not readable"}],
    }
    wrong = {
        "number-0": (("number",), 0),
        "previous-short": (("previous",), "00"),
        "outcome-other": (("outcome",), "perhaps"),
        "time-other": (("time",), "yesterday"),
        "key-id-short": (("keys", 0, "key_id"), "00"),
        "key-member": (("keys", 0, "more"), ""),
    }
    yield from object_vectors(right, wrong)


def receipts() -> Iterator[Vector]:
    right = {
        **{"format": "keyops-receipt/1", "key_id": parts.digest(b"key"), "usage": "key_transport"},
        **{"sealed_key": parts.digest(b"sealed"), "log_number": 1, "log_digest": parts.digest(b"event")},
    }
    wrong = {
        "sealed-key-short": (("sealed_key",), "00"),
        "log-digest-upper-case": (("log_digest",), "A" * 64),
        "log-number-negative": (("log_number",), -1),
    }
    for name, description, expected, data, more in object_vectors(right, wrong):
        yield name, description, "ok" if expected == "ok" else "StateError", data, {"key_id": right["key_id"], **more}
    yield "other-key", "another key's receipt", "StateError", canonical(right), {"key_id": parts.digest(b"other")}


def _pem(data: bytes, label: str) -> bytes:
    body = base64.encodebytes(data).replace(b"\n", b"")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])


def key_files() -> Iterator[Vector]:
    key = parts.new_key("p256")
    plain = parts.pkcs8(key)
    body = plain[plain.index(b"\x02\x01\x00") :]
    bits = {"key_agreement": b"\x03\x08", "signature": b"\x06\xc0", "certificate_signing": b"\x01\x06"}
    more = {"key_id": parts.key_id(key), "usage": None}

    def attribute(*values: bytes) -> bytes:
        return sequence(oid("2.5.29.15"), write(parts.SET, *(write(parts.BITS, value) for value in values)))

    def with_attributes(*attributes: bytes) -> bytes:
        return _pem(sequence(body, write(0xA0, *attributes)), "PRIVATE KEY")

    yield "ok-plain", "no usage", "ok", _pem(plain, "PRIVATE KEY"), more
    for usage, value in bits.items():
        yield f"ok-{usage}", f"bound to {usage}", "ok", with_attributes(attribute(value)), {**more, "usage": usage}
    conflict = {**more, "usage": "conflict"}
    yield "dual", "keyAgreement and digitalSignature", "ok", with_attributes(attribute(b"\x03\x88")), conflict
    twice = with_attributes(attribute(b"\x03\x08"), attribute(b"\x03\x08"))
    yield "attribute-twice", "the usage attribute twice", "ok", twice, conflict
    yield "two-values", "two values", "ok", with_attributes(attribute(b"\x03\x08", b"\x06\xc0")), conflict
    yield "no-bit", "no bit is set", "ok", with_attributes(attribute(b"\x00")), conflict
    yield "no-value", "no value", "ok", with_attributes(attribute()), conflict
    no_key = sequence(number(0), sequence(oid("1.3.101.110")), octets(b""))
    unreadable: dict[str, tuple[str, Callable[[], bytes]]] = {
        "empty": ("an empty file", lambda: b""),
        "garbage": ("garbage", lambda: os.urandom(64)),
        "cut": ("cut off", lambda: _pem(plain, "PRIVATE KEY")[:-40]),
        "bytes-after": ("bytes after the DER", lambda: _pem(plain + b"\0", "PRIVATE KEY")),
        "certificate": ("a certificate", lambda: _pem(parts.der(parts.certificate(key)), "CERTIFICATE")),
        "version-2": ("version 2", lambda: _pem(sequence(number(2), body[3:]), "PRIVATE KEY")),
        "empty-key": (
            "no key in it",
            lambda: _pem(no_key, "PRIVATE KEY"),
        ),
    }
    for name, (description, make) in unreadable.items():
        yield name, description, "KeyUnreadable", make(), {}


FORMATS = {
    **{"canonical-json": canonical_json, "share-text": share_texts, "record": records, "event": events},
    **{
        "receipt": receipts,
        "key-file": key_files,
        "token-share-text": token_share_texts,
        "token-record": token_records,
    },
}
