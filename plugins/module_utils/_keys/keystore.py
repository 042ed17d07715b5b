# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Java keystores (JKS and JCEKS): the certificates in them, and which of them belong to private keys.

Both keep certificates in clear and encrypt each private key on its own, so the public facts need no passphrase. The
integrity check is not made. The format has no standard; it is that of OpenJDK's JavaKeyStore and JceKeyStore.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError

CONTAINERS = {b"\xfe\xed\xfe\xed": "jks", b"\xce\xce\xce\xce": "jceks"}
_KEY, _CERTIFICATE = 1, 2
_MOST_ENTRIES = 5000


@dataclass(frozen=True)
class Contents:
    """What is in a keystore.

    Attributes:
        keys: per private key, the DER certificates of its chain, its own first; none for a key without one.
        certificates: DER of the trusted certificates.
        whole: False when it is cut off, or has entries of another kind (JCEKS keeps secret keys as Java objects).
    """

    keys: tuple[tuple[bytes, ...], ...] = ()
    certificates: tuple[bytes, ...] = ()
    whole: bool = True


def read(data: bytes) -> Contents:
    """The public contents of a keystore that begins with one of the magic numbers, as far as they can be read."""
    reader = _Reader(data[4:])
    keys: list[tuple[bytes, ...]] = []
    certificates: list[bytes] = []
    try:
        version, count = reader.number(4), reader.number(4)
        for dummy in range(min(count, _MOST_ENTRIES)):
            kind = reader.number(4)
            reader.text(reader.number(2))  # its alias
            reader.number(8)  # the time at which it was made
            if kind == _KEY:
                reader.text(reader.number(4))  # the encrypted key
                keys.append(tuple(reader.certificate(version) for other in range(min(reader.number(4), 100))))
            elif kind == _CERTIFICATE:
                certificates.append(reader.certificate(version))
            else:
                return Contents(tuple(keys), tuple(certificates), False)
    except FormatError:
        return Contents(tuple(keys), tuple(certificates), False)
    return Contents(tuple(keys), tuple(certificates), count <= _MOST_ENTRIES)


class _Reader:
    """Java's DataInputStream: big-endian numbers, and texts after their length."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def text(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            FormatError: there are fewer.
        """
        start = self._place
        self._place += size
        if self._place > len(self._data):
            raise FormatError("the keystore is cut off")
        return self._data[start : self._place]

    def number(self, size: int) -> int:
        """A number of so many bytes.

        Raises:
            FormatError: there are fewer.
        """
        return int.from_bytes(self.text(size), "big")

    def certificate(self, version: int) -> bytes:
        """A certificate; version 2 says its type before it.

        Raises:
            FormatError: it is cut off.
        """
        if version >= 2:
            self.text(self.number(2))
        return self.text(self.number(4))
