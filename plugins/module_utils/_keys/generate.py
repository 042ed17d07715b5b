# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making private keys: a batch at a time, each bound to its usage from the first moment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import note_missing_library
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import algorithm as algorithms
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import signing_proof, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey

try:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
except ImportError as error:
    note_missing_library(error)

#: NIST SP 800-56B section 6.2: what everybody uses, and what every peer accepts.
_EXPONENT = 65537


def generate(wanted: Sequence[tuple[str, str]]) -> list[PrivateKey]:
    """One new key for each pair of algorithm and usage.

    RSA uses every core: the library releases the interpreter's lock while it looks for primes.

    Raises:
        AlgorithmError: an algorithm cannot be made, or cannot have the usage; nothing was generated.
    """
    for algorithm, usage in wanted:
        algorithms.check_pair(algorithm, usage)
    slow = [number for number, (algorithm, _usage) in enumerate(wanted) if algorithm.startswith("rsa-")]
    made: dict[int, PrivateKey] = {}
    if len(slow) > 1:
        # The longest first, so that no core ends up with one alone.
        slow.sort(key=lambda number: -int(wanted[number][0].split("-")[1]))
        with ThreadPoolExecutor(min(len(slow), len(os.sched_getaffinity(0)))) as pool:
            made = dict(zip(slow, pool.map(lambda number: _generate(*wanted[number]), slow)))
    return [made.get(number) or _generate(*pair) for number, pair in enumerate(wanted)]


def _generate(algorithm: str, usage: str) -> PrivateKey:
    family, dummy, size = algorithm.partition("-")
    key: Any
    if family == "rsa":
        key = rsa.generate_private_key(_EXPONENT, int(size))
    elif family == "ec":
        curves: dict[str, Any] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}
        key = ec.generate_private_key(curves[size]())
    else:
        classes: dict[str, Any] = {
            "ed25519": ed25519.Ed25519PrivateKey,
            "ed448": ed448.Ed448PrivateKey,
            "x25519": x25519.X25519PrivateKey,
            "x448": x448.X448PrivateKey,
        }
        key = classes[family].generate()
    made = key_file.from_cryptography(key, usage)
    if usage in usage_attribute.NONSIGNING:
        return made
    # Here, where the library's object is at hand: to load an RSA key again would cost as much as to make it.
    return replace(made, signing_proof=signing_proof.prove(key, made.facts.key_id))
