# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates that a recovered key ever had, from all revisions of its records.

S/MIME messages and EFS files name the certificate, not the key: to read them, a key needs every certificate it had. A
revision holds those that were seen when it was made, so all revisions together hold them all.

Invariant: what is returned is a certificate of exactly this key, because its public key says so. Nothing else about it
is vouched for: whoever can write records can add a certificate that nobody issued.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity, pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


def of_key(records: Iterable[Record], key_id: str) -> tuple[bytes, ...]:
    """DER of all certificates of the key that any of these revisions has, newest first, each once."""
    found = {one for record in records for one in record.certificates if _is_of(one, key_id)}
    return newest_first(found)


def newest_first(found: Iterable[bytes]) -> tuple[bytes, ...]:
    """DER certificates by the begin of their validity; equal ones by their digest."""
    return tuple(sorted(found, key=lambda one: (_not_before(one), canonical.digest(one)), reverse=True))


def in_file(content: bytes, key_id: str, path: str) -> tuple[bytes, ...]:
    """DER of the certificates in a file that is to hold this key's certificates and nothing else.

    Raises:
        FormatError: when it holds anything else, which must not be overwritten.
    """
    facts = certificates.parse(content, path)
    if b"PRIVATE KEY-----" in content or any(
        (one.key_id, one.kind) != (key_id, certificates.CERTIFICATE) for one in facts
    ):
        raise FormatError(f"{path}: holds something else than certificates of the key {key_id[:16]}...")
    return tuple(one.der for one in facts)


def as_pem(found: Iterable[bytes]) -> bytes:
    """One PEM block after the other."""
    return b"".join(pem.write("CERTIFICATE", one) for one in found)


def _is_of(certificate: bytes, key_id: str) -> bool:
    try:
        known = certificates.parts(certificate, tolerant=True)
        return (known.kind, identity.key_id(known.public_key)) == (certificates.CERTIFICATE, key_id)
    except FormatError:
        return False


def _not_before(certificate: bytes) -> bytes:
    """``YYYYMMDDhhmmssZ`` (RFC 5280 section 4.1.2.5), for sorting; empty where it cannot be read."""
    try:
        begin = certificates.parts(certificate, tolerant=True).fields[3].children()[0]
    except (FormatError, IndexError):
        return b""
    if begin.tag == _UTC_TIME:
        return (b"19" if begin.body[:2] >= b"50" else b"20") + begin.body
    return begin.body if begin.tag == _GENERALIZED_TIME else b""
