# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that certificates are requested for: read, of which usage, archived if need be, and what signs.

A key is a ``PrivateKey`` out of a file, or a ``TokenKey`` (certificate_request_tokens.py).
"""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    KeyNotFound,
    NotArchivedRefused,
    OptionError,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT, read_private_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import CONFLICT
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import PrivateKey
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import profiles, usages

_CANNOT_SIGN = ("x25519", "x448")
#: A certificate has less.
_LIMIT = 1024 * 1024


def read_key(item: dict, check_mode: bool, tokens: Any) -> Any:
    """The PrivateKey of a file, or the TokenKey (certificate_request_tokens.py) of a token."""
    on_token = reference.is_token(item["key"])
    path = "" if on_token else reference.parse_path(item["key"]).path
    key = tokens.key(item) if on_token else None
    if not (key if on_token else os.path.lexists(path)):
        if check_mode:
            return None  # the same check run would have made it
        raise KeyNotFound("there is no key; make it with private_key first")
    return key or key_file.load(_files.read_file(path, KEY_FILE_LIMIT), item["passphrase"])


def content_of(item: dict, key: Any, usage: str, statement: Any) -> profiles.Content:
    """What the key's request is to say.

    Raises:
        OptionError: an option is wrong, or not allowed for this key.
    """
    if statement is not None:
        return statement.wanted(_wanted(item, key, usage))
    return _wanted(item, key, usage) if isinstance(key, PrivateKey) else key.content(item, usage)


def _wanted(item: dict, key: Any, usage: str) -> profiles.Content:
    return profiles.wanted(item, usage, key.facts.key_id, key.facts.algorithm)


def statement_of(item: dict, key: Any, tokens: Any) -> Any:
    """What signs the request of a key that cannot sign (possession_statement.py); None for keys that can."""
    options = item.get("possession")
    if key.facts.algorithm not in _CANNOT_SIGN:
        if options is not None:
            raise OptionError("possession: this key signs its request itself; leave it out")
        return None
    if options is None:
        raise AssertionError("usage_of has refused this key")
    # Not at the top: other keys need nothing of it.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import possession_statement

    if reference.is_token(options["key"]):
        signer = tokens.signer(options)
    else:
        private_key = read_private_key(options["key"], options["passphrase"], "possession.key")
        signer = possession_statement.signer_of(private_key)
    if not os.path.isabs(options["certificate"]):
        raise OptionError("possession.certificate: is not an absolute path")
    try:
        return possession_statement.statement(signer, _files.read_file(options["certificate"], _LIMIT))
    except OptionError as error:
        raise OptionError(f"possession.{error}") from error


def usage_of(item: dict, key: Any) -> str:
    """The usage that the key carries; the option's where it carries none."""
    declared = item["usage"]
    bound = key.facts.bound_usage if isinstance(key, PrivateKey) else key.usage(declared)
    if bound == CONFLICT:
        raise OptionError("the key carries several usages at once; one key has one usage, so make a new one")
    if bound and declared and bound != declared:
        raise OptionError(f"usage: is {declared}, and the key carries {bound}; leave the option out, or name that one")
    usage = bound or declared or usages.usage_of_type(key.facts.algorithm)
    if usage is None:
        raise OptionError("usage: is missing, and the key carries none; say what the key is for")
    _check_can_request(usage, key.facts.algorithm, item.get("possession") is not None)
    return usage


def _check_can_request(usage: str, algorithm: str, is_stated: bool) -> None:
    usages.check_algorithm(usage, algorithm)
    if algorithm in _CANNOT_SIGN and not is_stated:
        raise AlgorithmError(
            f"a key of the type {algorithm} cannot sign, and so cannot sign a certificate request. Name another key of "
            "the same owner in possession, or have the certificate issued from its public key alone, which "
            "private_key_info returns as public_key"
        )
    if algorithm.startswith("rsa-") and int(algorithm[4:]) < 2048:
        raise AlgorithmError(f"the key is too weak ({algorithm}) to be certified; make one of at least rsa-2048")


def check_archived(item: dict, key: Any, usage: str, state_dir: str, check_mode: bool) -> str | None:
    """Refuse a nonsigning key without a fitting receipt; in check mode, tell it: the same run may archive the key."""
    if usage in usages.SIGNING or not item["require_receipt"]:
        return None
    receipt = _receipts.read_receipt(state_dir, key.facts.key_id)
    if receipt is not None and receipt.usage == usage:
        return None
    reason = "is not archived" if receipt is None else f"is archived with the usage {receipt.usage}, not {usage}"
    message = (
        f"the key {reason} (no receipt in {state_dir}), so it is not certified: what is encrypted to it could be lost "
        "with it. Archive it with key_archive, or give require_receipt: false"
    )
    if check_mode:
        return f"{item['key']}: {message}"
    raise NotArchivedRefused(message)
