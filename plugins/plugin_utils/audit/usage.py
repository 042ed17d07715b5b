# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a key is for, from all that says so, and what its certificates allow.

What somebody states (the key itself, the receipt, the record, the register, ``keyops_keys``) goes before what is only
derived from certificates and from SSH. A certificate that allows more than the stated usage is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import CONFLICT, USAGE_BITS
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import CertificateSeen, KeySeen, VaultSeen

#: What else is stated is no usage, and states nothing.
_KNOWN = frozenset((*USAGE_BITS, CONFLICT))
SIGNING_BITS = frozenset({"digitalSignature", "nonRepudiation", "contentCommitment", "keyCertSign", "cRLSign"})
_TRANSPORT = frozenset({"keyEncipherment", "dataEncipherment"})
_AGREEMENT = frozenset({"keyAgreement", "encipherOnly", "decipherOnly"})
#: Beside the bits of the usage itself: an authority's key answers OCSP and signs its own requests.
_ALSO = {
    "certificate_signing": frozenset({"digitalSignature"}),
    "authentication": frozenset(),
    "signature": frozenset({"contentCommitment"}),
    "key_transport": frozenset(),
    "key_agreement": frozenset({"encipherOnly", "decipherOnly"}),
}
_AUTHENTICATION = frozenset(
    {"serverAuth", "clientAuth", "ipsecIKE", "secureShellClient", "secureShellServer", "smartcardLogon"}
    | {"pkinitClient", "pkinitKdc"}
)
_ENCRYPTION = frozenset(
    name for name, oid in usages.EXTENDED_KEY_USAGES.items() if oid in usages.NONSIGNING_EXTENDED_KEY_USAGES
)


@dataclass(frozen=True)
class Usage:
    """What one key is for.

    Attributes:
        name: one of the five usages, or None when nothing says one, or several do.
        stated: every usage that somebody states, by who does.
        derived: usages that certificates and SSH show.
    """

    name: str | None
    stated: dict[str, str]
    derived: frozenset[str]

    @property
    def is_dual(self) -> bool:
        """Whether more than one usage is stated, or nothing is stated and certificates show signing and encryption."""
        if self.stated:
            return CONFLICT in self.stated.values() or len(set(self.stated.values())) > 1
        return bool(self.derived & usages.SIGNING) and bool(self.derived & usages.NONSIGNING)


def of_key(key: KeySeen, vault: VaultSeen | None) -> Usage:
    """What this key is for."""
    stated = {who: usage for who, usage in _stated(key, vault) if usage in _KNOWN}
    derived = frozenset(usage for one in (*key.certificates, *key.elsewhere) for usage in of_certificate(one))
    if key.ssh_uses or key.container == "openssh":
        derived |= {"authentication"}
    found = Usage(None, stated, derived)
    if found.is_dual:
        return found
    names = sorted(set(stated.values())) or sorted(derived)
    return Usage(names[0] if names else None, stated, derived)


def _stated(key: KeySeen, vault: VaultSeen | None) -> Iterable[tuple[str, str | None]]:
    yield "the key itself", key.usage
    yield "keyops_keys", key.declared.get("usage")
    yield "the host's receipt", key.receipt.usage if key.receipt else None
    yield "its type", usages.usage_of_type(key.algorithm) if key.algorithm else None
    if vault and key.key_id in vault.records:
        yield "the archive record", vault.records[key.key_id][-1].usage


def of_certificate(one: CertificateSeen) -> frozenset[str]:
    """The usages that a certificate or request shows; none when it allows everything."""
    bits, purposes = frozenset(one.key_usage or ()), frozenset(one.extended_key_usage or ())
    found = set()
    if bits & {"keyCertSign", "cRLSign"}:
        found.add("certificate_signing")
    elif bits & SIGNING_BITS:
        found.add("authentication" if purposes & _AUTHENTICATION else "signature")
    if bits & _TRANSPORT:
        found.add("key_transport")
    if bits & _AGREEMENT:
        found.add("key_agreement")
    if not bits and purposes & _AUTHENTICATION:
        found.add("authentication")
    return frozenset(found)


def beyond(one: CertificateSeen, usage: str) -> tuple[str, ...]:
    """What a certificate allows that a key of this usage is not for, as people read it."""
    allowed = USAGE_BITS[usage] | _ALSO[usage]
    if one.key_usage is None or not one.key_usage:
        allows_all = one.kind == "certificate" and usage in usages.NONSIGNING
        return ("everything, for it has no key usage",) if allows_all else ()
    found = [bit for bit in one.key_usage if bit not in allowed]
    if usage in usages.NONSIGNING:
        found += [name for name in one.extended_key_usage or () if name not in _ENCRYPTION]
    return tuple(found)


def shows_signing(one: CertificateSeen) -> tuple[str, ...]:
    """Why a certificate or request says that the key signs; empty when it does not, or says nothing.

    A certificate without a key usage allows signing. A request without one says nothing: its own signature is the
    proof of possession that every request has.
    """
    if one.key_usage:
        signing = [bit for bit in one.key_usage if bit not in usages.NONSIGNING_BITS]
    else:
        signing = ["everything, for it has no key usage"] if one.kind == "certificate" else []
    return (*signing, *(name for name in one.extended_key_usage or () if name not in _ENCRYPTION))
