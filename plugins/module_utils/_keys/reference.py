# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key references: text from the user to ``KeyReference``. One absolute path has one spelling here.

A reference names one key on any host that has it: an absolute path, or a PKCS#11 URI that names the library, the
token and the object. No message repeats a URI.
"""

from __future__ import annotations

import os

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyReference

_SCHEME = "pkcs11:"


def is_token(text: str) -> bool:
    """Whether the reference is of a key on a token, as far as it says so; it may still be malformed."""
    return text.lower().startswith(_SCHEME)


def parse(text: str) -> KeyReference:
    """The reference that ``text`` is: of a file or of a key on a token.

    Raises:
        KeyReferenceError: it is neither, or a URI that leaves open which library, token or object it means.
    """
    if not is_token(text):
        return parse_path(text)
    # Not at the top: plays on key files load nothing of tokens.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import uri

    named = uri.parse(text)
    if named.module_path is None:
        raise KeyReferenceError("key: name the PKCS#11 library: pkcs11:...?module-path=/path/of/library.so")
    if named.token is None and named.serial is None:
        raise KeyReferenceError("key: name the token by token= (its label) or serial= in the PKCS#11 URI")
    if named.label is None:
        raise KeyReferenceError("key: name the key by object= (its label) in the PKCS#11 URI")
    return KeyReference(text=text, path="", uri=named)


def parse_path(text: str) -> KeyReference:
    """The reference of a key file that ``text`` is.

    Raises:
        KeyReferenceError: it is no absolute path of a file. The message never repeats a URI, which may hold a PIN.
    """
    if is_token(text):
        raise KeyReferenceError("key: a key on a token (pkcs11: URI) cannot be used here; give an absolute file path")
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
