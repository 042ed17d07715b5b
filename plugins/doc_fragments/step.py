# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The internal options of modules that work in several steps."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  step:
    description: Internal. Set by the collection's action plugin only, which refuses it in a task.
    type: str
  relay:
    description: Internal. Set by the collection's action plugin only, which refuses it in a task.
    type: str
"""
