# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private keys on a token that can be used like key objects of cryptography: what is done with them, the token does.

So the one reader of sealed messages and the one signer of statements serve agents with key files and with smart cards.

- Only what those two ask for is here, and what other people's messages need: RSA-OAEP, ECDH, RSA PKCS#1 v1.5 for
  decrypting, and the signatures of DSSE statements.
- Many cards do RSA-OAEP with SHA-1 only, or none: then the token does the bare RSA operation (CKM_RSA_X_509), and the
  padding is taken off here, in the same process that would get the plaintext anyway. A wrong padding is an error like
  every other; whoever calls makes no difference of it (cms_open, step 3).
- A login lasts as long as ``opened``; a token is logged in to once, for all its keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    KeyNotFound,
    KeyUnreadable,
    OptionError,
    TokenAmbiguous,
    TokenError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, objects, session, signing
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library as libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import answer_of, name_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.probe import unguarded
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri

try:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
except ImportError as error:
    note_missing_library(error)

with contextlib.suppress(ImportError):  # whoever opens a token has loaded its library, and that says what is missing
    from pkcs11 import Attribute, KeyType, PKCS11Error
    from pkcs11.mechanisms import KDF, MGF, Mechanism

#: Answers of tokens that depend on what they were given to decrypt.
_OF_THE_DATA = (
    *("EncryptedDataInvalid", "EncryptedDataLenRange", "DataInvalid", "DataLenRange"),
    *("FunctionFailed", "GeneralError"),
)
_TOKEN_PARTS = ("token", "manufacturer", "model", "serial")


@dataclass(frozen=True)
class Asked:
    """One key on a token that is to be used.

    Attributes:
        option: name of the option that holds the reference, for messages.
        uri: with library, token and object.
        pin: the user PIN, or None when the URI has a pin-source.
    """

    option: str
    uri: TokenUri
    pin: str | None = field(repr=False)


@contextlib.contextmanager
def opened(asked: Sequence[Asked], lock_in: str | None = None) -> Iterator[list[Any]]:
    """Keys on tokens, in the order in which they are asked for; each can be used until the end of the block.

    Args:
        asked: the keys.
        lock_in: the state folder whose other users wait while this logs in; None where nobody else uses the token, as
            with a person's card.

    Raises:
        OptionError: no PIN, two of them, or two different ones for one token.
        TokenError, WrongPin, KeyNotFound, KeyUnreadable (HalvesDiffer): with the option's name in front.
    """
    with contextlib.ExitStack() as stack:
        known: dict[tuple[str, str], tuple[str, list[objects.TokenObject]]] = {}
        with keys.all_locked(lock_in, [str(one.uri.module_path) for one in asked]):
            found = [_opened(one, known, stack) for one in asked]
        yield found


def _opened(one: Asked, known: dict, stack: contextlib.ExitStack) -> Any:
    try:
        pin = _pin(one)
        library = libraries.load(str(one.uri.module_path))
        facts, token = libraries.find(library, {part: getattr(one.uri, part) for part in _TOKEN_PARTS})
        place = (str(one.uri.module_path), facts.serial)
        if place not in known:
            logged_in = stack.enter_context(session.opened(token, pin))
            known[place] = (pin, objects.survey(logged_in))
        first_pin, found = known[place]
        if not hmac.compare_digest(first_pin.encode(), pin.encode()):
            raise OptionError("another PIN is given for the same token; one of them is wrong")
        return usable(_named(found, one.uri))
    except (OptionError, TokenError, KeyNotFound, KeyUnreadable) as error:
        raise type(error)(f"{one.option}: {error}") from error


def _pin(one: Asked) -> str:
    if one.pin is not None and one.uri.pin_file is not None:
        raise OptionError(f"{one.option}_pin is given although the URI has a pin-source; give one of them")
    pin = session.pin_from_file(one.uri.pin_file) if one.uri.pin_file else one.pin
    if pin is None:
        raise OptionError(
            f"the key is on a token, which wants a PIN: give {one.option}_pin, or a pin-source in the URI"
        )
    return pin


def _named(found: list[objects.TokenObject], uri: TokenUri) -> objects.TokenObject:
    wanted_id = None if uri.object_id is None else uri.object_id.hex()
    fitting = [
        one
        for one in found
        if one.kind == "private_key" and uri.label in (None, one.label) and wanted_id in (None, one.object_id)
    ]
    if not fitting:
        raise KeyNotFound(f"the token has no private key {uri.label!r}; look with hsm_info")
    if len(fitting) > 1:
        raise TokenAmbiguous(f"the token has {len(fitting)} private keys {uri.label!r}; name one by id= in the URI")
    return fitting[0]


def usable(one: objects.TokenObject) -> Any:
    """A private key on a token as an object like cryptography's.

    Raises:
        HalvesDiffer, TokenError: the token tells another key's public half, or none, or nothing here uses its type.
        KeyUnreadable: the token has only a part of the private key.
    """
    objects.require_fitting(one)
    if one.public_key is None:
        raise TokenError(f"the token does not tell the public half of the key {one.label!r}")
    public_key = load_der_public_key(one.public_key)
    for kind, registered, made in (
        (rsa.RSAPublicKey, rsa.RSAPrivateKey, _RsaKey),
        (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey, _EcKey),
        (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey, _EdKey),
    ):
        if isinstance(public_key, kind):
            registered.register(made)  # so that what asks for a key's type is answered
            return made(one.label, public_key, unguarded(one.handle))
    raise TokenError(f"the key {one.label!r} is of a type that is not used from a token")


class _Key:
    """What the three types share."""

    #: By which those tell them apart who give a key to a library that works with its own only.
    on_token = True

    def __init__(self, label: str, public_key: Any, handle: Any) -> None:
        self._label = label
        self._public_key = public_key
        self._handle = handle

    def public_key(self) -> Any:
        """The public half, a key object of cryptography."""
        return self._public_key

    def _told(self, doing: str, error: Exception) -> TokenError:
        return TokenError(f"{doing} with the key {self._label!r}: the token answers {answer_of(error)}")

    def _first(self, doing: str, *ways: Any) -> bytes:
        """What the first way gives that the token knows; a token answers an unknown one with all kinds of errors."""
        for way in ways[:-1]:
            with contextlib.suppress(PKCS11Error):
                return bytes(way())
        try:
            return bytes(ways[-1]())
        except PKCS11Error as error:
            raise self._told(doing, error) from error


class _RsaKey(_Key):
    @property
    def key_size(self) -> int:
        """Bits of the modulus."""
        return int(self._public_key.key_size)

    def decrypt(self, ciphertext: bytes, padding: Any) -> bytes:
        """RSA-OAEP, or PKCS#1 v1.5 (messages of other programs); ``padding`` is cryptography's.

        Raises:
            ValueError: the padding is wrong, as with cryptography.
            TokenError: the token does not decrypt with this key.
        """
        if len(ciphertext) != (self.key_size + 7) // 8:
            raise ValueError("the ciphertext does not have the key's size")
        try:
            if padding.name == "EMSA-PKCS1-v1_5":
                return self._first("decrypting", lambda: self._handle.decrypt(ciphertext, mechanism=Mechanism.RSA_PKCS))
            return self._decrypt_oaep(ciphertext, padding)
        except TokenError as error:
            # What depends on the ciphertext must look like every other wrong padding.
            if isinstance(error.__cause__, PKCS11Error) and name_of(error.__cause__) in _OF_THE_DATA:
                raise ValueError("decryption failed") from error
            raise

    def _decrypt_oaep(self, ciphertext: bytes, padding: Any) -> bytes:
        # Public names came with cryptography 42.
        name, mask_name = padding._algorithm.name, padding._mgf._algorithm.name
        mechanism, mask = Mechanism[name.upper().replace("SHA1", "SHA_1")], MGF[mask_name.upper()]
        label = padding._label or b""

        def whole() -> Any:
            return self._handle.decrypt(
                ciphertext, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=(mechanism, mask, label or None)
            )

        def bare() -> Any:
            block = self._handle.decrypt(ciphertext, mechanism=Mechanism.RSA_X_509)
            return _without_oaep(block.rjust(len(ciphertext), b"\0"), name, label, mask_name)

        return self._first("decrypting", whole, bare)

    def sign(self, data: bytes, padding: Any, algorithm: Any) -> bytes:
        """RSASSA-PSS with SHA-256 and a salt of 32 bytes, as in statements, or PKCS#1 v1.5, as in certificates."""
        if padding.name == "EMSA-PKCS1-v1_5":
            return signing.sign(self._handle, "rsa-", algorithm.name, data)
        parameters = (Mechanism.SHA256, MGF.SHA256, 32)

        def whole() -> Any:
            return self._handle.sign(data, mechanism=Mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=parameters)

        def bare() -> Any:
            digest = hashlib.sha256(data).digest()
            return self._handle.sign(digest, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters)

        return self._first("signing", whole, bare)


class _EcKey(_Key):
    @property
    def curve(self) -> Any:
        """The curve object of cryptography."""
        return self._public_key.curve

    def exchange(self, algorithm: Any, peer_public_key: Any) -> bytes:
        """The ECDH secret (its x coordinate) with a public key of cryptography on the same curve."""
        point = peer_public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        size = (self.curve.key_size + 7) // 8
        try:
            secret = self._handle.derive_key(
                KeyType.GENERIC_SECRET,
                size * 8,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                capabilities=0,
                template={Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
            )
            return bytes(secret[Attribute.VALUE])
        except PKCS11Error as error:
            raise self._told("agreeing on a secret", error) from error

    def sign(self, data: bytes, signature_algorithm: Any) -> bytes:
        """ECDSA over the hash of ``data``; the signature in DER."""
        digest = hashlib.new(signature_algorithm.algorithm.name, data).digest()
        # CKM_ECDSA takes the hash and gives r and s, each as long as the curve's order (PKCS#11 section 6.3.12).
        raw = self._first("signing", lambda: self._handle.sign(digest, mechanism=Mechanism.ECDSA))
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


class _EdKey(_Key):
    def sign(self, data: bytes) -> bytes:
        """Ed25519."""
        return self._first("signing", lambda: self._handle.sign(data, mechanism=Mechanism.EDDSA))


def _without_oaep(block: bytes, hash_name: str, label: bytes = b"", mask_name: str = "") -> bytes:
    """EME-OAEP decoding (RFC 8017 section 7.1.2, step 3).

    Raises:
        ValueError: the same for every kind of wrong padding, after the same work.
    """
    size = hashlib.new(hash_name).digest_size
    masked_seed, masked = block[1 : 1 + size], block[1 + size :]
    mask_name = mask_name or hash_name
    seed = _xor(masked_seed, _mask(masked, size, mask_name))
    data = _xor(masked, _mask(seed, len(masked), mask_name))
    expected = hashlib.new(hash_name, label).digest()
    sound = hmac.compare_digest(data[:size], expected) & (block[0] == 0)
    rest = data[size:].lstrip(b"\0")
    if not sound or rest[:1] != b"\x01":
        raise ValueError("decryption failed")
    return rest[1:]


def _mask(seed: bytes, size: int, hash_name: str) -> bytes:
    """MGF1 (RFC 8017 appendix B.2.1)."""
    length = hashlib.new(hash_name).digest_size
    blocks = [
        hashlib.new(hash_name, seed + count.to_bytes(4, "big")).digest()
        for count in range((size + length - 1) // length)
    ]
    return b"".join(blocks)[:size]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other))
