# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""archivable: whether a key is one that can be archived, as far as its facts say."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.module_utils._options import USAGES
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.usages import NONSIGNING, possible_usages


def archivable(value: object) -> bool:
    """Whether the key may have an archive; see archivable.yml.

    Raises:
        AnsibleFilterError: it is neither a usage nor a dictionary with one.
    """
    if isinstance(value, str):
        value = {"usage": value}
    if not isinstance(value, Mapping) or not {"usage", "archivable"} & set(value):
        raise AnsibleFilterError("archivable: a usage was expected, or a dictionary with usage (and algorithm)")
    if isinstance(value.get("archivable"), bool):
        return bool(value["archivable"])
    usage, algorithm = value.get("usage"), value.get("algorithm")
    if usage is not None and usage not in (*USAGES, "conflict"):
        raise AnsibleFilterError(f"archivable: one of {', '.join(USAGES)} was expected as the usage")
    # Like everywhere: unknown usage is refused, and so is what is not named as possible.
    return usage in NONSIGNING and (algorithm is None or usage in possible_usages(str(algorithm)))


class TestModule:
    """The tests of this file."""

    def tests(self) -> dict:
        """Name to function."""
        return {"archivable": archivable}
