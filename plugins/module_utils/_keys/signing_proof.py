# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key's own statement that it was made to sign (docs/formats.md, "Signing register").

Only the holder of the key can make it, so no host can put another's key into the signing register and so strand it. It
is worth nothing elsewhere: it says what the key is, and a replay says the same again.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    PossessionNotProven,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, dsse

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)

PAYLOAD_TYPE = "application/vnd.keyops.signing-key.v1+json"
_VERSION = "keyops-signing-proof/1"


def prove(private_key: Any, key_id: str) -> bytes | None:
    """The signed statement, or None for a key that cannot sign statements (see dsse)."""
    payload = canonical.dumps({"format": _VERSION, "key_id": key_id})
    try:
        return dsse.sign(payload, PAYLOAD_TYPE, private_key)
    except OptionError:
        return None


def verify(proof: bytes, public_key: bytes, key_id: str) -> None:
    """Raise PossessionNotProven unless the key with this ID made the proof.

    Args:
        proof: the envelope.
        public_key: DER SubjectPublicKeyInfo.
    """
    if canonical.digest(public_key) != key_id:
        raise PossessionNotProven(f"key {key_id}: the public key that the host sent has another key ID")
    try:
        loaded = serialization.load_der_public_key(public_key)
        payload = dsse.verify_with_key(proof, PAYLOAD_TYPE, loaded)
        said = canonical.load_object(payload, _VERSION, {"key_id": str})["key_id"]
    except (FormatError, ValueError, UnsupportedAlgorithm) as error:
        raise PossessionNotProven(f"key {key_id}: the host did not prove that it holds this signing key") from error
    if said != key_id:
        raise PossessionNotProven(f"key {key_id}: the host proved that it holds another key")
