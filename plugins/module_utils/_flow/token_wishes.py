# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of private_key that say something of keys on tokens, checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.kept_requests import check_request
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import NONSIGNING
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import probe, session
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.uri import TokenUri


@dataclass(frozen=True)
class TokenWish:
    """The options of an item that say something of keys on tokens.

    Attributes:
        uri: with library, token and label.
        pin: the user PIN.
        archive: ``required``, ``possible`` or ``never``.
        unwrap: whether it may unwrap keys into the token, too.
        request: the options of the request of a nonsigning key, or None.
        accept_findings: the promises that the token may break.
    """

    uri: TokenUri
    pin: str = field(repr=False)
    archive: str
    unwrap: bool
    request: dict | None = field(compare=False)
    accept_findings: tuple[str, ...]


def read(item: dict, uri: TokenUri) -> TokenWish:
    """The checked options of one item.

    Raises:
        OptionError, AlgorithmError: one is wrong, or does not fit the usage.
    """
    usage, archive = item["usage"], item.get("archive") or "possible"
    if archive == "required" and usage is not None and usage not in NONSIGNING:
        raise OptionError(f"archive: a key of the usage {usage} signs, and such a key is never archived; leave it out")
    unwrap = bool(item.get("unwrap"))
    if unwrap and usage not in (None, "key_transport"):
        raise OptionError(f"unwrap: a key of the usage {usage} unwraps nothing; only key_transport may")
    accepted = tuple(item.get("accept_findings") or ())
    unknown = [name for name in accepted if name not in probe.NAMES]
    if unknown:
        known = ", ".join(probe.NAMES)
        raise OptionError(f"accept_findings: {unknown[0]!r} is no promise of the probe; those are {known}")
    request = item.get("request")
    if request is not None and item["state"] == "present":
        check_request(request, usage, item["algorithm"])
    return TokenWish(uri, session.pin_for(item.get("pin"), uri), archive, unwrap, request, accepted)
