# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No play or task of the collection gathers the environment (it is in the subset ``min``): a fact cache would keep it.

A real run with a cache is in tests/integration/test_fact_cache.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[3]
FILES = sorted(
    path
    for folder in ("roles", "playbooks", "demo", "molecule")
    for path in (CHECKOUT / folder).rglob("*.yml")
    if path.name not in ("argument_specs.yml", "molecule.yml") and "inventory" not in path.name
)
MODULES = {
    f"{prefix}{name}" for prefix in ("", "ansible.builtin.", "ansible.legacy.") for name in ("setup", "gather_facts")
}


def mappings(found: object) -> Iterator[dict]:
    """Every mapping in it, at whatever depth."""
    if isinstance(found, dict):
        yield found
    for one in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from mappings(one)


def narrow(subset: object) -> bool:
    """Whether a gather_subset leaves out what nobody named."""
    return isinstance(subset, list) and subset[:2] == ["!all", "!min"] and not {"all", "min", "env"} & set(subset)


def wide(found: object) -> list[dict]:
    """The plays and tasks that gather more than they name."""
    wrong = []
    for one in mappings(found):
        gathers = "hosts" in one and ("tasks" in one or "roles" in one) and one.get("gather_facts") is not False
        if gathers and not narrow(one.get("gather_subset")):
            wrong.append(one)
        asked = set() if "hosts" in one else MODULES & set(one)
        wrong += [one for name in asked if not narrow((one[name] or {}).get("gather_subset"))]
    return wrong


def test_nothing_gathers_the_environment() -> None:
    assert len(FILES) > 50
    assert {
        str(path.relative_to(CHECKOUT)): found for path in FILES if (found := wide(yaml.safe_load(path.read_text())))
    } == {}


@pytest.mark.parametrize(
    "text",
    [
        "- {hosts: all, tasks: []}",
        "- {hosts: all, gather_facts: true, gather_subset: [pkg_mgr], roles: []}",
        "- ansible.builtin.setup:",
        "- block: [{ansible.builtin.setup: {gather_subset: [service_mgr]}}]",
        "- setup: {gather_subset: ['!all', service_mgr]}",
        "- setup: {gather_subset: ['!all', '!min', env]}",
    ],
)
def test_it_would_be_found(text: str) -> None:
    assert wide(yaml.safe_load(text))
