# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private key from a file becomes an object of a token: the owner's card.

It is given to the token in the clear, on the machine where its file is: cards take keys in that way, and few unwrap
any. The public half and the certificate are written first, and the private half last, so what a killed run leaves is
never taken for the key. Every attribute is stated, read back and compared; a key that came out otherwise is destroyed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    KeyUnreadable,
    TokenError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, objects, templates, unwrapping
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import name_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.unwrapping import NewKey

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError as error:
    note_missing_library(error)

with suppress(ImportError):  # whoever opens a token has loaded its library, and that says what is missing
    from pkcs11 import Attribute, CertificateType, KeyType, ObjectClass, PKCS11Error

_MODIFIED = "AttributeTypeInvalid", "TemplateInconsistent", "AttributeValueInvalid"
_UNCOMMON = ("SIGN_RECOVER", "VERIFY_RECOVER")


@dataclass(frozen=True)
class Imported:
    """What is to be written.

    Attributes:
        new: usage, public key, label, ID.
        private_key: key object of cryptography.
        certificate: DER, or None.
    """

    new: NewKey
    private_key: Any = field(repr=False)
    certificate: bytes | None = field(default=None, repr=False)


def check_algorithm(algorithm: str) -> None:
    """Raise AlgorithmError for a key that is not brought into tokens."""
    if algorithm not in ("rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384", "ec-p521"):
        raise AlgorithmError(
            f"keys of the type {algorithm} are not brought into tokens; RSA, P-256, P-384 and P-521 are"
        )


def write(session: Any, imported: Imported) -> TokenObject:
    """Make the objects; the private key as the token tells it.

    Raises:
        TokenMisbehaved: the token made it otherwise; nothing is left of it.
        TokenError: the token refuses, or is full; nothing is left.
    """
    kept: list[Any] = []
    try:
        kept.append(unwrapping._make_public(session, imported.new))
        if imported.certificate is not None:
            kept.append(session.create_object(_certificate(imported)))
        kept.append(_private(session, imported))
        one = objects.read(kept[-1], imported.new.public_key)
        templates.check(one, imported.new.usage, imported.new.extractable)
        return one
    except (PKCS11Error, TokenError, KeyUnreadable) as error:
        for half in reversed(kept):
            half.destroy()
        if isinstance(error, PKCS11Error):
            raise TokenError(
                f"bringing the key {imported.new.label!r} into the token: it answers {name_of(error)}"
            ) from error
        raise


def remove(session: Any, one: TokenObject) -> None:
    """Take back a key that was written: its private half first, and all else that has its ID."""
    wanted = {Attribute.TOKEN: True, Attribute.ID: bytes.fromhex(one.object_id)}
    one.handle.destroy()
    for other in list(session.get_objects(wanted)):
        other.destroy()


def _private(session: Any, imported: Imported) -> Any:
    template = {
        **{Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: imported.new.label},
        Attribute.ID: imported.new.object_id,
        **_numbers(imported),
        **templates.private_template(imported.new.usage, imported.new.extractable),
    }
    try:
        return session.create_object(template)
    except PKCS11Error as error:
        if name_of(error) not in _MODIFIED:
            raise
        left_out = {getattr(Attribute, name) for name in _UNCOMMON}
        return session.create_object({name: value for name, value in template.items() if name not in left_out})


def _numbers(imported: Imported) -> dict[Any, Any]:
    """PKCS#11 sections 6.1.3 and 6.3.4."""
    key = imported.private_key
    numbers = key.private_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        public = numbers.public_numbers
        parts = {
            **{Attribute.MODULUS: public.n, Attribute.PUBLIC_EXPONENT: public.e, Attribute.PRIVATE_EXPONENT: numbers.d},
            **{Attribute.PRIME_1: numbers.p, Attribute.PRIME_2: numbers.q},
            **{Attribute.EXPONENT_1: numbers.dmp1, Attribute.EXPONENT_2: numbers.dmq1},
            Attribute.COEFFICIENT: numbers.iqmp,
        }
        encoded = {name: part.to_bytes((part.bit_length() + 7) // 8, "big") for name, part in parts.items()}
        return {Attribute.KEY_TYPE: KeyType.RSA, **encoded}
    size = (key.curve.key_size + 7) // 8
    return {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.EC_PARAMS: bytes.fromhex(keys._CURVES[imported.new.algorithm]),
        Attribute.VALUE: numbers.private_value.to_bytes(size, "big"),
    }


def _certificate(imported: Imported) -> dict[Any, Any]:
    """PKCS#11 section 4.6.3. Public, and like the key it cannot be modified."""
    data = imported.certificate or b""
    certificate = x509.load_der_x509_certificate(data)
    serial = certificate.serial_number
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return {
        **{Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.CERTIFICATE_TYPE: CertificateType.X_509},
        **{Attribute.TOKEN: True, Attribute.PRIVATE: False, Attribute.MODIFIABLE: False},
        **{Attribute.LABEL: imported.new.label, Attribute.ID: imported.new.object_id},
        Attribute.SUBJECT: certificate.subject.public_bytes(),
        Attribute.ISSUER: certificate.issuer.public_bytes(),
        Attribute.SERIAL_NUMBER: b"\x02" + bytes([len(number)]) + number,
        Attribute.VALUE: certificate.public_bytes(Encoding.DER),
    }
