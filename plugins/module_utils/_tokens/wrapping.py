# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give a private key out of a token, wrapped, and never in the clear (docs/formats.md, "Keys from a token").

The token makes a session key K (AES-256), wraps the private key under K and K to each agent's certificate, and makes an
AES-CMAC with K. All four happen inside: neither K nor the private key is ever a value of this process. K is a session
object, so it is gone when the session ends.

What a token can do differs, and tokens misname it (SoftHSM's AES_KEY_WRAP_PAD is RFC 5649). So each way is tried with
a throwaway key, whose wrapped size tells which format it is, and what was really used is handed on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import NotWrappable, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import name_of

try:
    from cryptography.hazmat.primitives.serialization import load_der_public_key
except ImportError as error:
    note_missing_library(error)

with suppress(ImportError):  # whoever opens a token has loaded its library, and that says what is missing
    from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass, PKCS11Error
    from pkcs11.mechanisms import MGF, Mechanism

#: The ways to wrap a private key, the best first: name in the formats, PKCS#11 mechanism, and what a wrapped 32-byte
#: key measures in this format.
_WAYS = (
    ("aes-kwp", "AES_KEY_WRAP_KWP", 40),
    ("aes-kwp", "AES_KEY_WRAP_PAD", 40),
    ("aes-kw-pkcs7", "AES_KEY_WRAP_PKCS7", 48),
    ("aes-kw-pkcs7", "AES_KEY_WRAP_PAD", 48),
    ("aes-cbc-pad", "AES_CBC_PAD", 48),
    ("aes-kw", "AES_KEY_WRAP", 40),
)
_IV_SIZE = 16


@dataclass(frozen=True)
class Wrapped:
    """A private key under a session key.

    Attributes:
        wrapping: how, as the formats call it.
        blob: ciphertext; for ``aes-cbc-pad`` with the initialisation vector in front.
        session_key: the handle of K.
    """

    wrapping: str
    blob: bytes = field(repr=False)
    session_key: Any = field(repr=False)


class Wrapper:
    """What one token does to give keys out; learnt once, for all keys of a session."""

    def __init__(self, session: Any, label: str) -> None:
        """
        Args:
            session: logged in.
            label: of the token, for messages.

        Raises:
            NotWrappable: the token makes no AES keys, wraps nothing with them, or makes no AES-CMAC.
        """
        self._session = session
        self._label = label
        self._ways = self._found_ways()
        self.prove(self._session_key(), b"")  # or a key would be made for its archive that has none
        self._recipients: dict[bytes, Any] = {}
        self._hash = ""

    def wrap(self, handle: Any, name: str) -> Wrapped:
        """A private key under a fresh K.

        Args:
            handle: of the private key.
            name: of the key, for messages.

        Raises:
            NotWrappable: in none of the ways that the token has.
        """
        session_key = self._session_key()
        answers = {}
        for wrapping, mechanism in self._ways:
            try:
                return Wrapped(wrapping, _wrap(session_key, handle, mechanism), session_key)
            except PKCS11Error as error:
                answers[mechanism.name] = name_of(error)
        told = ", ".join(f"{mechanism}: {answer}" for mechanism, answer in answers.items())
        raise NotWrappable(
            f"the token {self._label!r} does not wrap the key {name} ({told}), so it can never be archived from there. "
            "Make a new key that the token can wrap: extractable, and of a type that it wraps (docs/tokens.md)"
        )

    def wrap_to(self, session_key: Any, public_key: bytes) -> tuple[str, bytes]:
        """The OAEP hash that the token can do best, and K to an RSA key (DER SubjectPublicKeyInfo).

        Raises:
            NotWrappable: the token wraps no keys with RSA-OAEP.
        """
        recipient = self._recipient(public_key)
        answers = []
        for name in (self._hash,) if self._hash else ("sha256", "sha1"):
            try:
                wrapped = bytes(recipient.wrap_key(session_key, **oaep(name)))
                self._hash = name
                return name, wrapped
            except PKCS11Error as error:
                answers.append(f"{name}: {name_of(error)}")
        raise self._cannot(f"wraps no key with RSA-OAEP ({', '.join(answers)})")

    def prove(self, session_key: Any, statement: bytes) -> str:
        """AES-CMAC under K, in hex.

        Raises:
            NotWrappable: the token makes none.
        """
        try:
            return bytes(session_key.sign(statement, mechanism=Mechanism.AES_CMAC)).hex()
        except PKCS11Error as error:
            raise self._cannot(f"makes no AES-CMAC ({name_of(error)})") from error

    def _found_ways(self) -> list[tuple[str, Any]]:
        session_key, sample = self._session_key(), self._session_key()
        found = []
        for wrapping, name, size in _WAYS:
            mechanism = getattr(Mechanism, name, None)
            with suppress(PKCS11Error):
                blob = _wrap(session_key, sample, mechanism) if mechanism is not None else b""
                if len(blob) - (_IV_SIZE if wrapping == "aes-cbc-pad" else 0) == size:
                    found.append((wrapping, mechanism))
        if not found:
            raise self._cannot("wraps no key under an AES key in a way that is known here")
        return found

    def _session_key(self) -> Any:
        template = {
            **{Attribute.TOKEN: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True},
            **{Attribute.ENCRYPT: False, Attribute.DECRYPT: False, Attribute.VERIFY: False, Attribute.UNWRAP: False},
        }
        try:
            return self._session.generate_key(
                KeyType.AES, 256, capabilities=MechanismFlag.WRAP | MechanismFlag.SIGN, template=template
            )
        except PKCS11Error as error:
            raise self._cannot(f"makes no AES-256 key that wraps and signs ({name_of(error)})") from error

    def _recipient(self, public_key: bytes) -> Any:
        if public_key not in self._recipients:
            numbers: Any = load_der_public_key(public_key).public_numbers()  # type: ignore[union-attr]
            template = {
                **{Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.RSA, Attribute.TOKEN: False},
                **{Attribute.WRAP: True, Attribute.ENCRYPT: False, Attribute.VERIFY: False},
                Attribute.MODULUS: _bytes_of(numbers.n),
                Attribute.PUBLIC_EXPONENT: _bytes_of(numbers.e),
            }
            try:
                self._recipients[public_key] = self._session.create_object(template)
            except PKCS11Error as error:
                raise self._cannot(f"takes no public key to wrap to ({name_of(error)})") from error
        return self._recipients[public_key]

    def _cannot(self, what: str) -> NotWrappable:
        return NotWrappable(f"the token {self._label!r} {what}, so no key can be archived from it")


def _wrap(session_key: Any, handle: Any, mechanism: Any) -> bytes:
    vector = os.urandom(_IV_SIZE) if mechanism.name == "AES_CBC_PAD" else b""
    return vector + bytes(session_key.wrap_key(handle, mechanism=mechanism, mechanism_param=vector or None))


def require_wrappable(session: Any, label: str, handle: Any, name: str) -> None:
    """Raise NotWrappable unless this key could be archived from this token: found out by wrapping it, for nobody."""
    Wrapper(session, label).wrap(handle, name)


def oaep(name: str) -> dict[str, Any]:
    """RSA-OAEP with this hash for both parts, without a label, as python-pkcs11 takes it."""
    pairs = {"sha256": (Mechanism.SHA256, MGF.SHA256), "sha1": (Mechanism.SHA_1, MGF.SHA1)}
    return {"mechanism": Mechanism.RSA_PKCS_OAEP, "mechanism_param": (*pairs[name], None)}


def mechanisms_of(wrapping: str) -> Iterator[Any]:
    """The PKCS#11 mechanisms that may open what was wrapped in this way."""
    for name, mechanism, dummy in _WAYS:
        if name == wrapping and hasattr(Mechanism, mechanism):
            yield getattr(Mechanism, mechanism)


def unwrap_parameters(wrapping: str, blob: bytes) -> tuple[bytes | None, bytes]:
    """The mechanism's parameter, and what is to be unwrapped."""
    return (blob[:_IV_SIZE], blob[_IV_SIZE:]) if wrapping == "aes-cbc-pad" else (None, blob)


def _bytes_of(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
