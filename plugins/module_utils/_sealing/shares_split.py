# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Split a key-encryption key among the agents of one group.

Shamir's scheme over GF(2^128), on the KEK's two halves separately, in the variant of the program ``ssss`` without
diffusion: so ``ssss-combine -x -D`` puts the lines together without this software. Each half gets its own polynomial.
For m = 1 there is nothing to split: every agent gets the KEK, and Cryptodome is not needed.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, MissingLibrary

try:
    from Cryptodome.Protocol.SecretSharing import Shamir
except ImportError:
    # Not noted as missing for every module: groups with m = 1 do without it. split() says it where it is needed.
    Shamir = None

HALF = 16


def split(kek: bytes, threshold: int, agents: int) -> tuple[tuple[str, ...], ...]:
    """The secret value lines of every agent, in the order of the group's agents (docs/formats.md, share text).

    Args:
        kek: 32 bytes.
        threshold, agents: m and n, 1 <= m <= n <= 255.

    Raises:
        MissingLibrary: for m >= 2 without Cryptodome.
        FormatError: when the numbers or the size do not fit.
    """
    if len(kek) != 2 * HALF or not 1 <= threshold <= agents <= 255:
        raise FormatError("a KEK of 32 bytes is split with 1 <= m <= n <= 255")
    if threshold == 1:
        return ((kek.hex(),),) * agents
    if Shamir is None:
        raise MissingLibrary(["Cryptodome"])
    halves = [dict(Shamir.split(threshold, agents, half, ssss=True)) for half in (kek[:HALF], kek[HALF:])]
    return tuple(tuple(f"{place}-{half[place].hex()}" for half in halves) for place in range(1, agents + 1))
