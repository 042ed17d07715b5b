# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An owner's key history: every key that was ever archived for somebody, on whichever host.

Records are claims (see records.py): a false one can add a key ID to the list, and then nobody has a share of it. It
takes no key away.
"""

from __future__ import annotations

from itertools import islice

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault

#: Keys whose records are read at once.
_KEYS = 500


def keys_of(vault: Vault, key_owner: str) -> list[str]:
    """The key IDs, sorted: a key belongs to the history when any sound revision names this owner.

    All records are read, since nothing in a vault is sorted by owner: some seconds for 10,000 keys.
    """
    found = []
    listed = records.listed(vault)
    while chunk := [key_id for key_id, dummy in islice(listed, _KEYS)]:
        walked = records.walk(vault, chunk)
        found += [key_id for key_id in chunk if key_owner in owners(walked[key_id])]
    return found


def owners(revisions: tuple[records.RevisionOrProblem, ...]) -> set[str]:
    """Of all sound revisions: a later one by another host must not hide a host's own archive."""
    return {one.key_owner for one in revisions if isinstance(one, Record)}
