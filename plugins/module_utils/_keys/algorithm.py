# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Algorithms: one word each, and which usages a key of each may have (docs: the usage table)."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import AlgorithmError
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import ALGORITHMS, USAGES

_SIGNING = ("signature", "certificate_signing", "authentication")

#: family (the word before the dash) to usages. Families that are not here are never made, and never nonsigning.
_FAMILY_USAGES = {
    "rsa": (*_SIGNING, "key_transport"),
    "ec": (*_SIGNING, "key_agreement"),
    "ed25519": _SIGNING,
    "ed448": _SIGNING,
    "x25519": ("key_agreement",),
    "x448": ("key_agreement",),
}


def usages_of(algorithm: str) -> tuple[str, ...]:
    """The usages that a key of this algorithm may have; the signing ones for types that are not made here."""
    return _FAMILY_USAGES.get(algorithm.split("-", 1)[0], _SIGNING)


def check_pair(algorithm: str, usage: str) -> None:
    """Raise AlgorithmError unless keys of this algorithm can be made for this usage."""
    if algorithm not in ALGORITHMS:
        raise AlgorithmError(f"algorithm: {algorithm!r} is not known; choose one of {', '.join(ALGORITHMS)}")
    if usage not in USAGES:
        raise AlgorithmError(f"usage: {usage!r} is not known; choose one of {', '.join(USAGES)}")
    if usage not in usages_of(algorithm):
        fitting = [word for word in ALGORITHMS if usage in usages_of(word)]
        raise AlgorithmError(
            f"algorithm: {algorithm} cannot have the usage {usage}; choose one of {', '.join(fitting)}"
        )
