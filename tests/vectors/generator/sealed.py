# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vectors of sealed keys and sealed shares: CMS AuthEnvelopedData, right once and wrong in every way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import parts
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from parts import number, octets, oid, sequence, write

Vector = tuple[str, str, str, bytes, dict]

DATA, ENVELOPED = oid("1.2.840.113549.1.7.1"), oid("1.2.840.113549.1.7.3")
AUTH_ENVELOPED = oid("1.2.840.113549.1.9.16.1.23")
GCM, GCM_128, WRAP = (oid(f"2.16.840.1.101.3.4.1.{last}") for last in (46, 6, 45))
SHA256, SHA1 = oid("2.16.840.1.101.3.4.2.1"), oid("1.3.14.3.2.26")
ATTRIBUTE = sequence(oid("1.2.840.113549.1.9.3"), write(parts.SET, DATA))
OPEN_ERROR = "OpenError"


def message(infos: bytes, key: bytes, plaintext: bytes, **change: Any) -> bytes:
    """A message from its parts, each of which can be changed."""
    nonce = change.get("nonce", os.urandom(12))
    size = change.get("tag_size", 16)
    protected = AESGCM(key).encrypt(nonce, plaintext, change.get("associated"))
    ciphertext, tag = protected[:-16], protected[-16:][:size]
    parameters = change.get("parameters", sequence(octets(nonce), number(size)))
    encrypted = sequence(
        change.get("content_type", DATA),
        sequence(change.get("cipher", GCM), parameters),
        change.get("content", write(0x80, ciphertext)),
    )
    envelope = sequence(
        number(change.get("version", 0)),
        change.get("originator", b""),
        write(parts.SET, infos),
        encrypted,
        change.get("authenticated", b""),
        octets(change.get("tag", tag)),
        change.get("unauthenticated", b""),
    )
    return sequence(change.get("type", AUTH_ENVELOPED), write(0xA0, envelope), change.get("after", b""))


CHANGES = (
    ("tag-12", "a tag of 12 bytes", {"tag_size": 12}),
    ("tag-size-absent", "the tag's size is left out, which means 12", {"parameters": "no size"}),
    ("nonce-16", "a nonce of 16 bytes", {"nonce": os.urandom(16)}),
    ("aes-128-named", "AES-128-GCM is named", {"cipher": GCM_128}),
    ("enveloped-data", "the type is EnvelopedData", {"type": ENVELOPED}),
    ("content-type", "the content type is another than id-data", {"content_type": ENVELOPED}),
    ("version-1", "version 1", {"version": 1}),
    ("originator-info", "an empty originatorInfo", {"originator": write(0xA0)}),
    (
        "auth-attributes",
        "authenticated attributes, correctly authenticated",
        {"authenticated": write(0xA1, ATTRIBUTE), "associated": write(parts.SET, ATTRIBUTE)},
    ),
    ("unauth-attributes", "unauthenticated attributes", {"unauthenticated": write(0xA2, ATTRIBUTE)}),
    ("detached", "no content", {"content": b""}),
    ("bytes-after", "bytes after the envelope", {"after": write(parts.NULL)}),
    ("tag-wrong", "another tag", {"tag": os.urandom(16)}),
)


def changes() -> Iterator[tuple[str, str, dict]]:
    for name, description, change in CHANGES:
        if change.get("parameters") == "no size":
            change = {"nonce": b"n" * 12, "tag_size": 12, "parameters": sequence(octets(b"n" * 12))}
        yield name, description, change


def kek_info(kek_id: bytes, kek: bytes, key: bytes, **change: bytes) -> bytes:
    return write(
        0xA2,
        change.get("version", number(4)),
        sequence(octets(kek_id), change.get("more", b"")),
        change.get("wrap", sequence(WRAP)),
        octets(change.get("wrapped", aes_key_wrap(kek, key))),
    )


def sealed_keys() -> Iterator[Vector]:
    kek_id, other_id = sorted((os.urandom(16), os.urandom(16)))
    kek, key = os.urandom(32), os.urandom(32)
    content = parts.pkcs8(parts.new_key("p256"))
    info, other = kek_info(kek_id, kek, key), kek_info(other_id, os.urandom(32), key)
    right = message(info, key, content)
    more = {"kek_id": kek_id.hex(), "kek": kek.hex(), "content": content}

    def wrong(name: str, description: str, data: bytes, **changed: Any) -> Vector:
        return name, description, OPEN_ERROR, data, {**more, "content": None, **changed}

    yield "ok", "one group", "ok", right, more
    yield "ok-two-groups", "two groups", "ok", message(info + other, key, content), more
    yield "ok-empty", "empty content", "ok", message(info, key, b""), {**more, "content": b""}
    for name, description, change in changes():
        yield wrong(name, description, message(info, key, content, **change))
    yield wrong("unsorted", "recipients not in DER's order", message(other + info, key, content))
    equal = b"".join(sorted((info, kek_info(kek_id, os.urandom(32), key))))
    yield wrong("same-identifier", "two recipients with one identifier", message(equal, key, content))
    yield wrong("no-recipient", "no recipient", message(b"", key, content))
    yield wrong("wrong-kek", "another key-encryption key", right, kek=os.urandom(32).hex())
    yield wrong("other-identifier", "an identifier that it does not have", right, kek_id=other_id.hex())
    short = message(kek_info(kek_id[:8], kek, key), key, content)
    yield wrong("short-identifier", "an identifier of 8 bytes", short, kek_id=kek_id[:8].hex())
    for name, description, change in (
        ("recipient-version-0", "version 0 of the recipient", {"version": number(0)}),
        ("dated", "a date in the identifier", {"more": write(0x18, b"20260101000000Z")}),
        ("wrap-null", "AES key wrap with NULL parameters", {"wrap": sequence(WRAP, write(parts.NULL))}),
        ("wrap-128", "AES-128 key wrap is named", {"wrap": sequence(oid("2.16.840.1.101.3.4.1.5"))}),
        ("content-key-16", "a content key of 16 bytes", {"wrapped": aes_key_wrap(kek, key[:16])}),
    ):
        yield wrong(name, description, message(kek_info(kek_id, kek, key, **change), key, content))
    yield wrong("cut", "cut off", right[:-1])
    yield wrong("empty", "nothing", b"")
    yield wrong(
        "indefinite", "an indefinite length (BER)", b"\x30\x80" + right[3 if right[1] == 0x81 else 4 :] + b"\0\0"
    )


def _issuer_and_serial(certificate: Any) -> bytes:
    serial = certificate.serial_number
    return sequence(
        certificate.issuer.public_bytes(),
        write(parts.INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big")),
    )


def _oaep(first: Any, second: Any, label: bytes | None = None) -> Any:
    return padding.OAEP(padding.MGF1(second), first, label)


def _oaep_algorithm(first: bytes, second: bytes, *null: bytes, label: bytes = b"") -> bytes:
    mask = sequence(oid("1.2.840.113549.1.1.8"), sequence(second, *null))
    return sequence(
        oid("1.2.840.113549.1.1.7"),
        sequence(write(0xA0, sequence(first, *null)), write(0xA1, mask), label),
    )


RIGHT_OAEP = _oaep_algorithm(SHA256, SHA256)


def transport_info(private_key: Any, name: bytes, key: bytes, **change: Any) -> bytes:
    scheme = change.get("scheme", _oaep(hashes.SHA256(), hashes.SHA256()))
    encrypted = private_key.public_key().encrypt(key, scheme)
    return sequence(number(change.get("version", 0)), name, change.get("algorithm", RIGHT_OAEP), octets(encrypted))


def agreement_info(private_key: Any, name: bytes, key: bytes, **change: Any) -> bytes:
    ephemeral = ec.generate_private_key(private_key.curve)
    info = sequence(sequence(WRAP), write(0xA2, octets((256).to_bytes(4, "big"))))
    derived = X963KDF(change.get("hash", hashes.SHA256()), 32, info).derive(
        ephemeral.exchange(ec.ECDH(), private_key.public_key())
    )
    form = change.get("point", serialization.PublicFormat.UncompressedPoint)
    point = ephemeral.public_key().public_bytes(serialization.Encoding.X962, form)
    curve = sequence(oid("1.2.840.10045.2.1"), change.get("parameters", b""))
    one = sequence(name, octets(aes_key_wrap(derived, key)))
    return write(
        0xA1,
        number(3),
        write(0xA0, write(0xA1, curve, write(parts.BITS, b"\0", point))),
        change.get("ukm", b""),
        sequence(oid(change.get("method", "1.3.132.1.11.1")), sequence(WRAP)),
        sequence(*[one] * change.get("count", 1)),
    )


def sealed_shares() -> Iterator[Vector]:
    text, key = b"keyops-share/1\n", os.urandom(32)
    rsa_key, ec_key = parts.new_key("rsa"), parts.new_key("p256")
    certificates = {"rsa": parts.certificate(rsa_key), "ec": parts.certificate(ec_key)}
    names = {kind: _issuer_and_serial(certificate) for kind, certificate in certificates.items()}
    null = write(parts.NULL)

    def vector(kind: str, name: str, description: str, expected: str, data: bytes, **changed: Any) -> Vector:
        private_key = rsa_key if kind == "rsa" else ec_key
        more: dict = {"private_key": parts.pkcs8(private_key), "recipient": parts.der(certificates[kind])}
        return (
            f"{kind}-{name}",
            description,
            expected,
            data,
            {**more, "content": text if expected == "ok" else None, **changed},
        )

    def rsa_with(**change: Any) -> bytes:
        return message(transport_info(rsa_key, change.pop("name", names["rsa"]), key, **change), key, text)

    def ec_with(**change: Any) -> bytes:
        return message(agreement_info(ec_key, change.pop("name", names["ec"]), key, **change), key, text)

    yield vector("rsa", "ok", "RSA-OAEP", "ok", rsa_with())
    both_null = rsa_with(algorithm=_oaep_algorithm(SHA256, SHA256, null))
    yield vector("rsa", "ok-null", "SHA-256 with NULL parameters", "ok", both_null)
    yield vector("ec", "ok", "ECDH on P-256", "ok", ec_with())
    yield vector("ec", "ok-null", "id-ecPublicKey with NULL parameters", "ok", ec_with(parameters=null))
    identifiers = {"rsa": bytes.fromhex(parts.key_id(rsa_key)), "ec": bytes.fromhex(parts.key_id(ec_key))}
    yield vector(
        "rsa", "ok-key", "to a key without certificate", "ok",
        rsa_with(version=2, name=write(0x80, identifiers["rsa"])), recipient=parts.spki(rsa_key),
    )  # fmt: skip
    yield vector(
        "ec", "ok-key", "to a key without certificate", "ok",
        ec_with(name=write(0xA0, octets(identifiers["ec"]))), recipient=parts.spki(ec_key),
    )  # fmt: skip
    for name, description, change in changes():
        data = message(transport_info(rsa_key, names["rsa"], key), key, text, **change)
        yield vector("rsa", name, description, OPEN_ERROR, data)
    sha1 = _oaep(hashes.SHA1(), hashes.SHA1())
    half = _oaep(hashes.SHA256(), hashes.SHA1())
    plain_rsa, plain_oaep = (oid(f"1.2.840.113549.1.1.{last}") for last in (1, 7))
    pkcs1 = padding.PKCS1v15()
    label = write(0xA2, sequence(oid("1.2.840.113549.1.1.9"), octets(b"label")))
    for name, description, change in (
        ("pkcs1", "RSAES-PKCS1-v1_5", {"scheme": pkcs1, "algorithm": sequence(plain_rsa, null)}),
        ("oaep-sha1", "OAEP with SHA-1", {"scheme": sha1, "algorithm": sequence(plain_oaep, sequence())}),
        ("mgf1-sha1", "MGF1 with SHA-1", {"scheme": half, "algorithm": _oaep_algorithm(SHA256, SHA1)}),
        ("label", "OAEP with a label", {
            "scheme": _oaep(hashes.SHA256(), hashes.SHA256(), b"label"),
            "algorithm": _oaep_algorithm(SHA256, SHA256, label=label),
        }),
        ("disguised", "PKCS#1 v1.5 that says it is OAEP", {"scheme": pkcs1}),
        ("other-recipient", "another serial number", {"name": _issuer_and_serial(parts.certificate(rsa_key))}),
        ("key-identifier", "the key's identifier in place of issuer and serial number", {
            "version": 2, "name": write(0x80, identifiers["rsa"]),
        }),
        ("version-2", "version 2 with issuer and serial number", {"version": 2}),
    ):  # fmt: skip
        yield vector("rsa", name, description, OPEN_ERROR, rsa_with(**change))
    for name, description, change in (
        ("kdf-sha1", "the KDF with SHA-1", {"hash": hashes.SHA1(), "method": "1.3.133.16.840.63.0.2"}),
        ("cofactor", "cofactor Diffie-Hellman is named", {"method": "1.3.132.1.14.1"}),
        ("ukm", "user keying material", {"ukm": write(0xA1, octets(b"ukm"))}),
        ("compressed", "a compressed ephemeral key", {"point": serialization.PublicFormat.CompressedPoint}),
        ("curve-named", "the curve in the ephemeral key", {"parameters": oid("1.2.840.10045.3.1.7")}),
        ("two-keys", "two recipients in one agreement", {"count": 2}),
        ("other-recipient", "another serial number", {"name": _issuer_and_serial(parts.certificate(ec_key))}),
    ):
        yield vector("ec", name, description, OPEN_ERROR, ec_with(**change))
    infos = sorted((transport_info(rsa_key, names["rsa"], key), agreement_info(ec_key, names["ec"], key)))
    yield vector("ec", "two-recipients", "two recipients", OPEN_ERROR, message(b"".join(infos), key, text))
    yield vector(
        "ec", "kek", "a key-encryption key as recipient", OPEN_ERROR, message(kek_info(b"i" * 16, key, key), key, text)
    )
    other = parts.pkcs8(parts.new_key("p256"))
    yield vector("ec", "other-key", "another private key", OPEN_ERROR, ec_with(), private_key=other)


FORMATS = {"sealed-key": sealed_keys, "sealed-share": sealed_shares}
