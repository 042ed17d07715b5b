# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate requests of nonsigning keys on tokens: signed while the key is made, and kept.

Such a key signs its own request while it is a session object, and never again (DESIGN, "Requests for certificates of
nonsigning keys"). So the request is made when the key is, and lies in ``<state folder>/certificate_requests/<key
ID>.pem`` until module csr hands it out. It is public, and no key is lost with it: only its own request is.
"""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.identity import algorithm_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import NONSIGNING
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import signing
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.keys import Draft
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import foreign_request, profiles

#: A request with thousands of names has less.
_LIMIT = 1024 * 1024


def check_request(request: dict, usage: str, algorithm: str) -> None:
    """Check the option ``request`` before there is a key.

    Raises:
        OptionError: it is wrong, or such keys have no request of this kind.
    """
    if usage not in NONSIGNING:
        raise OptionError(f"request: a key of the usage {usage} signs its requests itself, at any time: use csr")
    if algorithm == "x25519":
        raise OptionError(
            "request: a key of the type x25519 cannot sign a request; have its certificate issued from its public key"
        )
    wanted(request, usage, "0" * 64, algorithm)


def wanted(request: dict, usage: str, key_id: str, algorithm: str) -> profiles.Content:
    """What the options ask for.

    Raises:
        OptionError: one is wrong, or not allowed for the usage.
    """
    lists = {name: request.get(name) or [] for name in ("subject_alt_name", "extended_key_usage")}
    item = {**lists, "subject": request.get("subject"), "certificate_authority": False}
    return profiles.wanted(item, usage, key_id, algorithm)


class KeptRequests:
    """The requests in a state folder."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir

    def _path(self, key_id: str) -> str:
        return os.path.join(self._state_dir, "certificate_requests", f"{key_id}.pem")

    def sign(self, request: dict, draft: Draft) -> bytes:
        """The request of a key that can still sign.

        Raises:
            TokenError: the token does not sign it.
        """
        algorithm = algorithm_of(draft.public_key)
        content = wanted(request, draft.new.usage, draft.key_id, algorithm)

        def sign(message: bytes) -> bytes:
            return signing.sign(draft.private, algorithm, content.signature_hash, message)

        return foreign_request.write(content, draft.public_key, algorithm, sign)

    def keep(self, requests: dict[str, bytes]) -> None:
        """Write them, by key ID, durably: before the key is kept, or it would have none for ever.

        Raises:
            FileError: the state folder cannot be used.
        """
        if requests:
            for folder in (self._state_dir, os.path.dirname(self._path(""))):
                _files.make_private_folder(folder)
            _files.replace_all([_files.NewFile(self._path(key_id), pem) for key_id, pem in requests.items()])

    def read(self, key_id: str) -> tuple[bytes, Any, str] | None:
        """The key's kept request, what it says (None when that does not verify), and its path; None without one.

        Raises:
            FormatError: there is something else in its place.
        """
        existing = _files.read_existing(self._path(key_id), _LIMIT)
        return None if existing is None else (existing.content, profiles.read(existing.content), self._path(key_id))

    def forget(self, key_id: str) -> None:
        """Remove the request of a key that is gone."""
        if os.path.lexists(self._path(key_id)):
            _files.remove(self._path(key_id))
