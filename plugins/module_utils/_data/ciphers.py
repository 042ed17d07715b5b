# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ciphers of encrypted content, by their object identifiers, from whichever library of this host has them.

Everything that does not decrypt raises DataNotOpened, always with the same words: a padding, a tag and a key that are
wrong are not told apart.
"""

from __future__ import annotations

import contextlib
import hmac
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DataDamaged,
    DataNotOpened,
    DataUnsupported,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

try:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError as error:
    note_missing_library(error)

#: In these words always; see above.
NOT_OPENED = "the content does not decrypt: it was altered, or is encrypted with another key than its recipient's"
_AES = "2.16.840.1.101.3.4.1."
#: Object identifier: kind, bytes of the key (0: any), and what of the parameters is read.
_KINDS: dict[bytes, tuple[str, int]] = {
    **{der.oid(f"{_AES}{number}"): ("aes-cbc", size) for number, size in ((2, 16), (22, 24), (42, 32))},
    **{der.oid(f"{_AES}{number}"): ("aes-gcm", size) for number, size in ((6, 16), (26, 24), (46, 32))},
    **{der.oid(f"{_AES}{number}"): ("aes-ccm", size) for number, size in ((7, 16), (27, 24), (47, 32))},
    der.oid("1.2.840.113549.1.9.16.3.18"): ("chacha20-poly1305", 32),
    der.oid("1.2.840.113549.3.7"): ("3des", 24),
    der.oid("1.2.840.113549.3.2"): ("rc2", 0),
    der.oid("1.3.14.3.2.7"): ("des", 8),
    der.oid("1.2.840.113533.7.66.10"): ("cast5", 0),
    **{
        der.oid(f"1.2.392.200011.61.1.1.1.{number}"): ("camellia", 16 + 8 * step)
        for step, number in enumerate((2, 3, 4))
    },
}
_AUTHENTICATED = ("aes-gcm", "aes-ccm", "chacha20-poly1305")
_BLOCK = {"aes-cbc": 16, "camellia": 16}
#: RFC 2268 section 6: how RC2's parameters say the effective bits.
_RC2_BITS = {160: 40, 120: 64, 58: 128}


@dataclass(frozen=True)
class ContentCipher:
    """How content is encrypted.

    Attributes:
        kind: one word.
        key_size: bytes; 0 when the cipher leaves it open.
        start: nonce or initialisation vector.
        bits: effective bits of RC2.
        tag_size: bytes of the tag of an authenticated cipher, as the message says.
    """

    kind: str
    key_size: int
    start: bytes
    bits: int = 0
    tag_size: int = 0

    @property
    def authenticated(self) -> bool:
        return self.kind in _AUTHENTICATED


def read(name: bytes, parameters: der.Element | None) -> ContentCipher:
    """The cipher of an AlgorithmIdentifier.

    Raises:
        DataUnsupported: it is not known.
        DataDamaged: its parameters do not have their form.
    """
    if name not in _KINDS:
        raise DataUnsupported(f"the content is encrypted with a cipher that is not read ({_dotted(name)})")
    kind, size = _KINDS[name]
    if parameters is None:
        raise DataDamaged("the cipher of the content has no parameters")
    if kind in ("aes-gcm", "aes-ccm"):
        fields = parameters.expect(der.SEQUENCE).children()
        tag_size = fields[1].integer() if len(fields) > 1 else 12  # RFC 5084 section 3.2: 12 unless it says otherwise
        return ContentCipher(kind, size, fields[0].expect(der.OCTET_STRING).body, tag_size=tag_size)
    if kind == "chacha20-poly1305":
        return ContentCipher(kind, size, parameters.expect(der.OCTET_STRING).body, tag_size=16)
    if kind == "rc2":
        fields = parameters.expect(der.SEQUENCE).children()
        version = fields[0].integer() if len(fields) > 1 else 32
        return ContentCipher(kind, size, fields[-1].expect(der.OCTET_STRING).body, _RC2_BITS.get(version, version))
    if kind == "cast5":
        raise DataUnsupported("the content is encrypted with CAST5, which is not read")
    start = parameters.expect(der.OCTET_STRING).body
    if len(start) != _BLOCK.get(kind, 8):
        raise DataDamaged("the initialisation vector of the content does not have the cipher's size")
    return ContentCipher(kind, size, start)


def decrypt(cipher: ContentCipher, key: bytes, pieces: Iterable[Any], tag: bytes = b"", bound: bytes = b"") -> bytes:
    """The content.

    Args:
        cipher: which.
        key: of the cipher's size.
        pieces: the ciphertext, in pieces (bytes or memoryviews).
        tag: of an authenticated cipher.
        bound: additional authenticated data.

    Raises:
        DataNotOpened: the key is wrong, or something was altered.
        DataUnsupported: this host's libraries do not have the cipher.
    """
    try:
        if cipher.kind == "aes-gcm":
            return _gcm(cipher, key, pieces, tag, bound)
        if cipher.authenticated:
            return _aead(cipher, key, b"".join(pieces), tag, bound)
        return _unpadded(_blocks(cipher, key, pieces), _BLOCK.get(cipher.kind, 8))
    except (ValueError, InvalidTag) as error:
        raise DataNotOpened(NOT_OPENED) from error
    except UnsupportedAlgorithm as error:
        raise DataUnsupported(f"the content is encrypted with {cipher.kind}, which this host does not have") from error


def cbc(kind: str, key: bytes, start: bytes, data: bytes) -> bytes:
    """What a row of whole blocks decrypts to, padding included."""
    return _blocks(ContentCipher(kind, len(key), start), key, [data])


def _gcm(cipher: ContentCipher, key: bytes, pieces: Iterable[Any], tag: bytes, bound: bytes) -> bytes:
    # Short tags can be forged by trying; RFC 5084 allows 12 to 16 bytes.
    if not 12 <= len(tag) <= 16 or len(tag) != cipher.tag_size:
        raise ValueError("tag")
    mode = modes.GCM(cipher.start, tag, min_tag_length=len(tag))
    decryptor = Cipher(algorithms.AES(key), mode).decryptor()
    decryptor.authenticate_additional_data(bound)
    opened = [decryptor.update(piece) for piece in pieces]
    decryptor.finalize()
    return opened[0] if len(opened) == 1 else b"".join(opened)


def _aead(cipher: ContentCipher, key: bytes, data: bytes, tag: bytes, bound: bytes) -> bytes:
    # Not at the top: hardly any message is encrypted so.
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

    if len(tag) != cipher.tag_size or len(tag) < 8:
        raise ValueError("tag")
    made: Any = AESCCM(key, len(tag)) if cipher.kind == "aes-ccm" else ChaCha20Poly1305(key)
    return made.decrypt(cipher.start, data + tag, bound or None)


def _blocks(cipher: ContentCipher, key: bytes, pieces: Iterable[Any]) -> bytes:
    if cipher.kind in ("rc2", "des"):
        return _old_blocks(cipher, key, b"".join(pieces))
    decryptor = Cipher(_algorithm(cipher.kind, key), modes.CBC(cipher.start)).decryptor()
    opened = [decryptor.update(piece) for piece in pieces]
    opened.append(decryptor.finalize())
    return b"".join(opened)


def _algorithm(kind: str, key: bytes) -> Any:
    if kind == "aes-cbc":
        return algorithms.AES(key)
    name = {"3des": "TripleDES", "camellia": "Camellia"}[kind]
    places: list[Any] = [algorithms]
    with contextlib.suppress(ImportError):  # where cryptography keeps them since 43
        from cryptography.hazmat.decrepit.ciphers import algorithms as old

        places.insert(0, old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of their age
        return next(getattr(place, name) for place in places if hasattr(place, name))(key)


def _old_blocks(cipher: ContentCipher, key: bytes, data: bytes) -> bytes:
    try:
        from Cryptodome.Cipher import ARC2, DES
    except ImportError as error:
        raise DataUnsupported(
            f"the content is encrypted with {cipher.kind.upper()}, for which python3-pycryptodome is needed: "
            "install it and run again"
        ) from error
    if cipher.kind == "des":
        return DES.new(key, DES.MODE_CBC, iv=cipher.start).decrypt(data)  # noqa: S304 - old mail
    if cipher.bits not in range(40, 1025):
        raise DataUnsupported("the content is encrypted with RC2 of fewer than 40 bits, which is not read")
    return ARC2.new(key, ARC2.MODE_CBC, iv=cipher.start, effective_keylen=cipher.bits).decrypt(data)  # noqa: S304


def _unpadded(data: bytes, block: int) -> bytes:
    """Without the padding of RFC 5652 section 6.3.

    Raises:
        ValueError: it is none.
    """
    size = data[-1] if data and len(data) % block == 0 else 0
    if not 1 <= size <= block or not hmac.compare_digest(data[-size:], bytes([size]) * size):
        raise ValueError("padding")
    return data[:-size]


def _dotted(name: bytes) -> str:
    return der.dotted(der.read(name))
