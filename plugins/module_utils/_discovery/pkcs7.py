# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates in PKCS#7 and CMS files (RFC 5652 section 5.1: SignedData), as authorities hand out chains."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import ber, der

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_CERTIFICATES = 0xA0


def certificates_in(data: bytes) -> tuple[bytes, ...]:
    """The DER of each certificate in a message in DER or BER; none in what is no signed message.

    Raises:
        FormatError: it is no such message, or damaged.
    """
    fields = der.read_sequence(ber.to_der(data))
    if not fields or der.dotted(fields[0]) != _SIGNED_DATA:
        return ()
    if len(fields) != 2:
        raise FormatError("the PKCS#7 message is damaged")
    signed = der.read(fields[1].body).expect(der.SEQUENCE).children()
    rows = [field for field in signed[3:] if field.tag == _CERTIFICATES]
    # CertificateChoices: attribute certificates and others are tagged, X.509 is not.
    return tuple(one.whole for row in rows[:1] for one in row.children() if one.tag == der.SEQUENCE)
