# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate as an option: PEM text, or the path of a file. It may have expired, for what was signed in its time."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import certificates

_LIMIT = 100_000


def read_certificate(given: str | None, option: str) -> bytes | None:
    """DER of the one certificate that is given; None without one.

    Raises:
        OptionError: it is none, or several.
        FileError: the file cannot be read.
    """
    if given is None:
        return None
    in_text = given.lstrip().startswith("-----BEGIN")
    if not in_text and not given.startswith("/"):
        raise OptionError(f"{option}: neither PEM text nor an absolute path")
    content = given.encode() if in_text else _files.read_file(given, _LIMIT)
    try:
        found = [one.der for one in certificates.parse(content, option) if one.kind == certificates.CERTIFICATE]
    except FormatError as error:
        raise OptionError(f"{option}: {error}") from error
    if len(found) != 1:
        raise OptionError(f"{option}: one certificate was expected, and there are {len(found)}")
    return found[0]
