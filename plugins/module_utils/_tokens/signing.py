# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures of X.509 objects (PKCS#10 requests) by a private key on a token: RFC 8017, X9.62 in DER, RFC 8032."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import TokenError, note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import name_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.probe import unguarded

try:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
except ImportError as error:
    note_missing_library(error)

with contextlib.suppress(ImportError):  # whoever signs has loaded a token's library, and that says what is missing
    from pkcs11 import PKCS11Error
    from pkcs11.mechanisms import Mechanism

#: DigestInfo up to the digest (RFC 8017 section 9.2, note 1).
_DIGEST_INFO = {
    "sha256": "3031300d060960864801650304020105000420",
    "sha384": "3041300d060960864801650304020205000430",
    "sha512": "3051300d060960864801650304020305000440",
}


def sign(handle: Any, algorithm: str, hash_name: str | None, message: bytes) -> bytes:
    """The signature over ``message``, as it stands in an X.509 object.

    Args:
        handle: the private key of python-pkcs11.
        algorithm: of the key, one word as in the option.
        hash_name: as in ``profiles.Content``; None for Ed25519.

    Raises:
        TokenError: the token does not sign with this key.
    """
    key = unguarded(handle)
    try:
        if hash_name is None:
            return bytes(key.sign(message, mechanism=Mechanism.EDDSA))
        digest = hashlib.new(hash_name, message).digest()
        if algorithm.startswith("rsa-"):
            # PKCS#1 v1.5 over the finished DigestInfo, which every token knows.
            return bytes(key.sign(bytes.fromhex(_DIGEST_INFO[hash_name]) + digest, mechanism=Mechanism.RSA_PKCS))
        raw = bytes(key.sign(digest, mechanism=Mechanism.ECDSA))
    except PKCS11Error as error:
        raise TokenError(f"signing a certificate request: the token answers {name_of(error)}") from error
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
