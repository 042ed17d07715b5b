# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's own state."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  state_dir:
    description:
      - Folder on the host for receipts and for the one-time keys of open recovery requests.
      - The default is C(/var/lib/keyops) for root, and C($XDG_STATE_HOME/keyops) or C(~/.local/state/keyops) for
        other users.
    type: path
"""
