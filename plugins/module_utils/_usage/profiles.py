# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a certificate request says: read from options, written as PKCS#10 (RFC 2986), and read back for comparison.

Key usage comes from the key's usage and from nowhere else, extended key usage only as far as that usage allows: a
request cannot ask for more than its key is for. A request that was written with the same content is never signed anew:
for a nonsigning key, the proof of possession in its request is the one signature that it ever makes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
except ImportError as error:
    note_missing_library(error)

#: Names that the option ``subject`` understands as a dictionary: RFC 4514's and OpenSSL's (RFC 4519, RFC 2985).
_ATTRIBUTES = {
    **{"CN": "2.5.4.3", "commonName": "2.5.4.3", "C": "2.5.4.6", "countryName": "2.5.4.6"},
    **{"ST": "2.5.4.8", "stateOrProvinceName": "2.5.4.8", "L": "2.5.4.7", "localityName": "2.5.4.7"},
    **{"O": "2.5.4.10", "organizationName": "2.5.4.10", "OU": "2.5.4.11", "organizationalUnitName": "2.5.4.11"},
    **{"STREET": "2.5.4.9", "streetAddress": "2.5.4.9", "serialNumber": "2.5.4.5", "title": "2.5.4.12"},
    **{"SN": "2.5.4.4", "surname": "2.5.4.4", "GN": "2.5.4.42", "givenName": "2.5.4.42"},
    **{"DC": "0.9.2342.19200300.100.1.25", "domainComponent": "0.9.2342.19200300.100.1.25"},
    **{"UID": "0.9.2342.19200300.100.1.1", "userId": "0.9.2342.19200300.100.1.1"},
    **{"E": "1.2.840.113549.1.9.1", "emailAddress": "1.2.840.113549.1.9.1"},
}
_OID = re.compile(r"[012](\.(0|[1-9][0-9]*))+")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")

_KEY_USAGE, _EXTENDED_KEY_USAGE = "2.5.29.15", "2.5.29.37"
_SUBJECT_ALT_NAME, _BASIC_CONSTRAINTS = "2.5.29.17", "2.5.29.19"


@dataclass(frozen=True)
class Content:
    """What a request says; two requests for the same are equal.

    Attributes:
        key_id: of its public key.
        subject: as an x509.Name.
        alternatives: the subject alternative names, ``DNS:``, ``email:``, ``IP:``, ``URI:`` and others, sorted.
        key_usage: names of the bits, in their order.
        purposes: extended key usage as dotted OIDs.
        certificate_authority: basicConstraints has CA:TRUE.
        extensions: (OID, critical) of all extensions.
        signature_hash: name, or None for Ed25519 and Ed448.
    """

    key_id: str
    subject: x509.Name
    alternatives: tuple[str, ...]
    key_usage: tuple[str, ...]
    purposes: tuple[str, ...]
    certificate_authority: bool
    extensions: frozenset[tuple[str, bool]]
    signature_hash: str | None

    def facts(self) -> dict:
        """As results and differences show it."""
        return {
            "key_id": self.key_id,
            "subject": self.subject.rfc4514_string(),
            "subject_alt_name": list(self.alternatives),
            "key_usage": list(self.key_usage),
            "extended_key_usage": [usages.extended_key_usage_name(oid) for oid in self.purposes],
            "certificate_authority": self.certificate_authority,
        }


def wanted(item: dict, usage: str, key_id: str, algorithm: str) -> Content:
    """What the options ask for.

    Args:
        item: of the option ``keys``: subject, subject_alt_name, extended_key_usage, certificate_authority.
        usage, key_id, algorithm: of the key.

    Raises:
        OptionError: an option is wrong, or not allowed for the usage.
    """
    subject = _subject(item["subject"])
    alternatives = tuple(sorted({_shown(_alternative(text)) for text in item["subject_alt_name"]}))
    purposes = usages.extended_key_usages(usage, item["extended_key_usage"])
    if not list(subject) and not alternatives:
        raise OptionError("subject: is empty; give a subject, or at least one subject_alt_name")
    if item["certificate_authority"] and usage != "certificate_signing":
        raise OptionError(f"certificate_authority: a key of the usage {usage} signs no certificates; leave it out")
    extensions = {(_KEY_USAGE, True)}
    # A name that stands nowhere else is critical (RFC 5280 section 4.2.1.6).
    extensions |= {(_SUBJECT_ALT_NAME, not list(subject))} if alternatives else set()
    extensions |= {(_EXTENDED_KEY_USAGE, False)} if purposes else set()
    extensions |= {(_BASIC_CONSTRAINTS, True)} if item["certificate_authority"] else set()
    bits = usages.key_usage_bits(usage)
    authority, hash_name = item["certificate_authority"], signature_hash(algorithm)
    return Content(key_id, subject, alternatives, bits, purposes, authority, frozenset(extensions), hash_name)


def write(content: Content, private_key: Any) -> bytes:
    """The PEM of the request, signed by the key itself.

    Args:
        content: as ``wanted`` gave it for this key.
        private_key: cryptography's object.
    """
    algorithm = hash_object(content.signature_hash) if content.signature_hash else None
    return builder(content).sign(private_key, algorithm).public_bytes(serialization.Encoding.PEM)


def hash_object(name: str) -> Any:
    """cryptography's object of the hash."""
    return getattr(hashes, name.upper())()


def builder(content: Content) -> Any:
    """cryptography's builder of the request, without key and signature."""
    built = x509.CertificateSigningRequestBuilder().subject_name(content.subject)
    critical = dict(content.extensions)
    built = built.add_extension(_key_usage(content.key_usage), critical[_KEY_USAGE])
    if content.alternatives:
        names = [_alternative(text) for text in content.alternatives]
        built = built.add_extension(x509.SubjectAlternativeName(names), critical[_SUBJECT_ALT_NAME])
    if content.purposes:
        purposes = [x509.ObjectIdentifier(oid) for oid in content.purposes]
        built = built.add_extension(x509.ExtendedKeyUsage(purposes), critical[_EXTENDED_KEY_USAGE])
    if content.certificate_authority:
        built = built.add_extension(x509.BasicConstraints(True, None), critical[_BASIC_CONSTRAINTS])
    return built


def read(data: bytes) -> Content | None:
    """What a request in PEM says; None when its signature does not verify, or it says more than can be compared.

    Raises:
        FormatError: it is no request in PEM.
    """
    try:
        request = x509.load_pem_x509_csr(data)
    except ValueError as error:
        raise FormatError("there is something else than a certificate request in PEM") from error
    try:
        return content_of(request) if request.is_signature_valid else None
    except (ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.DuplicateExtension):
        return None


def content_of(request: x509.CertificateSigningRequest) -> Content:
    """What a request says, whoever signed it.

    Raises:
        ValueError, UnsupportedAlgorithm: it says more than can be compared.
    """
    found = {extension.oid.dotted_string: extension.value for extension in request.extensions}
    extensions = frozenset((extension.oid.dotted_string, extension.critical) for extension in request.extensions)
    alternatives = tuple(sorted(_shown(name) for name in found.get(_SUBJECT_ALT_NAME, ())))
    purposes = tuple(oid.dotted_string for oid in found.get(_EXTENDED_KEY_USAGE, ()))
    constraints = found.get(_BASIC_CONSTRAINTS)
    authority = bool(constraints and constraints.ca)
    if constraints and constraints != x509.BasicConstraints(authority, None):
        raise ValueError("a path length is never asked for here")
    hash_name = request.signature_hash_algorithm.name if request.signature_hash_algorithm else None
    key_id, bits = identity.key_id_of_public_key(request.public_key()), _bits(found.get(_KEY_USAGE))
    return Content(key_id, request.subject, alternatives, bits, purposes, authority, extensions, hash_name)


def signature_hash(algorithm: str) -> str | None:
    """The hash of the key's own strength (NIST SP 800-57 Part 1, table 2)."""
    if algorithm.startswith("rsa-"):
        bits = int(algorithm[4:])
        return "sha256" if bits <= 3072 else "sha384" if bits <= 7680 else "sha512"
    return {"ec-p256": "sha256", "ec-p384": "sha384", "ec-p521": "sha512"}.get(algorithm)


#: RFC 5280's names of the bits, in cryptography's words.
_BIT_NAMES = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}


def _key_usage(bits: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(**{word: bit in bits for bit, word in _BIT_NAMES.items()})


def _bits(value: x509.KeyUsage | None) -> tuple[str, ...]:
    if value is None:
        return ()
    # The last two may only be asked for where keyAgreement is set.
    asked = [bit for bit in _BIT_NAMES if value.key_agreement or bit not in ("encipherOnly", "decipherOnly")]
    return tuple(bit for bit in asked if getattr(value, _BIT_NAMES[bit]))


def _subject(value: object) -> x509.Name:
    if value is None:
        return x509.Name([])
    try:
        if isinstance(value, dict):
            return x509.Name([_attribute(name, text) for name, texts in value.items() for text in _listed(texts)])
        if isinstance(value, str):
            return x509.Name.from_rfc4514_string(value)
    except (ValueError, TypeError) as error:
        raise OptionError(f"subject: {error}" if str(error) else "subject: not a distinguished name") from error
    raise OptionError("subject: a dictionary like {CN: mail.example.com} or a string like 'CN=mail.example.com'")


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _attribute(name: str, value: object) -> x509.NameAttribute:
    oid = _ATTRIBUTES.get(name, name)
    if not _OID.fullmatch(oid):
        raise OptionError(f"subject: {name!r} is not known; use one of {', '.join(_ATTRIBUTES)}, or a dotted OID")
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise OptionError(f"subject: the value of {name} is no text")
    return x509.NameAttribute(x509.ObjectIdentifier(oid), str(value))


def _alternative(text: str) -> x509.GeneralName:
    kind, _colon, value = text.partition(":")
    if kind == "DNS" and _DNS_NAME.fullmatch(value):
        return x509.DNSName(value)
    if kind == "email" and _EMAIL.fullmatch(value):
        return x509.RFC822Name(value)
    if kind == "URI" and _URI.fullmatch(value):
        return x509.UniformResourceIdentifier(value)
    try:
        if kind == "IP":
            return x509.IPAddress(ipaddress.ip_address(value))
    except ValueError:
        pass
    raise OptionError(
        f"subject_alt_name: {text!r} is not of the form DNS:name, email:name@domain, IP:address or URI:uri in ASCII "
        "(write international names in their xn-- form)"
    )


def _shown(name: x509.GeneralName) -> str:
    kinds = {x509.DNSName: "DNS", x509.RFC822Name: "email", x509.UniformResourceIdentifier: "URI", x509.IPAddress: "IP"}
    kind = kinds.get(type(name))
    return f"{kind}:{name.value}" if kind else repr(name)
