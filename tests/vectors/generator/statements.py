# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vectors of signed statements: envelopes, and the payloads of requests, approvals and lifts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import parts
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from documents import FORMAT_ERROR, Vector, canonical, object_vectors, text

KIND = "application/vnd.keyops.request.v1+json"


def _first(vectors: Iterator[Vector]) -> bytes:
    """The content of the first."""
    first, *dummy = vectors
    return first[3]


def signature(key: Any, payload: bytes, kind: str = KIND, salt: int = 32) -> bytes:
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
        return key.sign(message, ec.ECDSA(size))
    return key.sign(message)


def envelope(key: Any, payload: bytes, **change: Any) -> dict:
    signed = {"keyid": parts.key_id(key), "sig": text(change.pop("sig", None) or signature(key, payload))}
    return {"payload": text(payload), "payloadType": KIND, "signatures": [signed], **change}


def envelopes() -> Iterator[Vector]:
    payload = canonical({"format": "test", "text": "Zoë"})
    keys = {kind: parts.new_key(kind) for kind in ("rsa", "p256", "p384", "p521", "ed25519")}
    certificates = {kind: parts.der(parts.certificate(key)) for kind, key in keys.items()}

    def vector(name: str, description: str, expected: str, data: bytes, kind: str = "p256") -> Vector:
        more = {"certificate": certificates[kind], "payload_type": KIND}
        return name, description, expected, data, {**more, "content": payload if expected == "ok" else None}

    for kind, key in keys.items():
        yield vector(f"ok-{kind}", f"signed with {kind}", "ok", canonical(envelope(key, payload)), kind)
    key, bad = keys["p256"], "SignatureInvalid"
    right = envelope(key, payload)
    hint = {**right["signatures"][0], "keyid": "0" * 64}
    yield vector("ok-keyid", "another keyid, which is only a hint", "ok", canonical({**right, "signatures": [hint]}))
    yield vector("other-key", "signed with another key", bad, canonical(envelope(parts.new_key("p256"), payload)))
    yield vector("other-type-of-key", "signed with another type of key", bad, canonical(envelope(keys["rsa"], payload)))
    changed = {**right, "payload": text(payload.replace(b"test", b"best"))}
    yield vector("payload-changed", "another payload", bad, canonical(changed))
    other = signature(key, payload, "application/vnd.keyops.approval.v1+json")
    yield vector("type-changed", "signed for another payload type", bad, canonical(envelope(key, payload, sig=other)))
    bare = key.sign(payload, ec.ECDSA(hashes.SHA256()))
    yield vector("bare-signature", "over the payload alone", bad, canonical(envelope(key, payload, sig=bare)))
    weak = key.sign(payload, ec.ECDSA(hashes.SHA1()))
    yield vector("sha1", "with SHA-1", bad, canonical(envelope(key, payload, sig=weak)))
    salt = signature(keys["rsa"], payload, salt=20)
    yield vector(
        "short-salt", "PSS with a salt of 20 bytes", bad, canonical(envelope(keys["rsa"], payload, sig=salt)), "rsa"
    )
    pkcs1 = keys["rsa"].sign(payload, padding.PKCS1v15(), hashes.SHA256())
    yield vector("pkcs1", "RSASSA-PKCS1-v1_5", bad, canonical(envelope(keys["rsa"], payload, sig=pkcs1)), "rsa")
    another = {**right, "payloadType": "application/vnd.keyops.approval.v1+json"}
    for name, description, value in (
        ("other-payload-type", "another payload type", another),
        ("no-signature", "no signature", {**right, "signatures": []}),
        ("two-signatures", "two signatures", {**right, "signatures": right["signatures"] * 2}),
        ("additional-member", "a member more", {**right, "more": ""}),
        ("no-keyid", "no keyid", {**right, "signatures": [{"sig": right["signatures"][0]["sig"]}]}),
        ("url-base64", "base64 for URLs", {**right, "payload": text(b"\xff\xfe\xfd").replace("/", "_")}),
        ("list", "a list", [right]),
    ):
        yield vector(name, description, FORMAT_ERROR, canonical(value))
    yield vector("not-canonical", "a line end", FORMAT_ERROR, canonical(right) + b"\n")


def requests() -> Iterator[Vector]:
    key_ids = sorted(parts.digest(os.urandom(9)) for dummy in range(2))
    right = {
        **{"format": "keyops-request/1", "nonce": os.urandom(16).hex(), "key_ids": key_ids, "key_owner": "Zoë"},
        **{
            "host": "mail2",
            "reason": "disk lost",
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-02-01T12:00:00Z",
        },
        "one_time_key": text(parts.spki(parts.new_key("p384"))),
        "requester_certificate": text(parts.der(parts.certificate(parts.new_key("p256")))),
    }
    wrong = {
        "nonce-short": (("nonce",), "00"),
        "no-key": (("key_ids",), []),
        "unsorted": (("key_ids",), key_ids[::-1]),
        "key-twice": (("key_ids",), [key_ids[0]] * 2),
        "key-id-short": (("key_ids", 0), "00"),
        "expires-before": (("expires",), "2026-01-31T11:59:59Z"),
        "created-other": (("created",), "2026-01-31 12:00:00"),
        "one-time-key-base64": (("one_time_key",), "?"),
    }
    yield from object_vectors(right, wrong)


def approvals() -> Iterator[Vector]:
    ids = [parts.digest(os.urandom(9)) for dummy in range(5)]
    right = {
        **{"format": "keyops-approval/1", "request_id": ids[0], "key_id": ids[1], "agent_id": ids[2]},
        **{"created": "2026-01-31T12:00:00Z", "log_head": {"number": 7, "digest": ids[3]}},
        "shares": [{"group": "admins", "sealed_key": ids[4], "message": text(b"message")}],
    }
    wrong = {
        "request-id-short": (("request_id",), "00"),
        "created-other": (("created",), "now"),
        "head-member": (("log_head", "more"), 1),
        "head-digest": (("log_head", "digest"), "00"),
        "head-number-text": (("log_head", "number"), "7"),
        "share-member": (("shares", 0, "more"), 1),
        "share-base64": (("shares", 0, "message"), "?"),
        "share-sealed-key": (("shares", 0, "sealed_key"), "00"),
    }
    yield from object_vectors(right, wrong)


def lifts() -> Iterator[Vector]:
    ids = [parts.digest(os.urandom(9)) for dummy in range(4)]
    right = {
        **{"format": "keyops-lift/1", "key_id": ids[0], "freeze_id": ids[1], "agent_id": ids[2]},
        **{"reason": "issued for a test, ticket 4711", "created": "2026-01-31T12:00:00Z"},
        "log_head": {"number": 7, "digest": ids[3]},
    }
    wrong = {
        "key-id-short": (("key_id",), "00"),
        "freeze-id-upper-case": (("freeze_id",), "A" * 64),
        "agent-id-short": (("agent_id",), "00"),
        "reason-empty": (("reason",), ""),
        "reason-with-line-end": (("reason",), "a\nb"),
        "reason-with-direction": (("reason",), "a\u202eb"),
        "reason-too-long": (("reason",), "a" * 501),
        "created-other": (("created",), "now"),
        "head-member": (("log_head", "more"), 1),
        "head-digest": (("log_head", "digest"), "00"),
    }
    yield from object_vectors(right, wrong)


def token_requests() -> Iterator[Vector]:
    right = json.loads(_first(requests()))
    place = "pkcs11:token=new;object=mail?module-path=/usr/lib/libtoken.so"
    token_key = text(parts.spki(parts.new_key("rsa")))
    right.update(format="keyops-request/2", places=[place, ""], token_key=token_key, token_key_hash="sha1")
    files = {**right, "places": ["/etc/keyops/mail.key", ""], "token_key": "", "token_key_hash": ""}
    yield "ok-files", "no token: places of files only", "ok", canonical(files), {}
    wrong = {
        "version-1": (("format",), "keyops-request/1"),
        "places-missing": (("places",), [place]),
        "place-number": (("places", 1), 1),
        "place-with-line-end": (("places", 1), "/etc/keyops\n/mail.key"),
        "place-with-direction": (("places", 1), "/etc/\u202ekeyops"),
        "token-without-key": (("token_key",), ""),
        "key-without-token": (("places", 0), "/etc/keyops/mail.key"),
        "hash-other": (("token_key_hash",), "md5"),
        "hash-empty": (("token_key_hash",), ""),
        "token-key-base64": (("token_key",), "?"),
    }
    yield from object_vectors(right, wrong)


def token_approvals() -> Iterator[Vector]:
    right = json.loads(_first(approvals()))
    right.update(format="keyops-approval/2", allow_file=False)
    right["shares"][0]["wrapped_key"] = text(os.urandom(384))
    right["shares"].append({**right["shares"][0], "group": "others", "wrapped_key": ""})
    wrong = {
        "version-1": (("format",), "keyops-approval/1"),
        "allow-file-text": (("allow_file",), "true"),
        "allow-file-number": (("allow_file",), 1),
        "share-without-key": (("shares", 0, "wrapped_key"), ...),
        "wrapped-key-base64": (("shares", 0, "wrapped_key"), "?"),
    }
    yield from object_vectors(right, wrong)


FORMATS = {
    **{"dsse": envelopes, "request": requests, "approval": approvals, "lift": lifts},
    **{"token-request": token_requests, "token-approval": token_approvals},
}
