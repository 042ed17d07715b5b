# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certificates and requests say of themselves, for people and for the audit: names, times, constraints.

Read by the strict reader and not by a library, so that every certificate whose key can be read is also told. Nothing
is verified. Names hold whatever somebody wrote: they are escaped to printable text and cut, because they end up on
terminals.
"""

from __future__ import annotations

import datetime
import hashlib
import re

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, usages
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts

_LONGEST = 512
_MOST_PURPOSES = 32
#: RFC 4514 section 3; other attributes are named by their OIDs.
_ATTRIBUTES = {
    **{"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C"},
    **{"2.5.4.9": "STREET", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID"},
}
#: Tags of the string types, and how they are encoded; T61String is read as what everybody writes into it.
_STRINGS = {
    **{0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii"},
    **{0x1C: "utf-32-be", 0x1E: "utf-16-be"},
}
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_TIME = re.compile(rb"([0-9]{2})?([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z\Z")
_SUBJECT_KEY_ID, _BASIC_CONSTRAINTS, _AUTHORITY_KEY_ID = "2.5.29.14", "2.5.29.19", "2.5.29.35"


def certificate(facts: CertificateFacts) -> dict:
    """The public facts of a certificate, as the module returns them (without its paths)."""
    known = certificates.parts(facts.der, tolerant=True)
    serial, dummy, issuer, validity, subject = known.fields[:5]
    begin, end = _validity(validity)
    extensions = known.extensions or {}
    return {
        **_common(facts, known),
        "subject": _name(subject),
        "issuer": _name(issuer),
        "serial": serial.body[:64].hex(),
        "not_before": begin,
        "not_after": end,
        **_usages(facts),
        "ca": _is_authority(extensions),
        "self_signed": issuer.whole == subject.whole and _names_own_key(extensions),
    }


def request(facts: CertificateFacts) -> dict:
    """The public facts of a certificate request, as the module returns them (without its paths)."""
    known = certificates.parts(facts.der, tolerant=True)
    return {**_common(facts, known), "subject": _name(known.fields[1]), **_usages(facts)}


def subject_and_end(facts: CertificateFacts) -> dict:
    """The subject, and the end of a certificate (None for a request)."""
    row = request(facts) if facts.kind == certificates.REQUEST else certificate(facts)
    return {"subject": row["subject"], "not_after": row.get("not_after")}


def _common(facts: CertificateFacts, known: certificates.Parts) -> dict:
    return {
        "key_id": facts.key_id,
        "algorithm": _algorithm(known.public_key),
        "fingerprint": hashlib.sha256(facts.der).hexdigest(),
    }


def _algorithm(public_key: bytes) -> str | None:
    try:
        return identity.algorithm_of(public_key)
    except FormatError:
        return None


def _usages(facts: CertificateFacts) -> dict:
    purposes = facts.extended_key_usage
    named = None if purposes is None else [usages.extended_key_usage_name(oid) for oid in purposes[:_MOST_PURPOSES]]
    return {"key_usage": None if facts.key_usage is None else list(facts.key_usage), "extended_key_usage": named}


def _validity(element: der.Element) -> tuple[str | None, str | None]:
    try:
        times = element.children()
    except FormatError:
        times = []
    return (_time(times[0]), _time(times[1])) if len(times) == 2 else (None, None)


def _time(element: der.Element) -> str | None:
    """A time in the one form that RFC 5280 section 4.1.2.5 allows; None for others."""
    found = _TIME.match(element.body)
    if found is None or (found.group(1) is None) != (element.tag == _UTC_TIME):
        return None
    century, year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    year += century * 100 if element.tag == _GENERALIZED_TIME else 2000 if year < 50 else 1900
    try:
        when = datetime.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    return when.isoformat() + "Z"


def _is_authority(extensions: dict[str, bytes]) -> bool:
    try:
        fields = der.read_sequence(extensions.get(_BASIC_CONSTRAINTS, b"\x30\x00"))
    except FormatError:
        return False
    return bool(fields) and fields[0].tag == 0x01 and fields[0].body not in (b"", b"\x00")


def _names_own_key(extensions: dict[str, bytes]) -> bool:
    """Whether the authority's key identifier is the subject's, or is not there."""
    try:
        authority = der.read_sequence(extensions.get(_AUTHORITY_KEY_ID, b"\x30\x00"))
        own = der.read(extensions.get(_SUBJECT_KEY_ID, b"\x04\x00")).body
    except FormatError:
        return False
    named = [field.body for field in authority if field.tag == 0x80]
    return not named or not own or named[0] == own


# --- names (RFC 4514) ---------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """The text, escaped and cut, for terminals and pages."""
    text = text[:_LONGEST] + ("..." if len(text) > _LONGEST else "")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _name(element: der.Element) -> str | None:
    try:
        parts = [_relative(one) for one in element.expect(der.SEQUENCE).children()]
    except (FormatError, ValueError):
        return None
    return printable(",".join(reversed(parts)))


def _relative(element: der.Element) -> str:
    pairs = [one.expect(der.SEQUENCE).children() for one in element.expect(der.SET).children()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise FormatError("not a name")
    return "+".join(f"{_attribute(kind)}={_value(value)}" for kind, value in pairs)


def _attribute(element: der.Element) -> str:
    oid = der.dotted(element)
    return _ATTRIBUTES.get(oid, oid)


def _value(element: der.Element) -> str:
    if element.tag not in _STRINGS:
        return "#" + element.whole[:_LONGEST].hex()
    text = element.body[: 4 * _LONGEST].decode(_STRINGS[element.tag], "replace")
    escaped = re.sub(r'([\\",+;<>])', r"\\\1", text).replace("\0", r"\00")
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if len(escaped) > 2 and escaped.endswith(" ") else escaped
