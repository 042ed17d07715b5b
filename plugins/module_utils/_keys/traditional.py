# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Traditional private keys, not encrypted: PKCS#1 (RFC 8017 A.1.2), SEC1 (RFC 5915) and OpenSSL's DSA, as PKCS#8."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.pkcs8 import PrivateKeyInfo


def parse(data: bytes) -> PrivateKeyInfo:
    """The same key as PKCS#8.

    Raises:
        FormatError: it is none of the three.
    """
    fields = der.read_sequence(data)
    if len(fields) > 1 and fields[1].tag == der.OCTET_STRING:
        return _ec(data, fields)
    if len(fields) == 6:
        return _dsa(fields)
    return PrivateKeyInfo(identity.RSA, der.read(der.write(der.NULL)), data)


def _ec(data: bytes, fields: list[der.Element]) -> PrivateKeyInfo:
    named = [field for field in fields[2:] if field.tag == 0xA0]
    if not named:
        raise FormatError("the EC private key does not name its curve")
    return PrivateKeyInfo(identity.EC, der.read(named[0].body), data)


def _dsa(fields: list[der.Element]) -> PrivateKeyInfo:
    """Version 0, p, q, g, public, private."""
    parameters = der.write(der.SEQUENCE, *(field.whole for field in fields[1:4]))
    return PrivateKeyInfo(identity.DSA, der.read(parameters), fields[5].whole)
