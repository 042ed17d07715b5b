# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence that an archived key signs, and how much of it nobody can forge (retroactive detection).

A record is frozen only by evidence that takes a trusted authority or the key itself (docs/audit.md):

1. A certificate whose usage signs and which chains to a configured trust anchor, each link verified.
2. A certificate or request whose usage signs and which the key itself has signed.
3. An entry of the signing register with the key's own proof.

Anything else, such as a certificate that anybody may have made, or a line in somebody's ``authorized_keys``, raises the
alarm and freezes nothing: otherwise whoever can write a file on any host could strand another's key. Dates are not
looked at: an expired certificate shows what the key was for just as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import usage as usage_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import CertificateSeen, KeySeen

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
except ImportError as error:
    note_missing_library(error)

#: Links from a certificate to its anchor, keys of authorities with one name, and authorities that are looked at.
_DEPTH, _WIDTH, _AUTHORITIES = 8, 20, 5000
#: Bytes: with MD5 and SHA-1, somebody can have made two certificates for one signature.
_DIGEST = 28


@dataclass(frozen=True)
class Evidence:
    """One thing that says that a key signs.

    Attributes:
        text: what it is and where it lies.
        proof: why nobody but an authority or the key's holder can have made it, or None: then it only alarms.
        attachments: what a later reader verifies it with (DER): the certificate or request, then each authority's
            certificate up to the anchor.
    """

    text: str
    proof: str | None = None
    attachments: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Chain:
    """The authorities above a certificate: name of the anchor, and their certificates (DER), the anchor's last."""

    anchor: str
    certificates: tuple[bytes, ...]


class Anchors:
    """The configured trust anchors, and the authorities below them of which the hosts sent certificates.

    The hosts' certificates may be made to be hard to follow. So each authority is looked at in a few rounds from the
    anchors downwards, and never by following issuers upwards. Only who is verified takes a place under its name, and
    each key takes one, so that no number of false or renewed certificates pushes out a true authority.
    """

    def __init__(self, pems: Iterable[str], seen: Iterable[CertificateSeen] = ()) -> None:
        self._trusted: dict[Any, dict[bytes, tuple[Any, Chain]]] = {}
        anchors = [_load_anchor(pem) for pem in pems]
        for one, name in anchors:
            self._trust(one, Chain(name, (_der(one),)))
        waiting = _authorities(seen) if anchors else []
        for dummy in range(_DEPTH):
            named = [(one, self.chain_of(one)) for one in waiting]
            for one, above in named:
                if above:
                    self._trust(one, Chain(above.anchor, (_der(one), *above.certificates)))
            waiting = [one for one, above in named if not above]
            if len(waiting) == len(named):
                break

    def chain_of(self, certificate: Any) -> Chain | None:
        """What is above the certificate up to an anchor, or None."""
        for key, above in self._trusted.get(certificate.issuer, {}).values():
            if _is_signed_by(certificate, key):
                return above
        return None

    def _trust(self, certificate: Any, chain: Chain) -> None:
        key = certificate.public_key()
        name = _spki(key)
        same = self._trusted.setdefault(certificate.subject, {})
        if name not in same and len(same) < _WIDTH:
            same[name] = (key, chain)


def _authorities(seen: Iterable[CertificateSeen]) -> list:
    """Certificates of authorities, each once: of every host the first, then the second, and so on.

    One host that sends very many leaves the places of the others alone.
    """
    by_host: dict[str, list[bytes]] = {}
    for one in seen:
        if one.ca and one.der:
            by_host.setdefault(one.host, []).append(one.der)
    contents = dict.fromkeys(der for der in chain.from_iterable(zip_longest(*by_host.values())) if der)
    loaded = (_load(x509.load_der_x509_certificate, content) for content in islice(contents, _AUTHORITIES))
    return [one for one in loaded if one is not None and _may_issue(one)]


def of_key(places: Sequence[KeySeen], certificates: Iterable[CertificateSeen], anchors: Anchors) -> list[Evidence]:
    """All evidence on the hosts that this archived key signs; what cannot be forged comes first.

    Args:
        places: where the private key is.
        certificates: every certificate and request for the key, on whatever host.
    """
    found: dict[str, Evidence] = {}
    for one in certificates:
        if signing := usage_of.shows_signing(one):
            new = _of_certificate(one, signing, anchors)
            found.setdefault(hashlib.sha256(one.der or new.text.encode()).hexdigest(), new)
    for key in places:
        if key.usage in usage_of.usages.SIGNING:
            found[f"usage {key.host} {key.place}"] = Evidence(f"{key.host}:{key.place} carries the usage {key.usage}")
        for use in key.ssh_uses:
            found[f"ssh {key.host} {use}"] = Evidence(f"it stands for SSH in {key.host}:{use}")
    return sorted(found.values(), key=lambda one: (one.proof is None, one.text))


def _of_certificate(one: CertificateSeen, signing: Sequence[str], anchors: Anchors) -> Evidence:
    text = f"{one.kind} {one.host}:{one.source} allows {', '.join(signing)}"
    loaded = _loaded(one) if one.der else None
    if loaded is None:
        return Evidence(text)
    proof, above = _tolerantly(lambda: _proof(loaded, one, anchors), (None, ()))
    return Evidence(text, proof, (one.der, *above)) if proof else Evidence(text)


def _proof(loaded: Any, one: CertificateSeen, anchors: Anchors) -> tuple[str | None, tuple[bytes, ...]]:
    """Why nobody but an authority or the key's holder can have made it, and the authorities' certificates."""
    # What the host said about these bytes is not believed: the key and the usage are read again.
    if identity.key_id_of_public_key(loaded.public_key()) != one.key_id or not _really_signs(loaded, one.kind):
        return None, ()
    if _is_signed_by(loaded, loaded.public_key()):
        return "the key itself has signed it", ()
    above = anchors.chain_of(loaded) if one.kind == "certificate" else None
    return (f"it chains to the trust anchor {above.anchor}", above.certificates) if above else (None, ())


def _really_signs(loaded: Any, kind: str) -> bool:
    """Whether the certificate's or request's own bytes allow signing."""
    try:
        found = loaded.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return kind == "certificate"
    return found.digital_signature or found.content_commitment or found.key_cert_sign or found.crl_sign


def _loaded(one: CertificateSeen) -> Any:
    """The certificate or request, or None when the library cannot read it."""
    is_request = one.kind != "certificate"
    return _load(x509.load_der_x509_csr if is_request else x509.load_der_x509_certificate, one.der)


def _load(load: Callable[[bytes], Any], content: bytes) -> Any:
    return _tolerantly(lambda: load(content), None)


def _tolerantly(read: Callable[[], Any], otherwise: Any) -> Any:
    """What is read from somebody else's certificate, or ``otherwise`` when the library cannot read it."""
    try:
        return read()
    # The library's exceptions for what is malformed have no common class: some derive from Exception alone. Whatever
    # comes of these bytes, they prove nothing then, which freezes nothing, and the alarm is raised all the same.
    except Exception:  # noqa: BLE001
        return otherwise


def _load_anchor(pem: Any) -> tuple[Any, str]:
    """The certificate and its name."""
    loaded = _tolerantly(lambda: x509.load_pem_x509_certificate(str(pem).encode("utf-8")), None)
    # With an unreadable key or name, it could never end a chain.
    name = _tolerantly(lambda: _spki(loaded.public_key()) and loaded.subject.rfc4514_string(), None) if loaded else None
    if name is None:
        raise OptionError("trust_anchors: an item is no certificate that can be read; give PEM texts")
    return loaded, name


def _der(certificate: Any) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _spki(key: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _may_issue(certificate: Any) -> bool:
    """Whether it is an authority's, and everything that is asked of it later can be read."""
    return bool(_tolerantly(lambda: _is_authority(certificate), False))


def _is_authority(certificate: Any) -> bool:
    _spki(certificate.public_key())
    named = [certificate.subject, certificate.issuer]
    extensions = {one.oid: one.value for one in certificate.extensions}
    usage = extensions.get(x509.KeyUsage.oid)
    constraints = extensions.get(x509.BasicConstraints.oid)
    return all(named) and constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _is_signed_by(signed: Any, key: Any) -> bool:
    """Whether a certificate's or request's signature verifies with this public key (RFC 5280 section 4.1.1.3)."""
    return bool(_tolerantly(lambda: _verify(signed, key), False))


def _verify(signed: Any, key: Any) -> bool:
    """Verify or raise; False where there is nothing to verify with."""
    content = getattr(signed, "tbs_certificate_bytes", None) or signed.tbs_certrequest_bytes
    algorithm = signed.signature_hash_algorithm
    if algorithm is not None and algorithm.digest_size < _DIGEST:
        return False
    if isinstance(key, rsa.RSAPublicKey):
        used = getattr(signed, "signature_algorithm_parameters", None) or padding.PKCS1v15()
        key.verify(signed.signature, content, used, algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signed.signature, content, ec.ECDSA(algorithm))
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        key.verify(signed.signature, content)
    else:
        return False
    return True
