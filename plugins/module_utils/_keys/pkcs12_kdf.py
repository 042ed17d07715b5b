# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How PKCS#12 makes keys of a passphrase: RFC 7292 appendix B.2, over the hash functions of hashlib.

Neither hashlib nor cryptography has it by itself. PKCS#12 wants it for its triple DES and for its classic MAC, and
nothing else does.
"""

from __future__ import annotations

import hashlib

#: What is derived (appendix B.3).
KEY, START, MAC = 1, 2, 3
#: Bytes of a hash function's block.
_BLOCKS = {"sha1": 64, "sha224": 64, "sha256": 64, "sha384": 128, "sha512": 128}


class Derivation:
    """Keys of one passphrase, salt and number of iterations."""

    def __init__(self, passphrase: str, salt: bytes, iterations: int, name: str) -> None:
        self._name, self._iterations, self._block = name, iterations, _BLOCKS[name]
        # The passphrase is a BMPString with its end mark (appendix B.1).
        password = (passphrase + "\0").encode("utf-16-be")
        self._input = self._filled(salt) + self._filled(password)

    def __call__(self, purpose: int, size: int) -> bytes:
        """So many bytes for one purpose."""
        width, made, current = self._block, b"", self._input
        while len(made) < size:
            digest = self._hashed(bytes([purpose]) * width + current)
            made += digest
            adder = int.from_bytes(self._filled(digest), "big") + 1
            pieces = [current[start : start + width] for start in range(0, len(current), width)]
            sums = [(int.from_bytes(piece, "big") + adder) % (1 << 8 * width) for piece in pieces]
            current = b"".join(one.to_bytes(width, "big") for one in sums)
        return made[:size]

    def _hashed(self, text: bytes) -> bytes:
        function = getattr(hashlib, self._name)
        digest: bytes = function(text, usedforsecurity=False).digest()
        for dummy in range(1, self._iterations):
            digest = function(digest, usedforsecurity=False).digest()
        return digest

    def _filled(self, text: bytes) -> bytes:
        """The text, repeated up to a multiple of the block."""
        size = -(-len(text) // self._block) * self._block
        return (text * (size // len(text) + 1))[:size] if text else b""
