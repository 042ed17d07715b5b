# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key files: bytes to facts or to a private key, and back.

Invariants:

- Anything that is not exactly one whole private key is ``KeyUnreadable``, whatever is wrong with it, and the message
  says what; no parser's own exception gets out, and no content gets into a message.
- Facts come from the public half in the file, without loading the private one (docs: speed). They are the file's own
  claim. Before a key is sealed, recovered or used to sign, ``check_fully`` proves that both halves belong together.
- A key is held and written in one form, PKCS#8 version 0, with the usage attribute that it came with.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyUnreadable,
    WrongPassphrase,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import (
    der,
    identity,
    openssh,
    pbes2,
    pem,
    pkcs8,
    soundness,
    traditional,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, PrivateKey

try:
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)


def facts_of(data: bytes, passphrase: str | None = None) -> KeyFacts:
    """The public facts of the one private key in a file's content.

    Args:
        data: PEM or DER: PKCS#8, encrypted PKCS#8, PKCS#1, SEC1, DSA, or OpenSSH's own format.
        passphrase: opens an encrypted one. Without need it is ignored; see ``is_encrypted``.

    Raises:
        WrongPassphrase: it is encrypted, and the passphrase is missing or does not open it.
        KeyUnreadable: for everything else that is not one whole private key.
    """
    with _readable():
        found = _find(data)
        if found.container == "openssh":
            public_key = openssh.public_half(found.content)
            return _facts(public_key, identity.algorithm_of(public_key), None, "openssh")
        return _facts_of(_open(found, passphrase), found.container)


def load(data: bytes, passphrase: str | None = None) -> PrivateKey:
    """The one private key in a file's content, in the one form in which keys are held; not fully checked.

    Raises:
        WrongPassphrase, KeyUnreadable: as ``facts_of``.
    """
    with _readable():
        found = _find(data)
        return _key(_open(found, passphrase), found.container)


def is_encrypted(data: bytes) -> bool:
    """Whether the file's private key is encrypted.

    Raises:
        KeyUnreadable: it is not one whole private key.
    """
    with _readable():
        return _find(data).encrypted


def check_only_key(data: bytes) -> None:
    """Raise KeyUnreadable unless the file holds its private key alone, so that nothing else is lost with it."""
    with _readable():
        if pem.looks_like_pem(data):
            others = [label for label in pem.private_key_block(data).others if not label.endswith("PARAMETERS")]
            if others:
                raise FormatError(f"the file also holds {', '.join(others)}, which would be lost")


def serialize(key: PrivateKey, passphrase: str | None = None) -> bytes:
    """The content of the key's file: PEM, encrypted when there is a passphrase."""
    if passphrase is None:
        return pem.write("PRIVATE KEY", key.pkcs8)
    return pem.write("ENCRYPTED PRIVATE KEY", pbes2.encrypt(key.pkcs8, passphrase))


def with_usage(key: PrivateKey, usage: str) -> PrivateKey:
    """The same key, bound to the usage."""
    info = pkcs8.with_usage(pkcs8.parse(key.pkcs8), usage)
    return PrivateKey(pkcs8.compose(info), replace(key.facts, bound_usage=info.usage))


def from_cryptography(private_key: Any, usage: str | None = None) -> PrivateKey:
    """The private key of a cryptography object, bound to the usage if there is one."""
    info = pkcs8.parse(_pkcs8_of(private_key))
    return _key(pkcs8.with_usage(info, usage) if usage else info, "pkcs8")


def to_cryptography(key: PrivateKey) -> Any:
    """The cryptography object of the key, as far as that library checks it.

    Raises:
        KeyUnreadable: the library refuses it.
    """
    # The attributes are left out: they are ours to read, and no library then has an opinion on them.
    plain = pkcs8.compose(replace(pkcs8.parse(key.pkcs8), attributes=()))
    with _readable():
        return serialization.load_der_private_key(plain, None)


def check_fully(key: PrivateKey) -> Any:
    """Prove that the private half is sound and belongs to the public half; returns the cryptography object.

    Raises:
        KeyUnreadable: it does not.
    """
    loaded = to_cryptography(key)
    with _readable():
        soundness.check(loaded, pkcs8.parse(key.pkcs8), key.facts.public_key)
    return loaded


@dataclass(frozen=True)
class _Found:
    """What kind of file it is: see ``KeyFacts.container``. ``content`` is DER or, for OpenSSH, the decoded block."""

    container: str
    encrypted: bool
    content: bytes = field(repr=False)
    block: pem.Block | None = None


def _find(data: bytes) -> _Found:
    if not data.strip():
        raise FormatError("the file is empty")
    if not pem.looks_like_pem(data):
        return _find_der(data)
    block = pem.private_key_block(data)
    if block.label == "OPENSSH PRIVATE KEY":
        return _Found("openssh", openssh.is_encrypted(block.content), block.content, block)
    if block.encrypted:
        return _Found("traditional", True, block.content, block)
    found = _find_der(block.content)
    if block.label not in _LABELS[found.container]:
        raise FormatError(f"the PEM block {block.label} holds something else")
    return replace(found, block=block)


_LABELS = {
    "pkcs8": ("PRIVATE KEY",),
    "encrypted-pkcs8": ("ENCRYPTED PRIVATE KEY",),
    "traditional": ("RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY"),
}


def _find_der(data: bytes) -> _Found:
    try:
        tags = [element.tag for element in der.read_sequence(data)]
    except FormatError as error:
        raise FormatError(f"neither PEM nor DER of a private key ({error})") from error
    if tags[:3] == [der.INTEGER, der.SEQUENCE, der.OCTET_STRING]:
        return _Found("pkcs8", False, data)
    if tags == [der.SEQUENCE, der.OCTET_STRING]:
        return _Found("encrypted-pkcs8", True, data)
    if tags[:2] in ([der.INTEGER, der.INTEGER], [der.INTEGER, der.OCTET_STRING]):
        return _Found("traditional", False, data)
    raise FormatError("the file holds no private key")


def _open(found: _Found, passphrase: str | None) -> pkcs8.PrivateKeyInfo:
    if found.encrypted and passphrase is None:
        raise WrongPassphrase("the key is encrypted; give its passphrase")
    if found.container == "pkcs8":
        return pkcs8.parse(found.content)
    if found.container == "encrypted-pkcs8":
        return _decrypted(found.content, passphrase)
    if found.container == "traditional" and not found.encrypted:
        return traditional.parse(found.content)
    return _loaded(found, passphrase)


def _decrypted(data: bytes, passphrase: str | None) -> pkcs8.PrivateKeyInfo:
    try:
        opened = pbes2.decrypt(data, passphrase)
    except pbes2.UnknownScheme:
        return _loaded(_Found("encrypted-pkcs8", True, data), passphrase)
    try:
        return pkcs8.parse(opened)
    except FormatError as error:
        # One in 256 wrong passphrases passes the padding and shows here.
        raise WrongPassphrase("the passphrase does not open the key, or the file is damaged") from error


def _loaded(found: _Found, passphrase: str | None) -> pkcs8.PrivateKeyInfo:
    """By the library: OpenSSH's format, and old ways of encryption. A usage attribute does not survive it."""
    password = passphrase.encode("utf-8") if found.encrypted and passphrase is not None else None
    text = found.block.text + b"\n" if found.block else b""
    key: Any
    try:
        if found.container == "openssh":
            key = serialization.load_ssh_private_key(text, password)
        elif found.container == "traditional":
            key = serialization.load_pem_private_key(text, password)
        else:
            key = serialization.load_der_private_key(found.content, password)
    except (ValueError, TypeError) as error:
        if found.encrypted:
            raise WrongPassphrase("the passphrase does not open the key, or the file is damaged") from error
        raise
    return pkcs8.parse(_pkcs8_of(key))


def _pkcs8_of(private_key: Any) -> bytes:
    return private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key(info: pkcs8.PrivateKeyInfo, container: str) -> PrivateKey:
    facts = _facts_of(info, container)
    return PrivateKey(pkcs8.compose(info), facts)


def _facts_of(info: pkcs8.PrivateKeyInfo, container: str) -> KeyFacts:
    public_key = pkcs8.public_half(info)
    return _facts(public_key, pkcs8.algorithm_word(info, public_key), info.usage, container)


def _facts(public_key: bytes, algorithm: str, usage: str | None, container: str) -> KeyFacts:
    return KeyFacts(hashlib.sha256(public_key).hexdigest(), algorithm, public_key, usage, container)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnsupportedAlgorithm as error:
        raise KeyUnreadable("the key's type or its encryption is not supported by this host's cryptography") from error
    except FormatError as error:
        raise KeyUnreadable(f"not a readable private key: {error}") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, NotImplementedError, InternalError) as error:
        # All of these were seen for damaged keys. The library's own words are not repeated: they may quote content.
        raise KeyUnreadable("not a readable private key: damaged, or of a kind that is not supported") from error
