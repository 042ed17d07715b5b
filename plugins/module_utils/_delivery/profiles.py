# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profiles of exported files: how keys and certificates are encrypted, and how the whole is protected.

- ``modern``: PBES2, PBKDF2 with HMAC-SHA-256, 600,000 iterations, AES-256-CBC; MAC with SHA-256, the classic one of
  PKCS#12 or PBMAC1 (RFC 9879).
- ``windows``: the same algorithms with the classic MAC and fewer iterations, the form in which Windows 10 (1709) and
  Server 2019 and later write PKCS#12 themselves ("AES256-SHA256").
- ``legacy``: PKCS#12's own triple DES and a MAC with SHA-1, for what takes nothing else. Only by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der

PBES2 = "1.2.840.113549.1.5.13"
TRIPLE_DES = "1.2.840.113549.1.12.1.3"
_PBKDF2 = "1.2.840.113549.1.5.12"
_NAMES = {
    "2.16.840.1.101.3.4.1.2": "aes-128-cbc",
    "2.16.840.1.101.3.4.1.22": "aes-192-cbc",
    "2.16.840.1.101.3.4.1.42": "aes-256-cbc",
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
_OLD = {"1.2.840.113549.1.12.1.": {"1": "rc4-128", "3": "3des", "4": "2-key-3des", "5": "rc2-128", "6": "rc2-40"}}
#: RFC 8018 appendix A.2.
_DEFAULT_PRF = "sha1"


@dataclass(frozen=True)
class Profile:
    """One profile.

    Attributes:
        name: as in the option.
        scheme: how contents are encrypted, as ``scheme_of`` tells it.
        iterations: of every derivation, the MAC's too.
        mac_hash: of the MAC.
    """

    name: str
    scheme: str
    iterations: int
    mac_hash: str


PROFILES = {
    "modern": Profile("modern", "pbes2 aes-256-cbc sha256", 600_000, "sha256"),
    "windows": Profile("windows", "pbes2 aes-256-cbc sha256", 10_000, "sha256"),
    "legacy": Profile("legacy", "3des", 50_000, "sha1"),
}


@dataclass(frozen=True)
class Scheme:
    """How something is encrypted: in words, and with how many iterations (0 where that is not known)."""

    text: str
    iterations: int = 0


def scheme_of(algorithm: bytes) -> Scheme:
    """What a DER AlgorithmIdentifier of password-based encryption says; ``unknown`` for what is not known here."""
    try:
        return _scheme(der.read_sequence(algorithm))
    except (FormatError, IndexError, KeyError):
        return Scheme("unknown")


def _scheme(fields: list[der.Element]) -> Scheme:
    kind = der.dotted(fields[0])
    if kind == PBES2:
        derivation, cipher = (part.children() for part in fields[1].children())
        if der.dotted(derivation[0]) != _PBKDF2:
            return Scheme("unknown")
        parameters = derivation[1].children()
        prf = [part for part in parameters[2:] if part.tag == der.SEQUENCE]
        name = _NAMES[der.dotted(prf[0].children()[0])] if prf else _DEFAULT_PRF
        return Scheme(f"pbes2 {_NAMES[der.dotted(cipher[0])]} {name}", parameters[1].integer())
    for prefix, names in _OLD.items():
        if kind.startswith(prefix):
            return Scheme(names[kind[len(prefix) :]], fields[1].children()[1].integer())
    return Scheme("unknown")


def profile_of(schemes: list[Scheme], mac_hash: str | None) -> str:
    """The profile in which a file was written, or ``other``.

    Args:
        schemes: of everything that is encrypted in it.
        mac_hash: of its MAC; None for a format without one.
    """
    for profile in PROFILES.values():
        wanted = Scheme(profile.scheme, profile.iterations)
        if schemes and all(one == wanted for one in schemes) and mac_hash in (None, profile.mac_hash):
            return profile.name
    return "other"
