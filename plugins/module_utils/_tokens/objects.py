# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of a token: all of them in one pass, with their public facts and never a sensitive value.

A private key's public half is found by the same ID (PKCS#11 section 4.5), so that its key ID can be told. Nothing binds
the two: public objects can be exchanged without a PIN on some tokens. What shows in their attributes is told as
``problem``; two points of one curve look alike (_keys/token_halves.py). A private key that its token was killed over
while it was written has its label and its uses already, and no numbers: SoftHSM crashes when it works with one. It is
``unfinished``, and ``require_fitting`` lets nobody near it. Objects that this process may not see (private
ones without a login) are not there for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    HalvesDiffer,
    KeyUnreadable,
    note_missing_library,
)

try:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError as error:
    note_missing_library(error)

try:
    import pkcs11
    from pkcs11 import Attribute, ObjectClass
except ImportError:
    pkcs11 = None

#: What a key may be used for, as PKCS#11 calls it.
USES = ("ENCRYPT", "DECRYPT", "SIGN", "SIGN_RECOVER", "VERIFY", "VERIFY_RECOVER", "WRAP", "UNWRAP", "DERIVE")
#: What guards it.
GUARDS = (
    "SENSITIVE",
    "ALWAYS_SENSITIVE",
    "EXTRACTABLE",
    "NEVER_EXTRACTABLE",
    "MODIFIABLE",
    "COPYABLE",
    "DESTROYABLE",
    "PRIVATE",
    "LOCAL",
    "TRUSTED",
    "WRAP_WITH_TRUSTED",
    "ALWAYS_AUTHENTICATE",
)
_PUBLIC = ("MODULUS", "PUBLIC_EXPONENT", "EC_PARAMS", "EC_POINT")
#: All in one question: a token takes its time for each.
_ASKED = ("CLASS", "LABEL", "ID", "KEY_TYPE", *USES, *GUARDS, *_PUBLIC)
#: PKCS#11 section 6.3: the OID of the curve, or its name as a PrintableString.
_CURVES = {
    "06082a8648ce3d030107": "secp256r1",
    "06052b81040022": "secp384r1",
    "06052b81040023": "secp521r1",
    "06032b6570": "ed25519",
    "130c656477617264733235353139": "ed25519",
    "06032b656e": "x25519",
    "130a63757276653235353139": "x25519",
}


@dataclass(frozen=True)
class TokenObject:
    """One object of a token.

    Attributes:
        kind: ``private_key``, ``public_key``, ``secret_key``, ``certificate``, ``data`` or another class's name.
        label, object_id: as the token has them; the ID in lower-case hex.
        key_type: as PKCS#11 calls it, such as ``RSA``; None for what is no key.
        attributes: every attribute of USES and GUARDS that the token tells, in lower case.
        public_key: DER SubjectPublicKeyInfo of a key pair's half, where the token tells it.
        handle: the object of python-pkcs11.
        parameters: EC_PARAMS as the token tells them, in hex.
        tells_public: whether a private key has its public key from itself (RSA), not from the other half.
        problem: why the public half is not this private key's, or None where nothing shows that.
        unfinished: whether the token says of a private key that its numbers are empty: no key, and nothing may use it.
    """

    kind: str
    label: str
    object_id: str
    key_type: str | None
    attributes: Mapping[str, bool]
    public_key: bytes | None
    handle: Any = field(repr=False, compare=False)
    parameters: str = field(default="", repr=False, compare=False)
    tells_public: bool = field(default=False, repr=False, compare=False)
    problem: str | None = field(default=None, compare=False)
    unfinished: bool = field(default=False, compare=False)

    @property
    def key_id(self) -> str | None:
        """The key ID (docs/formats.md), where the public key is known."""
        return hashlib.sha256(self.public_key).hexdigest() if self.public_key else None


def survey(session: Any, labels: Collection[str] | None = None) -> list[TokenObject]:
    """All objects on the token that this session sees, in the order in which the token tells them.

    Args:
        labels: only objects with these labels, and the other halves of such keys, are told in full; of the others
            kind, label and ID. Asking for everything takes the most time.
    """
    handles = list(session.get_objects({Attribute.TOKEN: True}))
    if labels is None:
        found = [read(handle) for handle in handles]
    else:
        names = [_brief(handle) for handle in handles]
        wanted = {one.object_id for one in names if one.label in labels and one.object_id}
        found = [read(one.handle) if one.label in labels or one.object_id in wanted else one for one in names]
    halves: dict[str, list[TokenObject]] = {}
    for one in found:
        if one.kind == "public_key" and one.object_id:
            halves.setdefault(one.object_id, []).append(one)
    return [_completed(one, halves.get(one.object_id, [])) if one.kind == "private_key" else one for one in found]


def names(session: Any, kind: str) -> list[TokenObject]:
    """Label and ID of all objects of one kind on the token; nothing else of them is read."""
    wanted = {Attribute.TOKEN: True, Attribute.CLASS: getattr(ObjectClass, kind.upper())}
    return [_brief(handle) for handle in session.get_objects(wanted)]


def require_fitting(one: TokenObject) -> None:
    """Raise HalvesDiffer for a private key whose public half is not its own, as far as attributes show it.

    And KeyUnreadable for one that is not whole: no operation may be tried with it.
    """
    if one.unfinished:
        raise KeyUnreadable(
            f"the token has only a part of the private key {one.label!r} (ID {one.object_id}): it was ended while it "
            "wrote it. key_recovery, or private_key with this label, removes it and goes on"
        )
    if one.problem is not None:
        raise HalvesDiffer(
            f"the public half of the key {one.label!r} (ID {one.object_id}) does not belong to it: {one.problem}. It "
            "may have been exchanged, which some tokens allow without a PIN, so it is not known which key this is, and "
            "it stays. Remove what does not belong to it, and put its own public key back under this ID: its "
            "certificate, its request or the vault's record has it"
        )


def _completed(private: TokenObject, halves: list[TokenObject]) -> TokenObject:
    """With its public key, and what is wrong with it; ``halves``: all public keys with its ID."""
    own = private.public_key
    known = own or next((half.public_key for half in halves if half.public_key), None)
    return replace(private, public_key=known, tells_public=own is not None, problem=_problem(private, halves))


def _problem(private: TokenObject, halves: list[TokenObject]) -> str | None:
    if len({(half.key_type, half.public_key or half.parameters) for half in halves}) > 1:
        return "several different public keys on the token have its ID"
    for half in halves:
        if private.key_type and half.key_type and private.key_type != half.key_type:
            return f"it is of the type {private.key_type}, and the public key of the type {half.key_type}"
        curves = [_CURVES.get(text, text) for text in (private.parameters, half.parameters) if text]
        if len(set(curves)) > 1:
            return "they are on different curves"
        if private.public_key and half.public_key and private.public_key != half.public_key:
            return "they have different numbers"
    return None


def _brief(handle: Any) -> TokenObject:
    told = told_attributes(handle, ("CLASS", "LABEL", "ID"))
    return TokenObject(*_named(told), None, {}, None, handle)


def _named(told: dict[str, Any]) -> tuple[str, str, str]:
    kind = getattr(told.get("CLASS"), "name", "unknown").lower()
    return kind, str(told.get("LABEL") or ""), bytes(told.get("ID") or b"").hex()


def read(handle: Any, public_key: bytes | None = None) -> TokenObject:
    """One object of python-pkcs11, with its attributes read from the token.

    Args:
        public_key: DER SubjectPublicKeyInfo of a private key, where it is known and the token may not tell it.
    """
    told = told_attributes(handle, _ASKED)
    kind, label, object_id = _named(told)
    key_type = getattr(told.get("KEY_TYPE"), "name", None)
    is_key = kind in ("private_key", "public_key", "secret_key")
    asked = (*USES, *GUARDS) if is_key else GUARDS
    return TokenObject(
        kind=kind,
        label=label,
        object_id=object_id,
        key_type=key_type,
        attributes={name.lower(): bool(told[name]) for name in asked if name in told},
        public_key=(_public_key(key_type, told) if is_key else None) or public_key,
        handle=handle,
        parameters=bytes(told.get("EC_PARAMS") or b"").hex(),
        unfinished=kind == "private_key" and _lacks_numbers(key_type, told),
    )


def _lacks_numbers(key_type: str | None, told: dict[str, Any]) -> bool:
    """Whether the token tells the first of a private key's numbers as empty; what it does not tell says nothing."""
    return not told.get("MODULUS" if key_type == "RSA" else "EC_PARAMS", b"more")


def told_attributes(handle: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the attributes that the token tells, by name."""
    numbers = {int(getattr(Attribute, name)): name for name in names if hasattr(Attribute, name)}
    try:
        told = handle.get_attributes([Attribute(number) for number in numbers])
    except (pkcs11.PKCS11Error, ValueError, NotImplementedError):
        # Some tokens answer no question at all when one part of it does not fit.
        return _one_by_one(handle, numbers)
    return {numbers[int(number)]: value for number, value in told.items()}


def _one_by_one(handle: Any, numbers: dict[int, str]) -> dict[str, Any]:
    told = {}
    for number, name in numbers.items():
        try:
            told[name] = handle[Attribute(number)]
        except (pkcs11.PKCS11Error, ValueError, NotImplementedError, IndexError):
            continue  # the object has no such attribute, or the token does not tell it
    return told


def _public_key(key_type: str | None, told: dict[str, Any]) -> bytes | None:
    """DER SubjectPublicKeyInfo from the attributes of a public key (or of an RSA private key, which has them too)."""
    if key_type == "RSA" and told.get("MODULUS") and told.get("PUBLIC_EXPONENT"):
        numbers = [int.from_bytes(told[name], "big") for name in ("PUBLIC_EXPONENT", "MODULUS")]
        return _der(lambda: rsa.RSAPublicNumbers(*numbers).public_key())
    curve = _CURVES.get(bytes(told.get("EC_PARAMS") or b"").hex())
    if curve is None or not told.get("EC_POINT"):
        return None
    return _point(curve, bytes(told["EC_POINT"]))


def _point(curve: str, value: bytes) -> bytes | None:
    # An OCTET STRING by the standard; some tokens give its content only.
    point = value[2:] if value[:1] == b"\x04" and len(value) > 2 and value[1] == len(value) - 2 else value
    point = value[3:] if value[:2] == b"\x04\x81" and value[2:3] == bytes([len(value) - 3]) else point
    classes: dict[str, Any] = {"ed25519": ed25519.Ed25519PublicKey, "x25519": x25519.X25519PublicKey}
    if curve in classes:
        return _der(lambda: classes[curve].from_public_bytes(point))
    named: dict[str, Any] = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1, "secp521r1": ec.SECP521R1}
    return _der(lambda: ec.EllipticCurvePublicKey.from_encoded_point(named[curve](), point))


def _der(make: Any) -> bytes | None:
    try:
        return bytes(make().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except ValueError:
        return None  # no point of that curve, no modulus: then nothing is known about the public key
