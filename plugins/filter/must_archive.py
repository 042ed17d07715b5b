# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""must_archive: the keys in a list like keyops_keys that a policy wants archived."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PolicyError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import load


def must_archive(keys: list[dict], policy: object) -> list[dict]:
    """The items whose usage has the rule ``archive: required``; none of keys that are to go.

    Raises:
        AnsibleFilterError: the policy has mistakes, or the list has something else than dictionaries.
    """
    if not all(isinstance(item, Mapping) for item in keys):
        raise AnsibleFilterError("must_archive: a list of keys was expected, each a dictionary of options")
    try:
        rules = load.load(policy).rules
    except PolicyError as error:
        raise AnsibleFilterError(f"must_archive: {error}") from error
    required = {usage for usage, named in rules.items() if usage and _is_required(named)}
    return [item for item in keys if item.get("usage") in required and item.get("state", "present") == "present"]


def _is_required(rules: Mapping) -> bool:
    rule = rules.get("archive")
    return rule is not None and rule.enforced and rule.value == "required"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict:
        """Name to function."""
        return {"must_archive": must_archive}
