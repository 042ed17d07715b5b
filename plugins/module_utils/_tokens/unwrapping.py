# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take a wrapped private key into a token, without its plaintext in this process (docs/formats.md).

1. A request's one-time key is an RSA pair that the token makes and that can do nothing but unwrap. It is an object of
   the token, since request and recovery are two runs; its label says until when, so that any later run removes it.
2. The session key K is unwrapped with it, and the private key with K; both stay in the token.
3. Every attribute is stated, read back and compared; a key that came out otherwise is destroyed.

The public half is written first, as for generated keys: what a killed run leaves is a public half, and at most a
private one without its numbers (``TokenObject.unfinished``), which the next run removes before it looks for the key.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyUnreadable,
    OpenError,
    RecoveryError,
    StateError,
    TokenError,
    TokenMisbehaved,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, objects, templates, wrapping
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import name_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
except ImportError as error:
    note_missing_library(error)

with suppress(ImportError):  # whoever opens a token has loaded its library, and that says what is missing
    from pkcs11 import DEFAULT, Attribute, KeyType, MechanismFlag, ObjectClass, PKCS11Error

_PREFIX = "keyops-request"
_BITS = 3072
_PRIVATE_USES = ("DECRYPT", "SIGN", "SIGN_RECOVER", "UNWRAP", "DERIVE")
_PUBLIC_USES = ("ENCRYPT", "VERIFY", "VERIFY_RECOVER", "WRAP")
#: Not every token knows these; where it refuses a template, it is asked again without them.
_UNCOMMON = ("SIGN_RECOVER", "VERIFY_RECOVER")
#: Uses of other kinds of keys that python-pkcs11 would state for a private key, and SoftHSM then refuses.
_FOREIGN = ("ENCRYPT", "VERIFY", "WRAP")


@dataclass(frozen=True)
class NewKey:
    """A private key that is to be unwrapped.

    Attributes:
        usage: ``key_transport`` or ``key_agreement``.
        public_key: DER SubjectPublicKeyInfo; ``algorithm`` is its word.
        label, object_id: of both halves.
        extractable: whether keys of the token may wrap it again, never in the clear.
    """

    usage: str
    algorithm: str
    public_key: bytes = field(repr=False)
    label: str
    object_id: bytes
    extractable: bool = False


@dataclass(frozen=True)
class Envelope:
    """A private key under K.

    Attributes:
        wrapping: how (formats, wrapped_key.WRAPPINGS).
        blob: ciphertext.
    """

    wrapping: str
    blob: bytes = field(repr=False)


def make_one_time_key(session: Any, nonce: str, expires: str) -> tuple[bytes, str]:
    """A request's one-time key in the token: its DER SubjectPublicKeyInfo, and the OAEP hash that the token can do.

    Args:
        session: writable, logged in.
        nonce, expires: of the request.

    Raises:
        TokenError: the token does not make such a key, or cannot unwrap with it; nothing is left of it.
    """
    label = f"{_PREFIX} {nonce[:16]} {expires}"
    private = {name: name == "UNWRAP" for name in _PRIVATE_USES}
    guards = {"SENSITIVE": True, "EXTRACTABLE": False, "PRIVATE": True, "MODIFIABLE": False}
    public = {**{name: name == "WRAP" for name in _PUBLIC_USES}, "PRIVATE": False, "MODIFIABLE": False}

    def make(left_out: tuple[str, ...]) -> Any:
        return session.generate_keypair(
            KeyType.RSA,
            _BITS,
            label=label,
            id=bytes.fromhex(nonce),
            store=True,
            capabilities=MechanismFlag.UNWRAP | MechanismFlag.WRAP,
            public_template=_template(public, left_out),
            private_template=_template({**private, **guards}, left_out),
        )

    try:
        halves = _tried_twice(make)
    except PKCS11Error as error:
        raise TokenError(f"making the request's one-time key: the token answers {name_of(error)}") from error
    try:
        return _examined(halves)
    except (TokenError, PKCS11Error):
        for half in reversed(halves):
            half.destroy()
        raise


def _examined(halves: tuple[Any, Any]) -> tuple[bytes, str]:
    told = objects.read(halves[0])
    private = objects.read(halves[1], told.public_key)
    wanted = {"unwrap": True, "decrypt": False, "sign": False, "extractable": False, "sensitive": True}
    wrong = [name.upper() for name, value in wanted.items() if private.attributes.get(name) != value]
    if told.public_key is None or wrong:
        raise TokenMisbehaved(
            "the token made the request's one-time key otherwise than it was told "
            f"({', '.join(wrong) or 'no public half'}), and it was destroyed; recover into another token, or a file"
        )
    public_key: Any = load_der_public_key(told.public_key)
    for name, chosen in (("sha256", hashes.SHA256), ("sha1", hashes.SHA1)):
        method = padding.OAEP(mgf=padding.MGF1(chosen()), algorithm=chosen(), label=None)
        with suppress(OpenError):
            unwrap_session_key(halves[1], public_key.encrypt(os.urandom(32), method), name).destroy()
            return told.public_key, name
    raise TokenError("the token unwraps no AES key with RSA-OAEP, so nothing can be recovered into it")


def one_time_key(there: Iterable[TokenObject], public_key: bytes) -> TokenObject:
    """The private half of a request's one-time key.

    Raises:
        StateError: it is not there.
    """
    for one in there:
        if one.kind == "private_key" and one.public_key == public_key and one.label.startswith(_PREFIX):
            return one
    raise StateError(
        "the token does not have the one-time key of this request: recover into the token for which the request was "
        "made, or make a new request"
    )


def remove_one_time_keys(there: Iterable[TokenObject], now: datetime.datetime, public_key: bytes | None = None) -> None:
    """Destroy the one-time keys of requests whose time is over, those that are not whole, and the one with this key.

    Raises:
        TokenError: the token refuses.
    """
    own = {one.label for one in there if one.unfinished or (public_key and one.public_key == public_key)}
    for one in there:
        if one.label.startswith(_PREFIX) and (one.label in own or _is_over(one.label, now)):
            keys.destroy_object(one)


def _is_over(label: str, now: datetime.datetime) -> bool:
    try:
        return now >= times.parse(label.rsplit(" ", 1)[-1])
    except FormatError:
        return False  # somebody else's object, which only begins like one of ours


def unwrap_session_key(one_time: Any, ciphertext: bytes, oaep_hash: str) -> Any:
    """K in the token, for unwrapping only.

    Args:
        one_time: the handle of the one-time key.

    Raises:
        OpenError: it does not unwrap.
    """
    template = {
        **{Attribute.TOKEN: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        **{Attribute.ENCRYPT: False, Attribute.DECRYPT: False, Attribute.SIGN: False, Attribute.VERIFY: False},
        Attribute.WRAP: False,
    }
    try:
        return one_time.unwrap_key(
            *(ObjectClass.SECRET_KEY, KeyType.AES, ciphertext),
            **wrapping.oaep(oaep_hash),
            capabilities=MechanismFlag.UNWRAP,
            template=template,
        )
    except PKCS11Error as error:
        raise OpenError(f"the session key does not unwrap in the token ({name_of(error)})") from error


def unwrap_for_a_trial(session_key: Any, envelope: Envelope, new: NewKey) -> TokenObject:
    """The private key as an object of the session only, to see whether it is the right one.

    Raises:
        OpenError: it does not unwrap, or the token cannot unwrap it.
    """
    return objects.read(_unwrap(session_key, envelope, new, store=False), new.public_key)


def restore(
    session: Any, session_key: Any, envelope: Envelope, new: NewKey, check: Callable[[TokenObject], None]
) -> None:
    """Make the private key and its public half objects of the token, as the usage wants them.

    Args:
        check: raises RecoveryError unless the key that was made is the right one.

    Raises:
        TokenMisbehaved: the token made it otherwise; it is not there any more.
        TokenError: it cannot write it, or is full; nothing is left.
        KeyUnreadable, RecoveryError: what it wrote is not the key, or a part of it; nothing is left.
    """
    keys.remove_unwritten(session)
    public = _make_public(session, new)
    kept = [public]
    try:
        kept.append(_unwrapped_to_token(session_key, envelope, new))
        one = objects.read(kept[1], new.public_key)
        templates.check(one, new.usage, new.extractable)
        check(one)
    except (TokenError, KeyUnreadable, RecoveryError):
        for half in reversed(kept):
            with suppress(PKCS11Error):  # what a token cannot even destroy is taken away by the next run
                half.destroy()
        raise


def _unwrapped_to_token(session_key: Any, envelope: Envelope, new: NewKey) -> Any:
    try:
        return _unwrap(session_key, envelope, new, store=True)
    except OpenError as error:
        # The same has been an object of the session a moment ago: what fails is the writing.
        raise TokenError(f"writing the key {new.label!r}: {error}{keys.PERHAPS_FULL}") from error


def _unwrap(session_key: Any, envelope: Envelope, new: NewKey, store: bool) -> Any:
    template = {
        **dict.fromkeys((getattr(Attribute, name) for name in _FOREIGN), DEFAULT),
        **templates.private_template(new.usage, new.extractable),
        Attribute.TOKEN: store,
    }
    key_type = KeyType.RSA if new.algorithm.startswith("rsa-") else KeyType.EC
    parameter, blob = wrapping.unwrap_parameters(envelope.wrapping, envelope.blob)
    answers = []
    for mechanism in wrapping.mechanisms_of(envelope.wrapping):

        def unwrap(left_out: tuple[str, ...], mechanism: Any = mechanism) -> Any:
            return session_key.unwrap_key(
                *(ObjectClass.PRIVATE_KEY, key_type, blob),
                id=new.object_id,
                label=new.label,
                mechanism=mechanism,
                mechanism_param=parameter,
                store=store,
                capabilities=MechanismFlag(0),
                template=_less(template, left_out),
            )

        try:
            return _tried_twice(unwrap)
        except PKCS11Error as error:
            answers.append(f"{mechanism.name}: {name_of(error)}")
    raise OpenError(
        f"the private key, wrapped with {envelope.wrapping}, does not unwrap in the token ({', '.join(answers)})"
    )


def _make_public(session: Any, new: NewKey) -> Any:
    template = {
        **{Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: new.label, Attribute.ID: new.object_id},
        **_numbers(new),
        **templates.public_template(new.usage),
    }
    try:
        return _tried_twice(lambda left_out: session.create_object(_less(template, left_out)))
    except PKCS11Error as error:
        raise TokenError(
            f"writing the public half of {new.label!r}: the token answers {name_of(error)}{keys.PERHAPS_FULL}"
        ) from error


def _numbers(new: NewKey) -> dict[Any, Any]:
    """The public attributes by which the token knows the key (PKCS#11 sections 6.1.2 and 6.3.3)."""
    public_key: Any = load_der_public_key(new.public_key)
    if isinstance(public_key, rsa.RSAPublicKey):
        numbers = public_key.public_numbers()
        parts = {Attribute.MODULUS: numbers.n, Attribute.PUBLIC_EXPONENT: numbers.e}
        encoded = {name: part.to_bytes((part.bit_length() + 7) // 8, "big") for name, part in parts.items()}
        return {Attribute.KEY_TYPE: KeyType.RSA, **encoded}
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.EC_PARAMS: bytes.fromhex(keys._CURVES[new.algorithm]),
        # An OCTET STRING around it; P-521's is longer than a short length says.
        Attribute.EC_POINT: (b"\x04" if len(point) < 128 else b"\x04\x81") + bytes([len(point)]) + point,
    }


def _template(attributes: dict[str, Any], left_out: tuple[str, ...]) -> dict[Any, Any]:
    return {getattr(Attribute, name): value for name, value in attributes.items() if name not in left_out}


def _less(template: dict, names: tuple[str, ...]) -> dict:
    left_out = {getattr(Attribute, name) for name in names}
    return {name: value for name, value in template.items() if name not in left_out}


def _tried_twice(make: Callable[[tuple[str, ...]], Any]) -> Any:
    try:
        return make(())
    except PKCS11Error as error:
        if name_of(error) not in ("AttributeTypeInvalid", "TemplateInconsistent", "AttributeValueInvalid"):
            raise
        return make(_UNCOMMON)
