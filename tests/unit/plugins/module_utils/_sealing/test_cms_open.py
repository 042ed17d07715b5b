# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opening: exactly the form of docs/formats.md opens, ours and openssl's; any other form and every change refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OpenError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, cms_parts, cms_seal

KINDS = ("rsa", "p256", "p384", "p521")
CONTENT = b"one line\nanother\r\n\x00\xff"
KEK_ID, KEK = "0123456789abcdef" * 2, bytes(range(32))

OAEP = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256")
ECDH = ("-keyopt", "ecdh_kdf_md:sha256")


@pytest.fixture(name="encrypt")
def _encrypt(openssl: Callable[..., bytes], tmp_path: Path) -> Callable[..., bytes]:
    def encrypt(*options: object) -> bytes:
        (tmp_path / "content").write_bytes(CONTENT)
        return openssl("cms", "-encrypt", "-binary", "-in", tmp_path / "content", "-outform", "DER", *options)

    return encrypt


# --- what opens ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_our_messages_open(kind: str, recipients: Any) -> None:
    to = recipients[kind]
    for seal, name in ((cms_seal.seal_to_certificate, to.certificate), (cms_seal.seal_to_public_key, to.spki)):
        assert cms_open.open_with_key(seal(CONTENT, name), to.private_key, name) == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_openssl_in_our_form_open(kind: str, recipients: Any, encrypt: Callable[..., bytes]) -> None:
    to = recipients[kind]
    # openssl chooses the AES key wrap of the content key's size by itself.
    message = encrypt("-aes-256-gcm", "-recip", to.certificate_file, *(OAEP if kind == "rsa" else ECDH))
    assert cms_open.open_with_key(message, to.private_key, to.certificate) == CONTENT


def test_sealed_keys_of_openssl_in_our_form_open(encrypt: Callable[..., bytes]) -> None:
    message = encrypt("-aes-256-gcm", "-secretkey", KEK.hex(), "-secretkeyid", KEK_ID)
    assert cms_open.open_with_kek(message, KEK_ID, KEK) == CONTENT


def test_null_parameters_mean_the_same(recipients: Any) -> None:
    """RFC 4055 section 2.1 and RFC 5753 section 7.1.2 allow them; other writers use them."""
    rsa, p256 = recipients["rsa"], recipients["p256"]
    for to, make in ((rsa, _rsa_message), (p256, _ec_message)):
        for form in (0, 1):
            assert cms_open.open_with_key(make(to, form=form), to.private_key, to.certificate) == CONTENT


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=5000), count=st.integers(1, 6))
def test_every_kek_opens_any_content(content: bytes, count: int) -> None:
    keks = [(os.urandom(16).hex(), os.urandom(32)) for dummy in range(count)]
    message = cms_seal.seal_with_keks(content, keks)
    assert sorted(kek_id for kek_id, _kek in keks) == list(cms_open.kek_ids(message))
    for kek_id, kek in keks:
        assert cms_open.open_with_kek(message, kek_id, kek) == content


# --- other forms, written by openssl ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rsa", ("-aes-256-cbc", *OAEP)),
        ("rsa", ("-aes-128-gcm", *OAEP)),
        ("rsa", ("-aes-192-gcm", *OAEP)),
        ("rsa", ("-des3", *OAEP)),
        ("rsa", ("-aes-256-gcm",)),
        ("rsa", ("-aes-256-gcm", "-keyopt", "rsa_padding_mode:oaep")),
        ("rsa", ("-aes-256-gcm", *OAEP[:4], "-keyopt", "rsa_mgf1_md:sha1")),
        ("rsa", ("-aes-256-gcm", *OAEP, "-keyopt", "rsa_oaep_label:00")),
        ("p256", ("-aes-256-gcm",)),
        ("p256", ("-aes-256-gcm", "-keyopt", "ecdh_kdf_md:sha512")),
        ("p256", ("-aes-256-gcm", *ECDH, "-keyopt", "ecdh_cofactor_mode:1")),
        ("p256", ("-aes-256-cbc", *ECDH)),
        ("p256", ("-aes-128-gcm", *ECDH)),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_weaker_messages_of_openssl_are_refused(
    kind: str, options: tuple[str, ...], recipients: Any, encrypt: Callable[..., bytes]
) -> None:
    to = recipients[kind]
    cipher, *key_options = options
    message = encrypt(cipher, "-recip", to.certificate_file, *key_options)
    with pytest.raises(OpenError):
        cms_open.open_with_key(message, to.private_key, to.certificate)


def test_two_recipients_are_refused(recipients: Any, encrypt: Callable[..., bytes]) -> None:
    first, second = recipients["rsa"], recipients["p256"]
    message = encrypt("-aes-256-gcm", "-recip", first.certificate_file, *OAEP, "-recip", second.certificate_file, *ECDH)
    for to in (first, second):
        with pytest.raises(OpenError):
            cms_open.open_with_key(message, to.private_key, to.certificate)


def test_a_key_identifier_in_place_of_issuer_and_serial_number_is_refused(
    recipients: Any, encrypt: Callable[..., bytes]
) -> None:
    to = recipients["rsa"]
    message = encrypt("-aes-256-gcm", "-keyid", "-recip", to.certificate_file, *OAEP)
    with pytest.raises(OpenError):
        cms_open.open_with_key(message, to.private_key, to.certificate)


@pytest.mark.parametrize("cipher", ("-aes-256-cbc", "-aes-128-gcm", "-des3"))
def test_weaker_sealed_keys_are_refused(cipher: str, encrypt: Callable[..., bytes]) -> None:
    message = encrypt(cipher, "-secretkey", KEK.hex(), "-secretkeyid", KEK_ID)
    with pytest.raises(OpenError):
        cms_open.open_with_kek(message, KEK_ID, KEK)


@pytest.mark.parametrize("kek_id", ("00" * 15, "00" * 17))
def test_other_sizes_of_kek_identifiers_are_refused(kek_id: str, encrypt: Callable[..., bytes]) -> None:
    message = encrypt("-aes-256-gcm", "-secretkey", KEK.hex(), "-secretkeyid", kek_id)
    with pytest.raises(OpenError):
        cms_open.open_with_kek(message, kek_id, KEK)


def test_streamed_messages_are_refused(encrypt: Callable[..., bytes]) -> None:
    """Indefinite lengths are BER: the same content would have a second digest."""
    message = encrypt("-aes-256-gcm", "-stream", "-secretkey", KEK.hex(), "-secretkeyid", KEK_ID)
    with pytest.raises(OpenError):
        cms_open.open_with_kek(message, KEK_ID, KEK)


# --- other forms, put together here ------------------------------------------------------------------

_DATA, _OTHER_TYPE = der.oid("1.2.840.113549.1.7.1"), der.oid("1.2.840.113549.1.7.5")
_GCM, _CCM = der.oid("2.16.840.1.101.3.4.1.46"), der.oid("2.16.840.1.101.3.4.1.47")
_AUTH_ENVELOPED, _ENVELOPED = der.oid("1.2.840.113549.1.9.16.1.23"), der.oid("1.2.840.113549.1.7.3")


def _sequence(*parts: bytes) -> bytes:
    return der.write(der.SEQUENCE, *parts)


def _octets(data: bytes) -> bytes:
    return der.write(der.OCTET_STRING, data)


def _kek_info(kek: bytes = KEK, key: bytes = KEK, kek_id: str = KEK_ID, **change: bytes) -> bytes:
    wrapped = _octets(aes_key_wrap(kek, key))
    return der.write(
        0xA2,
        change.get("version", der.write_integer(4)),
        change.get("identifier", _sequence(_octets(bytes.fromhex(kek_id)))),
        change.get("wrap", _sequence(der.oid("2.16.840.1.101.3.4.1.45"))),
        change.get("wrapped", wrapped),
    )


def _message(infos: bytes | None = None, key: bytes = KEK, **change: Any) -> bytes:
    """A sealed key from its parts, each of which can be changed; without a change it opens."""
    nonce = change.get("nonce", b"n" * 12)
    sealed = AESGCM(key).encrypt(nonce, CONTENT, change.get("associated"))
    ciphertext, tag = sealed[:-16], sealed[-16:]
    size = change.get("tag_size", 16)
    parameters = change.get("parameters", _sequence(_octets(nonce), der.write_integer(size)))
    content = _sequence(
        change.get("content_type", _DATA),
        _sequence(change.get("cipher", _GCM), parameters),
        change.get("content", der.write(0x80, ciphertext)),
    )
    envelope = _sequence(
        change.get("version", der.write_integer(0)),
        change.get("originator", b""),
        der.write(der.SET, _kek_info() if infos is None else infos),
        content,
        change.get("authenticated", b""),
        _octets(tag[:size]),
        change.get("unauthenticated", b""),
    )
    return _sequence(change.get("type", _AUTH_ENVELOPED), der.write(0xA0, envelope), change.get("after", b""))


def test_the_parts_below_make_a_message_that_opens() -> None:
    assert cms_open.open_with_kek(_message(), KEK_ID, KEK) == CONTENT


_ATTRIBUTE = _sequence(der.oid("1.2.840.113549.1.9.3"), der.write(der.SET, _DATA))

CHANGED = {
    "tag of 12 bytes": {"tag_size": 12},
    "tag of 15 bytes": {"tag_size": 15},
    "tag size left out (means 12)": {"parameters": _sequence(_octets(b"n" * 12))},
    "nonce of 16 bytes": {"nonce": b"n" * 16},
    "AES-CCM named": {"cipher": _CCM},
    "other content type": {"content_type": _OTHER_TYPE},
    "EnvelopedData named": {"type": _ENVELOPED},
    "version 1": {"version": der.write_integer(1)},
    "originatorInfo": {"originator": der.write(0xA0)},
    "authAttrs": {
        "authenticated": der.write(0xA1, _ATTRIBUTE),
        "associated": der.write(der.SET, _ATTRIBUTE),
    },
    "empty authAttrs": {"authenticated": der.write(0xA1)},
    "unauthAttrs": {"unauthenticated": der.write(0xA2, _ATTRIBUTE)},
    "no content": {"content": b""},
    "content in pieces": {"content": der.write(0xA0, _octets(CONTENT))},
    "bytes after the envelope": {"after": b"\x05\x00"},
    "no recipient": {"infos": b""},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_other_structures_are_refused(change: dict) -> None:
    with pytest.raises(OpenError):
        cms_open.open_with_kek(_message(**change), KEK_ID, KEK)


CHANGED_RECIPIENTS = {
    "version 3": {"version": der.write_integer(3)},
    "dated identifier": {"identifier": _sequence(_octets(bytes.fromhex(KEK_ID)), der.write(0x18, b"20260101000000Z"))},
    "AES-128 wrap named": {"wrap": _sequence(der.oid("2.16.840.1.101.3.4.1.5"))},
    "wrap with NULL parameters": {"wrap": _sequence(der.oid("2.16.840.1.101.3.4.1.45"), der.write(der.NULL))},
    "cut wrapped key": {"wrapped": _octets(b"w" * 32)},
    "empty wrapped key": {"wrapped": _octets(b"")},
}


@pytest.mark.parametrize("change", CHANGED_RECIPIENTS.values(), ids=CHANGED_RECIPIENTS)
def test_other_recipients_are_refused(change: dict) -> None:
    with pytest.raises(OpenError):
        cms_open.open_with_kek(_message(_kek_info(**change)), KEK_ID, KEK)


def test_equal_kek_identifiers_are_refused() -> None:
    infos = b"".join(sorted((_kek_info(), _kek_info(kek=b"o" * 32))))
    with pytest.raises(OpenError):
        cms_open.open_with_kek(_message(infos), KEK_ID, KEK)


def test_recipients_out_of_their_order_are_refused() -> None:
    infos = sorted((_kek_info(), _kek_info(kek_id="ff" * 16)))
    assert cms_open.open_with_kek(_message(b"".join(infos)), KEK_ID, KEK) == CONTENT
    with pytest.raises(OpenError):
        cms_open.open_with_kek(_message(b"".join(reversed(infos))), KEK_ID, KEK)


def test_a_recipient_of_another_kind_in_a_sealed_key_is_refused(recipients: Any) -> None:
    to = cms_parts.recipient(recipients["rsa"].certificate)
    other = cms_parts.transport_recipient(to, b"e" * 256, cms_parts.OAEP_ALGORITHMS[0])
    with pytest.raises(OpenError):
        cms_open.open_with_kek(_message(b"".join(sorted((other, _kek_info())))), KEK_ID, KEK)


def test_a_long_form_length_is_refused() -> None:
    message = _message()
    assert message[1] == 0x81  # 128 to 255 bytes
    longer = message[:1] + b"\x82\x00" + message[2:]
    with pytest.raises(OpenError):
        cms_open.open_with_kek(longer, KEK_ID, KEK)


def _rsa_message(to: Any, key: bytes = KEK, form: int = 0, pad: Any = None) -> bytes:
    recipient = cms_parts.recipient(to.certificate)
    encrypted = recipient.public_key.encrypt(key, pad or cms_parts.oaep())
    return _message(cms_parts.transport_recipient(recipient, encrypted, cms_parts.OAEP_ALGORITHMS[form]))


def _ec_message(to: Any, form: int = 0) -> bytes:
    recipient = cms_parts.recipient(to.certificate)
    curve = recipient.public_key.curve
    genuine = der.read(cms_seal.seal_to_certificate(b"", to.certificate))
    envelope = genuine.children()[1].children()[0].children()
    point = envelope[1].children()[0].children()[1].children()[0].children()[1].bits()
    # With the genuine ephemeral key, but around the content key that _message uses.
    secret = to.private_key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, point))
    wrapped = aes_key_wrap(cms_parts.wrapping_key(secret), KEK)
    return _message(cms_parts.agreement_recipient(recipient, point, wrapped, cms_parts.ORIGINATOR_ALGORITHMS[form]))


# --- who and what is wrong: one outcome ------------------------------------------------------------------


def test_what_fails_inside_fails_alike(recipients: Any) -> None:
    """Wrong padding, wrong size of the content key, wrong KEK and altered content cannot be told apart."""
    to = recipients["rsa"]
    failing = [
        _rsa_message(to, pad=padding.PKCS1v15()),
        _rsa_message(to, key=b"s" * 16),
        _rsa_message(to, key=b"s" * 32),
        _flip(cms_seal.seal_to_certificate(CONTENT, to.certificate), -1),
        _flip(cms_seal.seal_to_certificate(CONTENT, to.certificate), -30),
    ]
    errors = {_failure(lambda m=m: cms_open.open_with_key(m, to.private_key, to.certificate)) for m in failing}
    wrong_kek = _failure(lambda: cms_open.open_with_kek(_message(), KEK_ID, b"w" * 32))
    assert errors == {wrong_kek}


def _failure(call: Callable[[], bytes]) -> tuple[type, str]:
    with pytest.raises(OpenError) as caught:
        call()
    return type(caught.value), str(caught.value)


def _flip(message: bytes, place: int) -> bytes:
    changed = bytearray(message)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_another_recipient_is_refused(kind: str, recipients: Any, workshop: Any) -> None:
    to, other = recipients[kind], workshop.make(kind)
    message = cms_seal.seal_to_certificate(CONTENT, to.certificate)
    same_key = workshop.make(kind, key_file=to.key_file)  # a second certificate for the same key
    for key, name in (
        (other.private_key, other.certificate),
        (other.private_key, to.certificate),
        (to.private_key, other.certificate),
        (to.private_key, same_key.certificate),
        (to.private_key, to.spki),
    ):
        with pytest.raises(OpenError):
            cms_open.open_with_key(message, key, name)


def test_a_point_that_is_not_on_the_curve_is_refused(recipients: Any) -> None:
    to = recipients["p256"]
    recipient = cms_parts.recipient(to.certificate)
    for point in (b"\x04" + b"\x01" * 64, b"\x00", b"", b"\x02" + b"\x01" * 32):
        info = cms_parts.agreement_recipient(recipient, point, b"w" * 40, cms_parts.ORIGINATOR_ALGORITHMS[0])
        with pytest.raises(OpenError):
            cms_open.open_with_key(_message(info), to.private_key, to.certificate)


def test_a_compressed_ephemeral_key_is_refused(recipients: Any) -> None:
    to = recipients["p256"]
    compressed = b"\x02" + to.private_key.public_key().public_numbers().x.to_bytes(32, "big")
    recipient = cms_parts.recipient(to.certificate)
    info = cms_parts.agreement_recipient(recipient, compressed, b"w" * 40, cms_parts.ORIGINATOR_ALGORITHMS[0])
    with pytest.raises(OpenError):
        cms_open.open_with_key(_message(info), to.private_key, to.certificate)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_no_changed_bit_goes_unnoticed(data: st.DataObject, kind: str, recipients: Any) -> None:
    to = recipients[kind]
    message = cms_seal.seal_to_certificate(CONTENT, to.certificate)
    place = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(OpenError):
        cms_open.open_with_key(bytes(changed), to.private_key, to.certificate)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 190))
def test_garbage_and_cut_messages_are_refused(data: bytes, cut: int) -> None:
    message = _message()
    for wrong in (data, message[:cut], message + data[:1] if data else b"", message[:cut] + data):
        if wrong != message:
            with pytest.raises(OpenError):
                cms_open.open_with_kek(wrong, KEK_ID, KEK)
