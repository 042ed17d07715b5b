# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenSSH's own private key format (OpenSSH PROTOCOL.key): only its public half, which is never encrypted.

Such a key authenticates. It is never archived and never made here; its facts are needed to say so.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity

_MAGIC = b"openssh-key-v1\0"
_CURVES = {
    b"ecdsa-sha2-nistp256": "1.2.840.10045.3.1.7",
    b"ecdsa-sha2-nistp384": "1.3.132.0.34",
    b"ecdsa-sha2-nistp521": "1.3.132.0.35",
}


def public_half(content: bytes) -> bytes:
    """The canonical DER SubjectPublicKeyInfo of the key in the decoded block.

    Raises:
        FormatError: it is not one such key, or of a type that is not known here.
    """
    _cipher, rest = _header(content)
    _derivation, rest = _string(rest)
    _options, rest = _string(rest)
    if rest[:4] != b"\0\0\0\1":
        raise FormatError("the OpenSSH file does not hold exactly one key")
    blob, rest = _string(rest[4:])
    private, rest = _string(rest)
    if not private:
        raise FormatError("the OpenSSH file has no private part")
    return public_key(blob)


def is_encrypted(content: bytes) -> bool:
    """Whether the private part is encrypted.

    Raises:
        FormatError: it is not in this format.
    """
    return _header(content)[0] != b"none"


def public_key(blob: bytes) -> bytes:
    """The canonical DER SubjectPublicKeyInfo of an SSH public key blob (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4).

    Raises:
        FormatError: it is cut off, or of another type.
    """
    kind, rest = _string(blob)
    first, rest = _string(rest)
    if kind == b"ssh-ed25519" and len(first) == 32:
        return identity.subject_public_key_info(der.oid("1.3.101.112"), first)
    if kind == b"ssh-rsa":
        modulus, _rest = _string(rest)
        return identity.rsa_public_key(int.from_bytes(modulus, "big"), int.from_bytes(first, "big"))
    if kind in _CURVES:
        point, _rest = _string(rest)
        return identity.ec_public_key(_CURVES[kind], point)
    if kind == b"ssh-dss":
        return _dsa(first, rest)
    raise FormatError("the type of the OpenSSH key is not known")


def _dsa(prime: bytes, rest: bytes) -> bytes:
    order, rest = _string(rest)
    generator, rest = _string(rest)
    public, _rest = _string(rest)
    parameters = [der.write_integer(int.from_bytes(number, "big")) for number in (prime, order, generator)]
    return identity.subject_public_key_info(
        der.oid(identity.DSA) + der.write(der.SEQUENCE, *parameters), der.write_integer(int.from_bytes(public, "big"))
    )


def _header(content: bytes) -> tuple[bytes, bytes]:
    if not content.startswith(_MAGIC):
        raise FormatError("not an OpenSSH private key")
    return _string(content[len(_MAGIC) :])


def _string(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size:
        raise FormatError("the OpenSSH key is cut off")
    return data[4 : 4 + size], data[4 + size :]
