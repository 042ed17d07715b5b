# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pkcs11_uri: what a PKCS#11 URI names."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyReferenceError
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import uri


def pkcs11_uri(value: str) -> dict:
    """The parts of the URI; see pkcs11_uri.yml.

    Raises:
        AnsibleFilterError: the modules would refuse it too. The message does not repeat it.
    """
    if not isinstance(value, str):
        raise AnsibleFilterError("pkcs11_uri: a text was expected, a PKCS#11 URI")
    try:
        named = uri.parse(value)
    except KeyReferenceError as error:
        raise AnsibleFilterError(f"pkcs11_uri: {str(error).removeprefix('key: ')}") from error
    return {
        **{name: getattr(named, name) for name in ("token", "serial", "manufacturer", "model")},
        "object": named.label,
        "id": None if named.object_id is None else named.object_id.hex(),
        **{name: getattr(named, name) for name in ("module_path", "pin_file")},
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict:
        """Name to function."""
        return {"pkcs11_uri": pkcs11_uri}
