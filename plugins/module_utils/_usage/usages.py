# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The five usages and what each means in a certificate. One key has one usage (NIST SP 800-57 Part 1, section 5.2).

Everything here is an allow-list: a key usage bit, an extended key usage or a usage that is not named is refused.
The bits of a usage are stated once, in _keys/usage_attribute.py, because a key carries them inside itself.

Sources:

- key usage bits: RFC 5280 section 4.2.1.3.
- id-kp-*: RFC 5280 section 4.2.1.12 (serverAuth, clientAuth, codeSigning, emailProtection, timeStamping, OCSPSigning),
  RFC 9336 (documentSigning), RFC 4945 section 5.1.3.12 (ipsecIKE), RFC 6187 section 2.2.2 (secureShellClient and
  secureShellServer), RFC 4556 section 3.2 and appendix C (PKINIT client and KDC).
- 1.3.6.1.4.1.311.*: Microsoft [MS-GPEF] and [MS-WCCE]: EFS 10.3.4 and 10.3.4.1 ([MS-GPEF] section 2.2.1), smart card
  logon 20.2.2, document signing 10.3.12, BitLocker 67.1.1, document encryption 80.1 (PowerShell's Protect-CmsMessage).
- certificate_signing: in a CA certificate an EKU limits what it may issue (CA/Browser Forum Baseline Requirements,
  section 7.1.2.10.6), so all of the named ones may stand there.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import AlgorithmError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.algorithm import usages_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import KEY_USAGE_BITS, USAGE_BITS
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import ALGORITHMS

SIGNING = frozenset({"signature", "certificate_signing", "authentication"})
NONSIGNING = frozenset({"key_transport", "key_agreement"})

ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0"

#: Names that the option extended_key_usage understands: RFC 5280's, and short ones where there is no such name.
EXTENDED_KEY_USAGES = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
    "secureShellClient": "1.3.6.1.5.5.7.3.21",
    "secureShellServer": "1.3.6.1.5.5.7.3.22",
    "documentSigning": "1.3.6.1.5.5.7.3.36",
    "pkinitClient": "1.3.6.1.5.2.3.4",
    "pkinitKdc": "1.3.6.1.5.2.3.5",
    "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    "msDocumentSigning": "1.3.6.1.4.1.311.10.3.12",
    "msEFS": "1.3.6.1.4.1.311.10.3.4",
    "msEFSRecovery": "1.3.6.1.4.1.311.10.3.4.1",
    "msBitLocker": "1.3.6.1.4.1.311.67.1.1",
    "msDocumentEncryption": "1.3.6.1.4.1.311.80.1",
}

_ENCRYPTION = ("emailProtection", "msEFS", "msEFSRecovery", "msBitLocker", "msDocumentEncryption")
_AUTHENTICATION = (
    *("serverAuth", "clientAuth", "ipsecIKE", "secureShellClient", "secureShellServer"),
    *("pkinitClient", "pkinitKdc", "smartcardLogon"),
)
_SIGNATURE = ("codeSigning", "emailProtection", "timeStamping", "OCSPSigning", "documentSigning", "msDocumentSigning")

#: The extended key usages that a usage allows, by name.
ALLOWED_EXTENDED_KEY_USAGES = {
    "signature": _SIGNATURE,
    "certificate_signing": tuple(EXTENDED_KEY_USAGES),
    "authentication": _AUTHENTICATION,
    "key_transport": _ENCRYPTION,
    "key_agreement": _ENCRYPTION,
}

#: What may stand in a certificate for an archivable key, as dotted OIDs.
NONSIGNING_EXTENDED_KEY_USAGES = frozenset(EXTENDED_KEY_USAGES[name] for name in _ENCRYPTION)

#: The bits of the keyUsage extension that do not sign.
NONSIGNING_BITS = frozenset({"keyEncipherment", "dataEncipherment", "keyAgreement", "encipherOnly", "decipherOnly"})

_ONLY_AGREEMENT = ("x25519", "x448")


def key_usage_bits(usage: str) -> tuple[str, ...]:
    """The names of the keyUsage bits that a request for a key of this usage asks for, in the order of the bits."""
    return tuple(bit for bit in KEY_USAGE_BITS if bit in USAGE_BITS[usage])


def usage_of_type(algorithm: str) -> str | None:
    """The usage that the type alone says: X25519 and X448 can do nothing but agree on keys (RFC 7748)."""
    return "key_agreement" if algorithm in _ONLY_AGREEMENT else None


def check_algorithm(usage: str, algorithm: str) -> None:
    """Raise AlgorithmError unless a key of this algorithm can have this usage (DESIGN, table of usages).

    Args:
        usage: one of the five.
        algorithm: one word as in the option ``algorithm``, or another type's plain name.
    """
    usages = possible_usages(algorithm)
    if usage not in usages:
        can = f"it can have {', '.join(usages)}" if usages else "it can have none of the five usages"
        raise AlgorithmError(f"usage: a key of the type {algorithm} cannot have the usage {usage}; {can}")


def possible_usages(algorithm: str) -> tuple[str, ...]:
    """The usages that a key of this type can have; none for types that nothing here can open or verify.

    RSA keys of any size, since old messages are read with old keys; curves only as they can be made here.
    """
    known = algorithm in ALGORITHMS or algorithm.startswith("rsa-")
    return usages_of(algorithm) if known else ()


def can_only_sign(algorithm: str) -> bool:
    """Whether keys of this type can sign and nothing else (FIPS 186-5, FIPS 204, FIPS 205, RFC 8032, RFC 4055).

    ML-DSA and SLH-DSA keys may come by name or, where no library knows them, by their OID in NIST's sigAlgs arc.
    """
    named = algorithm in ("ed25519", "ed448", "dsa", "rsassa-pss")
    return named or algorithm.startswith(("ml-dsa", "slh-dsa", "2.16.840.1.101.3.4.3."))


def extended_key_usages(usage: str, wanted: list[str]) -> tuple[str, ...]:
    """The dotted OIDs of the option ``extended_key_usage``, in its order, if the usage allows each of them.

    Args:
        usage: one of the five.
        wanted: names of EXTENDED_KEY_USAGES, or dotted OIDs.

    Raises:
        OptionError: for one that the usage does not allow, or that is named twice.
    """
    allowed = {name: EXTENDED_KEY_USAGES[name] for name in ALLOWED_EXTENDED_KEY_USAGES[usage]}
    oids = tuple(EXTENDED_KEY_USAGES.get(item, item) for item in wanted)
    for item, oid in zip(wanted, oids):
        if oid not in allowed.values():
            raise OptionError(
                f"extended_key_usage: {item!r} is not allowed for a key of the usage {usage}; allowed are "
                f"{', '.join(allowed)}"
            )
    if len(set(oids)) != len(oids):
        raise OptionError("extended_key_usage: names the same one twice")
    return oids


def extended_key_usage_name(oid: str) -> str:
    """The name of an extended key usage where there is one here, otherwise the OID itself."""
    if oid == ANY_EXTENDED_KEY_USAGE:
        return "anyExtendedKeyUsage"
    return next((name for name, known in EXTENDED_KEY_USAGES.items() if known == oid), oid)
