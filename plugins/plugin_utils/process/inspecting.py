# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key_info does on the controller: no host returns more rows than its search was let return.

A host bounds its search itself, and a host may lie. So the rows are counted again here, before a play keeps them.
What is beyond is left out and told, and the search counts as one that was cut short: the audit makes a finding of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask

#: Rows of each kind where nothing is searched: the default of search.max_results.
_ROWS = 5000
#: Receipts and public keys for each row: no bound of the search is for receipts, which a host keeps for ever; each
#: certificate, request and entry has a public key.
_RECEIPTS, _PUBLIC_KEYS = 4, 3


def look(task: ControllerTask) -> dict:
    """The module's result with no more rows than it may have."""
    result = dict(task.call(None).raw)
    told = []
    for name, most in _bounds(task.params):
        rows = result.get(name)
        if isinstance(rows, (list, dict)) and len(rows) > most:
            result[name] = dict(islice(rows.items(), most)) if isinstance(rows, dict) else rows[:most]
            told.append(f"{len(rows) - most} more rows of {name}: left out, because of search.max_results")
    if told:
        before, searched = result.get("not_looked_at"), result.get("searched")
        result["not_looked_at"] = [*told, *(before if isinstance(before, list) else ())]
        result["searched"] = {**(searched if isinstance(searched, Mapping) else {}), "complete": False}
    return result


def _bounds(params: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    most = max((params.get("search") or {}).get("max_results") or _ROWS, 1)
    # The keys that the search finds, those on each token, and those that are named.
    yield "results", most * (1 + len(params.get("tokens") or ())) + len(params.get("keys") or ())
    for name in ("certificates", "certificate_requests", "authorized_keys", "not_looked_at"):
        yield name, most
    yield "receipts", most * _RECEIPTS
    yield "public_keys", most * _PUBLIC_KEYS
