# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_id: the name of a key, from anything public that holds its public half."""

from __future__ import annotations

import base64
import binascii

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity, pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import ssh

_NOT_ONE = "give one public key, certificate or certificate request in PEM, or one line with an SSH public key"


def key_id(value: str) -> str:
    """The key ID.

    Raises:
        AnsibleFilterError: it holds none or several public keys, or a private key. The message does not repeat it.
    """
    if not isinstance(value, str):
        raise AnsibleFilterError(f"key_id: a text was expected; {_NOT_ONE}")
    if "PRIVATE KEY-----" in value:
        raise AnsibleFilterError("key_id: a private key has no business on the controller; take its public key")
    try:
        return _of_pem(value.encode("utf-8")) if "-----BEGIN " in value else _of_ssh(value.encode("utf-8"))
    except (FormatError, binascii.Error, UnicodeError) as error:
        raise AnsibleFilterError(f"key_id: {_NOT_ONE}") from error


def _of_pem(data: bytes) -> str:
    pieces = list(pem.split(data))
    if len(pieces) != 1 or not pieces[0].whole:
        raise FormatError("not one block")
    content = base64.b64decode(b"".join(pieces[0].body.split()), validate=True)
    label = pieces[0].label
    if label == "PUBLIC KEY":
        return identity.key_id(content)
    if label in ("CERTIFICATE", "TRUSTED CERTIFICATE"):
        return identity.key_id_of_certificate(content)
    if label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"):
        return identity.key_id(_public_key_of_request(content))
    raise FormatError("another kind of block")


def _public_key_of_request(request: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a PKCS#10 request (RFC 2986 section 4.1)."""
    parts = der.read_sequence(request)
    information = parts[0].expect(der.SEQUENCE).children() if parts else []
    if len(information) < 3:
        raise FormatError("not a certificate request")
    return information[2].whole


def _of_ssh(data: bytes) -> str:
    found = ssh.key_ids(data)
    if len(found) != 1:
        raise FormatError("not one SSH public key")
    return found[0]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict:
        """Name to function."""
        return {"key_id": key_id}
