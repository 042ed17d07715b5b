# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Weak and publicly known keys, by their public halves; every public key is looked at once, wherever it lies.

Sizes and types are judged here. Keys that a broken generator made, and keys whose private half is public, are found by
the library badkeys where it is installed (PyPI; it wants cryptography 49 or later). Its blocklist of keys that are
publicly known is downloaded by ``badkeys --update-bl`` and never by this code, which opens no connection.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.catalogue import Kind

#: NIST SP 800-57 Part 1, table 2: less than 112 bits of strength.
_RSA_BITS = 2048
_CURVES = ("ec-p192", "ec-secp192", "ec-sect163", "ec-sect193", "ec-secp112", "ec-secp128", "ec-secp160")
_SIZE = re.compile(r"(?:rsa|rsassa-pss)-([0-9]+)")
_BLOCKLIST = "blocklist"
_FILES = ("badkeysdata.json", "blocklist.dat")
_TOLD = {
    "fermat": "its two primes are close to each other, so Fermat's method finds them",
    "roca": "an Infineon library made it (ROCA, CVE-2017-15361)",
    "rsainvalid": "its numbers are no RSA key",
    "rsapoly": "a pattern in its modulus lets it be factored",
    "sharedprimes": "it shares a prime with other keys",
    "smalld": "its private exponent is small, so Wiener's method finds it",
    "smallfactors": "its modulus has a small factor",
    "dsasparse": "its numbers are sparse, so the private key can be found",
}


@dataclass(frozen=True)
class Looked:
    """What was looked for, and what was found.

    Attributes:
        found: key ID to kind and detail.
        note: what could not be looked for, for the user; or None.
    """

    found: Mapping[str, tuple[Kind, str]]
    note: str | None


def look(keys: Mapping[str, tuple[str | None, str | None]], wanted: str) -> Looked:
    """Look at every public key once.

    Args:
        keys: key ID to algorithm and public key (PEM).
        wanted: ``auto`` uses badkeys where it is installed, ``required`` fails without it, ``off`` leaves it.

    Raises:
        OptionError: when badkeys or its blocklist is required and not there.
    """
    found = {key_id: told for key_id, (algorithm, dummy) in keys.items() if (told := by_size(algorithm))}
    if wanted == "off":
        return Looked(found, None)
    checks, note = _badkeys(wanted == "required")
    for key_id, (dummy, pem) in keys.items() if checks else ():
        if pem and (told := _by_badkeys(checks[0], checks[1], pem)):
            found[key_id] = told
    return Looked(found, note)


def by_size(algorithm: str | None) -> tuple[Kind, str] | None:
    """What is wrong with a key's type or size, or None."""
    if not algorithm:
        return None
    size = _SIZE.fullmatch(algorithm)
    if size and int(size.group(1)) < _RSA_BITS:
        return catalogue.WEAK_KEY, f"RSA of {size.group(1)} bits has less than 112 bits of strength"
    if algorithm == "dsa":
        return catalogue.WEAK_KEY, "DSA keys are no longer approved (FIPS 186-5)"
    if algorithm.startswith(_CURVES):
        return catalogue.WEAK_KEY, f"the curve of {algorithm} has less than 112 bits of strength"
    return None


def _badkeys(required: bool) -> tuple[Any, str | None]:
    """The library's functions and the names of its checks, or None; and what is missing."""
    try:
        checks = importlib.import_module("badkeys.checks")
        folder = importlib.import_module("badkeys.utils")._cachedir()
    except ImportError as error:
        told = (
            "keys that a broken generator made and publicly known keys were not looked for: the library badkeys is "
            f"not usable on the controller ({error}); install it with pip, beside cryptography 49 or later"
        )
        if required:
            raise OptionError(f"weak_keys: {told}, or set weak_keys to auto") from error
        return None, told
    names = [name for name in checks.defaultchecks if name != _BLOCKLIST]
    # Without its files, the library would end the process.
    if all(os.path.isfile(os.path.join(folder, name)) for name in _FILES):
        return (checks.checkpubkey, [*names, _BLOCKLIST]), None
    told = "publicly known keys were not looked for: badkeys has no blocklist yet; get it with badkeys --update-bl"
    if required:
        raise OptionError(f"weak_keys: {told}, or set weak_keys to auto")
    return (checks.checkpubkey, names), told


def _by_badkeys(check: Any, names: Iterable[str], pem: str) -> tuple[Kind, str] | None:
    try:
        results = check(pem, names).get("results", {})
    except (ValueError, TypeError, ArithmeticError):
        # Somebody else's public key, with numbers that no key has.
        return None
    for name, result in sorted(results.items(), key=lambda item: item[0] != _BLOCKLIST):
        # The library also returns the factors that it has found. They go no further.
        if name == _BLOCKLIST:
            return catalogue.COMPROMISED_KEY, f"its private key is public (badkeys, blocklist {result.get('subtest')})"
        return catalogue.WEAK_KEY, f"{_TOLD.get(name, name)} (badkeys, {name})"
    return None
