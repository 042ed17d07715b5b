# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open the session key K of a key from a token, hand it on, or unwrap with it where the key may go into a file.

An agent never hands on what it decrypts unless whoever made the share knew it: anybody may put the OAEP value of
somebody else's message into a share of an own key. So:

1. The value is opened with the wrapping key that the share names, and this is the agent's.
2. What does not open, or is no AES-256 key, is replaced by a random one: every forgery ends at the next step.
3. The CMAC over key ID, key owner, group and agent must verify under what was opened. Only then K goes on.

This would break if K were used for anything before step 3, or if the MAC did not name whose key it is.
"""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    FormatError,
    OpenError,
    WrappedKeyNotProven,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts, wrapped_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import Share

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, padding, serialization
    from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.cmac import CMAC
    from cryptography.hazmat.primitives.keywrap import (
        InvalidUnwrap,
        aes_key_unwrap,
        aes_key_unwrap_with_padding,
        aes_key_wrap,
        aes_key_wrap_with_padding,
    )
except ImportError as error:
    note_missing_library(error)

#: What wrap() can write, the best first.
WRITABLE = ("aes-kwp", "aes-kw-pkcs7", "aes-cbc-pad")


def oaep(name: str) -> Any:
    """RSAES-OAEP with this hash (of wrapped_key.HASHES) for both parts, without a label."""
    chosen = {"sha256": hashes.SHA256, "sha1": hashes.SHA1}[name]  # SHA-1 is sound in OAEP: no collision matters there
    return rsa_padding.OAEP(mgf=rsa_padding.MGF1(chosen()), algorithm=chosen(), label=None)


def open_proven(share: Share, wrapping_key: Any) -> bytes:
    """K of a share, 32 bytes.

    Args:
        share: of a key from a token, for this agent.
        wrapping_key: cryptography private key object of the agent (or what has its ``public_key`` and ``decrypt``), or
            None.

    Raises:
        AgentUnknown: the agent's wrapping key is missing, or is another one.
        WrappedKeyNotProven: the value was not made by who knew K, for this key, owner, group and agent.
    """
    wrapped = share.wrapped
    if wrapping_key is None:
        raise AgentUnknown("the key is from a token, and this share needs the agent's wrapping key: give wrapping_key")
    spki = wrapping_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if canonical.digest(spki) != wrapped.wrapping_key:  # 1
        raise AgentUnknown(f"the share wants the wrapping key {wrapped.wrapping_key}, and wrapping_key is another one")
    try:
        key = wrapping_key.decrypt(wrapped.ciphertext, oaep(wrapped.oaep_hash))
    except ValueError:
        key = b""
    if len(key) != wrapped_key.SIZE:  # 2
        key = os.urandom(wrapped_key.SIZE)
    check = CMAC(algorithms.AES(key))
    check.update(wrapped_key.statement(share.key_id, share.key_owner, share.group, share.agent_id))
    try:
        check.verify(bytes.fromhex(wrapped.mac))  # 3
    except InvalidSignature:
        raise WrappedKeyNotProven(
            f"the share of agent {share.agent_id} holds a wrapped key that its maker did not know, so it may be taken "
            "from somebody else's message: nothing of it is released. Find out who wrote this record"
        ) from None
    return key


def encrypt_to_token(key: bytes, token_key: bytes, oaep_hash: str) -> bytes:
    """K for a request's one-time key in a token.

    Args:
        token_key: DER SubjectPublicKeyInfo, RSA.
        oaep_hash: which the token can open.

    Raises:
        FormatError: it is no RSA key of at least 2048 bits.
    """
    to = cms_parts.key_recipient(token_key)
    if not to.is_rsa:
        raise FormatError("the request's one-time key for a token is not RSA")
    return bytes(to.public_key.encrypt(key, oaep(oaep_hash)))


def unwrap(key: bytes, wrapping: str, blob: bytes) -> bytes:
    """DER PrivateKeyInfo that a token wrapped under K.

    Raises:
        OpenError: it does not unwrap.
    """
    try:
        return _cut(_UNWRAP[wrapping](key, blob))
    except (InvalidUnwrap, ValueError, FormatError, KeyError) as error:
        raise OpenError("what the token wrapped does not unwrap with this key, or is no private key") from error


def wrap(key: bytes, wrapping: str, content: bytes) -> bytes:
    """A DER PrivateKeyInfo that was in a file, wrapped for a token; ``wrapping`` is one of WRITABLE."""
    if wrapping == "aes-kwp":
        return bytes(aes_key_wrap_with_padding(key, content))
    if wrapping == "aes-kw-pkcs7":
        return bytes(aes_key_wrap(key, _pad(content, 64)))
    vector = os.urandom(16)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return vector + bytes(encryptor.update(_pad(content, 128)) + encryptor.finalize())


def _pad(content: bytes, bits: int) -> bytes:
    padder = padding.PKCS7(bits).padder()
    return bytes(padder.update(content) + padder.finalize())


def _cut(content: bytes) -> bytes:
    """Without the zeros that SoftHSM puts behind the DER before it wraps."""
    first = der.read_first(content).whole
    if content[len(first) :].strip(b"\0"):
        raise FormatError("other bytes than zeros stand behind the private key")
    return first


def _unpad(content: bytes, bits: int) -> bytes:
    unpadder = padding.PKCS7(bits).unpadder()
    return bytes(unpadder.update(content) + unpadder.finalize())


def _cbc(key: bytes, blob: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(blob[:16])).decryptor()
    return _unpad(decryptor.update(blob[16:]) + decryptor.finalize(), 128)


def _kwp(key: bytes, blob: bytes) -> bytes:
    return aes_key_unwrap_with_padding(key, blob)


def _kw(key: bytes, blob: bytes) -> bytes:
    return aes_key_unwrap(key, blob)


_UNWRAP = {
    "aes-kwp": _kwp,
    "aes-kw": _kw,
    "aes-kw-pkcs7": lambda key, blob: _unpad(aes_key_unwrap(key, blob), 64),
    "aes-cbc-pad": _cbc,
}
