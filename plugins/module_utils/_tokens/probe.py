# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a token truly enforces, found out with session objects that are gone afterwards.

Attributes are promises. Several tokens store them and do otherwise: a key marked for signing decrypts, a copy of an
unextractable key may be extracted. So every promise that the collection builds on is put to the test, on the token
itself: python-pkcs11 hides the operations that a key's attributes forbid, and such a method that is not there proves
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import name_of

try:
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError as error:
    note_missing_library(error)

# Whoever probes has loaded a token's library, and that says what is missing.
with suppress(ImportError):
    from pkcs11 import Attribute, KeyType, MechanismFlag, PKCS11Error
    from pkcs11.mechanisms import KDF, Mechanism
    from pkcs11.util.ec import encode_named_curve_parameters

HOLDS, FAILS, UNKNOWN = "holds", "fails", "unknown"
_DECRYPTING = 0x00000100 | 0x00000200  # CKF_ENCRYPT, CKF_DECRYPT


@dataclass(frozen=True)
class Finding:
    """What one test found.

    Attributes:
        name: of the promise, stable across releases.
        outcome: ``holds``, ``fails``, or ``unknown`` where the token lacks what the test needs.
        detail: what the token did, for the user.
    """

    name: str
    outcome: str
    detail: str


class _CannotTell(Exception):
    """The token lacks what the test needs."""


def probe(session: Any) -> list[Finding]:
    """Put every promise to the test.

    Args:
        session: writable, with the user logged in. Nothing is left on the token.
    """
    keys = _Keys(session)
    return [_finding(name, test, keys) for name, test in _TESTS.items()]


def unguarded(key: Any) -> Any:
    """The key with all operations, so that it is the token that refuses and not this process."""
    from pkcs11 import _pkcs11

    names = ("DecryptMixin", "SignMixin", "DeriveMixin", "WrapMixin", "UnwrapMixin")
    mixins = [getattr(_pkcs11, name) for name in names]
    missing = [mixin for mixin in mixins if not isinstance(key, mixin)]
    return type("Unguarded", (*missing, type(key)), {})(key.wrapper)


def _finding(name: str, test: Callable[[_Keys], str], keys: _Keys) -> Finding:
    """``test`` returns how the token kept its promise, or raises _Broken with how it broke it."""
    try:
        return Finding(name, HOLDS, test(keys))
    except _Broken as broken:
        return Finding(name, FAILS, str(broken))
    except _CannotTell as reason:
        return Finding(name, UNKNOWN, str(reason))


class _Broken(Exception):
    """The token did what it had promised not to do."""


def _refused(doing: str, work: Callable[[], Any]) -> str:
    """How the token refused; raise _Broken when it did not."""
    try:
        work()
    except PKCS11Error as error:
        if name_of(error) == "MechanismInvalid":  # which the token would say of the right key, too
            raise _CannotTell(f"{doing} is not known to the token") from error
        return f"{doing} is refused ({name_of(error)})"
    raise _Broken(f"{doing} is done")


def _possible(doing: str, work: Callable[[], Any]) -> Any:
    """What ``work`` makes; raise _CannotTell when the token cannot do it."""
    try:
        return work()
    except (PKCS11Error, NotImplementedError) as error:
        raise _CannotTell(f"{doing} is not possible here ({name_of(error)})") from error


class _Keys:
    """The session keys that the tests share, each made when it is first wanted: making RSA keys is what takes time."""

    def __init__(self, session: Any) -> None:
        self.session = session

    @cached_property
    def signing(self) -> Any:
        """RSA, for signing only, not modifiable, not extractable."""
        return self._rsa(MechanismFlag.SIGN | MechanismFlag.VERIFY, modifiable=False, extractable=False)

    @cached_property
    def decrypting(self) -> Any:
        """RSA, for decryption only, not modifiable, not extractable."""
        return self._rsa(_DECRYPTING, modifiable=False, extractable=False)

    @cached_property
    def extractable(self) -> Any:
        """RSA, for decryption, extractable."""
        return self._rsa(_DECRYPTING, extractable=True)

    @cached_property
    def trusting(self) -> Any:
        """RSA, for decryption, extractable under a trusted key only."""
        return self._rsa(_DECRYPTING, extractable=True, wrap_with_trusted=True)

    @cached_property
    def wrapping(self) -> Any:
        """AES-256, for wrapping; not trusted."""
        uses = MechanismFlag.WRAP | MechanismFlag.UNWRAP | MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        return _possible("making an AES key", lambda: self.session.generate_key(KeyType.AES, 256, capabilities=uses))

    def curve(self, uses: int) -> Any:
        """P-256, for these uses."""
        parameters = self.session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
        )
        template = {Attribute.EXTRACTABLE: False}
        return _possible(
            "making a P-256 key", lambda: parameters.generate_keypair(capabilities=uses, private_template=template)
        )[1]

    def _rsa(self, uses: int, **attributes: bool) -> Any:
        template = {getattr(Attribute, name.upper()): value for name, value in attributes.items()}
        return _possible(
            "making an RSA key",
            lambda: self.session.generate_keypair(KeyType.RSA, 2048, capabilities=uses, private_template=template),
        )[1]


def _sign(key: Any, mechanism: Any) -> Callable[[], Any]:
    return lambda: unguarded(key).sign(b"probe", mechanism=mechanism)


def _decrypt(key: Any) -> Callable[[], Any]:
    modulus, exponent = (int.from_bytes(key[name], "big") for name in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
    message = rsa.RSAPublicNumbers(exponent, modulus).public_key().encrypt(b"probe", padding.PKCS1v15())
    return lambda: unguarded(key).decrypt(message, mechanism=Mechanism.RSA_PKCS)


def _derive(key: Any) -> Callable[[], Any]:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return lambda: unguarded(key).derive_key(
        KeyType.GENERIC_SECRET,
        256,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        capabilities=0,
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )


def _signing_key_does_not_decrypt(keys: _Keys) -> str:
    return _refused("decrypting with an RSA key for signing", _decrypt(keys.signing))


def _decryption_key_does_not_sign(keys: _Keys) -> str:
    return _refused("signing with an RSA key for decryption", _sign(keys.decrypting, Mechanism.RSA_PKCS))


def _signing_key_does_not_agree(keys: _Keys) -> str:
    key = keys.curve(MechanismFlag.SIGN | MechanismFlag.VERIFY)
    return _refused("key agreement with a P-256 key for signing", _derive(key))


def _agreement_key_does_not_sign(keys: _Keys) -> str:
    return _refused(
        "signing with a P-256 key for key agreement", _sign(keys.curve(MechanismFlag.DERIVE), Mechanism.ECDSA)
    )


def _usage_cannot_be_changed(keys: _Keys) -> str:
    key = keys.signing

    def change() -> None:
        key[Attribute.DECRYPT] = True

    said = _refused("changing the usage of a key that is not modifiable", change)
    if key[Attribute.DECRYPT]:
        raise _Broken("changing the usage of a key that is not modifiable is refused, and done all the same")
    return said


def _copies_keep_usage(keys: _Keys) -> str:
    try:
        copy = keys.signing.copy({Attribute.DECRYPT: True})
    except PKCS11Error as error:
        return f"making a copy with another usage is refused ({name_of(error)})"
    return _refused("decrypting with a copy of a key for signing", _decrypt(copy))


def _copies_stay_inside(keys: _Keys) -> str:
    doing = "making an extractable copy of an unextractable key"
    try:
        copy = keys.decrypting.copy({Attribute.EXTRACTABLE: True})
    except PKCS11Error as error:
        return f"{doing} is refused ({name_of(error)})"
    if copy[Attribute.EXTRACTABLE]:
        raise _Broken(f"{doing} is done")
    return "a copy of an unextractable key stays unextractable"


def _sensitive_is_not_read(keys: _Keys) -> str:
    key = keys.decrypting
    _refused("reading a prime of a sensitive key", lambda: key[Attribute.PRIME_1])
    return _refused("reading the private exponent of a sensitive key", lambda: key[Attribute.PRIVATE_EXPONENT])


def _unextractable_is_not_wrapped(keys: _Keys) -> str:
    return _not_wrapped(keys, keys.decrypting, "wrapping an unextractable key")


def _wrap_with_trusted(keys: _Keys) -> str:
    key = keys.trusting
    if not _possible("reading WRAP_WITH_TRUSTED", lambda: key[Attribute.WRAP_WITH_TRUSTED]):
        raise _Broken("a key made with WRAP_WITH_TRUSTED does not have it")
    return _not_wrapped(keys, key, "wrapping a key under an untrusted one that only a trusted one may wrap")


def _not_wrapped(keys: _Keys, key: Any, doing: str) -> str:
    """Tried in every way in which the token wraps another key: a way that it does not know shows nothing."""
    said = ""
    for mechanism, parameter in _wrappings():
        wrap = partial(unguarded(keys.wrapping).wrap_key, mechanism=mechanism, mechanism_param=parameter)
        try:
            wrap(keys.extractable)
        except PKCS11Error:
            continue
        said = _refused(f"{doing} ({mechanism.name})", partial(wrap, key))
    if not said:
        raise _CannotTell("the token wraps no RSA key under an AES key")
    return said


def _wrappings() -> list[tuple[Any, bytes | None]]:
    names = ("AES_KEY_WRAP_KWP", "AES_KEY_WRAP_PAD", "AES_KEY_WRAP", "AES_CBC_PAD")
    known = [getattr(Mechanism, name) for name in names if hasattr(Mechanism, name)]
    return [(one, os.urandom(16) if one.name == "AES_CBC_PAD" else None) for one in known]


_TESTS: dict[str, Callable[[_Keys], str]] = {
    "signing_key_does_not_decrypt": _signing_key_does_not_decrypt,
    "decryption_key_does_not_sign": _decryption_key_does_not_sign,
    "signing_key_does_not_agree": _signing_key_does_not_agree,
    "agreement_key_does_not_sign": _agreement_key_does_not_sign,
    "usage_cannot_be_changed": _usage_cannot_be_changed,
    "copies_keep_usage": _copies_keep_usage,
    "copies_stay_inside": _copies_stay_inside,
    "sensitive_is_not_read": _sensitive_is_not_read,
    "unextractable_is_not_wrapped": _unextractable_is_not_wrapped,
    "wrap_with_trusted": _wrap_with_trusted,
}

#: The names of all promises, in their order.
NAMES = tuple(_TESTS)
