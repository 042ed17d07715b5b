# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put shares together to a key-encryption key. Only agents' quorums get here; hosts that archive never load this file.

Shamir's scheme has no check of its own: m shares always give *a* value. That it is the right one is said before by
the digests (open_key) and after by the authenticated encryption (cms_open).
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    MissingLibrary,
    QuorumNotReached,
)

try:
    from Cryptodome.Protocol.SecretSharing import Shamir
except ImportError:
    # Not noted as missing for every module: groups with m = 1 do without it. combine() says it where it is needed.
    Shamir = None


def combine(threshold: int, values: list[tuple[str, ...]]) -> bytes:
    """The 32-byte KEK from the value lines of m different agents; more than m are not used.

    Raises:
        MissingLibrary: for m >= 2 without Cryptodome.
        QuorumNotReached: when there are fewer than m different ones.
        FormatError: when the lines do not have their form.
    """
    if threshold == 1 and values:
        return _unhex(values[0][0], 32)
    points = [tuple(_point(line) for line in lines) for lines in values]
    different = {lines[0][0]: lines for lines in points if len(lines) == 2 and lines[0][0] == lines[1][0]}
    if len(different) < max(threshold, 1):
        raise QuorumNotReached(f"{threshold} shares of different agents are needed, there are {len(different)}")
    if Shamir is None:
        raise MissingLibrary(["Cryptodome"])
    chosen = [different[place] for place in sorted(different)][:threshold]
    return b"".join(Shamir.combine([lines[half] for lines in chosen], ssss=True) for half in (0, 1))


def _point(line: str) -> tuple[int, bytes]:
    place, _dash, value = line.partition("-")
    if not place.isascii() or not place.isdigit():
        raise FormatError("a share's value line does not have its form")
    return int(place), _unhex(value, 16)


def _unhex(text: str, size: int) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        # bytes.fromhex names a position only, but the chained error is left out all the same: this is secret text.
        raise FormatError("a share's value is not hex") from None
    if len(data) != size:
        raise FormatError("a share's value has another size")
    return data
