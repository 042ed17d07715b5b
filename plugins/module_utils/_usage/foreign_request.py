# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate requests of keys whose private half is not here: somebody else, such as a token, signs.

A request is built with a throwaway key, and then gets the public key and the signature that it is for. What comes out
is read and verified like every other request before it is handed on.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import TokenMisbehaved, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import profiles

try:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError as error:
    note_missing_library(error)

#: AlgorithmIdentifier by type and hash: RFC 4055 section 5 (with NULL), RFC 5758 section 3.2, RFC 8410 section 3.
_ALGORITHMS = {
    ("rsa", "sha256"): "300d06092a864886f70d01010b0500",
    ("rsa", "sha384"): "300d06092a864886f70d01010c0500",
    ("rsa", "sha512"): "300d06092a864886f70d01010d0500",
    ("ec", "sha256"): "300a06082a8648ce3d040302",
    ("ec", "sha384"): "300a06082a8648ce3d040303",
    ("ec", "sha512"): "300a06082a8648ce3d040304",
    ("ed25519", None): "300506032b6570",
}


def write(content: profiles.Content, public_key: bytes, algorithm: str, sign: Callable[[bytes], bytes]) -> bytes:
    """The PEM of the request.

    Args:
        content: as ``profiles.wanted`` gave it for this key.
        public_key: DER SubjectPublicKeyInfo.
        algorithm: of the key, one word as in the option.
        sign: gives the signature over what it gets, in the form that stands in a request.

    Raises:
        TokenMisbehaved: the signature does not verify, or is not over this.
    """
    version, subject, dummy, attributes = pattern(content)
    info = der.write(der.SEQUENCE, version.whole, subject.whole, public_key, attributes.whole)
    signature = der.write(der.BIT_STRING, b"\0", sign(info))
    request = der.write(der.SEQUENCE, info, identifier(algorithm, content.signature_hash), signature)
    written = pem.write("CERTIFICATE REQUEST", request)
    if profiles.read(written) != content:
        raise TokenMisbehaved("the token's signature over the certificate request does not verify")
    return written


def pattern(content: profiles.Content) -> list[der.Element]:
    """Version, subject, some public key and attributes of a request that says this (RFC 2986 section 4.1)."""
    throwaway = ec.generate_private_key(ec.SECP256R1())
    signed = profiles.builder(content).sign(throwaway, profiles.hash_object("sha256"))
    return der.read_sequence(signed.public_bytes(Encoding.DER))[0].children()


def identifier(algorithm: str, hash_name: str | None) -> bytes:
    """DER AlgorithmIdentifier of the signatures of such a key."""
    return bytes.fromhex(_ALGORITHMS[algorithm.split("-", 1)[0], hash_name])
