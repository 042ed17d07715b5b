# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates on a token: evidence about every key of the task, whatever their labels and IDs are."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import objects
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import TokenFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates, reading
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts


def read(found: Iterable[TokenObject], token: TokenFacts) -> tuple[tuple[CertificateFacts, ...], tuple[str, ...]]:
    """The facts of a token's certificate objects, and one sentence for each that is no X.509 certificate."""
    told: list[CertificateFacts] = []
    problems: list[str] = []
    for one in found:
        if one.kind != "certificate":
            continue
        source = reading.shown(f"the object {one.label!r} on the token {token.label!r}")
        value = objects.told_attributes(one.handle, ("VALUE",)).get("VALUE")
        try:
            told.append(certificates.of_der(bytes(value or b""), source))
        except FormatError:
            problems.append(f"{source}: it says that it is a certificate, and holds none that can be read")
    return tuple(told), tuple(problems)
