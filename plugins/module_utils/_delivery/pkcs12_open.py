# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PKCS#12 read whole with its password, whoever wrote it: what keys and certificates are in it, and how it is
protected.

Unlike the search of a host (_keys/pkcs12.py), this wants everything: the MAC must fit, and nothing may stay closed. No
part is opened before the MAC has shown that whoever made the file knew the password.
What is read here only for old files (RC2 and RC4) is left to cryptography, after its work was found to be bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import pkcs12_mac, pkcs12_write, profiles
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.profiles import Scheme
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyUnreadable,
    WrongPassphrase,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import ber, der, pem, pkcs8, pkcs12
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts

try:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
except ImportError as error:
    note_missing_library(error)

_DATA = "1.2.840.113549.1.7.1"
#: Of all parts together.
_MOST_ITERATIONS = 20_000_000


@dataclass(frozen=True)
class Stored:
    """A key in a file: its key ID, its friendly name and the digest of its certificate, or None."""

    key_id: str
    friendly_name: str | None
    certificate: str | None


@dataclass(frozen=True)
class Opened:
    """What a file holds; public facts only.

    Attributes:
        keys: in the order of their key IDs.
        chain: digests of certificates that belong to none of the keys, sorted.
        profile: its name, or ``other``.
        mac: of pkcs12_mac.
    """

    keys: tuple[Stored, ...]
    chain: tuple[str, ...]
    profile: str
    mac: pkcs12_mac.Mac


def read(data: bytes, password: str) -> Opened:
    """What the file holds.

    Raises:
        WrongPassphrase: the password does not open it.
        KeyUnreadable: it is no PKCS#12 file, is damaged, or asks for unreasonable work.
    """
    if data[:1] != b"\x30":
        raise KeyUnreadable(f"it is {'a PEM file and ' if pem.looks_like_pem(data) else ''}no PKCS#12 file")
    try:
        return _read(data, password)
    except FormatError as error:
        raise KeyUnreadable(f"not a readable PKCS#12 file: {error}") from error
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise KeyUnreadable("not a readable PKCS#12 file: damaged, or of a kind that is not supported") from error


def _read(data: bytes, password: str) -> Opened:
    fields = der.read_sequence(ber.to_der(data))
    if not 2 <= len(fields) <= 3 or fields[0].integer() != 3:
        raise FormatError("it does not begin like one")
    safe = _safe(fields[1])
    if len(fields) == 2:
        # Then anybody can have written it, and asked for any work.
        raise FormatError("it has no MAC, so it may have been altered")
    mac = pkcs12_mac.check(fields[2], safe, password)
    contents = pkcs12.read(data, password)
    schemes = [profiles.scheme_of(one) for one in contents.algorithms]
    if sum(one.iterations for one in schemes) > _MOST_ITERATIONS:
        raise FormatError("it asks for an unreasonable number of iterations")
    if contents.closed:
        contents = _by_library(data, password, contents, schemes)
    keys, chain = _told(contents)
    return Opened(keys, chain, profiles.profile_of(schemes, mac.hash), mac)


def _safe(element: der.Element) -> bytes:
    """The content that the MAC is made of: a ContentInfo of the type data."""
    kind, content = element.expect(der.SEQUENCE).children()[:2]
    if der.dotted(kind) != _DATA or content.tag != 0xA0:
        raise FormatError("it is protected by a certificate, which is not read")
    return der.read(content.body).expect(der.OCTET_STRING).body


def _by_library(data: bytes, password: str, contents: pkcs12.Contents, schemes: list[Scheme]) -> pkcs12.Contents:
    """For old files of one key; cryptography reads no more than one.

    Raises:
        WrongPassphrase: it does not open them either.
    """
    if not any(one.text.startswith(("rc2", "rc4")) for one in schemes) or len(contents.keys) > 1:
        raise WrongPassphrase("the password does not open all of it")
    try:
        found = load_pkcs12(data, password.encode("utf-8"))
    except ValueError as error:
        raise WrongPassphrase("the password does not open it, or it is encrypted in an outdated way") from error
    if found.key is None:
        raise FormatError("it holds no private key")
    own = [found.cert] if found.cert else []
    certificates = [one.certificate.public_bytes(Encoding.DER) for one in (*own, *found.additional_certs)]
    key = found.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    name = own[0].friendly_name if own else None
    attributes = {} if name is None else {pkcs12_write.FRIENDLY_NAME: _bmp(name.decode("utf-8"))}
    return pkcs12.Contents((key,), tuple(certificates), 0, (attributes,), ({},) * len(certificates))


def _bmp(text: str) -> bytes:
    return der.write(pkcs12_write.BMP_STRING, text.encode("utf-16-be"))


def _told(contents: pkcs12.Contents) -> tuple[tuple[Stored, ...], tuple[str, ...]]:
    """Certificates belong to the key whose public half they have, whatever the attributes say."""
    of_key: dict[str, bytes] = {}
    owners = [_key_id_of(one) for one in contents.certificates]
    key_ids = [key_id_of(one) for one in contents.keys]
    for certificate, owner in zip(contents.certificates, owners):
        if owner in key_ids:
            of_key.setdefault(owner, certificate)
    keys = [
        Stored(key_id, _name(attributes), _digest(of_key[key_id]) if key_id in of_key else None)
        for key_id, attributes in zip(key_ids, contents.key_attributes)
    ]
    chain = {_digest(one) for one in contents.certificates} - {_digest(one) for one in of_key.values()}
    return tuple(sorted(keys, key=lambda one: one.key_id)), tuple(sorted(chain))


def key_id_of(key: bytes) -> str:
    """The key ID of a DER PrivateKeyInfo."""
    return _digest(pkcs8.public_half(pkcs8.parse(key)))


def _key_id_of(certificate: bytes) -> str:
    with contextlib.suppress(FormatError):
        return _digest(cms_parts.certificate_parts(certificate)[2])
    return ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _name(attributes: dict[str, bytes]) -> str | None:
    value = attributes.get(pkcs12_write.FRIENDLY_NAME)
    if value is None or value[0] != pkcs12_write.BMP_STRING:
        return None
    return der.read(value).body.decode("utf-16-be", "replace")
