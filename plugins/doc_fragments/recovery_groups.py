# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery groups."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  recovery_groups:
    description:
      - Who can give the keys back. Each group can do it alone, when O(recovery_groups[].threshold) of its agents agree.
      - An escrow group of a third party is one more group.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      threshold:
        description: How many agents must agree (m of n).
        type: int
        default: 2
      agents:
        description: The recovery agents.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: Name of the agent, unique in the group.
            type: str
            required: true
          encryption_certificate:
            description: PEM text of the certificate to which the agent's shares are encrypted (RSA, P-256, P-384 or
              P-521).
            type: str
            required: true
          signing_certificate:
            description: PEM text of the certificate with which the agent signs approvals.
            type: str
            required: true
          wrapping_certificate:
            description: >-
              PEM text of the RSA certificate to which tokens wrap the session keys of the keys that they give into the
              archive. Its key is another one than that of O(recovery_groups[].agents[].encryption_certificate).
              Every agent needs one when a key on a token is archived; key files need none.
            type: str
  minimum_threshold:
    description:
      - Groups with a smaller threshold are refused.
      - V(1) permits groups of which every single agent can open every key.
    type: int
    default: 2
"""
