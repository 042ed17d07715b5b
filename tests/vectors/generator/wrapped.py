# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vectors of keys from tokens: a share text, the agent's wrapping key, and the private key that the token wrapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import parts
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding
from documents import Vector, text

NOT_PROVEN, OPEN_ERROR = "WrappedKeyNotProven", "OpenError"


def _padded(content: bytes, bits: int) -> bytes:
    padder = block_padding.PKCS7(bits).padder()
    return padder.update(content) + padder.finalize()


def _cbc(key: bytes, content: bytes) -> bytes:
    vector = os.urandom(16)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return vector + encryptor.update(_padded(content, 128)) + encryptor.finalize()


WRAP = {
    "aes-kwp": aes_key_wrap_with_padding,
    "aes-kw": lambda key, content: aes_key_wrap(key, content + bytes(-len(content) % 8)),
    "aes-kw-pkcs7": lambda key, content: aes_key_wrap(key, _padded(content, 64)),
    "aes-cbc-pad": _cbc,
}


class _Case:
    """One share; everything in it can be changed before it is written."""

    def __init__(self, wrapping: str = "aes-kwp", hash_name: str = "sha256") -> None:
        self.agent, self.key = parts.new_key("rsa"), parts.new_key("p256")
        self.wrapping, self.hash_name, self.secret = wrapping, hash_name, os.urandom(32)
        self.ids = {
            "key": parts.key_id(self.key),
            "agent": parts.digest(b"agent"),
            "owner": "Zo\u00eb",
            "group": "admins",
        }
        self.content = parts.pkcs8(self.key)
        self.blob = WRAP[wrapping](self.secret, self.content)
        self.value = self.encrypted(self.secret)
        self.mac = self.proof(self.secret, **self.ids)

    def encrypted(self, secret: bytes) -> bytes:
        chosen = {"sha256": hashes.SHA256, "sha1": hashes.SHA1}[self.hash_name]
        return self.agent.public_key().encrypt(secret, padding.OAEP(padding.MGF1(chosen()), chosen(), None))

    def proof(self, secret: bytes, key: str, owner: str, group: str, agent: str) -> str:
        made = CMAC(algorithms.AES(secret))
        made.update(f"keyops-wrapped-key/1\n{key}\n{owner}\n{group}\n{agent}".encode())
        return made.finalize().hex()

    def vector(self, name: str, description: str, expected: str = "ok") -> Vector:
        ids, zeros = self.ids, "0" * 64
        share = (
            f"keyops-share/2\nkey-id: {ids['key']}\nkey-owner: {ids['owner']}\nusage: key_agreement\n"
            f"group: {ids['group']}\nthreshold: 1\nagents: 1\nagent: {ids['agent']}\nsealed-key: {zeros}\n"
            f"kek-id: {zeros[:32]}\n"
            f"share-digest: {zeros}\nwrapping: {self.wrapping}\nwrapping-key: {parts.key_id(self.agent)}\n"
            f"oaep-hash: {self.hash_name}\nwrapped-key: {text(self.value)}\nwrapped-key-mac: {self.mac}\n{zeros}\n"
        )
        more: dict[str, Any] = {"private_key": parts.pkcs8(self.agent), "blob": self.blob}
        return (
            name,
            description,
            expected,
            share.encode(),
            {**more, "content": self.content} if expected == "ok" else more,
        )


def wrapped_keys() -> Iterator[Vector]:
    for wrapping in WRAP:
        yield _Case(wrapping).vector(f"ok-{wrapping}", f"wrapped with {wrapping}")
    yield _Case(hash_name="sha1").vector("ok-sha1", "OAEP with SHA-1, as of a token that can do no other")
    zeros = _Case()
    zeros.blob = aes_key_wrap_with_padding(zeros.secret, zeros.content + bytes(8))
    yield zeros.vector("ok-zeros", "zeros behind the private key, as SoftHSM puts them there")
    forged = _Case()
    forged.mac = forged.proof(os.urandom(32), **forged.ids)
    yield forged.vector("forged", "the OAEP value of another message, and a MAC under another key", NOT_PROVEN)
    for member, other in (("key", "1" * 64), ("owner", "another"), ("group", "another"), ("agent", "1" * 64)):
        moved = _Case()
        moved.mac = moved.proof(moved.secret, **{**moved.ids, member: other})
        yield moved.vector(f"other-{member}", f"a genuine MAC for another {member}", NOT_PROVEN)
    short = _Case()
    short.value, short.mac = short.encrypted(short.secret[:16]), short.proof(short.secret[:16], **short.ids)
    yield short.vector("short", "a key of 16 bytes", NOT_PROVEN)
    garbage = _Case()
    garbage.value = os.urandom(256)
    yield garbage.vector("garbage", "no OAEP value", NOT_PROVEN)
    hashed = _Case()
    hashed.hash_name = "sha1"
    yield hashed.vector("other-hash", "OAEP with another hash than it says", NOT_PROVEN)
    behind = _Case()
    behind.blob = aes_key_wrap_with_padding(behind.secret, behind.content + b"\0\1")
    yield behind.vector("bytes-behind", "other bytes than zeros behind the private key", OPEN_ERROR)
    other = _Case()
    other.blob = WRAP["aes-kwp"](os.urandom(32), other.content)
    yield other.vector("other-session-key", "wrapped with another session key", OPEN_ERROR)


FORMATS = {"wrapped-key": wrapped_keys}
