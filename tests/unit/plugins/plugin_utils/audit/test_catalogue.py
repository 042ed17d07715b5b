# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of findings and its page agree."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue

PAGE = Path(__file__).parents[5] / "docs" / "audit.md"


def test_the_page_lists_every_kind() -> None:
    """docs/audit.md says the same as the catalogue."""
    rows = dict.fromkeys(line for line in PAGE.read_text().splitlines() if line.startswith("| KL"))
    assert list(rows) == [
        f"| {one.id} | `{one.slug}` | {one.severity} | {one.title} | {one.remedy} |" for one in catalogue.KINDS
    ]
    assert [one.id for one in catalogue.KINDS] == [f"KL{number:03}" for number in range(1, len(catalogue.KINDS) + 1)]
    assert len({one.slug for one in catalogue.KINDS}) == len(catalogue.KINDS)
