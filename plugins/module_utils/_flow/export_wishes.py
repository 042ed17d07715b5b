# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What key_export is asked for: its options, checked before anything is read.

A key on a token is not exported: it goes from there into another token by recovery alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery import envelope, passwords
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.pkcs12_mac import HMAC, PBMAC1
from ansible_collections.keyops.lifecycle.plugins.module_utils._delivery.profiles import PROFILES, Profile
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    KeyReferenceError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import read_mode
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import certificates as sealing_certificates
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts

try:
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)

_FORMATS_WITH_PASSWORD = ("pkcs12", "pkcs8")


@dataclass(frozen=True)
class Handover:
    """How a generated password reaches its owner: DER of whom it is sealed to, and the file, or None for the vault."""

    recipient: bytes = field(repr=False)
    dest: str | None = None


@dataclass(frozen=True)
class Wish:
    """One item of ``exports``, as far as its options say it.

    Attributes:
        item: the options.
        dest: path of the file, or the URI of the key on a token.
        sealed_to: DER of the owner's transport certificate, or None.
    """

    item: dict = field(repr=False)
    dest: str
    format: str
    profile: Profile
    mac: str
    handover: Handover | None = None
    sealed_to: bytes | None = field(default=None, repr=False)
    mode: int = 0o600

    @property
    def mail(self) -> envelope.Mail:
        """The header of the mail that it goes into."""
        given = self.item["encrypt_to"]
        name = os.path.splitext(os.path.basename(self.dest))[0] + (".pem" if self.format == "pkcs8" else ".p12")
        return envelope.Mail(given["from"] or "", given["to"] or "", given["subject"], name)

    @property
    def opens_here(self) -> bool:
        """Whether what is written can be opened again with what the task gives."""
        return self.handover is None and self.sealed_to is None


def read_wishes(items: Sequence[dict]) -> list[Wish]:
    """Every item's options.

    Raises:
        OptionError, KeyReferenceError: an option is wrong; the message names it.
    """
    wishes = [_wish(item) for item in items]
    written = [one.dest for one in wishes] + [one.handover.dest for one in wishes if one.handover and one.handover.dest]
    if len(set(written)) != len(written):
        raise OptionError("exports: two of them would write the same file")
    read = {os.path.realpath(path) for item in items for key in item["keys"] for path in _read_by(key)}
    for path in written:
        if os.path.realpath(path) in read:
            raise OptionError(f"exports: {path} would be overwritten, and is read as a key or certificate")
    return wishes


def _read_by(key: dict) -> list[str]:
    return [path for path in (key["key"], key["certificate"], *key["chain"]) if path]


def _wish(item: dict) -> Wish:
    if not item["keys"]:
        raise OptionError("keys: name at least one key")
    for key in item["keys"]:
        if reference.is_token(key["key"]):
            raise KeyReferenceError(
                "key: a key on a token never leaves it in the clear, so it is not exported; archive it, and recover it "
                "into the other token"
            )
    if item["format"] == "token":
        return _wish_for_token(item)
    if item["pin"] is not None or item["extractable"]:
        raise OptionError(
            "pin, extractable: they say something about tokens only; leave them out, or give format: token"
        )
    if item["format"] == "pkcs8":
        _check_pkcs8(item)
    if item["mac"] == PBMAC1 and (item["format"], item["profile"]) != ("pkcs12", "modern"):
        raise OptionError("mac: pbmac1 is for format: pkcs12 with profile: modern")
    wish = Wish(
        item=item,
        dest=_path(item["dest"], "dest"),
        format=item["format"],
        profile=PROFILES[item["profile"]],
        mac=item["mac"],
        handover=_handover(item),
        mode=read_mode(item["mode"]),
    )
    if item["encrypt_to"]:
        wish = replace(wish, sealed_to=_certificate(item["encrypt_to"]["certificate"], "encrypt_to.certificate"))
        envelope.check_mail(wish.mail)
    return wish


def _wish_for_token(item: dict) -> Wish:
    for option in ("password", "password_to", "encrypt_to", "owner", "group"):
        if item[option] is not None:
            raise OptionError(f"{option}: it says nothing about a key on a token; leave it out")
    if not reference.is_token(item["dest"]) or len(item["keys"]) != 1:
        raise OptionError("format: token takes one key, and its dest is a pkcs11: URI")
    reference.parse(item["dest"])
    return Wish(item, item["dest"], "token", PROFILES["modern"], HMAC)


def _check_pkcs8(item: dict) -> None:
    if len(item["keys"]) != 1:
        raise OptionError("keys: a PKCS#8 file holds one key; give format: pkcs12 for several")
    if item["profile"] == "windows":
        raise OptionError("profile: Windows imports PKCS#12; give format: pkcs12, or another profile")


def _path(text: str, option: str) -> str:
    try:
        return reference.parse_path(text).path
    except KeyReferenceError as error:
        raise OptionError(f"{option}: {str(error).removeprefix('key: ')}") from error


def _handover(item: dict) -> Handover | None:
    to = item["password_to"]
    if (item["password"] is None) == (to is None):
        raise OptionError("password: give a password, or password_to for one that is generated; one of the two")
    if to is None:
        passwords.check(item["password"])
        return None
    if (to["dest"] is None) != bool(to["vault"]):
        raise OptionError("password_to: give dest for a file on this host, or vault: true; one of the two")
    if (to["certificate"] is None) == (to["public_key"] is None):
        raise OptionError("password_to: give the owner's certificate or public_key; one of the two")
    if to["certificate"] is not None:
        recipient = _certificate(to["certificate"], "password_to.certificate")
    else:
        recipient = _public_key(to["public_key"])
    return Handover(recipient, _path(to["dest"], "password_to.dest") if to["dest"] else None)


def _certificate(pem: str, option: str) -> bytes:
    certificate = sealing_certificates.certificate_from_pem(pem, option, None)
    sealing_certificates.check_encrypts(certificate, option)
    return certificate


def _public_key(pem: str) -> bytes:
    if "PRIVATE KEY-----" in pem:
        raise OptionError("password_to.public_key: holds a private key; replace that key, because it was disclosed")
    try:
        loaded = serialization.load_pem_public_key(pem.encode("utf-8"))
        data: bytes = loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        cms_parts.key_recipient(data)
    except (ValueError, TypeError, FormatError) as error:
        raise OptionError(
            "password_to.public_key: is no PEM public key (BEGIN PUBLIC KEY) that can be sealed to: RSA of at least "
            "2048 bits, or P-256, P-384 or P-521"
        ) from error
    return data


def require_writable(wish: Wish) -> None:
    """Before anything is written: the folders of a wish are there, and the certificates that it is sealed to are valid.

    What was sealed to a certificate that has expired since stays as it is.

    Raises:
        FileError, OptionError: it cannot be written; the message names the option.
    """
    for option in ("encrypt_to", "password_to"):
        pem = (wish.item[option] or {}).get("certificate")
        if pem:
            sealing_certificates.certificate_from_pem(pem, f"{option}.certificate", times.now())
    for path in (wish.dest, wish.handover.dest if wish.handover else None):
        if path:
            _files.check_target(path, wish.item["owner"], wish.item["group"])
