# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates of recovery agents and requesters, as options give them: PEM texts.

They are not checked against a certification authority: whoever writes the option says whom to trust. What is checked is
that the certificate is exactly one, valid now, and able to do its job, because a wrong one is otherwise found out when
the key is gone. A private key that was pasted along is refused without being shown.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
except ImportError as error:
    note_missing_library(error)

_BLOCK = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def certificate_from_pem(pem: str, option: str, now: datetime.datetime | None) -> bytes:
    """DER of the one certificate in a PEM text; text around it is allowed, other PEM blocks are not.

    Args:
        pem: the option's value.
        option: what messages call it.
        now: aware time; the certificate must be valid then. None: whenever it is valid.

    Raises:
        OptionError: naming the option and the remedy.
    """
    if "PRIVATE KEY-----" in pem:
        raise OptionError(
            f"{option}: holds a private key; give the certificate alone, and replace that key, because it was disclosed"
        )
    blocks = _BLOCK.findall(pem)
    if len(blocks) != 1 or pem.count("-----BEGIN ") != 1:
        raise OptionError(f"{option}: must hold one PEM certificate (BEGIN CERTIFICATE), no chain and no other block")
    try:
        certificate = x509.load_pem_x509_certificate(blocks[0].encode("utf-8"))
        certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OptionError(f"{option}: is no readable certificate; export it again as PEM") from error
    if now and now < _moment(certificate, "not_valid_before"):
        raise OptionError(f"{option}: is not valid yet; check this machine's clock, or wait")
    if now and now > _moment(certificate, "not_valid_after"):
        raise OptionError(f"{option}: has expired; give the current certificate")
    return certificate.public_bytes(serialization.Encoding.DER)


def check_encrypts(certificate: bytes, option: str) -> None:
    """Raise OptionError unless shares can be sealed to the DER certificate, and its key usage allows it."""
    try:
        to = cms_parts.certificate_recipient(certificate)
    except FormatError as error:
        raise OptionError(f"{option}: {error}") from error
    usage = _key_usage(certificate, option)
    needed = "keyEncipherment" if to.is_rsa else "keyAgreement"
    if usage is not None and not (usage.key_encipherment if to.is_rsa else usage.key_agreement):
        raise OptionError(f"{option}: its key usage does not allow {needed}; give an encryption certificate")


def check_wraps(certificate: bytes, option: str) -> None:
    """Raise OptionError unless tokens can wrap keys to the DER certificate: RSA, and its key usage allows it."""
    check_encrypts(certificate, option)
    if not cms_parts.certificate_recipient(certificate).is_rsa:
        raise OptionError(f"{option}: its key must be RSA, because that is what tokens can wrap to")


def check_signs(certificate: bytes, option: str) -> None:
    """Raise OptionError unless the DER certificate's key can sign statements (dsse.py), and its key usage allows it."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        fits = key.key_size >= cms_parts.MINIMUM_RSA_BITS
    elif isinstance(key, ec.EllipticCurvePublicKey):
        fits = key.curve.name in cms_parts.CURVES
    else:
        fits = isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey))
    if not fits:
        raise OptionError(
            f"{option}: its key cannot sign statements; use RSA of at least 2048 bits, P-256, P-384, P-521, Ed25519 or "
            "Ed448"
        )
    usage = _key_usage(certificate, option)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise OptionError(
            f"{option}: its key usage allows neither digitalSignature nor contentCommitment; give the signing "
            "certificate"
        )


def _key_usage(certificate: bytes, option: str) -> Any:
    try:
        return x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension) as error:
        raise OptionError(f"{option}: its extensions cannot be read; let its issuer make a correct one") from error


def _moment(certificate: Any, name: str) -> datetime.datetime:
    """cryptography 42 and later have aware times; the naive ones before are UTC, and asking for them warns there."""
    if hasattr(certificate, f"{name}_utc"):
        return getattr(certificate, f"{name}_utc")
    return getattr(certificate, name).replace(tzinfo=datetime.timezone.utc)
