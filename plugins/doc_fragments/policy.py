# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the option policy (_options.POLICY)."""

from __future__ import annotations


class ModuleDocFragment:
    """The option ``policy``."""

    DOCUMENTATION = r"""
options:
  policy:
    description:
      - A policy, which says what keys of each usage may be. What breaks one of its rules is refused before anything
        changes, with the error class C(PolicyRefused). The message names the rule, its value, its source and the
        remedy.
      - A dictionary, or the name of a built-in profile, V(default), V(nist-sp800-57), V(cnsa-2.0) or V(cabf-smime).
      - In a dictionary, C(extends) names the profile that it begins with, and C(usages) and C(all_usages) override
        single rules of it.
      - It is read on the controller, and no host gets it. The format is in the collection's C(docs/policy.md).
      - Without it, nothing is compared with a policy.
    type: raw
"""
