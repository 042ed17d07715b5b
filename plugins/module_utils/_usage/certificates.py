# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates (RFC 5280) and certificate requests (PKCS#10, RFC 2986), read for what they say of their public key.

Invariants:

- The bytes come from anywhere and are trusted for nothing: a certificate here can only ever make a key *less*
  archivable, or confirm what the user has declared; so no signature or date is looked at. A request's own signature
  is no signing evidence: PKCS#10 wants it as proof of possession from every key.
- A file that the user names is read strictly: any block that cannot be read is an error.
- In files that a search turns up, a certificate whose extensions cannot be read counts as one without a key usage: it
  is not dropped, because whoever can break an extension could otherwise hide the certificate.
- PEM with several blocks (a chain, a key with its certificate) and DER; PKCS#7 and PKCS#12 bundles are not opened.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.der import Element
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import KEY_USAGE_BITS
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts

CERTIFICATE, REQUEST = "certificate", "certificate request"

#: Labels of RFC 7468, and the older ones that OpenSSL still reads. What a block is, its DER says.
_BEGIN = re.compile(rb"^-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE|(?:NEW )?CERTIFICATE REQUEST)-----[ \t]*\r?$", re.M)

_KEY_USAGE, _EXTENDED_KEY_USAGE = "2.5.29.15", "2.5.29.37"
#: extensionRequest (PKCS#9, RFC 2985 section 5.4.2) and Microsoft's older one (szOID_CERT_EXTENSIONS, [MS-WCCE]).
_EXTENSION_REQUESTS = ("1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14")
#: Bytes of a key usage; the standard has nine bits.
_LONGEST_USAGE = 9
_BOOLEAN, _ATTRIBUTES, _VERSION, _EXTENSIONS = 0x01, 0xA0, 0xA0, 0xA3


@dataclass(frozen=True)
class Parts:
    """What a certificate or request is made of, as far as it is read here.

    Attributes:
        kind: CERTIFICATE or REQUEST.
        fields: of the part that is signed, from the serial number (or the request's version) on.
        public_key: DER SubjectPublicKeyInfo as it stands there.
        extensions: content of every extension by its dotted OID; None when they cannot be read.
        der: of the whole, without what may follow it.
    """

    kind: str
    fields: list[Element]
    public_key: bytes
    extensions: dict[str, bytes] | None
    der: bytes


def looks_like(head: bytes) -> bool:
    """Whether bytes hold a PEM certificate or request, or begin like DER: a cheap check before parse()."""
    return head[:2] in (b"\x30\x82", b"\x30\x81", b"\x30\x83") or _BEGIN.search(head) is not None


def parse(data: bytes, source: str) -> tuple[CertificateFacts, ...]:
    """All certificates and requests in the bytes of a file that was named, in their order.

    Args:
        data: PEM with any text and other blocks around it, or DER.
        source: path, for the facts and for messages.

    Raises:
        FormatError: when there is none, or one cannot be read.
    """
    blocks = _blocks(data)
    if not blocks:
        raise FormatError(f"{source}: there is no certificate and no certificate request in it (PEM or DER)")
    try:
        return tuple(_facts(block, source, tolerant=False) for block in blocks)
    except FormatError as error:
        raise FormatError(f"{source}: broken certificate or certificate request: {error}") from error


def parse_found(data: bytes, source: str) -> tuple[tuple[CertificateFacts, ...], tuple[str, ...]]:
    """What can be read in a file that a search turned up, and one sentence for every block that cannot."""
    facts, problems = [], []
    for block in _blocks(data):
        try:
            facts.append(_facts(block, source, tolerant=True))
        except FormatError as error:
            problems.append(f"{source}: not looked at, broken certificate or certificate request: {error}")
    return tuple(facts), tuple(problems)


def of_der(data: bytes, source: str) -> CertificateFacts:
    """The facts of one DER certificate or request, strictly.

    Raises:
        FormatError: when it cannot be read, or bytes follow it.
    """
    facts = parse(data, source)[0] if data[:1] == b"\x30" else None
    if facts is None or facts.der != data:
        raise FormatError(f"{source}: not exactly one DER certificate or certificate request")
    return facts


def _blocks(data: bytes) -> list[bytes]:
    """The DER of every block; what is no base64 or has no end comes empty, to fail where it is read."""
    if data[:1] == b"\x30":
        return [data]
    blocks = []
    for begin in _BEGIN.finditer(data):
        following = data.find(b"-----BEGIN ", begin.end())
        stop = len(data) if following < 0 else following
        end = data.find(b"-----END " + begin.group(1) + b"-----", begin.end(), stop)
        try:
            body = b"".join(data[begin.end() : max(end, begin.end())].split())
            blocks.append(base64.b64decode(body, validate=True))
        except (ValueError, binascii.Error):
            blocks.append(b"")
    return blocks


def _facts(data: bytes, source: str, tolerant: bool) -> CertificateFacts:
    known = parts(data, tolerant)
    facts = CertificateFacts(source, known.kind, identity.key_id(known.public_key), None, None, known.der)
    try:
        return replace(facts, **_usages(known.extensions or {}))
    except FormatError:
        if not tolerant:
            raise
        return facts


def _usages(extensions: dict[str, bytes]) -> dict:
    key_usage = extended = None
    if _KEY_USAGE in extensions:
        key_usage = _set_bits(der.read(extensions[_KEY_USAGE]).expect(der.BIT_STRING).body)
    if _EXTENDED_KEY_USAGE in extensions:
        extended = tuple(der.dotted(purpose) for purpose in der.read_sequence(extensions[_EXTENDED_KEY_USAGE]))
    return {"key_usage": key_usage, "extended_key_usage": extended}


def _set_bits(body: bytes) -> tuple[str, ...]:
    if not 0 < len(body) <= _LONGEST_USAGE or body[0] > 7 or (body[0] and len(body) == 1):
        raise FormatError("its key usage is not a bit string")
    bits = [bit for bit in range(8 * (len(body) - 1) - body[0]) if body[1 + bit // 8] & (0x80 >> bit % 8)]
    # A bit that no standard names could mean anything: it is kept by its number, and no allow-list has it.
    return tuple(KEY_USAGE_BITS[bit] if bit < len(KEY_USAGE_BITS) else f"bit{bit}" for bit in bits)


def parts(data: bytes, tolerant: bool) -> Parts:
    """What a DER certificate or request is made of: both are SEQUENCE {to be signed, algorithm, signature}.

    Args:
        data: the DER; OpenSSL's settings of a trusted certificate may follow it.
        tolerant: extensions that cannot be read are None, and no error.

    Raises:
        FormatError: it is neither.
    """
    # Read as a row of elements: OpenSSL's TRUSTED CERTIFICATE is a certificate and a second element, its settings.
    row = der.read(der.write(der.SEQUENCE, data)).children()
    if not row:
        raise FormatError("it has no end, or is not base64")
    whole = row[0].expect(der.SEQUENCE)
    signed, *outer = whole.children() or [whole]
    if [element.tag for element in (signed, *outer)] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
        raise FormatError("it is neither a certificate nor a certificate request")
    fields = signed.children()
    read = _request_fields if len(fields) < 5 else _certificate_fields
    kind, fields, public_key, lists = read(fields)
    try:
        extensions = _extensions(lists())
    except FormatError:
        if not tolerant:
            raise
        extensions = None
    return Parts(kind, fields, public_key.whole, extensions, whole.whole)


def _certificate_fields(fields: list[Element]) -> tuple[str, list[Element], Element, Callable]:
    """TBSCertificate (RFC 5280 section 4.1): the version is absent in X.509 v1; identifiers and extensions may be."""
    if fields[0].tag == _VERSION:
        fields = fields[1:]
    if [element.tag for element in fields[:6]] != [der.INTEGER, *([der.SEQUENCE] * 5)]:
        raise FormatError("it is neither a certificate nor a certificate request")
    tagged = [element for element in fields[6:] if element.tag == _EXTENSIONS]
    return CERTIFICATE, fields, fields[5], lambda: [der.read(element.body) for element in tagged]


def _request_fields(fields: list[Element]) -> tuple[str, list[Element], Element, Callable]:
    """CertificationRequestInfo (RFC 2986 section 4.1)."""
    tags = [der.INTEGER, der.SEQUENCE, der.SEQUENCE, _ATTRIBUTES]
    # Some makers leave out empty attributes, against the RFC; OpenSSL reads that too.
    if [element.tag for element in fields] not in (tags, tags[:3]):
        raise FormatError("it is neither a certificate nor a certificate request")
    return REQUEST, fields, fields[2], lambda: _requested_extensions(fields[3:])


def _requested_extensions(attributes: list[Element]) -> list[Element]:
    found = []
    for attribute in [attribute for every in attributes for attribute in every.children()]:
        members = attribute.expect(der.SEQUENCE).children()
        if [member.tag for member in members] != [der.OID, der.SET]:
            raise FormatError("an attribute has the wrong form")
        if der.dotted(members[0]) in _EXTENSION_REQUESTS:
            found += members[1].children()
    return found


def _extensions(lists: list[Element]) -> dict[str, bytes]:
    """Extension ::= SEQUENCE {OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING}; the same one twice is an error."""
    found: dict[str, bytes] = {}
    for extension in [every for extensions in lists for every in extensions.expect(der.SEQUENCE).children()]:
        fields = [element for element in extension.expect(der.SEQUENCE).children() if element.tag != _BOOLEAN]
        if [element.tag for element in fields] != [der.OID, der.OCTET_STRING]:
            raise FormatError("an extension has the wrong form")
        name = der.dotted(fields[0])
        if name in found:
            raise FormatError(f"it has the extension {name} twice")
        found[name] = fields[1].body
    return found
