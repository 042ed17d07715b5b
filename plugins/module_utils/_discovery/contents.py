# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the bytes of one file hold: private keys, certificates, certificate requests.

Invariants:

- The first bytes decide whether a file is looked into at all (``is_candidate``); its name never does.
- Nothing that is returned holds a private key in clear. ``FoundKey.sealed`` is an encrypted one, kept only where a
  passphrase may be tried on it later. No content gets into a message.
- Whatever the bytes are, the answer is a ``Contents``: what looks like a key and cannot be read is a key with an error.
  The work is in proportion to the bytes, and nothing is derived from a passphrase here.
- A block of PEM whose body is no base64 is text about keys (source code is full of it), not a key.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery import bundles, tree
from ansible_collections.keyops.lifecycle.plugins.module_utils._discovery.found import (
    Contents,
    FoundKey,
    not_opened,
    read_key,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, keystore, pem, putty

#: Of the first bytes, those in which text has no NUL.
TEXT_SIZE = 512
#: Of one file.
_MOST_KEYS, _MOST_UNREADABLE = 500, 16
_SSH1 = b"SSH PRIVATE KEY FILE FORMAT 1.1\n\0"
_BEGIN = b"-----BEGIN "
#: "-----BEGIN" in base64: PEM inside YAML or JSON, as Kubernetes keeps it.
_BEGIN_ENCODED = b"LS0tLS1CRUdJTi"
_ENCODED = re.compile(rb"LS0tLS1CRUdJTi[A-Za-z0-9+/]{64,}={0,2}")

_LENGTH = rb"(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)"
_INTEGER_FIRST = re.compile(rb"\x30" + _LENGTH + rb"\x02\x01([\x00-\x03])([\x02\x04\x30])", re.S)
#: PrivateKeyInfo up to the algorithm's identifier: nothing else begins so.
_PKCS8 = re.compile(rb"\x30" + _LENGTH + rb"\x02\x01[\x00\x01]\x30" + _LENGTH + rb"\x06[\x03-\x0b]", re.S)
#: EncryptedPrivateKeyInfo: the AlgorithmIdentifier of PKCS#5 or PKCS#12 comes first.
_ENCRYPTED = re.compile(rb"\x30" + _LENGTH + rb"\x30" + _LENGTH + rb"\x06.\x2a\x86\x48\x86\xf7\x0d\x01[\x05\x0c]", re.S)
_SIGNED_DATA = re.compile(rb"\x30" + _LENGTH + rb"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", re.S)
#: A certificate with its version, or a request: SEQUENCE in SEQUENCE, then [0] {INTEGER}, or INTEGER 0 and the subject.
_CERTIFICATE = re.compile(
    rb"\x30" + _LENGTH + rb"\x30" + _LENGTH + rb"(?:\xa0\x03\x02\x01|\x02[\x01-\x15].{1,21}\x30)", re.S
)
_SEQUENCES = re.compile(rb"\x30" + _LENGTH + rb"\x30", re.S)

_TIMES = ([0x17], [0x18])

_CERTIFICATE_LABELS = frozenset(
    ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
)
_PKCS7_LABELS = frozenset(("PKCS7", "CMS", "PKCS #7 SIGNED DATA"))
#: What follows the first line of a true block: headers perhaps, then base64.
_REAL_BODY = re.compile(rb"[ \t\r]*\n(?:[ \t]*[A-Za-z][A-Za-z-]{0,40}:[^\n]{0,200}\n){0,8}\s{0,200}[A-Za-z0-9+/]{16}")


def is_candidate(head: bytes) -> bool:
    """Whether a file that begins so, with HEAD_SIZE bytes or all of its own, may hold anything of this kind."""
    if head.find(0, 0, TEXT_SIZE) < 0:
        if len(head) == tree.HEAD_SIZE:
            return True
        # A search for one byte is many times faster than one for a word, and most files do not have the byte.
        if (b"G" in head and _BEGIN in head) or (b"J" in head and _BEGIN_ENCODED in head):
            return True
        if head.startswith(putty.MAGIC):
            return True
    elif head[:4] in keystore.CONTAINERS or head.startswith(_SSH1):
        return True
    return head[:1] == b"\x30" and any(kind.match(head) for kind in (_SEQUENCES, _INTEGER_FIRST, _SIGNED_DATA))


def read(data: bytes) -> Contents:
    """What is in a file with this content."""
    if data[:4] in keystore.CONTAINERS:
        return bundles.java_keystore(data)
    if data.startswith(putty.MAGIC):
        return Contents((bundles.putty_key(data),))
    if data.startswith(_SSH1):
        return Contents((not_opened("ssh1"),))
    found = [_der(data)] if data[:1] == b"\x30" else []
    if _BEGIN in data:
        found += [_pem(piece) for piece in pem.split(data)]
    if _BEGIN_ENCODED in data:
        found += [_pem(piece) for match in _ENCODED.finditer(data) for piece in pem.split(_decoded(match.group()))]
    return _joined(found)


def _joined(found: Iterable[Contents]) -> Contents:
    parts = list(found)
    keys, broken = _bounded([key for part in parts for key in part.keys])
    return Contents(
        keys,
        tuple(one for part in parts for one in part.certificates),
        (*(text for part in parts for text in part.broken), *broken),
    )


def _bounded(keys: list[FoundKey]) -> tuple[tuple[FoundKey, ...], tuple[str, ...]]:
    """No one file fills the result, and least with what only looks like keys."""
    unreadable = [key for key in keys if key.error is not None][_MOST_UNREADABLE:]
    dropped = {id(key) for key in unreadable}
    kept = tuple(key for key in keys if id(key) not in dropped)
    beyond = len(keys) - len(kept[:_MOST_KEYS])
    return kept[:_MOST_KEYS], (f"{beyond} more blocks that look like private keys",) if beyond else ()


# --- PEM ----------------------------------------------------------------------------------------------------------


def _pem(piece: pem.Piece) -> Contents:
    label, body = piece.label, _unescaped(piece.body)
    if label == "PGP PRIVATE KEY BLOCK":
        return Contents((not_opened("openpgp"),) if piece.whole else ())
    if not label.endswith("PRIVATE KEY") and label not in _CERTIFICATE_LABELS and label not in _PKCS7_LABELS:
        return Contents()
    if not _REAL_BODY.match(body):
        return Contents()
    if label.endswith("PRIVATE KEY"):
        return Contents((_pem_key(piece, body),))
    content = _base64(body) if piece.whole else None
    if content is None:
        return Contents(broken=(f"a damaged PEM block, {label}",))
    return bundles.pkcs7_message(content) if label in _PKCS7_LABELS else Contents((), (content,))


def _pem_key(piece: pem.Piece, body: bytes) -> FoundKey:
    if not piece.whole:
        return FoundKey(None, None, None, KeyUnreadable("not a readable private key: a PEM block is cut off"))
    mark = piece.label.encode("ascii") + b"-----\n"
    return read_key(b"-----BEGIN " + mark + body.strip() + b"\n-----END " + mark)


def _unescaped(body: bytes) -> bytes:
    """The lines of a block that stands in a string of JSON or YAML, or is indented."""
    if b"\\n" in body:
        body = body.replace(b"\\r", b"").replace(b"\\n", b"\n")
    if b"\n " in body or b"\n\t" in body:
        body = b"\n".join(line.strip() for line in body.split(b"\n"))
    return body


def _base64(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        return None


def _decoded(text: bytes) -> bytes:
    whole = text.rstrip(b"=")
    try:
        return base64.b64decode(whole + b"=" * (-len(whole) % 4))
    except (ValueError, binascii.Error):
        return b""


# --- DER and BER --------------------------------------------------------------------------------------------------


def _der(data: bytes) -> Contents:
    if _SIGNED_DATA.match(data):
        return bundles.pkcs7_message(data)
    if _ENCRYPTED.match(data):
        return Contents((read_key(_trimmed(data)),)) if _is_pair(data) else Contents()
    first = _INTEGER_FIRST.match(data)
    if first is None:
        return _certificate(data)
    version, following = first.groups()
    if version == b"\x03":
        return bundles.pkcs12_file(data) if following == b"\x30" else Contents()
    if version == b"\x02":
        return Contents()
    if _PKCS8.match(data) or _is_traditional(data):
        return Contents((read_key(_trimmed(data)),))
    return Contents()


def _trimmed(data: bytes) -> bytes:
    """Without what follows the key: openssl reads such a file too."""
    try:
        return der.read_first(data).whole
    except FormatError:
        return data


def _is_pair(data: bytes) -> bool:
    """Whether it is an algorithm and an OCTET STRING, and not a public key or a damaged anything."""
    try:
        return [element.tag for element in der.read_first(data).children()] == [der.SEQUENCE, der.OCTET_STRING]
    except FormatError:
        return False


def _is_traditional(data: bytes) -> bool:
    """Whether these are the fields of an RSA (RFC 8017), DSA or EC (RFC 5915) private key."""
    try:
        tags = [element.tag for element in der.read_first(data).children()]
    except FormatError:
        return False
    if tags[1:2] == [der.OCTET_STRING]:
        return set(tags[2:]) <= {0xA0, 0xA1}
    numbers = [der.INTEGER] * len(tags)
    return (tags == numbers and len(tags) in (6, 9)) or (len(tags) == 10 and tags == [*numbers[:9], der.SEQUENCE])


def _certificate(data: bytes) -> Contents:
    """A certificate or request; anything else that begins with two SEQUENCEs is nothing to tell about."""
    if not _CERTIFICATE.match(data):
        return Contents()
    try:
        whole = der.read_first(data)
        parts = whole.children()
        fields = [element.tag for element in parts[0].children()]
    except FormatError:
        return Contents(broken=("it begins like a certificate, and is damaged",))
    is_signed = [element.tag for element in parts] == [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]
    # A revocation list has a time where a certificate has its validity.
    return Contents((), (whole.whole,)) if is_signed and fields[3:4] not in _TIMES else Contents()
