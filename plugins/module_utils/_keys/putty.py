# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PuTTY's private key files (versions 2 and 3): only the public half, which is never encrypted.

Source: PuTTY user manual, appendix C (PPK file format). Such a key authenticates; it is never archived and never made
here.
"""

from __future__ import annotations

import base64
import binascii
import re

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import openssh

MAGIC = b"PuTTY-User-Key-File-"
_ENCRYPTION = re.compile(rb"^Encryption: *([^\r\n]*)", re.M)
_PUBLIC = re.compile(rb"^Public-Lines: *([0-9]{1,4})\r?\n", re.M)


def is_encrypted(data: bytes) -> bool:
    """Whether the private part is encrypted; what does not say so counts as if it were."""
    said = _ENCRYPTION.search(data)
    return said is None or said.group(1).strip() != b"none"


def public_half(data: bytes) -> bytes:
    """The canonical DER SubjectPublicKeyInfo.

    Raises:
        FormatError: the file is damaged, or the key of a type that is not known here.
    """
    lines = _PUBLIC.search(data)
    if lines is None:
        raise FormatError("the PuTTY key is damaged")
    text = data[lines.end() :].splitlines()[: int(lines.group(1))]
    try:
        return openssh.public_key(base64.b64decode(b"".join(text), validate=True))
    except (ValueError, binascii.Error) as error:
        raise FormatError("the PuTTY key is damaged") from error
