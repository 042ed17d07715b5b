# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key references: text from the user to ``KeyReference``. One absolute path has one spelling here."""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyReference


def parse(text: str) -> KeyReference:
    """The reference that ``text`` is.

    Raises:
        KeyReferenceError: it is no absolute path of a file. The message never repeats a URI, which may hold a PIN.
    """
    if text.lower().startswith("pkcs11:"):
        raise KeyReferenceError(
            "key: keys on tokens (pkcs11: URIs) come in a later release; give an absolute file path"
        )
    if "\0" in text or "\n" in text:
        raise KeyReferenceError("key: a path has no line breaks or zero bytes")
    if not os.path.isabs(text):
        raise KeyReferenceError(f"key: {_shown(text)} is not an absolute path; begin it with /")
    if text.endswith(("/", "/.", "/..")):
        raise KeyReferenceError(f"key: {_shown(text)} names a folder; name a file in it")
    # ".." is refused and not resolved: after a symbolic link it means something else than the text says.
    if ".." in text.split("/"):
        raise KeyReferenceError(f"key: {_shown(text)} contains '..'; write the path without it")
    return KeyReference(text=text, path="/" + os.path.normpath(text).lstrip("/"))


def _shown(text: str) -> str:
    # Whoever puts a key's content into this option does not want to read it in a log.
    return repr(text) if len(text) <= 200 and "PRIVATE" not in text else "the value"
