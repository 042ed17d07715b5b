# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The usage that a key carries inside itself: the X.509 keyUsage attribute in its PKCS#8 (docs/formats.md, "Key file").

An attribute that is not exactly one usage, is there twice, or is malformed, reads as ``CONFLICT``: never as nothing,
because "nothing" could be filled by a declared usage, and never as nonsigning.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

#: What ``read`` answers for an attribute that binds the key to no single usage.
CONFLICT = "conflict"

#: RFC 5280 section 4.2.1.3: names by bit number.
KEY_USAGE_BITS = (
    *("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement"),
    *("keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"),
)

#: The bits that a key of each usage carries. Certificates: see _usage/usages.py.
USAGE_BITS = {
    "signature": frozenset({"digitalSignature", "nonRepudiation"}),
    "certificate_signing": frozenset({"keyCertSign", "cRLSign"}),
    "authentication": frozenset({"digitalSignature"}),
    "key_transport": frozenset({"keyEncipherment", "dataEncipherment"}),
    "key_agreement": frozenset({"keyAgreement"}),
}

NONSIGNING = ("key_transport", "key_agreement")

_OID = der.oid("2.5.29.15")


def encode(usage: str) -> bytes:
    """The DER Attribute that binds a key to the usage."""
    return der.write(der.SEQUENCE, _OID, der.write(der.SET, _write_bits(USAGE_BITS[usage])))


def is_usage_attribute(attribute: der.Element) -> bool:
    """Whether this Attribute is (or claims to be) the usage attribute."""
    return attribute.body.startswith(_OID)


def read(attributes: Sequence[der.Element]) -> str | None:
    """The usage that a PKCS#8's attributes say: a usage, ``CONFLICT``, or None without the attribute."""
    found = [attribute for attribute in attributes if is_usage_attribute(attribute)]
    if not found:
        return None
    if len(found) > 1:
        return CONFLICT
    try:
        dummy, values = found[0].expect(der.SEQUENCE).children()
        (value,) = values.expect(der.SET).children()
        return usage_of(_read_bits(value))
    except (FormatError, ValueError):
        return CONFLICT


def usage_of(bits: frozenset[str]) -> str:
    """The one usage that these key usage bits mean for a key, or ``CONFLICT``."""
    for usage, exact in USAGE_BITS.items():
        if bits == exact:
            return usage
    if bits and bits <= USAGE_BITS["key_transport"]:
        return "key_transport"
    if "keyAgreement" in bits and bits <= {"keyAgreement", "encipherOnly", "decipherOnly"}:
        return "key_agreement"
    return CONFLICT


def _write_bits(names: frozenset[str]) -> bytes:
    numbers = [KEY_USAGE_BITS.index(name) for name in names]
    size = max(numbers) + 1
    body = bytearray((size + 7) // 8)
    for number in numbers:
        body[number // 8] |= 0x80 >> number % 8
    return der.write(der.BIT_STRING, bytes((-size % 8,)), bytes(body))


def _read_bits(value: der.Element) -> frozenset[str]:
    body = value.expect(der.BIT_STRING).body
    if not body or body[0] > 7 or len(body) > 3:
        raise FormatError("DER: not a key usage")
    count = 8 * (len(body) - 1) - body[0]
    numbers = [number for number in range(count) if body[1 + number // 8] & 0x80 >> number % 8]
    if any(number >= len(KEY_USAGE_BITS) for number in numbers):
        raise FormatError("DER: an unknown key usage bit")
    return frozenset(KEY_USAGE_BITS[number] for number in numbers)
